#!/usr/bin/env bash
# Installs this client as users do, for its interop program, into an environment outside the checkout.
set -euo pipefail
cd "$(dirname "$0")"
source ./environment.sh

needs_venv
client_environment
