#!/usr/bin/env bash
# Everything that the Python client must pass. Needs python3 (3.10 or newer) with venv, and the checkout after `npm ci`.
set -euo pipefail
cd "$(dirname "$0")"
source ./environment.sh

needs_venv
./generate.sh --check

environment dev requirements-dev.txt
export RUFF_CACHE_DIR="$CACHE/ruff" MYPY_CACHE_DIR="$CACHE/mypy" PYTHONPYCACHEPREFIX="$CACHE/pycache"
"$VENV/bin/ruff" check . ../../samples/python
"$VENV/bin/ruff" format --check . ../../samples/python
"$VENV/bin/mypy"
"$VENV/bin/python" -m pytest "$@"
