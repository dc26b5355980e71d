"""Which bundle a command is about, and which list of published ones it stands under."""

from pathlib import Path

from countermark_service.assembly import build_registry
from countermark_service.bundles import Bundle, read_bundle
from countermark_service.errors import (
    BundleError,
    DigestMismatchError,
    RefError,
    UnknownVerifierError,
    VersionRequiredError,
)
from countermark_service.registry import read_published
from countermark_service.settings import Settings


def find_bundle(name: str, settings: Settings) -> Bundle:
    """Return the bundle in the folder `name`, or that the reference `name` means.

    Raises:
        BundleError: The folder's bundle cannot be used; names file, key and value.
        CountermarkError: There is no such folder, and no such verifier.
    """
    if Path(name).is_dir():
        return read_bundle(Path(name).resolve())
    try:
        return build_registry(settings).resolve(name)
    except (RefError, UnknownVerifierError) as exc:
        if "/" not in name or ":" in name or isinstance(exc, VersionRequiredError):
            raise
        raise BundleError(f"{name} is no folder of a bundle here, and no verifier either: {exc}") from exc


def bundle_root(bundle: Bundle) -> Path | None:
    """Return the folder of bundles that `bundle` lies in; None where its own folder is not NAME/VERSION."""
    folder = Path(bundle.origin)
    own = Path(bundle.manifest.name, bundle.manifest.version).parts
    return folder.parents[len(own) - 1] if folder.parts[-len(own) :] == own else None


def refuse_change(bundle: Bundle, root: Path) -> None:
    """Refuse a bundle that was published with other content.

    Raises:
        DigestMismatchError: It was.
    """
    manifest = bundle.manifest
    known = read_published(root).get((manifest.name, manifest.version))
    if known is not None and known != bundle.digest:
        name = f"{manifest.name}:{manifest.version}"
        raise DigestMismatchError(name, pinned=known, found=bundle.digest, pinned_by="published.toml")
