#!/usr/bin/env bash
# gyre builds and installs with CMake; a project that finds it, by CMake and by pkg-config, runs. The
# library is built without exceptions and RTTI: so the same build shows that it needs neither.
set -euo pipefail

# The test starts in its runfiles, where MODULE.bazel is a link into the source tree.
root=$(dirname "$(readlink -f MODULE.bazel)")
scratch=$(mktemp -d "${TEST_TMPDIR:-/tmp}/cmake.XXXXXX")
trap 'rm -rf "$scratch"' EXIT
prefix=$scratch/installed

step() { # WHAT COMMAND...: quiet unless it fails
  local what=$1
  shift
  "$@" >"$scratch/log" 2>&1 || { cat "$scratch/log"; echo "failed: $what"; exit 1; }
  echo "ok: $what"
}
says() { # EXPECTED PROGRAM
  local said
  said=$(timeout 60 "$2")
  [[ $said == "$1" ]] || { echo "$2 says '$said', not '$1'"; exit 1; }
  echo "ok: $2 says '$said'"
}

# -O0: what is tested is the package, not the code.
step "configure" cmake -S "$root" -B "$scratch/build" -DCMAKE_BUILD_TYPE=Debug \
  -DCMAKE_CXX_FLAGS="-O0 -fno-exceptions -fno-rtti" -DCMAKE_INSTALL_PREFIX="$prefix" -DCMAKE_INSTALL_LIBDIR=lib
step "build" cmake --build "$scratch/build" --parallel 2
step "install" cmake --install "$scratch/build"

step "configure the consumer" cmake -S "$root/examples/consumer_cmake" -B "$scratch/consumer" \
  -DCMAKE_PREFIX_PATH="$prefix"
step "build the consumer" cmake --build "$scratch/consumer" --parallel 2
says "2 loops said hello" "$scratch/consumer/hello_pool"
says "1 loop said hello" "$scratch/consumer/hello_loop"

export PKG_CONFIG_PATH=$prefix/lib/pkgconfig
version=$(sed -nE 's/^    version = "([0-9.]+)",$/\1/p' "$root/MODULE.bazel")
[[ $(pkg-config --modversion gyre) == "$version" ]] || { echo "gyre.pc has another version"; exit 1; }
read -ra flags < <(pkg-config --cflags --libs --static gyre)
step "compile with pkg-config's flags" c++ -std=c++20 "$root/examples/consumer/main.cc" "${flags[@]}" \
  -o "$scratch/hello_pkg_config"
says "2 loops said hello" "$scratch/hello_pkg_config"
step "compile a program without exceptions" c++ -std=c++20 -fno-exceptions -fno-rtti \
  "$root/tests/loop/no_exceptions_test.cc" "${flags[@]}" -o "$scratch/no_exceptions"
step "run it" timeout 60 "$scratch/no_exceptions"

# Every installed header is enough for itself.
for header in $(cd "$prefix/include" && find gyre -name '*.h' | grep -vE 'kqueue_poller' | sort); do
  printf '#include "%s"\n' "$header"
done >"$scratch/all.cc"
step "compile all installed headers in one" c++ -std=c++20 -fsyntax-only "$scratch/all.cc" "${flags[@]}"
