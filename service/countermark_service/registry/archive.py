"""One file that carries a bundle with its wheels, so that it runs where no index is, for ever.

An archive is a zip: ``countermark-bundle.json`` (what it is), ``bundle/…`` (the
declared files) and ``wheels/…``. Nothing in it is compressed: wheels are already,
and so the bytes depend on no compressor, equal content makes equal archives, and
what is read out can never be more than what came in.

An archive comes from anywhere, so reading trusts nothing in it: names must be the
expected ones, sizes must add up to no more than the file, the bundle must have the
digest that the archive says, and every wheel must be one that the bundle's own lock
names by hash. What has passed is the bundle of that digest, whoever packed it.
"""

import errno
import hashlib
import os
import re
import secrets
import shutil
import stat
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import msgspec

from countermark_service.bundles import Bundle, read_manifest, tree_digest
from countermark_service.bundles.manifest import MANIFEST_NAME
from countermark_service.errors import BundleError, DigestMismatchError

FACTS_NAME = "countermark-bundle.json"
FORMAT = 1

_BUNDLE, _WHEELS = "bundle/", "wheels/"
_EPOCH = (1980, 1, 1, 0, 0, 0)
_LARGEST_FACTS = 1 << 20
_LARGEST_BUNDLE = 256 << 20
_MOST_ENTRIES = 4096
_CHUNK = 1 << 20
_WHEEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+!-]{0,250}\.whl")
_LOCKED_HASH = re.compile(rb"--hash[= ]\s*sha256:([0-9a-f]{64})")
_ENCRYPTED = 0x1


class ArchiveError(BundleError):
    """A file that is no archive of a bundle, or not one to be trusted."""

    code: ClassVar[str] = "invalid_archive"

    def __init__(self, file: Path, problem: str) -> None:
        super().__init__(
            f"{file}: {problem}. Nothing of it was taken; ask for a fresh one, made by "
            "`countermark verifier export`."
        )
        self.file, self.problem = str(file), problem


class Facts(msgspec.Struct, frozen=True):
    """What an archive says of itself."""

    format: int
    name: str
    version: str
    digest: str
    python: str | None
    """Minor version that the wheels are for; None for a bundle without code."""
    platform: str
    """Machine that they are for, such as ``linux-x86_64``."""


@dataclass(frozen=True)
class Archive:
    """An archive that has passed every check."""

    file: Path
    facts: Facts
    bundle: Bundle
    wheels: Mapping[str, str]
    """SHA-256 of each wheel by its file name; the bundle's lock names them all."""

    def copy_wheels(self, into: Path) -> list[Path]:
        """Copy each wheel to ``<sha256>/<name>`` in the folder `into`; those that are there stay as they are.

        Another bundle may have brought another file of the same name. Both are needed.
        """
        with zipfile.ZipFile(self.file) as package:
            for name, digest in self.wheels.items():
                target = into / digest / name
                target.parent.mkdir(parents=True, exist_ok=True)
                if not (target.is_file() and _sha256(target) == digest):
                    _unpack(package, _WHEELS + name, target)
        return [into / digest / name for name, digest in self.wheels.items()]


def _unpack(package: zipfile.ZipFile, name: str, target: Path) -> None:
    part = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    try:
        with package.open(name) as source, part.open("wb") as copy:
            shutil.copyfileobj(source, copy, _CHUNK)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def write_archive(bundle: Bundle, wheels: Sequence[Path], *, platform: str, into: Path) -> None:
    """Write the archive of `bundle`; equal content gives equal bytes.

    The file gets its name when it is whole and on the disk.

    Args:
        bundle: What to pack.
        wheels: Its wheels, as files.
        platform: Machine that the wheels are for.
        into: The archive; a file of that name is replaced.
    """
    manifest = bundle.manifest
    facts = Facts(FORMAT, manifest.name, manifest.version, bundle.digest, manifest.python, platform)
    packed: Mapping[str, bytes | Path] = {
        FACTS_NAME: msgspec.json.format(msgspec.json.encode(facts), indent=2) + b"\n",
        **{_BUNDLE + path: content for path, content in sorted(bundle.files.items())},
        **{_WHEELS + wheel.name: wheel for wheel in sorted(wheels, key=lambda wheel: wheel.name)},
    }
    if into.exists() and not into.is_file():  # a device, say, which no file may take the place of
        raise FileExistsError(errno.EEXIST, "it is there already and is no file", str(into))
    part = into.with_name(f".{into.name}.{secrets.token_hex(4)}.part")
    try:
        with part.open("wb") as file:
            with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as package:
                for name, content in packed.items():
                    _add(package, name, content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(into)
    finally:
        part.unlink(missing_ok=True)


def _add(package: zipfile.ZipFile, name: str, content: bytes | Path) -> None:
    entry = zipfile.ZipInfo(name, _EPOCH)
    entry.create_system = 3
    entry.external_attr = (stat.S_IFREG | 0o644) << 16
    if isinstance(content, bytes):
        package.writestr(entry, content)
        return
    entry.file_size = content.stat().st_size
    with content.open("rb") as source, package.open(entry, "w") as target:
        while chunk := source.read(_CHUNK):
            target.write(chunk)


def read_archive(file: Path) -> Archive:
    """Read an archive and check all of it.

    Raises:
        ArchiveError: It is no archive, or holds what no archive holds, or a wheel that its bundle's lock
            does not name.
        ManifestError: The bundle in it has no valid manifest.
        DigestMismatchError: The bundle in it is not the one that the archive names.
    """
    try:
        with zipfile.ZipFile(file) as package:
            entries = _checked_entries(file, package)
            facts = _facts(file, package)
            bundle = _bundle(file, facts, _files(file, package, entries))
            return Archive(file, facts, bundle, _wheels(file, package, entries, bundle))
    except OSError as exc:
        raise ArchiveError(file, f"cannot be read: {exc.strerror or exc}") from exc
    except (zipfile.BadZipFile, NotImplementedError, ValueError, RuntimeError) as exc:
        raise ArchiveError(file, f"is no sound zip file: {exc}") from exc
    except EOFError as exc:
        raise ArchiveError(file, "is no sound zip file: an entry goes on behind its end") from exc


def _checked_entries(file: Path, package: zipfile.ZipFile) -> list[str]:
    """Return the names in the archive, having looked at every entry's name, kind and size."""
    entries = package.infolist()
    if len(entries) > _MOST_ENTRIES:
        raise ArchiveError(file, f"has {len(entries)} entries, over {_MOST_ENTRIES}")
    names = [entry.filename for entry in entries]
    if len(set(names)) != len(names):
        raise ArchiveError(file, "holds one name twice")
    for entry in entries:
        kind = stat.S_IFMT(entry.external_attr >> 16)
        if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & _ENCRYPTED:
            raise ArchiveError(file, f"{entry.filename[:100]!r} is compressed or encrypted")
        if kind not in (0, stat.S_IFREG) or not _is_expected(entry.filename):
            raise ArchiveError(file, f"holds {entry.filename[:100]!r}, which no archive of a bundle holds")
    if sum(entry.file_size for entry in entries) > file.stat().st_size:
        raise ArchiveError(file, "its entries are larger than itself: they overlap")
    return names


def _is_expected(name: str) -> bool:
    """Tell whether an archive may hold `name`; what is below ``bundle/`` is held to the manifest later."""
    if name.startswith(_WHEELS):
        return _WHEEL_NAME.fullmatch(name.removeprefix(_WHEELS)) is not None
    return name == FACTS_NAME or (name.startswith(_BUNDLE) and name != _BUNDLE)


def _facts(file: Path, package: zipfile.ZipFile) -> Facts:
    content = _read(file, package, FACTS_NAME, _LARGEST_FACTS)
    try:
        facts = msgspec.json.decode(content, type=Facts)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
        raise ArchiveError(file, f"its {FACTS_NAME} cannot be read: {exc}") from exc
    if facts.format != FORMAT:
        raise ArchiveError(file, f"has the format {facts.format}; this Countermark reads {FORMAT}")
    return facts


def _files(file: Path, package: zipfile.ZipFile, names: Sequence[str]) -> dict[str, bytes]:
    """Return the bundle's files: exactly those that its manifest declares."""
    manifest_name = _BUNDLE + MANIFEST_NAME
    manifest = read_manifest(
        _read(file, package, manifest_name, _LARGEST_FACTS), file=f"{file}: {manifest_name}"
    )
    declared = {_BUNDLE + path for path in manifest.files}
    if declared != {name for name in names if name.startswith(_BUNDLE)}:
        raise ArchiveError(file, "its bundle does not have exactly the files that its manifest declares")
    if sum(package.getinfo(name).file_size for name in declared) > _LARGEST_BUNDLE:
        raise ArchiveError(file, f"its bundle has over {_LARGEST_BUNDLE} bytes")
    return {path: _read(file, package, _BUNDLE + path, _LARGEST_BUNDLE) for path in manifest.files}


def _bundle(file: Path, facts: Facts, files: dict[str, bytes]) -> Bundle:
    manifest = read_manifest(files[MANIFEST_NAME], file=f"{file}: {_BUNDLE}{MANIFEST_NAME}")
    found = (manifest.name, manifest.version)
    if found != (facts.name, facts.version):
        raise ArchiveError(
            file, f"says it holds {facts.name}:{facts.version} and holds {found[0]}:{found[1]}"
        )
    digest = tree_digest(files)
    if digest != facts.digest:
        name = f"{found[0]}:{found[1]}"
        raise DigestMismatchError(name, pinned=facts.digest, found=digest, pinned_by="the archive")
    return Bundle(manifest, files, digest, str(file))


def _wheels(file: Path, package: zipfile.ZipFile, names: Sequence[str], bundle: Bundle) -> dict[str, str]:
    """Return the hash of every wheel."""
    locked = {found.decode() for lock in bundle.locks for found in _LOCKED_HASH.findall(lock)}
    wheels = {}
    for name in names:
        if name.startswith(_WHEELS):
            with package.open(name) as source:
                digest = hashlib.file_digest(source, "sha256").hexdigest()  # type: ignore[arg-type]
            if digest not in locked:
                raise ArchiveError(file, f"{name} has sha256:{digest}, which the bundle's lock does not name")
            wheels[name.removeprefix(_WHEELS)] = digest
    return wheels


def _read(file: Path, package: zipfile.ZipFile, name: str, limit: int) -> bytes:
    try:
        entry = package.getinfo(name)
    except KeyError:
        raise ArchiveError(file, f"has no {name}") from None
    if entry.file_size > limit:
        raise ArchiveError(file, f"its {name} has {entry.file_size} bytes, over {limit}")
    return package.read(entry)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
