"""Finds bundles in folders and answers which one a reference means.

Folders come in order: the operator's, then the ones shipped with Countermark. A
bundle that cannot be used (malformed, or not what was published) is kept with
its reason: asking for it raises that reason, the others go on.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from countermark_service.bundles import Bundle, read_bundle
from countermark_service.bundles.manifest import MANIFEST_NAME
from countermark_service.errors import (
    BundleError,
    DigestMismatchError,
    UnknownVerifierError,
    VersionRequiredError,
)
from countermark_service.model import BundleRef
from countermark_service.registry.children import check_children
from countermark_service.registry.published import PublishedList, read_published

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
        """Read all bundles below `roots`.

        Raises:
            BundleError: A root is missing or its published list cannot be read.
        """
        self._roots = list(roots)
        self._bundles: dict[tuple[str, str], Bundle] = {}
        self._broken: dict[tuple[str, str], BundleError] = {}
        for root in self._roots:
            if not root.is_dir():
                raise BundleError(
                    f"the bundle folder {root} does not exist: create it or drop it from the settings."
                )
            self._read_root(root)
        self._break_composites()

    def _break_composites(self) -> None:
        """Put composites aside whose children are not usable, until what is left is sound."""
        while True:
            bad = {
                key: exc for key, one in self._bundles.items() if (exc := self._child_fault(one)) is not None
            }
            if not bad:
                return
            for key, exc in bad.items():
                del self._bundles[key]
                self._broken[key] = exc

    def _child_fault(self, bundle: Bundle) -> BundleError | None:
        try:
            check_children(bundle, self)
        except BundleError as exc:
            return exc
        return None

    def _read_root(self, root: Path) -> None:
        published = read_published(root)
        for folder in _bundle_folders(root):
            claimed = (folder.parent.relative_to(root).as_posix(), folder.name)
            try:
                bundle = _read_checked(folder, claimed, published)
            except BundleError as exc:
                if claimed not in self._bundles:
                    self._broken.setdefault(claimed, exc)
                continue
            self._add(claimed, bundle)

    def _add(self, key: tuple[str, str], bundle: Bundle) -> None:
        known = self._bundles.get(key)
        if known is None:
            if key not in self._broken:
                self._bundles[key] = bundle
        elif known.digest != bundle.digest:
            del self._bundles[key]
            self._broken[key] = BundleError(
                f"{key[0]}:{key[1]} is in two folders with different content: {known.origin} "
                f"({known.digest}) and {bundle.origin} ({bundle.digest}). Give one of them another version."
            )

    def __iter__(self) -> Iterator[Bundle]:
        """Every usable bundle, by name, then version in natural order."""
        for _, bundle in sorted(
            self._bundles.items(), key=lambda entry: (entry[0][0], _natural(entry[0][1]))
        ):
            yield bundle

    @property
    def broken(self) -> dict[str, BundleError]:
        """Why some folders are not usable, by `name:version`."""
        return {f"{name}:{version}": exc for (name, version), exc in self._broken.items()}

    def versions(self, name: str) -> list[str]:
        """Return the versions of `name`, in natural order."""
        return sorted((v for n, v in self._bundles if n == name), key=_natural)

    def resolve(self, ref: BundleRef | str) -> Bundle:
        """Return the bundle that `ref` means.

        Raises:
            RefError: The text is no reference.
            VersionRequiredError: It names no version; the versions are in the error.
            UnknownVerifierError: Nothing of that name and version is here.
            DigestMismatchError: The pin and the folder disagree.
            BundleError: The folder cannot be used; the reason is in the error.
        """
        wanted = BundleRef.parse(ref) if isinstance(ref, str) else ref
        if wanted.version is None:
            versions = self.versions(wanted.name)
            if not versions:
                raise UnknownVerifierError(wanted.name, names=sorted({name for name, _ in self._bundles}))
            raise VersionRequiredError(wanted.name, versions)
        key = (wanted.name, wanted.version)
        if key in self._broken:
            raise self._broken[key]
        bundle = self._bundles.get(key)
        if bundle is None:
            names = sorted({name for name, _ in self._bundles})
            raise UnknownVerifierError(str(wanted), versions=self.versions(wanted.name), names=names)
        if wanted.digest is not None and wanted.digest != bundle.digest:
            name = f"{wanted.name}:{wanted.version}"
            raise DigestMismatchError(name, pinned=wanted.digest, found=bundle.digest, pinned_by="the pin")
        return bundle


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
