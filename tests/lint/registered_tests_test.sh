#!/usr/bin/env bash
# Every test is built: the BUILD file of its folder names it.
source tests/lint/lint.sh

tests=$(files '*_test.cc' tests)
[[ $(wc -l <<<"$tests") -ge 20 ]] || complain "hardly any test was found in tests/"

complain "$(while read -r test; do
  build=$(dirname "$test")/BUILD.bazel
  grep -qs "\"$(basename "$test")\"" "$build" || echo "$test: $build does not name it"
done <<<"$tests")"

finish
