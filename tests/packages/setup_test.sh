#!/usr/bin/env bash
# tools/setup says what to do where it cannot do it: on another system, without root, without a package.
source tests/lint/lint.sh

# Where another user may read, too.
path=$(mktemp -d /tmp/gyre-setup.XXXXXX)
trap 'rm -rf "$path"' EXIT
chmod 755 "$path"
for program in bash cat env mktemp rm; do ln -sf "$(command -v "$program")" "$path/$program"; done

says() { # TEXT COMMAND...: it fails with 1, and says so
  local code=0 out
  out=$(PATH=$path "${@:2}" 2>&1) || code=$?
  [[ $code == 1 ]] || complain "${*:2}: exit code $code"
  [[ $out == *"$1"* ]] || complain "${*:2} does not say \"$1\", but: $out"
}

says "this is no Debian (no apt-get). Install Bazelisk and a C++20 compiler" bash tools/setup build

# A Debian on which nothing is installed, and whose archive has nothing.
printf '#!/bin/bash\nexit 1\n' >"$path/dpkg-query"
printf '#!/bin/bash\necho "E: Unable to locate package" >&2\nexit 100\n' | tee "$path/apt-get" >"$path/apt-cache"
chmod +x "$path"/{dpkg-query,apt-get,apt-cache}
if [[ $EUID -eq 0 ]]; then
  says "apt-get failed, see above. Needed: bazel-bootstrap g++ libabsl-dev pkg-config" bash tools/setup build
  # The source tree need not be readable for nobody: so the script comes through a pipe.
  if setpriv=$(command -v setpriv); then
    says "As root: apt-get install -y bazel-bootstrap" \
      "$setpriv" --reuid=65534 --regid=65534 --clear-groups "$path/bash" -s build <tools/setup
  fi
else
  says "As root: apt-get install -y bazel-bootstrap" bash tools/setup build
fi

finish
