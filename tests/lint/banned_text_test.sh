#!/usr/bin/env bash
# What must not be written in gyre's sources, and why.
source tests/lint/lint.sh

libraries=(loop threading net testing)

# banned WHY PATTERN: in the code of the libraries, comments apart.
banned() {
  local why=$1 pattern=$2 file
  for file in $(files '*.h' "${libraries[@]}") $(files '*.cc' "${libraries[@]}"); do
    complain "$(sed 's|//.*||' "$file" | grep -nE "$pattern" | sed "s|^|$file:|; s|\$|   <- $why|" || true)"
  done
}

banned "std's type: a distribution's Abseil may have a type of its own here" \
  'absl::(string_view|optional|any|variant)\b'
banned "std::mutex: ThreadSanitizer does not see into a prebuilt Abseil" \
  'absl::(Mutex|MutexLock|ReaderMutexLock|WriterMutexLock|CondVar|Notification|Barrier|BlockingCounter)\b'
banned "an include guard: headers are reached over two paths" '#[[:space:]]*pragma[[:space:]]+once'

# Work left undone belongs into the issue tracker. (Brackets: this file is searched too.)
complain "$(grep -rnwIE 'TO[D]O|FIX[M]E' --exclude-dir='.?*' --exclude-dir='bazel-*' \
  bazel benchmarks examples loop net testing tests threading tools BUILD.bazel MODULE.bazel WORKSPACE .bazelrc || true)"

finish
