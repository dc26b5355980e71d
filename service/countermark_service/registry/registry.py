"""Finds bundles in folders and answers which one a reference means.

Folders come in order: the operator's, then the ones shipped with Countermark. A
bundle is read when it is first asked for, held to what was published, and kept: a
service with many of them starts as soon as one with few. One that cannot be used
(malformed, or not what was published) is kept as its reason: asking for it raises
that reason, the others go on. A machine that cannot read one for a while, as it has no
descriptor left, is no such reason.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from countermark_service.bundles import Bundle, read_bundle
from countermark_service.bundles.manifest import MANIFEST_NAME
from countermark_service.errors import (
    BundleError,
    DigestMismatchError,
    UnavailableError,
    UnknownVerifierError,
    VersionRequiredError,
)
from countermark_service.model import BundleRef
from countermark_service.registry.children import check_children
from countermark_service.registry.published import PublishedList, read_published

_Key = tuple[str, str]
"""Name, with its namespace, and version, as the path of a folder says them."""

_PACKAGE = Path(__file__).resolve().parent.parent


def bundle_roots(extra: Iterable[Path] = ()) -> list[Path]:
    """Return the folders to search: `extra`, then the shipped bundles.

    A wheel carries them inside the package; a checkout has them in `verifiers/`.
    """
    shipped = [_PACKAGE / "_bundled", _PACKAGE.parent.parent / "verifiers"]
    return [*extra, *[folder for folder in shipped if folder.is_dir()][:1]]


class Registry:
    """Every bundle of some folders, by reference."""

    def __init__(self, roots: Sequence[Path]) -> None:
        """Look which bundles lie below `roots`.

        Raises:
            BundleError: A root is missing or its published list cannot be read.
        """
        self._roots = list(roots)
        self._folders: dict[_Key, list[tuple[Path, PublishedList]]] = {}
        self._read: dict[_Key, Bundle | BundleError] = {}
        for root in self._roots:
            if not root.is_dir():
                raise BundleError(
                    f"the bundle folder {root} does not exist: create it or drop it from the settings."
                )
            published = read_published(root)
            for folder in _bundle_folders(root):
                claimed = (folder.parent.relative_to(root).as_posix(), folder.name)
                self._folders.setdefault(claimed, []).append((folder, published))

    def _find(self, key: _Key) -> Bundle | BundleError:
        """Return the bundle that the folders of `key` hold, or why it cannot be used.

        Raises:
            UnavailableError: The machine cannot read it now.
        """
        if key not in self._read:
            try:
                bundle = self._read_folders(key)
                self._read[key] = bundle  # already, as composites may lead back here
                check_children(bundle, self)
            except BundleError as exc:
                self._read[key] = exc
            except UnavailableError:  # it says nothing of the bundle, which may be read the next time
                self._read.pop(key, None)
                raise
        return self._read[key]

    def _read_folders(self, key: _Key) -> Bundle:
        """Read the first folder of `key` and hold the others that can be read to it.

        Raises:
            BundleError: The first cannot be used, or another has other content.
        """
        (folder, published), *others = self._folders[key]
        first = _read_checked(folder, key, published)
        for folder, published in others:
            try:
                other = _read_checked(folder, key, published)
            except BundleError:
                continue  # nothing is taken from there
            if other.digest != first.digest:
                raise BundleError(
                    f"{key[0]}:{key[1]} is in two folders with different content: {first.origin} "
                    f"({first.digest}) and {other.origin} ({other.digest}). Give one of them another version."
                )
        return first

    def _usable(self) -> list[tuple[_Key, Bundle]]:
        """Read everything; return what can be used, by name, then version in natural order."""
        found = [(key, self._find(key)) for key in self._folders]
        usable = [(key, one) for key, one in found if isinstance(one, Bundle)]
        return sorted(usable, key=lambda entry: (entry[0][0], _natural(entry[0][1])))

    def __len__(self) -> int:
        """How many bundles are in sight, usable or not; reads none."""
        return len(self._folders)

    def __iter__(self) -> Iterator[Bundle]:
        """Every usable bundle, by name, then version in natural order."""
        return iter([bundle for _, bundle in self._usable()])

    @property
    def broken(self) -> dict[str, BundleError]:
        """Why some folders are not usable, by `name:version`."""
        found = {key: self._find(key) for key in self._folders}
        return {f"{name}:{v}": exc for (name, v), exc in found.items() if isinstance(exc, BundleError)}

    def versions(self, name: str) -> list[str]:
        """Return the usable versions of `name`, in natural order."""
        keys = [key for key in self._folders if key[0] == name]
        return sorted((key[1] for key in keys if isinstance(self._find(key), Bundle)), key=_natural)

    def resolve(self, ref: BundleRef | str) -> Bundle:
        """Return the bundle that `ref` means.

        Raises:
            RefError: The text is no reference.
            VersionRequiredError: It names no version; the versions are in the error.
            UnknownVerifierError: Nothing of that name and version is here.
            DigestMismatchError: The pin and the folder disagree.
            BundleError: The folder cannot be used; the reason is in the error.
            UnavailableError: The machine cannot read it now.
        """
        wanted = BundleRef.parse(ref) if isinstance(ref, str) else ref
        if wanted.version is None:
            versions = self.versions(wanted.name)
            if not versions:
                raise UnknownVerifierError(wanted.name, names=self._names())
            raise VersionRequiredError(wanted.name, versions)
        key = (wanted.name, wanted.version)
        if key not in self._folders:
            versions = self.versions(wanted.name)
            raise UnknownVerifierError(str(wanted), versions=versions, names=self._names())
        bundle = self._find(key)
        if isinstance(bundle, BundleError):
            raise bundle
        if wanted.digest is not None and wanted.digest != bundle.digest:
            name = f"{wanted.name}:{wanted.version}"
            raise DigestMismatchError(name, pinned=wanted.digest, found=bundle.digest, pinned_by="the pin")
        return bundle

    def _names(self) -> list[str]:
        return sorted({key[0] for key, _ in self._usable()})


def _bundle_folders(root: Path) -> Iterator[Path]:
    """Yield NAME/VERSION and NAMESPACE/NAME/VERSION folders that hold a manifest."""
    for pattern in (f"*/*/{MANIFEST_NAME}", f"*/*/*/{MANIFEST_NAME}"):
        for manifest in sorted(root.glob(pattern)):
            yield manifest.parent


def _read_checked(folder: Path, claimed: tuple[str, str], published: PublishedList) -> Bundle:
    bundle = read_bundle(folder)
    found = (bundle.manifest.name, bundle.manifest.version)
    if found != claimed:
        raise BundleError(
            f"{folder / MANIFEST_NAME} says {found[0]}:{found[1]}, its folder says "
            f"{claimed[0]}:{claimed[1]}: make the two agree."
        )
    pinned = published.get(claimed)
    if pinned is not None and pinned != bundle.digest:
        name = f"{claimed[0]}:{claimed[1]}"
        raise DigestMismatchError(name, pinned=pinned, found=bundle.digest, pinned_by="published.toml")
    return bundle


def _natural(version: str) -> list[tuple[int, int, str]]:
    parts = re.findall(r"\d+|\D+", version)
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in parts]
