#!/usr/bin/env bash
# Makes a checkout ready: system tools, a virtual environment, the locked packages, Countermark itself.
#
# Every make target runs it first. It does nothing, quickly, when nothing has changed. It needs Python
# 3.11 or newer; the rest it brings, or says what to install.
#
#   --browser            bring Chromium as well, for the tests of the pages, and nothing else
#   PYTHON=...           the interpreter to use instead of the first that fits
#   COUNTERMARK_APT=no   never call apt-get
#
# pip's configuration is honoured (certificates, index), and so are uv's own variables and files.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
root=$PWD
venv=$root/.venv
stamp=$venv/.countermark-setup
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

say() { echo "setup: $*" >&2; }

fail() {
    say "$*"
    exit 1
}

# --- System packages -----------------------------------------------------------------------------

as_root=()

may_use_apt() {
    [ "${COUNTERMARK_APT:-yes}" != no ] && command -v apt-get >/dev/null || return 1
    [ "$(id -u)" -eq 0 ] && return 0
    as_root=(sudo -n)
    sudo -n true >/dev/null 2>&1
}

apt_get() {
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get -qq -y -o DPkg::Lock::Timeout=120 --no-install-recommends "$@" >>"$work/apt.log" 2>&1
}

# Installs packages, trying the lists that are there before fetching new ones.
apt_install() {
    say "installing $* (apt-get)"
    apt_get install "$@" && return 0
    apt_get update || true
    apt_get install "$@" && return 0
    tail -n 5 "$work/apt.log" >&2
    return 1
}

# The service runs without any of them, so a lack is said and not fatal.
install_tools() {
    local missing=()
    command -v bwrap >/dev/null || missing+=(bubblewrap)
    command -v redis-server >/dev/null || missing+=(redis-server)
    command -v g++ >/dev/null || missing+=(g++)
    command -v node >/dev/null || missing+=(nodejs)
    [ "${#missing[@]}" -eq 0 ] && return 0
    if may_use_apt && apt_install "${missing[@]}"; then return 0; fi
    say "going on without ${missing[*]}: workers get weaker containment and candidate programs do not run" \
        "without bubblewrap, C++ and JavaScript programs need g++ and nodejs, and some tests and benchmarks" \
        "need redis-server. To install: sudo apt-get install ${missing[*]}"
}

# Some 300 MB, so it is brought for the tests alone. Ubuntu's package of that name is a stub that asks for snap.
install_browser() {
    local name
    for name in chromium chromium-browser google-chrome-stable google-chrome; do
        if command -v "$name" >/dev/null; then return 0; fi
    done
    if may_use_apt && apt_install chromium; then return 0; fi
    say "going on without Chromium: the tests of the pages are skipped. To install: sudo apt-get install chromium"
}

# --- The virtual environment ---------------------------------------------------------------------

# A command can exist and not run (a version manager's shim, say), so each is tried.
fits() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }

pick_python() {
    local candidate
    if [ -n "${PYTHON:-}" ]; then
        fits "$PYTHON" || fail "PYTHON=$PYTHON does not run or is older than 3.11; name another or unset it."
        python=$PYTHON
        return 0
    fi
    # 3.11 first: the shipped bundles name it, and the engine can then use this interpreter for them.
    for candidate in python3.11 python3.12 python3.13 python3; do
        if fits "$candidate"; then
            python=$candidate
            return 0
        fi
    done
    fail "Python 3.11 or newer is needed and none of python3.11, python3.12, python3.13, python3 is" \
        "one ($(python3 --version 2>&1 || true)). Install one, or name it: PYTHON=/path/to/python make setup"
}

base_of() { "$1" -c 'import sys; print(sys.base_prefix, sys.version)' 2>/dev/null; }

venv_is_usable() {
    fits "$venv/bin/python" || return 1
    [ -z "${PYTHON:-}" ] || [ "$(base_of "$venv/bin/python")" = "$(base_of "$PYTHON")" ]
}

new_venv() {
    rm -rf "$venv"
    "$python" -m venv "$@" "$venv" >"$work/venv.log" 2>&1
}

# Debian splits what `python -m venv` needs into a package of its own.
make_venv() {
    local series
    pick_python
    say "making .venv with $("$python" --version) ($(command -v "$python"))"
    new_venv && return 0
    series=python$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    if ! "$python" -c 'import ensurepip' 2>/dev/null; then
        if may_use_apt && apt_install "$series-venv" && new_venv; then return 0; fi
        if "$python" -m pip --version >/dev/null 2>&1 && new_venv --without-pip; then return 0; fi
        rm -rf "$venv"
        fail "this Python cannot make virtual environments: ensurepip is not installed." \
            "Run: sudo apt-get install $series-venv"
    fi
    cat "$work/venv.log" >&2
    rm -rf "$venv"
    fail "'$python -m venv' failed; its output is above."
}

# --- Packages ------------------------------------------------------------------------------------

# Sets `pip` to a pip that installs into the environment: its own, or another one's.
find_pip() {
    pip=("$venv/bin/python" -m pip)
    "${pip[@]}" --version >/dev/null 2>&1 && return 0
    [ -n "${python:-}" ] || pick_python
    pip=("$python" -m pip --python "$venv/bin/python")
    "${pip[@]}" --version >/dev/null 2>&1
}

install_uv() {
    "$venv/bin/uv" --version >/dev/null 2>&1 && return 0 # another version than the locked one updates itself
    find_pip || fail "there is no pip to install uv with. Delete .venv and run 'make setup' again."
    sh scripts/lock-entry.sh uv requirements.lock >"$work/uv.lock"
    say "installing $(sed -n '1s/ .*//p' "$work/uv.lock")"
    "${pip[@]}" install --quiet --no-user --disable-pip-version-check \
        --require-hashes --no-deps --only-binary :all: -r "$work/uv.lock"
}

# Prints what pip is told, be it in a variable or in any of its files; `pip config get` reads one file alone.
pip_setting() {
    local section value
    find_pip || return 1
    for section in :env: install global; do
        value=$("${pip[@]}" config list 2>/dev/null | sed -n "s/^$section\.$1='\(.*\)'\$/\1/p")
        if [ -n "$value" ]; then
            printf '%s\n' "$value"
            return 0
        fi
    done
    return 1
}

# uv does not read pip's configuration. Where this machine's pip is sent to another index or given
# certificates, and uv is not told otherwise, uv is told the same.
share_pip_settings() {
    local value
    if [ -z "${UV_DEFAULT_INDEX:-}${UV_INDEX_URL:-}${UV_CONFIG_FILE:-}" ] &&
        [ ! -e "${XDG_CONFIG_HOME:-${HOME:-}/.config}/uv/uv.toml" ] && [ ! -e /etc/uv/uv.toml ]; then
        value=$(pip_setting index-url || true)
        [ -z "$value" ] || export UV_DEFAULT_INDEX="$value"
    fi
    if [ -z "${SSL_CERT_FILE:-}" ]; then
        value=$(pip_setting cert || true)
        [ -z "$value" ] || export SSL_CERT_FILE="$value"
    fi
}

install_packages() {
    local uv=$venv/bin/uv
    share_pip_settings
    say "installing the packages of requirements.lock"
    "$uv" pip sync --quiet --python "$venv/bin/python" --require-hashes --compile-bytecode requirements.lock
    "$uv" pip install --quiet --python "$venv/bin/python" --no-deps --no-build-isolation --editable .
    # Where the sources are, seen from site-packages: Python reads this file in the locale's encoding, so the
    # whole path of a folder with an umlaut would stop every start under LC_ALL=C.
    printf '../../../../%s\n' clients service >"$(echo "$venv"/lib/python3.*/site-packages/_countermark.pth)"
}

# --- What makes a finished set-up stale ----------------------------------------------------------

# Scripts in an environment hold its path, so a checkout that was moved is set up again.
state() { { echo "$root" && cat requirements.lock pyproject.toml scripts/setup.sh; } | sha256sum; }

is_done() {
    [ -x "$venv/bin/countermark" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$(state)" ] && venv_is_usable
}

main() {
    exec 9<"$root"
    flock 9 # one at a time, also under `make -j`
    if [ "${1:-}" = --browser ]; then
        install_browser
        return 0
    fi
    install_tools
    is_done && return 0
    rm -f "$stamp"
    venv_is_usable || make_venv
    install_uv
    install_packages
    state >"$stamp"
    say "done: .venv/bin/countermark"
}

main "$@"
