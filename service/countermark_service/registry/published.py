"""`published.toml`: the digests that were promised, in the order of publication.

The list is append-only. A bundle whose content differs from its line is refused,
so an edited folder can never answer under the old name.
"""

import tomllib
from collections.abc import Mapping
from pathlib import Path

from countermark_service.errors import BundleError, DigestMismatchError
from countermark_service.kept import held, read_small, replace_whole
from countermark_service.model import DIGEST_PATTERN, BundleRef

PUBLISHED_NAME = "published.toml"

PublishedList = Mapping[tuple[str, str], str]
"""Digest by name and version."""


def read_published(folder: Path) -> PublishedList:
    """Read the list beside the bundles in `folder`; empty where there is none.

    Raises:
        BundleError: Not TOML, an entry without name, version or digest, or one
            version published twice.
    """
    file = folder / PUBLISHED_NAME
    if not file.is_file():
        return {}
    try:
        table = tomllib.loads(read_small(file).decode())
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as exc:
        raise BundleError(f"{file} is not TOML: {exc}.") from exc
    except OSError as exc:
        raise BundleError(f"{file} cannot be read: {exc}.") from exc
    published: dict[tuple[str, str], str] = {}
    entries = table.get("bundle", [])
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise BundleError(f"{file}: `bundle` is no list of tables; write each entry under [[bundle]].")
    for number, entry in enumerate(entries, start=1):
        name, version, digest = (entry.get(key) for key in ("name", "version", "digest"))
        if not (isinstance(name, str) and isinstance(version, str) and isinstance(digest, str)):
            raise BundleError(f"{file}, entry {number}: needs the texts `name`, `version` and `digest`.")
        if not DIGEST_PATTERN.fullmatch(digest):
            raise BundleError(
                f"{file}, entry {number}: digest {digest!r} is not `sha256:` and 64 hex digits."
            )
        if (name, version) in published:
            raise BundleError(f"{file}, entry {number}: {name}:{version} is published twice.")
        published[name, version] = digest
    return published


def append_published(folder: Path, ref: BundleRef) -> bool:
    """Add the pin `ref` at the end of the list; False where it is there already.

    Raises:
        DigestMismatchError: The version is published with another digest.
        OSError: The list cannot be written; it is what it was.
    """
    if ref.version is None or ref.digest is None:
        raise BundleError(f"{ref} is no pin: publishing needs name, version and digest.")
    file = folder / PUBLISHED_NAME
    with held(folder):
        known = read_published(folder).get((ref.name, ref.version))
        if known == ref.digest:
            return False
        if known is not None:
            name = f"{ref.name}:{ref.version}"
            raise DigestMismatchError(name, pinned=known, found=ref.digest, pinned_by=PUBLISHED_NAME)
        entry = f'\n[[bundle]]\nname = "{ref.name}"\nversion = "{ref.version}"\ndigest = "{ref.digest}"\n'
        before = read_small(file) if file.exists() else b""
        replace_whole(file, before + entry.encode())
    return True
