#!/usr/bin/env bash
# Installs this client as users do, for its interop program, into an environment outside the checkout.
set -euo pipefail
cd "$(dirname "$0")"
source ./environment.sh

if ! python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))' || ! python3 -c 'import venv, ensurepip'; then
  echo "python3 3.10 or newer with venv is needed." >&2
  exit 3
fi
client_environment
