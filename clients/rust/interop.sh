#!/usr/bin/env bash
# The interop program of this client: see interop/README.md. build.sh has built it.
set -euo pipefail
exec "$(dirname "$0")/target/debug/examples/interop" "$@"
