#!/usr/bin/env bash
# interop.sh COMMAND URL PROTOCOL PREFIX FILE: runs the interop program (interop/README.md), which build.sh has built.
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)/interop/target"
exec java -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -cp "$here/classes:$(cat "$here/classpath")" \
  com.agenterra.state.interop.Main "$@"
