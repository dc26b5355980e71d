#!/usr/bin/env bash
# Runs trainers that need torch, on the CPU, with Countermark's rewards: TRL's GRPOTrainer, verl's reward loop and
# others. Arguments go to pytest. They live in an environment of their own, with the base install of this
# distribution alone, under .countermark/torch; the service and the tests run from .venv.
#
#   TORCH_REQUIREMENTS=file   other versions than those of tests/conformance/torch_trainers
#
# pip's configuration is honoured: where the default index has only builds for GPUs, name one with CPU builds there.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
here=tests/conformance/torch_trainers
home=${COUNTERMARK_TORCH:-.countermark/torch}
requirements=${TORCH_REQUIREMENTS:-$here/requirements.txt}
venv=$home/venv
stamp=$venv/.complete

state() { cat "$requirements" "$here/alone.txt" "${BASH_SOURCE[0]}" | sha256sum; }

if [ "$(cat "$stamp" 2>/dev/null)" != "$(state)" ]; then
    echo "conformance-torch: installing torch and the trainers into $venv (about 2 GB)" >&2
    rm -rf "$venv"
    mkdir -p "$home"
    .venv/bin/python -m venv "$venv"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check -r "$requirements"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps -r "$here/alone.txt"
    state >"$stamp"
fi

# The wheel as people install it, of the sources as they are now, with httpx and nothing of the service.
rm -rf "$home/wheel"
.venv/bin/uv build --quiet --wheel --no-build-isolation --python .venv/bin/python --out-dir "$home/wheel" .
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check httpx
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --force-reinstall "$home"/wheel/*.whl

COUNTERMARK_TORCH_PYTHON=$PWD/$venv/bin/python exec .venv/bin/python -m pytest -n0 "$here" "$@"
