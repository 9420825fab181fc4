#!/usr/bin/env bash
# The C++ client's part of the interop matrix: see interop/README.md. Built by build.sh.
set -euo pipefail
exec "$(dirname "$0")/build/bin/interop" "$@"
