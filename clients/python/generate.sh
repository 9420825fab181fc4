#!/usr/bin/env bash
# Writes the generated half of the package: messages, stubs and the blocking client. `--check` only looks.
set -euo pipefail
cd "$(dirname "$0")"
source ./environment.sh

environment generate requirements-generate.txt
# protoc's plugins are looked for on the PATH.
PATH="$VENV/bin:$PATH" "$VENV/bin/python" scripts/generate.py --proto "$@"

environment dev requirements-dev.txt
"$VENV/bin/python" scripts/generate.py --sync "$@"
