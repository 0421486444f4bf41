#!/bin/bash
# Before an instance, not timed: prepare_instance.sh v1 CATEGORY ONNX VNNLIB
# Exits with 0 if the model can be verified; any other code has the competition skip the instance.
set -eu

if [ $# -ne 4 ] || [ "$1" != v1 ]; then
    echo "expected v1 CATEGORY ONNX VNNLIB, got: $*" >&2
    exit 1
fi

verify="${VERIFY_HOME:-$HOME/verify}/bin/verify"
test -r "$4" || { echo "$4 cannot be read" >&2; exit 1; }
exec "$verify" "$3" --inspect
