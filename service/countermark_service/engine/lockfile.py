"""`requirements.lock`: which distributions a bundle runs on, by version and hash.

The lock is part of the bundle's digest, so it is the only thing that decides what
is installed. It is therefore read more strictly than pip or uv would: every line
names one version and at least one SHA-256, and nothing in it says where to look
(no index, no link, no local path), because a place is no identity.

This module is rules over bytes: it touches no file and starts nothing.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from countermark_service.errors import BundleError

if TYPE_CHECKING:
    from packaging.markers import Marker
    from packaging.version import Version

LOCK_FILE = "requirements.lock"
_HASH = re.compile(r"--hash[= ]\s*(\S+)")
_SHA256 = re.compile(r"sha256:([0-9a-f]{64})")
_COMMENT = re.compile(r"(^|\s)#.*$")


class LockError(BundleError):
    """A lock that does not pin every distribution by version and hash."""

    code = "invalid_lock"

    def __init__(self, file: str, line: int, problem: str) -> None:
        super().__init__(
            f"{file}, line {line}: {problem}. Write it with `uv pip compile --generate-hashes`: "
            "one `name==version` with its `--hash=sha256:...` lines each."
        )
        self.file, self.line, self.problem = file, line, problem


@dataclass(frozen=True)
class LockedRequirement:
    """One distribution that a lock names."""

    name: str
    """Normalised name: lowercase, single hyphens."""
    version: "Version"
    hashes: frozenset[str]
    """SHA-256 of every file that may be installed for it, as 64 hex digits."""
    marker: "Marker | None"
    """When it is installed at all; None is always."""

    def __str__(self) -> str:
        return f"{self.name}=={self.version}"


def read_lock(content: bytes, *, file: str = LOCK_FILE) -> tuple[LockedRequirement, ...]:
    """Return what `content` locks, in its order; empty for a lock of comments only.

    Args:
        content: The bytes of the lock.
        file: How messages name it.

    Raises:
        LockError: A line without exact version or SHA-256, or one that is no requirement.
    """
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as exc:
        raise LockError(file, 1, f"not UTF-8: {exc.reason} at byte {exc.start}") from exc
    return tuple(_requirement(line, number, file) for number, line in _logical_lines(text))


def applicable(
    requirements: Sequence[LockedRequirement], python_version: str
) -> tuple[LockedRequirement, ...]:
    """Return those of `requirements` whose marker holds on this machine.

    Args:
        requirements: What `read_lock` returned.
        python_version: Full version of the interpreter they are for, such as ``3.11.7``;
            it need not be the running one.
    """
    from packaging.markers import default_environment  # imported here: see `_requirement`

    surroundings = {
        **cast("dict[str, str]", default_environment()),
        "python_full_version": python_version,
        "python_version": ".".join(python_version.split(".")[:2]),
        "implementation_version": python_version,
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
        "extra": "",
    }
    return tuple(r for r in requirements if r.marker is None or r.marker.evaluate(surroundings))


def _logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield each line with the number it starts at, its continuation lines joined, without comments."""
    parts: list[str] = []
    start = 1
    for number, raw in enumerate(text.splitlines(), start=1):
        if not parts:
            start = number
        line = _COMMENT.sub("", raw).rstrip()
        parts.append(line.removesuffix("\\"))
        if line.endswith("\\"):
            continue
        joined = " ".join(parts).strip()
        parts = []
        if joined:
            yield start, joined
    joined = " ".join(parts).strip()
    if joined:
        yield start, joined


def _requirement(line: str, number: int, file: str) -> LockedRequirement:
    # Imported here: a service starts without a look at any lock.
    from packaging.requirements import InvalidRequirement, Requirement
    from packaging.utils import canonicalize_name
    from packaging.version import Version

    hashes = set()
    for value in _HASH.findall(line):
        match = _SHA256.fullmatch(value)
        if match is None:
            raise LockError(file, number, f"{value!r} is not `sha256:` and 64 lowercase hex digits")
        hashes.add(match[1])
    text = _HASH.sub("", line).strip()
    if text.startswith("-") or " --" in text:
        raise LockError(file, number, f"{text!r} is an option; a lock names distributions only")
    try:
        requirement = Requirement(text)
    except InvalidRequirement as exc:
        problem = str(exc).splitlines()[0]
        raise LockError(file, number, f"{text!r} is no requirement: {problem}") from exc
    pins = [s for s in requirement.specifier if s.operator == "==" and not s.version.endswith(".*")]
    if requirement.url is not None or len(requirement.specifier) != 1 or len(pins) != 1:
        raise LockError(file, number, f"{text!r} does not name one exact version with `==`")
    if not hashes:
        raise LockError(file, number, f"{text!r} has no `--hash=sha256:...`")
    return LockedRequirement(
        canonicalize_name(requirement.name), Version(pins[0].version), frozenset(hashes), requirement.marker
    )
