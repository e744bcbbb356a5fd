#!/usr/bin/env bash
# The pages hold: every link leads somewhere, every block of C++ compiles or is what the program has
# that it names, every public header is on the reference page.
source tests/lint/lint.sh

pages=(README.md CONTRIBUTING.md CHANGELOG.md SECURITY.md docs/*.md docs/guide/*.md examples/*/README.md)

# ---- Links: to files of the tree, and to headings of pages

headings() { # PAGE: its headings as a forge names them
  awk '/^```/ { code = !code } !code && /^#+ / { sub(/^#+ /, ""); print }' "$1" |
    tr '[:upper:]' '[:lower:]' | sed -E 's/[^a-z0-9 _-]//g; s/ /-/g'
}
for page in "${pages[@]}"; do
  while read -r target; do
    [[ -n $target && $target != http*://* ]] || continue
    file=${target%%#*}
    [[ -z $file ]] && path=$page || path=$(dirname "$page")/$file
    if [[ ! -e $path ]]; then
      complain "$page: the link to $target leads nowhere"
    elif [[ $target == *'#'* ]] && ! headings "$path" | grep -qxF -- "${target#*#}"; then
      complain "$page: $path has no heading for $target"
    fi
  done < <(awk '/^```/ { code = !code } !code' "$page" | grep -oE '\]\([^) ]+\)' | sed 's/^](//; s/)$//')
done

# ---- C++: all blocks in one source, each in a namespace of its own behind its includes

scratch=$(mktemp -d "${TEST_TMPDIR:-/tmp}/docs.XXXXXX")
trap 'rm -rf "$scratch"' EXIT
mkdir -p "$scratch/include" "$scratch/generated/gyre/loop"
ln -s "$root" "$scratch/include/gyre"
# What the build makes of MODULE.bazel; no block looks at its values.
echo '#pragma GCC system_header' >"$scratch/generated/gyre/loop/version.h"
awk '
  FNR == 1 { code = 0 }
  /^```cpp$/ { code = 1; ++block; print "namespace block" block " {" > body; printf "#line %d \"%s\"\n", FNR + 1, FILENAME > body; next }
  /^```/ && code { code = 0; print "}" > body; next }
  code && /^#include/ { print > includes; print "" > body; next }
  code { print > body }
' includes="$scratch/includes" body="$scratch/body" "${pages[@]}"
cat <(sort -u "$scratch/includes") "$scratch/body" >"$scratch/blocks.cc"
# A main() in a namespace is a function like any other; it returns 0 only outside of one.
sed -i -E 's/\bint main\(/int run(/' "$scratch/blocks.cc"
c++ -std=c++20 -fsyntax-only -Wall -Wno-return-type -I"$scratch/generated" -I"$scratch/include" "$scratch/blocks.cc" \
  2>"$scratch/errors" || complain "$(cat "$scratch/errors")"
[[ $(grep -c '^namespace block' "$scratch/body") -ge 5 ]] || complain "the C++ blocks were not found"

# ---- Excerpts: ```cpp FILE is whole lines of that file, to the letter

excerpts=0
for page in "${pages[@]}"; do
  file=
  while IFS= read -r line; do
    if [[ -z $file && $line =~ ^'```cpp '(.+)$ ]]; then
      file=${BASH_REMATCH[1]} excerpt=$'\n' excerpts=$((excerpts + 1))
    elif [[ -n $file && $line == '```' ]]; then
      [[ -f $file && $'\n'$(<"$file")$'\n' == *"$excerpt"* ]] ||
        complain "$page: $file does not have these lines:$excerpt"
      file=
    elif [[ -n $file ]]; then
      excerpt+=$line$'\n'
    fi
  done <"$page"
done
[[ $excerpts -ge 20 ]] || complain "the excerpts were not found"
# The guide shows nothing else: it is made of programs that are built and run.
complain "$(grep -nE '^```cpp$' docs/guide/*.md | sed 's/$/   <- whose code is it? ```cpp FILE/' || true)"

# ---- The reference, which is made from the headers

complain "$(tools/reference --check || true)"

for header in $(files '*.h' loop net testing threading); do
  [[ ! -f docs/reference.md ]] || grep -qF "$header" docs/reference.md ||
    complain "docs/reference.md does not name $header"
done

finish
