#!/usr/bin/env bash
# samples/java/cart.sh [URL]: runs the cart, which is built first where it isn't yet.
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
[ -e "$here/target/classpath" ] || "$here/../../clients/java/build.sh" >&2
exec java -Dcheckout="$here/../.." -cp "$here/target/classes:$(cat "$here/target/classpath")" Cart "$@"
