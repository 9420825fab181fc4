# Python environments for the scripts beside this file, kept outside the checkout until what they hold changes.

CACHE="${XDG_CACHE_HOME:-$HOME/.cache}/agenterra-workflow-state"

# needs_venv: ends the script with 3 where no environment can be made.
needs_venv() {
  if ! python3 -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))' 2> /dev/null; then
    echo "left out: python3 3.10 or newer with venv not found" >&2
    exit 3
  fi
}

# environment NAME REQUIREMENTS: makes the environment if there is none, and sets VENV to where it is.
environment() {
  local key
  key="$(cat "$2" <(python3 -c 'import sys; print(sys.version, sys.prefix)') | cksum | cut -d' ' -f1)"
  VENV="$CACHE/$1-$key"
  if [ ! -e "$VENV/complete" ]; then
    # One that was interrupted is of no use.
    rm -rf "$VENV"
    python3 -m venv "$VENV"
    "$VENV/bin/pip" install --quiet --disable-pip-version-check --requirement "$2"
    touch "$VENV/complete"
  fi
}

# client_environment: an environment with this client as users install it, and nothing else; sets VENV.
client_environment() {
  local requirements
  requirements="$(mktemp)"
  {
    # What it is made of, so that another client makes another environment.
    echo "# $(cat pyproject.toml README.md <(find src -name '*.py*' -type f -not -path '*/__pycache__/*' | LC_ALL=C sort | xargs cat) | cksum)"
    echo "--constraint $PWD/requirements-dev.txt"
    echo "$PWD"
  } > "$requirements"
  # What builds the package is pinned, too.
  PIP_CONSTRAINT="$PWD/requirements-dev.txt" environment client "$requirements"
  rm -f "$requirements"
}
