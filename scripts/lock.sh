#!/usr/bin/env bash
# Brings both locks up to date with pyproject.toml. Versions that still fit stay as they are;
# `scripts/lock.sh --upgrade` takes new ones, `--upgrade-package NAME` one.
#
# requirements.lock          everything: client, service, tools; what `make setup` installs
# requirements.service.lock  what the image installs: the same versions without the tools
#
# Both hold for every platform and name no index: where packages come from is the machine's business.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

compile() {
    .venv/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
        --no-header --no-annotate --no-emit-index-url "$@" pyproject.toml
}

compile --all-extras --group dev --output-file requirements.lock "$@"

# Versions and hashes of what is in the file already are kept, so both locks pin the same bytes.
cp requirements.lock requirements.service.lock
compile --extra service --output-file requirements.service.lock
