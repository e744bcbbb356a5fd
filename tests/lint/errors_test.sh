#!/usr/bin/env bash
# docs/errors.md lists what is really said: each message of its tables is in the sources, "..." being
# whatever is put in there, or errno's text.
source tests/lint/lint.sh

scratch=$(mktemp -d "${TEST_TMPDIR:-/tmp}/errors.XXXXXX")
trap 'rm -rf "$scratch"' EXIT

# Literals that are continued on the next line as one, without backslashes, on lines of their own.
find loop threading net testing examples bazel cmake tools CMakeLists.txt -name '.?*' -prune -o -type f \
  \( -name '*.cc' -o -name '*.h' -o -name '*.bzl' -o -name 'CMakeLists.txt' -o -name '*.cmake' -o -path 'tools/*' \) -print0 |
  xargs -0 cat | perl -0pe 's/"\s*\n\s*"//g; s/\\"/"/g' >"$scratch/sources"

system='Address already in use|Permission denied|Cannot assign requested address|No such file or directory|Name or service not known|Too many open files|Connection refused'
messages=0
while IFS= read -r message; do
  messages=$((messages + 1))
  while IFS= read -r part; do
    # A word says nothing, and what a program puts in front of a colon may be anything.
    [[ ${#part} -ge 5 ]] || continue
    grep -qF -- "$part" "$scratch/sources" || complain "docs/errors.md: nothing says \"$part\""
  done < <(sed -E "s/($system)/.../g; s/\.\.\./\n/g" <<<"$message" | sed -E 's/^[ :;,.]+//; s/[ :;,.]+$//; s/ \($//')
done < <(grep -E '^\| `' docs/errors.md | grep -v "(Debian's Bazel)" | sed -E 's/^\| `([^`]*)`.*/\1/')
[[ $messages -ge 20 ]] || complain "the messages of docs/errors.md were not found"

finish
