#!/bin/bash
# Installs the tool once per machine: install_tool.sh v1
# VERIFY_HOME is where the virtual environment goes, PYTHON the interpreter that makes it (3.11 or newer).
set -eu

if [ "${1:-}" != v1 ]; then
    echo "expected the version string v1, got '${1:-}'" >&2
    exit 1
fi

verify_home="${VERIFY_HOME:-$HOME/verify}"
repository="$(cd "$(dirname "${BASH_SOURCE[0]}")/../../.." && pwd)"
"${PYTHON:-python3}" -m venv "$verify_home"
"$verify_home/bin/pip" install --constraint "$repository/constraints.txt" "$repository[highs]"
"$verify_home/bin/verify" --version
