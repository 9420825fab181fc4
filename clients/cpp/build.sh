#!/usr/bin/env bash
# Builds the C++ client, its interop program and the cart into clients/cpp/build; with TARGET... only these.
# Needs Debian's g++, cmake, ninja-build, pkg-config, protobuf-compiler, protobuf-compiler-grpc, libprotobuf-dev,
# libgrpc++-dev and nlohmann-json3-dev. Ends with 3 if one is missing.
set -euo pipefail
cd "$(dirname "$0")"

for tool in c++ cmake ninja pkg-config protoc grpc_cpp_plugin; do
  if ! command -v "$tool" >/dev/null; then
    echo "left out: $tool not found" >&2
    exit 3
  fi
done
for library in protobuf grpc++ nlohmann_json; do
  if ! pkg-config --exists "$library"; then
    echo "left out: the library $library not found" >&2
    exit 3
  fi
done

log=$(mktemp)
trap 'rm -f "$log"' EXIT
quietly() {
  "$@" >"$log" 2>&1 || {
    cat "$log" >&2
    exit 1
  }
}
# Unless told otherwise without optimisation, which is built in half the time.
quietly cmake -S . -B build -G Ninja -DCMAKE_BUILD_TYPE="${CMAKE_BUILD_TYPE:-Debug}"
quietly cmake --build build --parallel "${JOBS:-2}" --target "${@:-all}"
