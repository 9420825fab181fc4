#!/usr/bin/env bash
# Writes gen/ from the .proto files: messages and the bare service. `--check` only looks. Needs go, and the checkout after `npm ci`.
set -euo pipefail
cd "$(dirname "$0")"
source ./environment.sh

tools google.golang.org/protobuf/cmd/protoc-gen-go connectrpc.com/connect/cmd/protoc-gen-connect-go

fresh="$(mktemp -d)"
trap 'rm -rf "$fresh"' EXIT
checkout="$PWD/../.."
PATH="$checkout/node_modules/.bin:$PATH" buf generate "$checkout" \
  --path "$checkout/proto/agenterra" --template buf.gen.yaml --output "$fresh"

if [ "${1:-}" = --check ]; then
  diff -r gen "$fresh/gen" || { echo "clients/go/gen is stale: run clients/go/generate.sh" >&2; exit 1; }
else
  rm -rf gen
  mv "$fresh/gen" gen
fi
