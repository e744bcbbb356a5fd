#!/usr/bin/env bash
# Whoever compiles with an older standard is told so first, whichever header is included first.
source tests/lint/lint.sh

scratch=$(mktemp -d "${TEST_TMPDIR:-/tmp}/cxx20.XXXXXX")
trap 'rm -rf "$scratch"' EXIT
mkdir -p "$scratch/generated/gyre/loop"
ln -s "$root" "$scratch/gyre"
: >"$scratch/generated/gyre/loop/version.h" # what the build makes of MODULE.bazel

first_error() { # STANDARD ARGUMENTS
  c++ "-std=$1" -I"$scratch" -I"$scratch/generated" "${@:2}" "$scratch/user.cc" 2>&1 | grep -m1 'error:' || true
}

for header in $(files '*.h' loop net testing threading); do
  [[ $header != */kqueue_poller.h ]] || continue # its kernel's
  echo "#include \"gyre/$header\"" >"$scratch/user.cc"
  for standard in c++11 c++17; do # the defaults of Bazel 4.2 and 9
    # The preprocessor finds it fastest; a header in which it finds none may need nothing of C++20.
    error=$(first_error $standard -E -o "$scratch/out")
    [[ $error ]] || error=$(first_error $standard -fsyntax-only -fmax-errors=1)
    [[ -z $error || $error == *"gyre needs C++20: add "* ]] || complain \
      "$header: with -std=$standard the compiler says first: $error. Include gyre/loop/cxx20.h before all else"
  done
done

finish
