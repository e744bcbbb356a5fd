#!/usr/bin/env bash
# An example is short, says how it is run, and is run by a test; the guide, or the page that lists
# what is beside it, leads to it.
source tests/lint/lint.sh

most=119

found=0
for source in $(grep -lE '^int main\(' examples/*.cc); do
  name=$(basename "$source" .cc)
  found=$((found + 1))
  lines=$(wc -l <"$source")
  ((lines <= most)) || complain "$source: $lines lines, and $most is the most"
  grep -q "name = \"$name\"" examples/BUILD.bazel || complain "$source: examples/BUILD.bazel has no $name"
  grep -qE "\"//examples:$name\"" tests/*/BUILD.bazel || complain "$source: no test depends on //examples:$name"
  grep -qE "examples/$name\"|example\(\"$name\"\)|example\(.*\"$name\"" tests/integration/*_test.cc ||
    complain "$source: no test of tests/integration runs it"
  grep -qE "\b$name\b" docs/guide/*.md || complain "$source: no page of docs/guide names it"
  # README.md holds that one to the letter, and has no room for comments.
  [[ $name == readme_server ]] || sed '/^[^/]/,$d' "$source" | grep -qE "bazel run .*//examples:$name\b" ||
    complain "$source: its first comment does not say: bazel run //examples:$name"
done
[[ $found -ge 13 ]] || complain "hardly any example was found in examples/"

finish
