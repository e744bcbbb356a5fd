#!/usr/bin/env bash
# The two lists of dependencies agree with the BUILD files: MODULE.bazel for Bazel 8 and newer,
# bazel/deps.bzl for Debian. A machine builds with one of them, and would not notice the other.
source tests/lint/lint.sh

mapfile -t public_files < <(echo BUILD.bazel; files BUILD.bazel bazel loop net testing threading)
mapfile -t build_files < <(printf '%s\n' "${public_files[@]}" bazel/gyre.bzl
  files BUILD.bazel benchmarks examples tests | grep -v '^examples/consumer/')

# grep's status 1 says that there is no match, which is fine here.
repositories() { grep -ohE '"@[A-Za-z0-9_.-]+(//|")' "$@" | tr -d '"@/' | sort -u || true; }

for repository in $(repositories "${build_files[@]}"); do
  grep -qE "^bazel_dep\(name = \"$repository\"" MODULE.bazel ||
    complain "@$repository is not in MODULE.bazel"
  # Bazel 4.2 brings this one along.
  [[ $repository == platforms ]] || grep -qE "name = \"$repository\"" bazel/deps.bzl ||
    complain "@$repository is not in bazel/deps.bzl"
done

# Those who depend on gyre do not get its dev dependencies, so packages for them must not name one.
for repository in $(repositories "${public_files[@]}"); do
  if grep -qE "^bazel_dep\(name = \"$repository\".*dev_dependency = True" MODULE.bazel; then
    complain "$(grep -nE "\"@$repository(//|\")" "${public_files[@]}" | sed 's|$|   <- a dev dependency|')"
  fi
done

# Debian's Abseil headers are found without a dependency; those of the registry are not.
for build_file in "${build_files[@]}"; do
  folder=$(dirname "$build_file")
  [[ $(basename "$build_file") == BUILD.bazel && $folder != . ]] || continue
  for header in $(find "$folder" -mindepth 1 -type d -exec test -e '{}/BUILD.bazel' \; -prune -o \
    -type f \( -name '*.h' -o -name '*.cc' \) -exec grep -ohE '#include "absl/[^"]+' {} + |
    sed 's/.*"//' | sort -u); do
    package=$(dirname "$header")
    stem=$(basename "$header" .h)
    label="@abseil-cpp//$package" # any target of the package, if none is named like the header
    if [[ $stem == "$(basename "$package")" ]]; then
      label="@abseil-cpp//$package(:$stem)?\""
    elif grep -qE "[\":]$stem\"" bazel/deps.bzl; then
      label="@abseil-cpp//$package:$stem\""
    fi
    grep -qE "$label" "$build_file" || complain "$build_file: no dependency for \"$header\""
  done
done

finish
