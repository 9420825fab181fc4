#!/usr/bin/env bash
# Builds the C# client and the cart. Needs the .NET SDK 8 or newer; ends with 3 without it.
set -euo pipefail
cd "$(dirname "$0")"

if ! command -v dotnet >/dev/null; then
  echo "left out: dotnet not found" >&2
  exit 3
fi
export DOTNET_CLI_TELEMETRY_OPTOUT=1 DOTNET_NOLOGO=1
dotnet build ../../samples/csharp/Cart.csproj --configuration Release --verbosity quiet
