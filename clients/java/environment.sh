# Maven as the scripts beside this file run it: without a word unless something is wrong.

CACHE="${XDG_CACHE_HOME:-$HOME/.cache}/agenterra-workflow-state"

maven() {
  # It resets colours that nobody has set.
  mvn --batch-mode --no-transfer-progress -Dstyle.color=never -Dorg.slf4j.simpleLogger.defaultLogLevel=warn "$@" 2>&1 |
    sed -e $'s/\033\\[0*m//g' -e '/^$/d'
}
