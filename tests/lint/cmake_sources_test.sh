#!/usr/bin/env bash
# cmake/sources.cmake lists what the BUILD files of the libraries list, and both what the folders hold.
source tests/lint/lint.sh

folders=(loop loop/poller net testing threading)

# Of each folder, the file names in quotes: its BUILD file names those alone.
built() {
  local folder
  for folder in "${folders[@]}"; do
    grep -oE '"[a-z0-9_]+\.(h|cc)"' "$folder/BUILD.bazel" | tr -d '"' | sed "s|^|$folder/|"
  done | sort -u
}
held() { find "${folders[@]}" -maxdepth 1 -type f \( -name '*.h' -o -name '*.cc' \) | sort -u; }
listed() { grep -oE '(loop|net|testing|threading)/[a-z0-9_/]+\.(h|cc)' cmake/sources.cmake | sort -u; }

# Made by the build, see cmake/version.h.in.
built_files=$(built | grep -vx loop/version.h)
complain "$(comm -23 <(echo "$built_files") <(listed) | sed 's|$|   <- in a BUILD file, not in cmake/sources.cmake|')"
complain "$(comm -13 <(echo "$built_files") <(listed) | sed 's|$|   <- in cmake/sources.cmake, not in a BUILD file|')"
complain "$(comm -13 <(echo "$built_files") <(held) | sed 's|$|   <- in no BUILD file|')"

# Abseil's parts: each header that is included has its target in the list.
for header in $(grep -rhoE '#include "absl/[^"]+' "${folders[@]}" | sed 's|.*/||; s|\.h$||' | sort -u); do
  case $header in
    thread_annotations) header=core_headers ;;
    ascii | escaping | str_split) header=strings ;;
  esac
  grep -qE "set\(GYRE_ABSL .*\b$header\b" cmake/sources.cmake ||
    complain "cmake/sources.cmake: GYRE_ABSL lacks $header"
done

finish
