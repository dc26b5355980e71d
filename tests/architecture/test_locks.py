"""The locks belong to the project file and to each other, and name no place to fetch from.

`make setup` installs the one lock and the image the other. A project file that was
changed without `make lock` would show on the next fresh machine only.
"""

import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

REPOSITORY = Path(__file__).resolve().parents[2]
ALL = REPOSITORY / "requirements.lock"
SERVICE = REPOSITORY / "requirements.service.lock"
PROJECT: dict[str, Any] = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())

_ENTRY = re.compile(
    r"^(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^ ;\\]+).*?\\\n(?P<hashes>(?:    --hash=.*\n)+)", re.MULTILINE
)
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")


def entries(lock: Path) -> dict[str, tuple[str, frozenset[str]]]:
    """Return version and hashes of each package in a lock, by normalised name."""
    found = {}
    for match in _ENTRY.finditer(lock.read_text()):
        hashes = frozenset(_HASH.findall(match["hashes"]))
        found[str(canonicalize_name(match["name"]))] = (match["version"], hashes)
    return found


def unmet(requirements: list[str], lock: Path) -> list[str]:
    """Return the requirements that a lock does not pin, or pins to a version out of their range."""
    pinned = entries(lock)
    found = []
    for requirement in map(Requirement, requirements):
        version, _ = pinned.get(str(canonicalize_name(requirement.name)), (None, None))
        if version is None or not requirement.specifier.contains(version, prereleases=True):
            found.append(f"{requirement} is locked to {version}: run `make lock`")
    return found


def test_the_lock_of_the_checkout_holds_what_the_project_asks_for() -> None:
    project = PROJECT["project"]
    asked = [
        *project["dependencies"],
        *PROJECT["dependency-groups"]["dev"],
        *PROJECT["build-system"]["requires"],
    ]
    for extra in project["optional-dependencies"].values():
        asked += [
            one for one in extra if Requirement(one).name != project["name"]
        ]  # an extra may take another
    assert unmet(asked, ALL) == []


def test_the_lock_of_the_image_holds_what_the_service_asks_for() -> None:
    project = PROJECT["project"]
    assert unmet([*project["dependencies"], *project["optional-dependencies"]["service"]], SERVICE) == []


def test_both_locks_pin_the_same_bytes_of_each_package() -> None:
    everything, service = entries(ALL), entries(SERVICE)
    assert "fastapi" in service
    assert "pytest" not in service
    assert {name: entry for name, entry in service.items() if everything.get(name) != entry} == {}


def test_every_line_of_a_lock_is_a_pin_or_a_hash() -> None:
    for lock in (ALL, SERVICE):
        odd = [
            line for line in lock.read_text().splitlines()
            if not re.fullmatch(r"[a-z0-9._-]+==\S+( ; .*)? \\|    --hash=sha256:[0-9a-f]{64}( \\)?", line)
        ]  # fmt: skip
        assert odd == []


def test_a_requirement_that_the_lock_does_not_meet_is_found() -> None:
    assert unmet(["httpx>=99", "no-such-package"], ALL) == [
        f"httpx>=99 is locked to {entries(ALL)['httpx'][0]}: run `make lock`",
        "no-such-package is locked to None: run `make lock`",
    ]


def lock_entry(package: str, lock: Path) -> subprocess.CompletedProcess[str]:
    """Run the script that takes one package out of a lock."""
    command = ["sh", str(REPOSITORY / "scripts" / "lock-entry.sh"), package, str(lock)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "package", ["annotated-doc", "uv", "uvloop"]
)  # the first, one of two prefixes, the last
def test_one_package_is_taken_out_of_the_lock_with_all_its_hashes(tmp_path: Path, package: str) -> None:
    taken = tmp_path / "one.lock"
    taken.write_text(lock_entry(package, ALL).stdout)
    assert entries(taken) == {package: entries(ALL)[package]}


def test_a_package_that_is_not_in_the_lock_is_an_error() -> None:
    ended = lock_entry("u", ALL)
    assert ended.returncode == 1
    assert "has no entry for u" in ended.stderr
