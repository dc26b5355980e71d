"""`countermark verifier publish`: the promise that a version stays what it is."""

from typing import Annotated

import typer

from countermark_service.cli.options import DataOption, JsonOption, command_settings
from countermark_service.errors import BundleError


def publish(
    bundle: Annotated[str, typer.Argument(help="Folder of a bundle, or `name:version`.")],
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check a bundle, then add its digest to `published.toml` beside the bundles.

    Example: `countermark verifier publish verifiers/my-rules/1.0.0`

    From then on a changed folder is refused under that name and version. A version that was published
    with other content is refused at once: publish the change as a new version.
    """
    from countermark_service.cli.console import note, print_json
    from countermark_service.cli.verifier.check import check_bundle, print_report
    from countermark_service.cli.verifier.subject import bundle_root, find_bundle, refuse_change
    from countermark_service.registry import append_published

    settings = command_settings(data)
    found = find_bundle(bundle, settings)
    root = bundle_root(found)
    if root is None:
        manifest = found.manifest
        raise BundleError(
            f"{found.origin}/verifier.toml says {manifest.name}:{manifest.version}, so its folder must end "
            f"in {manifest.name}/{manifest.version}: make the two agree."
        )
    refuse_change(found, root)
    report = check_bundle(found, settings)
    if report.problems:
        if as_json:
            print_json(report.document())
        else:
            print_report(report)
        note(f"{found.ref.name}:{found.ref.version} is not published: mend what differs first.")
        raise typer.Exit(1)
    try:
        added = append_published(root, found.ref)
    except OSError as exc:
        raise BundleError(f"{root / 'published.toml'} cannot be written: {exc.strerror}.") from exc
    if as_json:
        print_json({"verifier": str(found.ref), "published": str(root / "published.toml"), "added": added})
    else:
        print(found.ref)
        note(f"{'added to' if added else 'was already in'} {root / 'published.toml'}")
