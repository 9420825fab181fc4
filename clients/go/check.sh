#!/usr/bin/env bash
# Everything that the Go client must pass. Needs go with a C compiler (for -race), and the checkout after `npm ci`.
set -euo pipefail
cd "$(dirname "$0")"
source ./environment.sh

./generate.sh --check

tools honnef.co/go/tools/cmd/staticcheck
samples="$PWD/../../samples/go"

unformatted="$(gofmt -l . "$samples")"
if [ -n "$unformatted" ]; then
  echo "Not formatted (gofmt -w): $unformatted" >&2
  exit 1
fi
# What go.mod says is what is needed.
go mod tidy -diff
go -C "$samples" mod tidy -diff
go vet ./...
staticcheck ./...
(cd "$samples" && go vet ./... && staticcheck ./...)
./build.sh
go test -race "$@" ./...
go run -C "$samples" ./cart
go run -C "$samples" ./workflow
