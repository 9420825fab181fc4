#!/usr/bin/env bash
# Everything that the Java client must pass. Needs a JDK 17, Maven (3.8 or newer), and the checkout after `npm ci`.
set -euo pipefail
cd "$(dirname "$0")"
source ./environment.sh

formatter="$CACHE/google-java-format-1.28.0-all-deps.jar"
if [ ! -e "$formatter" ]; then
  maven org.apache.maven.plugins:maven-dependency-plugin:3.9.0:copy \
    -Dartifact=com.google.googlejavaformat:google-java-format:1.28.0:jar:all-deps -DoutputDirectory="$CACHE"
fi
find src interop/src ../../samples/java/src -name '*.java' -print0 |
  xargs -0 java -jar "$formatter" --dry-run --set-exit-if-changed

# In the profile `check` what javac and its lint of the documentation warn of is an error.
maven --file workspace.xml --activate-profiles check package "$@"

# What Surefire says is left out above.
cat target/surefire-reports/*.txt |
  awk '/^Tests run:/ { gsub(/,/, ""); run += $3; failures += $5; errors += $7; skipped += $9 }
    END { printf "Tests run: %d, Failures: %d, Errors: %d, Skipped: %d\n", run, failures, errors, skipped }'

# The cart prints what it prints in TypeScript, but for process ids and times.
run() { "$@" | sed -E 's/process [0-9]+/process N/; s/[0-9-]+T[0-9:.]+Z/TIME/'; }
here="$(run ../../samples/java/cart.sh)"
there="$(run ../../node_modules/.bin/node ../../samples/cart.ts)"
diff <(echo "$there") <(echo "$here")
