# Go programs for the scripts beside this file, kept outside the checkout: source it in clients/go.

CACHE="${XDG_CACHE_HOME:-$HOME/.cache}/agenterra-workflow-state/go"
# No git is asked what the programs were built from.
export GOFLAGS="${GOFLAGS:+$GOFLAGS }-buildvcs=false"

# tools PACKAGE...: builds programs that tools/go.mod pins, and puts them first on the PATH.
tools() {
  mkdir -p "$CACHE/bin"
  GOBIN="$CACHE/bin" go -C tools install "$@"
  PATH="$CACHE/bin:$PATH"
}
