"""The wheels of a wheelhouse that a lock means, laid out for uv.

Wheels of imported bundles come from anywhere, and a name is no identity: two archives
may hold files of one name and different content, each named by its own bundle's lock.
So an imported wheel lies in a folder named by its SHA-256, and only what a lock names
by version and hash is shown to uv. A wheel that another bundle brought, whatever it
is called, neither takes the place of the right one nor stops a build.

Wheels that an operator puts into a wheelhouse themselves lie there as they are. They
are shown by their names; uv holds them to the lock.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from countermark_service.engine.lockfile import LockedRequirement


def lay_out(wheelhouses: Iterable[Path], requirements: Sequence[LockedRequirement], into: Path) -> bool:
    """Fill the empty folder `into` with links to the wheels of `requirements`; False where there are none.

    Args:
        wheelhouses: Folders of wheels, nearest first; those that do not exist hold nothing.
        requirements: What a lock names.
        into: The folder.

    Raises:
        OSError: A folder cannot be read or written.
    """
    for wheelhouse in wheelhouses:
        for wheel in _meant(wheelhouse, requirements):
            link = into / wheel.name
            if not link.is_symlink():
                link.symlink_to(wheel.absolute())
    return any(into.iterdir())


def _meant(wheelhouse: Path, requirements: Sequence[LockedRequirement]) -> Iterator[Path]:
    """Yield the wheels of one folder that may be meant, those that are named by their hash first."""
    for requirement in requirements:
        for digest in sorted(requirement.hashes):
            yield from _of(requirement, wheelhouse / digest)
    for requirement in requirements:
        yield from _of(requirement, wheelhouse)


def _of(requirement: LockedRequirement, folder: Path) -> Iterator[Path]:
    from packaging.utils import InvalidWheelFilename, parse_wheel_filename  # a service starts without it

    for wheel in sorted(folder.glob("*.whl")):
        try:
            name, version, _, _ = parse_wheel_filename(wheel.name)
        except InvalidWheelFilename:
            continue
        if (name, version) == (requirement.name, requirement.version):
            yield wheel
