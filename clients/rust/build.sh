#!/usr/bin/env bash
# Builds the client, its interop program and its sample.
set -euo pipefail
cd "$(dirname "$0")"
export CARGO_TARGET_DIR="$PWD/target"

oldest="$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)"
version="$(cargo --version 2> /dev/null | cut -d ' ' -f 2 || true)"
if [ "$(printf '%s\n' "$oldest" "$version" | sort -V | head -1)" != "$oldest" ] || ! command -v cc > /dev/null; then
  echo "cargo (Rust $oldest or newer) and a C compiler are needed." >&2
  exit 3
fi
cargo build --locked --quiet --lib --examples
cargo build --locked --quiet --package agenterra-workflow-state-samples
