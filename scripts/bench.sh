#!/usr/bin/env bash
# Runs the benchmarks one after another: all of tests/bench/, or the ones named.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

export PYTHONPATH=$PWD # what benchmarks share is imported as tests.bench.NAME

[ "$#" -gt 0 ] || set -- tests/bench/bench_*.py
failed=()
for script in "$@"; do
    if [ ! -f "$script" ]; then
        echo "bench: $script does not exist." >&2
        exit 1
    fi
    echo "== $script"
    PYTHONPATH=. .venv/bin/python "$script" || failed+=("$script")
done

if [ "${#failed[@]}" -gt 0 ]; then
    printf 'bench: failed: %s\n' "${failed[@]}" >&2
    exit 1
fi
