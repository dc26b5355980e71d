"""Where packages come from, as this machine tells its own tools.

A machine behind a mirror says so once: in variables, in uv's configuration, or in pip's.
`make setup` heeds all three, and a service that heeded the first alone would be installed
and then build no environment. So what uv's variables leave open is taken from the other
two, in that order: which index, and whose certificates to believe. Nothing else of them is
read, as what an environment holds is its lock's business alone.
"""

import ast
import functools
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from countermark_service.kept import read_small

_INDEX = ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_INDEX")
_CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "UV_SYSTEM_CERTS", "UV_NATIVE_TLS")
_PIP_SECONDS = 30


def operator() -> dict[str, str]:
    """Return the variables of this process, and what they leave open as the machine's configuration says it."""
    told = dict(os.environ)
    for found in (_by_uv, _by_pip):
        open_index = not any(map(told.get, _INDEX))
        open_certificates = not any(map(told.get, _CERTIFICATES))
        if not open_index and not open_certificates:
            break
        for name, value in found(_places(told)).items():
            if open_index if name in _INDEX or name == "UV_EXTRA_INDEX_URL" else open_certificates:
                told.setdefault(name, value)
    return told


def _places(told: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Return the variables by which configuration is found: what is read is read once for each of their values."""
    names = ("HOME", "XDG_CONFIG_HOME", "XDG_CONFIG_DIRS", "UV_CONFIG_FILE", "UV_NO_CONFIG")
    return tuple((name, told[name]) for name in told if name in names or name.startswith("PIP_"))


@functools.cache
def _by_uv(places: tuple[tuple[str, str], ...]) -> Mapping[str, str]:
    """Return what uv's configuration says, as its variables; the user's file before the system's."""
    found: dict[str, str] = {}
    for file in _uv_files(dict(places)):
        try:
            settings = tomllib.loads(read_small(file).decode())
        except (OSError, ValueError):
            continue  # it is not there, or uv would refuse it too
        for name, value in _uv_settings(settings):
            found.setdefault(name, value)
    return found


def _uv_files(places: Mapping[str, str]) -> Iterator[Path]:
    if places.get("UV_CONFIG_FILE"):
        yield Path(places["UV_CONFIG_FILE"])
        return
    if places.get("UV_NO_CONFIG", "").lower() in ("1", "true"):
        return
    own = places.get("XDG_CONFIG_HOME")
    yield Path(own or Path(places.get("HOME", "/"), ".config"), "uv/uv.toml")
    for folder in (places.get("XDG_CONFIG_DIRS") or "/etc/xdg").split(os.pathsep):
        yield Path(folder, "uv/uv.toml")
    yield Path("/etc/uv/uv.toml")


def _uv_settings(settings: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for top in (settings, settings.get("pip", {})):
        if isinstance(top.get("index-url"), str):
            yield "UV_DEFAULT_INDEX", top["index-url"]
        for name in ("system-certs", "native-tls"):
            if top.get(name) is True:
                yield "UV_SYSTEM_CERTS", "true"
    others = []
    for index in settings.get("index", []):
        url = index.get("url")
        if isinstance(url, str) and not index.get("explicit"):
            if index.get("default"):
                yield "UV_DEFAULT_INDEX", url
            else:
                others.append(url)
    if others:
        yield "UV_INDEX", " ".join(others)


@functools.cache
def _by_pip(places: tuple[tuple[str, str], ...]) -> Mapping[str, str]:
    """Return what pip's configuration says, as uv's variables; nothing where there is no pip to ask."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "config", "list"]
    try:
        listed = subprocess.run(command, capture_output=True, text=True, timeout=_PIP_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return {}
    if listed.returncode:
        return {}
    found: dict[str, dict[str, str]] = {}
    for line in listed.stdout.splitlines():
        place, separator, value = line.partition("=")
        section, _, name = place.rpartition(".")
        if separator and section in (":env:", "install", "global"):
            found.setdefault(section, {})[name] = str(ast.literal_eval(value)).strip()
    said = {**found.get("global", {}), **found.get("install", {}), **found.get(":env:", {})}
    told = {"UV_DEFAULT_INDEX": said.get("index-url"), "SSL_CERT_FILE": said.get("cert")}
    return {name: value for name, value in told.items() if value}
