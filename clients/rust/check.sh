#!/usr/bin/env bash
# Everything that the Rust client must pass. Needs cargo (Rust 1.88 or newer), a C compiler, and the checkout
# after `npm ci`. Arguments are passed to the tests.
set -euo pipefail
cd "$(dirname "$0")"
export CARGO_TARGET_DIR="$PWD/target"

for tool in fmt clippy; do
  if ! cargo "$tool" --version &> /dev/null; then
    echo "left out: cargo-$tool not found" >&2
    exit 3
  fi
done
cargo fmt --all --check
cargo clippy --locked --quiet --workspace --all-targets -- --deny warnings
# Without TLS, too.
cargo clippy --locked --quiet --no-default-features --lib -- --deny warnings
RUSTDOCFLAGS="--deny warnings" cargo doc --locked --quiet --no-deps --lib
./build.sh

# One service for most of the tests; the others start their own.
log="$(mktemp)"
(cd ../.. && exec node_modules/.bin/node src/cli.ts serve --listen 127.0.0.1:0) > "$log" &
service=$!
trap 'kill "$service" 2> /dev/null || true; rm -f "$log"' EXIT
until grep -q "^listening on " "$log"; do
  kill -0 "$service"
  sleep 0.1
done
AGENTERRA_TEST_SERVICE="$(sed -n 's/^listening on //p' "$log")"
export AGENTERRA_TEST_SERVICE
cargo test --locked --quiet "$@"

# The sample prints what it prints in TypeScript, but for processes and times.
same='s/process [0-9]+/process N/; s/[0-9-]+T[0-9:.]+Z/TIME/'
(cd ../.. && exec node_modules/.bin/node samples/cart.ts) | sed -E "$same" > "$log"
target/debug/cart | sed -E "$same" | diff "$log" -
