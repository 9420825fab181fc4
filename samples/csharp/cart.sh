#!/usr/bin/env bash
# `samples/csharp/cart.sh [URL]`: builds the cart and runs it.
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
"$here/../../clients/csharp/build.sh"
CHECKOUT="$here/../.." exec "$here/bin/Release/net8.0/cart" "$@"
