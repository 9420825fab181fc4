#!/usr/bin/env bash
# Builds the library, the interop program and the samples. Needs a JDK (17 or newer) and Maven (3.8 or newer).
set -euo pipefail
cd "$(dirname "$0")"
source ./environment.sh

maven --file workspace.xml package -DskipTests
