#!/usr/bin/env bash
# Everything that the C++ client must pass, against the service that the tests start; arguments are for the tests.
# Needs, beside what build.sh does, Debian's clang-format and libgtest-dev, and the checkout after `npm ci`.
set -euo pipefail
cd "$(dirname "$0")"

if ! command -v clang-format >/dev/null; then
  echo "left out: clang-format not found" >&2
  exit 3
fi
find . ../../samples/cpp -path ./build -prune -o -name '*.[ch]pp' -print0 |
  xargs -0 clang-format --style=file:.clang-format --dry-run --Werror

./build.sh all workflow_state_tests
GRPC_VERBOSITY=NONE build/bin/tests --gtest_brief=1 "$@"

# As a program elsewhere finds it: installed, by find_package.
rm -rf build/installed
cmake --install build --prefix build/installed >/dev/null
cmake -S ../../samples/cpp -B build/elsewhere -G Ninja -DCMAKE_PREFIX_PATH="$PWD/build/installed" >/dev/null
cmake --build build/elsewhere >/dev/null
build/elsewhere/cart >/dev/null
