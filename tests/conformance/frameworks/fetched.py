"""The frameworks' own client code, from their published packages, at pinned versions.

A trainer's packages pull in whole training stacks, of which the code that calls a
reward needs next to nothing. So each is installed without its dependencies, with the
few light ones that its client imports, into a folder of its own, and runs in a process
of its own with that folder on its path. Folders are made once and kept, and so
is the byte code of what is imported, which is a small part. Nothing of them is ever part of
this repository.

Other versions than the pinned ones are tried by naming them:
``COUNTERMARK_FRAMEWORKS="verl==0.7.0 verifiers-legacy==0.1.14" make conformance``.

Where no index can be reached the tests that need a package are skipped and say so;
in CI that is a failure, because it would hide them.
"""

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from uv import find_uv_bin

OTHER_VERSIONS = "COUNTERMARK_FRAMEWORKS"
"""The variable that names packages in other versions: `Package.name`, two equals signs, version."""

_INSTALL_SECONDS = 300
_CLIENT_SECONDS = 240


@dataclass(frozen=True)
class Package:
    """What one framework's client needs."""

    name: str
    """For people, for the folder, and for `OTHER_VERSIONS`."""
    alone: tuple[str, ...]
    """Requirements that are installed without what they ask for."""
    light: tuple[str, ...] = ()
    """Requirements that are installed whole."""
    python: str | None = None
    """Python version whose wheels are taken, where there are none for this one."""


class UnfetchableError(Exception):
    """A package could not be installed."""


def fetch(package: Package, root: Path) -> Path:
    """Return the folder with a package's code, installing it if it is not there yet.

    Raises:
        UnfetchableError: It cannot be installed; says why.
    """
    package = _in_the_version_asked_for(package)
    facts = json.dumps([package.alone, package.light, package.python, sys.version_info[:2]])
    folder = root / "frameworks" / f"{package.name}-{hashlib.sha256(facts.encode()).hexdigest()[:12]}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the tests run in several processes
        if not folder.exists():
            half = folder.with_suffix(".half")
            shutil.rmtree(half, ignore_errors=True)
            half.mkdir()
            for requirements, more in ((package.alone, ["--no-deps"]), (package.light, [])):
                if requirements:
                    _install(half, requirements, more, package.python)
            half.rename(folder)
    return folder


def _in_the_version_asked_for(package: Package) -> Package:
    """Return the package in the version that `OTHER_VERSIONS` names, which replaces its first requirement's."""
    asked = dict(pin.split("==") for pin in os.environ.get(OTHER_VERSIONS, "").split())
    if package.name not in asked:
        return package
    first, *rest = package.alone or package.light
    changed = (f"{first.partition('==')[0]}=={asked[package.name]}", *rest)
    return replace(package, alone=changed) if package.alone else replace(package, light=changed)


def _install(folder: Path, requirements: tuple[str, ...], more: list[str], python: str | None) -> None:
    command = [
        find_uv_bin(),
        "pip",
        "install",
        "--quiet",
        "--target",
        str(folder),
        "--python",
        sys.executable,
    ]
    if python is not None:
        more = [*more, "--python-version", python, "--only-binary", ":all:"]
    try:
        done = subprocess.run(
            [*command, *more, *requirements],
            capture_output=True,
            text=True,
            timeout=_INSTALL_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as exc:
        raise UnfetchableError(f"{requirements} did not come within {_INSTALL_SECONDS} s") from exc
    if done.returncode:
        raise UnfetchableError(f"{requirements} cannot be installed: {done.stderr.strip()[-500:]}")


def fetched_or_skipped(package: Package, root: Path) -> Path:
    """Return the folder of a package; skip the test where it cannot be had, and fail it in CI."""
    try:
        return fetch(package, root)
    except UnfetchableError as exc:
        if os.environ.get("CI"):
            pytest.fail(f"{package.name} must be had in CI: {exc}")
        pytest.skip(f"{package.name} cannot be fetched here: {exc}")


def run_client(folder: Path, driver: Path, told: Any, *, seconds: float = _CLIENT_SECONDS) -> Any:
    """Run a program that uses a framework's code, and return what it says.

    Args:
        folder: Where the framework's code is.
        driver: The program: it reads JSON from standard input and prints JSON as its last line.
        told: What it reads.
        seconds: How long it may take.
    """
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "COUNTERMARK_"))
    }
    done = subprocess.run(
        [sys.executable, "-s", str(driver)],
        input=json.dumps(told),
        env={**kept, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    assert done.returncode == 0, f"{driver.name} failed:\n{done.stderr[-4000:]}"
    return json.loads(done.stdout.splitlines()[-1])
