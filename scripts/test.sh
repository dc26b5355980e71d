#!/usr/bin/env bash
# Runs all tests, in JOBS processes (two for each processor, as half of their time tests wait). Arguments go to pytest: scripts/test.sh tests/unit -x
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

scripts/setup.sh --browser # for tests/browser

# Elsewhere tests that need a tool are skipped where it is missing; in CI that would hide them.
if [ -n "${CI:-}" ]; then
    for tool in redis-server bwrap chromium; do
        if ! command -v "$tool" >/dev/null; then
            echo "test: $tool is missing, and in CI no test may be skipped for that. Install it with apt-get." >&2
            exit 1
        fi
    done
fi

# Python is started some hundred times, and without byte code each start compiles its sources anew.
unset PYTHONDONTWRITEBYTECODE

# A file's tests stay in one process, so that what they share is started once. Files run in the order of `testpaths`:
# those that take long first, so that no process waits for another at the end.
exec .venv/bin/python -m pytest -n "${JOBS:-$((2 * $(nproc)))}" --dist loadfile --no-loadscope-reorder "$@"
