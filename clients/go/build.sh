#!/usr/bin/env bash
# Builds the library, and into bin/ the interop program and the samples. Needs go.
set -euo pipefail
cd "$(dirname "$0")"
source ./environment.sh

go build ./...
go build -o bin/interop ./internal/interop
go build -C ../../samples/go -o "$PWD/bin/" ./...
