#!/usr/bin/env bash
# What the C# client must pass: formatting, the build with warnings as errors, and the cart against a service of its
# own. Needs the .NET SDK 8 or newer, and the checkout after `npm ci`; ends with 3 without the former.
set -euo pipefail
cd "$(dirname "$0")"

./build.sh
dotnet format AgenTerra.WorkflowState.csproj --verify-no-changes
../../samples/csharp/cart.sh >/dev/null
