#!/usr/bin/env bash
# Runs every check that needs no test run; all of them, also after one has failed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
PATH=$PWD/.venv/bin:$PATH

failed=()

check() {
    local name=$1
    shift
    echo "== $name"
    "$@" || failed+=("$name")
}

check "ruff check" ruff check .
check "ruff format" ruff format --check --quiet .
check "mypy" mypy service/countermark_service clients/countermark tests

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

if [ "${#failed[@]}" -gt 0 ]; then
    printf 'lint: failed: %s\n' "${failed[@]}" >&2
    exit 1
fi
echo "lint: all passed"
