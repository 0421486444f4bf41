#!/bin/bash
# One instance, timed: run_instance.sh v1 CATEGORY ONNX VNNLIB RESULTS SECONDS
# Leaves sat (and the counterexample), unsat, unknown, timeout or error in the file RESULTS.
set -u

if [ $# -ne 6 ] || [ "$1" != v1 ]; then
    echo "expected v1 CATEGORY ONNX VNNLIB RESULTS SECONDS, got: $*" >&2
    exit 1
fi

verify="${VERIFY_HOME:-$HOME/verify}/bin/verify"
rm -f "$5"
"$verify" "$3" --vnnlib "$4" --results "$5" --timeout "$6" --jobs "${VERIFY_JOBS:-$(nproc)}"
code=$?

test -s "$5" || echo error > "$5"
test $code -le 2 # 0 unsat, 1 sat, 2 unknown or timeout
