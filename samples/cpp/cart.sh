#!/usr/bin/env bash
# `samples/cpp/cart.sh [URL]`: builds the cart and runs it.
set -euo pipefail
client="$(dirname "$0")/../../clients/cpp"
"$client/build.sh" workflow_state_cart
exec "$client/build/samples/cart" "$@"
