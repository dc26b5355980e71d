"""One bundle, read once and held by its bytes.

Everything later (digest, vectors, what a worker runs) comes from the bytes read
here, so a folder that changes under a running service changes nothing.
"""

import errno
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from countermark_service.bundles.digest import tree_digest
from countermark_service.bundles.manifest import (
    LOCK_NAME,
    MANIFEST_NAME,
    VECTORS_NAME,
    Manifest,
    read_manifest,
)
from countermark_service.bundles.vectors import Vector, read_vectors
from countermark_service.errors import BundleError, ManifestError, UnavailableError
from countermark_service.model import BundleRef

_LARGEST_FILE = 64 * 1024 * 1024
_PASSING = frozenset(
    {
        errno.EMFILE,
        errno.ENFILE,
        errno.ENOMEM,
        errno.EAGAIN,
        errno.EBUSY,
        errno.EIO,
        errno.ESTALE,
        errno.ETIMEDOUT,
    }
)
"""Failures of the machine, which say nothing of the file: no descriptor or memory left, a disk or server that hangs."""


@dataclass(frozen=True)
class Bundle:
    """A bundle version: manifest, content, and the digest that names both."""

    manifest: Manifest
    files: Mapping[str, bytes]
    """Content of each declared file, by its path in the bundle."""
    digest: str
    """``sha256:<64 hex digits>`` over `files`."""
    origin: str
    """Where it was read from, for messages."""

    @property
    def ref(self) -> BundleRef:
        """The pin of this bundle."""
        return BundleRef(self.manifest.name, self.manifest.version, self.digest)

    @cached_property
    def digest_bytes(self) -> bytes:
        """The digest's 32 bytes."""
        return bytes.fromhex(self.digest.removeprefix("sha256:"))

    @cached_property
    def vectors(self) -> tuple[Vector, ...]:
        """The bundle's vectors.

        Raises:
            VectorsError: A line that is no vector.
        """
        return read_vectors(self.files[VECTORS_NAME], file=f"{self.origin}/{VECTORS_NAME}")

    @property
    def locks(self) -> tuple[bytes, ...]:
        """Content of every lock: of its own code, and of what candidate programs may import."""
        table = self.manifest.sandbox
        named = [LOCK_NAME, *([table.requirements] if table is not None and table.requirements else [])]
        return tuple(self.files[path] for path in named if path in self.files)

    @property
    def lock(self) -> bytes:
        """Content of `requirements.lock`; empty for a runtime without code."""
        return self.files.get(LOCK_NAME, b"")


def read_bundle(folder: Path) -> Bundle:
    """Read the bundle in `folder`.

    Raises:
        ManifestError: The manifest is missing or wrong.
        BundleError: A declared file is missing, a link, or too large.
        UnavailableError: The machine cannot read a file now, whatever the file is.
    """
    manifest_file = folder / MANIFEST_NAME
    if not (manifest_file.exists() or manifest_file.is_symlink()):
        raise ManifestError(str(manifest_file), "(whole file)", None, "the folder has no manifest")
    manifest = read_manifest(_read(folder, MANIFEST_NAME), file=str(manifest_file))
    files = {path: _read(folder, path) for path in manifest.files}
    return Bundle(manifest, files, tree_digest(files), str(folder))


def _read(folder: Path, path: str) -> bytes:
    try:
        return _read_plain(folder, path)
    except (OSError, RuntimeError) as exc:  # RuntimeError: links that lead in a circle
        if isinstance(exc, OSError) and exc.errno in _PASSING:
            raise UnavailableError(f"{folder / path} cannot be read now: {exc.strerror}.") from exc
        raise BundleError(f"{folder / path} cannot be read: {exc}.") from exc


def _read_plain(folder: Path, path: str) -> bytes:
    target = folder / path
    if not target.resolve().is_relative_to(folder.resolve()):
        raise BundleError(
            f"{target} leads out of its bundle: a bundle holds its files itself, without links."
        )
    if not target.is_file():
        raise BundleError(
            f"{folder / MANIFEST_NAME} declares {path!r}, which is not there: add it or drop the line."
        )
    size = target.stat().st_size
    if size > _LARGEST_FILE:
        raise BundleError(f"{target} has {size} bytes; a bundle's file has at most {_LARGEST_FILE}.")
    return target.read_bytes()
