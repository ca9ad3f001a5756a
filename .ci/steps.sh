# Named steps with a summary at the end; sourced by the scripts beside it, which `make` starts.
# A step that fails does not keep the next ones from running: all faults are shown at once.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
: "${CARGO_TARGET_DIR:?is set by make: start this through make}"
: "${AULAFLOW_CACHE:?is set by make: start this through make}"

passed=0
failed=0
skipped=0
lines=()

# step NAME COMMAND...: runs the command; its exit code says whether the step passed.
step() {
    local name=$1 begun=$SECONDS
    shift
    printf '\n=== %s\n' "$name"
    if "$@"; then
        passed=$((passed + 1))
        lines+=("passed   $name ($((SECONDS - begun)) s)")
    else
        failed=$((failed + 1))
        lines+=("FAILED   $name ($((SECONDS - begun)) s)")
    fi
}

# skip NAME REASON: says that a step was left out, now and in the summary.
skip() {
    printf '\n=== %s\n!!! SKIPPED: %s\n' "$1" "$2"
    skipped=$((skipped + 1))
    lines+=("SKIPPED  $1: $2")
}

# finish TITLE: prints the summary; the script's exit code is whether any step failed.
finish() {
    printf '\n=== summary: %s\n' "$1"
    printf '%s\n' "${lines[@]}"
    printf 'steps: %d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"
    [ "$failed" = 0 ]
    exit
}
