#!/usr/bin/env bash
# The interop program of this client: see interop/README.md. build.sh has installed what it needs.
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
python="$(cd "$here" && source ./environment.sh && client_environment && echo "$VENV/bin/python")"
exec "$python" "$here/scripts/interop.py" "$@"
