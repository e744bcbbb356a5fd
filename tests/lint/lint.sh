#!/usr/bin/env bash
# Shared by the checks of this folder; sourced.
set -euo pipefail

# The tests start in their runfiles, where MODULE.bazel is a link into the source tree.
root=$(dirname "$(readlink -f MODULE.bazel)")
cd "$root"

complaints=0

# complain TEXT: each line of it is a finding. Nothing is fine.
complain() {
  [[ -n $1 ]] || return 0
  printf '%s\n' "$1"
  complaints=$((complaints + 1))
}

# files PATTERN FOLDER...: the files of these folders with such a name, hidden folders left out.
files() {
  local pattern=$1
  shift
  find "$@" -name '.?*' -prune -o -type f -name "$pattern" -print | sort
}

finish() {
  if [[ $complaints -gt 0 ]]; then exit 1; fi
  echo "nothing to complain about"
}
