#!/usr/bin/env bash
# Every test that docs/tornado.md names exists.
source tests/lint/lint.sh

page=docs/tornado.md

# "Suite.Name" of each TEST, TEST_F and TEST_P, wherever the formatter has broken the line; and the
# suites that are another name for one.
existing=$(files '*_test.cc' tests | xargs cat | tr '\n' ' ' |
  grep -oE 'TEST(_[FP])?\( *[A-Za-z0-9_]+ *, *[A-Za-z0-9_]+ *\)' |
  sed -E 's/^[^(]*\( *//; s/ *, */./; s/ *\)$//' | sort -u)

# In the page a test is `Suite.Name`, both in camel case.
named=$(grep -oE '`[A-Z][A-Za-z0-9]*\.[A-Z][A-Za-z0-9]*`' "$page" | tr -d '`' | sort -u)

# Neither list may be empty because its pattern went out of use.
[[ $(wc -l <<<"$named") -ge 100 ]] || complain "$page names hardly any test: has its form changed?"
[[ $(wc -l <<<"$existing") -ge 100 ]] || complain "hardly any test was found in tests/"

complain "$(comm -23 <(printf '%s\n' "$named") <(printf '%s\n' "$existing") |
  sed "s|.*|$page: there is no test &|")"

# And nothing else that looks like a target is out of date.
for label in $(grep -oE '`//[a-z_/]+(:[a-z_]+)?`' "$page" | tr -d '`'); do
  folder=${label#//}
  target=${folder##*:}
  build=${folder%%:*}/BUILD.bazel
  [[ -e $build ]] || complain "$page: there is no package $label"
  [[ $label != *:* ]] || grep -qs "name = \"$target\"" "$build" || complain "$page: there is no target $label"
done

# Each line of the catalogues is there.
for number in $(seq 1 50) $(seq 65 90); do
  grep -q "^| F$number " "$page" || complain "$page: F$number is missing"
done
for number in $(seq 1 77); do
  grep -q "^| B$number " "$page" || complain "$page: B$number is missing"
done

finish
