#!/usr/bin/env bash
# interop.sh COMMAND URL PROTOCOL PREFIX FILE: see interop/README.md. ./build.sh makes the program.
set -euo pipefail
exec "$(dirname "$0")/bin/interop" "$@"
