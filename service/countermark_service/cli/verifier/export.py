"""`countermark verifier export`: a bundle and its wheels in one file."""

from pathlib import Path
from typing import Annotated

import typer

from countermark_service.cli.options import DataOption, JsonOption, command_settings
from countermark_service.errors import BundleError


def export(
    ref: Annotated[str, typer.Argument(help="`name:version`, a pin with digest, or a folder.")],
    out: Annotated[Path, typer.Option(help="The archive to write.")],
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write a bundle with its wheels into one archive.

    Example: `countermark verifier export math-verify:0.9.0-r2 --out math-verify-0.9.0.zip`

    The archive still builds and runs when every index has forgotten the packages. The wheels in it are
    those for this machine's platform. The same bundle gives the same bytes.
    """
    from countermark_service.assembly import imported_wheels
    from countermark_service.cli.console import note, print_json
    from countermark_service.cli.verifier.subject import bundle_root, find_bundle, refuse_change
    from countermark_service.engine.nursery import platform_name
    from countermark_service.engine.wheelhouse import collect_wheels
    from countermark_service.registry.archive import write_archive
    from countermark_service.sandbox.scratch import Scratch

    settings = command_settings(data)
    bundle = find_bundle(ref, settings)
    root = bundle_root(bundle)
    if root is not None:
        refuse_change(bundle, root)
    with Scratch() as scratch:
        folder = scratch.new("export")
        for lock in bundle.locks:
            collect_wheels(
                lock,
                bundle.manifest.python or "",
                folder,
                wheelhouses=[imported_wheels(settings)],
                offline=settings.offline,
                label=f"{bundle.manifest.name}:{bundle.manifest.version}",
            )
        wheels = sorted(folder.glob("*.whl"))
        try:
            write_archive(bundle, wheels, platform=platform_name(), into=out)
        except OSError as exc:
            raise BundleError(f"{out} cannot be written: {exc.strerror}. Name another with --out.") from exc
        names, size = [wheel.name for wheel in wheels], out.stat().st_size
    if as_json:
        print_json({"verifier": str(bundle.ref), "archive": str(out), "bytes": size, "wheels": names})
    else:
        print(bundle.ref)
        note(f"{out}: {len(names)} wheels, {size / 2**20:.1f} MiB")
