"""`countermark verifier import`: a bundle out of an archive, with no index in reach."""

import errno
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from countermark_service.cli.options import DataOption, JsonOption, command_settings
from countermark_service.errors import (
    BundleError,
    DigestMismatchError,
    UnknownVerifierError,
)

if TYPE_CHECKING:
    from countermark_service.bundles import Bundle
    from countermark_service.registry import Registry


def import_(
    archive: Annotated[Path, typer.Argument(help="A file that `countermark verifier export` wrote.")],
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take a bundle and its wheels out of an archive.

    Example: `countermark verifier import math-verify-0.9.0.zip`

    The archive may come from anywhere: its digest, and every wheel's hash, are checked before anything is
    taken. The bundle goes to `bundles` in the data folder and the wheels to `wheels`, where environments
    look first. A service that runs sees the bundle after a restart.
    """
    from countermark_service.assembly import build_registry, imported_bundles, imported_wheels
    from countermark_service.cli.console import note, print_json
    from countermark_service.engine.nursery import platform_name
    from countermark_service.registry.archive import read_archive

    settings = command_settings(data)
    found = read_archive(archive)
    bundle = found.bundle
    known = _known(build_registry(settings), bundle)
    try:
        wheels = found.copy_wheels(imported_wheels(settings))
        folder = imported_bundles(settings) / bundle.manifest.name / bundle.manifest.version
        if known is None and not _install(bundle, settings.data, folder):
            known = _known(build_registry(settings), bundle)  # another import was faster
            if known is None:
                raise BundleError(
                    f"{folder} is in the way: it holds something, and no verifier. Move it away."
                )
        folder = Path(known.origin) if known else folder
    except OSError as exc:
        raise BundleError(f"{settings.data} cannot be written: {exc.strerror} ({exc.filename}).") from exc
    if as_json:
        print_json({"verifier": str(bundle.ref), "folder": str(folder), "wheels": [w.name for w in wheels]})
    else:
        print(bundle.ref)
        note(f"{'was already in' if known else 'is now in'} {folder}; {len(wheels)} wheels are at hand")
    made_for = found.facts.platform
    if made_for != platform_name() and any(not wheel.name.endswith("-any.whl") for wheel in wheels):
        note(f"The wheels are for {made_for}, this machine is {platform_name()}: some will not fit.")


def _known(registry: "Registry", bundle: "Bundle") -> "Bundle | None":
    """Return the bundle of that name and version that is here already.

    Raises:
        DigestMismatchError: It has another content.
        BundleError: It is here, and not usable.
    """
    manifest = bundle.manifest
    name = f"{manifest.name}:{manifest.version}"
    try:
        known = registry.resolve(name)
    except UnknownVerifierError:
        return None
    if known.digest != bundle.digest:
        raise DigestMismatchError(name, pinned=known.digest, found=bundle.digest, pinned_by=known.origin)
    return known


def _install(bundle: "Bundle", data: Path, target: Path) -> bool:
    """Write the bundle on the disk of its place and move it there whole; return whether the place was free."""
    from countermark_service.engine.snapshot import SCRATCHES
    from countermark_service.sandbox.scratch import Scratch

    target.parent.mkdir(parents=True, exist_ok=True)
    with Scratch(data / SCRATCHES) as scratch:
        fresh = scratch.new("import")
        for path, content in bundle.files.items():
            file = fresh / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        fresh.chmod(0o755)
        try:
            fresh.rename(target)
        except OSError as exc:
            if exc.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            return False
    return True
