#!/usr/bin/env bash
# Runs every check that needs no test run; all of them, also after one has failed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
PATH=$PWD/.venv/bin:$PATH

failed=()
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

check() {
    local name=$1
    shift
    echo "== $name"
    "$@" || failed+=("$name")
}

told() { # PROCESS OUTPUT: waits for it, shows what it said, and returns how it ended
    local status=0
    wait "$1" || status=$?
    cat "$2"
    return "$status"
}

# Half of the time goes to this one, which uses one processor; the others run beside it.
mypy service/countermark_service clients/countermark tests >"$work/types" 2>&1 &
types=$!

check "ruff check" ruff check .
check "ruff format" ruff format --check --quiet .

# Bundles one at a time, as their files share names. Their dependencies live in their own environments. What is
# the same text in several bundles is checked once.
declare -A seen=()
while IFS= read -r manifest; do
    bundle=${manifest%/*}
    files=("$bundle"/*.py)
    [ -e "${files[0]}" ] || continue
    content=$(cat "${files[@]}" | sha256sum)
    [ -z "${seen[$content]:-}" ] || continue
    seen[$content]=$bundle
    check "mypy $bundle" mypy --ignore-missing-imports --no-warn-unused-ignores --cache-dir .mypy_cache/bundles "${files[@]}"
done < <(find verifiers -name verifier.toml | sort)

check "shellcheck" shellcheck scripts/*.sh .ci/run
check "Dockerfile" hadolint Dockerfile
check "compose file: schema" check-jsonschema --builtin-schema vendor.compose-spec docker/compose.yaml
check "compose file: rules" compose-lint --quiet --skip-suppressed --fail-on low --config docker/.compose-lint.yml --strict-config \
    docker/compose.yaml
check "mypy" told "$types" "$work/types"

if [ "${#failed[@]}" -gt 0 ]; then
    printf 'lint: failed: %s\n' "${failed[@]}" >&2
    exit 1
fi
echo "lint: all passed"
