"""What is really in a folder of packages, compared with what the lock names.

uv has checked the hash of every wheel that it fetched, but it unpacks wheels into
a cache and installs from there, and a cache on a disk that was once full can hold
a file cut short. A verdict must not depend on that, so after an installation every
file is compared with the hash that its wheel's RECORD gives for it.

Files are read, never imported: no code from a wheel runs while an environment is
built. The interpreter of the environment would already run `.pth` files.
"""

import base64
import csv
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from email.parser import BytesHeaderParser
from pathlib import Path
from typing import TYPE_CHECKING

from countermark_service.engine.lockfile import LockedRequirement

if TYPE_CHECKING:
    from packaging.version import Version


def installed_distributions(site_packages: Sequence[Path]) -> "dict[str, Version]":
    """Return the version of each distribution below `site_packages`, by normalised name.

    Raises:
        ValueError: Metadata that is missing or gives no valid version.
    """
    # Imported here: a service starts without a look at any package.
    from packaging.utils import canonicalize_name
    from packaging.version import InvalidVersion, Version

    found = {}
    for info in _infos(site_packages):
        if not (info / "METADATA").is_file():
            raise ValueError(f"{info.name} has no METADATA")
        metadata = BytesHeaderParser().parsebytes((info / "METADATA").read_bytes())
        name, version = metadata.get("Name", ""), metadata.get("Version", "")
        try:
            found[str(canonicalize_name(name))] = Version(version)
        except InvalidVersion as exc:
            raise ValueError(f"{info.name} names itself {name!r} {version!r}") from exc
    return found


def lock_differences(locked: Iterable[LockedRequirement], installed: "dict[str, Version]") -> list[str]:
    """Return in words how `installed` differs from what `locked` names; empty if it does not."""
    wanted = {requirement.name: requirement.version for requirement in locked}
    missing = [f"{n}=={v} is missing" for n, v in wanted.items() if n not in installed]
    other = [
        f"{n} has version {installed[n]}, locked is {v}"
        for n, v in wanted.items()
        if n in installed and installed[n] != v
    ]
    extra = [f"{n}=={v} is not in the lock" for n, v in installed.items() if n not in wanted]
    return sorted(missing + other + extra)


def record_differences(site_packages: Sequence[Path]) -> list[str]:
    """Return in words which installed files differ from their RECORD; empty if none does.

    Raises:
        OSError: A file cannot be read.
    """
    return [problem for info in _infos(site_packages) for problem in _record_problems(info)]


def _infos(site_packages: Sequence[Path]) -> list[Path]:
    folders = dict.fromkeys(folder.resolve() for folder in site_packages)
    return [info for folder in folders for info in sorted(folder.glob("*.dist-info"))]


def _record_problems(info: Path) -> Iterator[str]:
    record = info / "RECORD"
    if not record.is_file():
        yield f"{info.name} has no RECORD"
        return
    with record.open(encoding="utf-8", newline="") as file:
        for row in csv.reader(file):
            if len(row) < 2 or not row[1]:
                continue  # RECORD itself and what the installer adds have no hash
            path, (algorithm, _, expected) = info.parent / row[0], row[1].partition("=")
            if not path.is_file():
                yield f"{row[0]} of {info.name} is missing"
            elif _hash(path, algorithm) != expected.rstrip("="):
                yield f"{row[0]} of {info.name} is not the file that its wheel recorded"


def _hash(path: Path, algorithm: str) -> str:
    """Return the hash of a file as RECORD writes it; empty for an algorithm that is not known here."""
    if algorithm not in hashlib.algorithms_guaranteed or algorithm.startswith("shake"):
        return ""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, algorithm).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
