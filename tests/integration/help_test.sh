#!/usr/bin/env bash
# Every program of a user, and every tool: --help shows what it does by default and an example, which
# is a call that it takes; a flag that it does not have is exit code 2 and one line that names it.
here=$PWD
source tests/lint/lint.sh

names=
for program in "$@"; do
  program=$here/$program
  name=$(basename "$program")
  names+=" $name "
  help=$("$program" --help 2>"$TEST_TMPDIR/err") || complain "$name --help: exit code $?"
  complain "$(sed "s/^/$name --help says as an error: /" "$TEST_TMPDIR/err")"
  [[ $help == *"usage: $name"* ]] || complain "$name --help has no line 'usage: $name'"
  [[ $help == *"by default"* || $help == *"has no flags"* ]] || complain "$name --help shows no defaults"
  example=$(sed -n "s/^example: $name *//p" <<<"$help")
  [[ $(grep -c "^example: $name" <<<"$help") == 1 ]] || complain "$name --help has no line 'example: $name'"
  # shellcheck disable=SC2086 # the words of the example
  "$program" $example --help >/dev/null 2>"$TEST_TMPDIR/err" ||
    complain "$name $example: $(cat "$TEST_TMPDIR/err")"

  code=0
  out=$("$program" --no-such-flag 2>"$TEST_TMPDIR/err") || code=$?
  [[ $code == 2 && -z $out ]] || complain "$name --no-such-flag: exit code $code, and it says: $out"
  [[ $(wc -l <"$TEST_TMPDIR/err") == 1 ]] && grep -q -- --no-such-flag "$TEST_TMPDIR/err" ||
    complain "$name --no-such-flag: not one line that names it: $(cat "$TEST_TMPDIR/err")"
done

# The tools. tests/packages and CI run what they do.
for tool in $(find tools benchmarks -maxdepth 1 -type f -executable | sort); do
  help=$("$tool" --help 2>&1) || complain "$tool --help: exit code $?"
  for part in "usage: $tool" "example: $tool"; do
    [[ $help == *"$part"* ]] || complain "$tool --help has no '$part'"
  done
  grep -qiE 'by default|\([a-z0-9-]+\)|without arguments' <<<"$help" || complain "$tool --help shows no defaults"
  code=0
  "$tool" --no-such-flag >"$TEST_TMPDIR/out" 2>"$TEST_TMPDIR/err" || code=$?
  [[ $code == 2 && ! -s $TEST_TMPDIR/out && -s $TEST_TMPDIR/err ]] ||
    complain "$tool --no-such-flag: exit code $code, and it says: $(cat "$TEST_TMPDIR/out")"
done

# None is left out.
for folder in examples examples/kv_server benchmarks; do
  for name in $(awk '/_cc_binary\(/ { binary = 1 } binary && /name = "/ { gsub(/[",]/, "", $3); print $3; binary = 0 }' \
    "$folder/BUILD.bazel"); do
    [[ $name == *.so || $name == readme_server || $names == *" $name "* ]] ||
      complain "$folder: $name is not among the programs of this test"
  done
done

finish
