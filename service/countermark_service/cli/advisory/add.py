"""`countermark advisory add`: what became known of a version after it was published."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from countermark_service.cli.options import DataOption, JsonOption, command_settings
from countermark_service.errors import CountermarkError

if TYPE_CHECKING:
    from countermark_service.settings import Settings


def add(
    subject: Annotated[
        str, typer.Argument(help="Verifier or release: `name:version` of one that is here, or a pin of any.")
    ],
    reason: Annotated[str, typer.Option(help="What is wrong, for whoever meets it in an answer.")],
    yank: Annotated[
        bool, typer.Option("--yank", help="It is no longer to be used; without it, it is a warning.")
    ] = False,
    release: Annotated[bool, typer.Option("--release", help="SUBJECT is a release, not a verifier.")] = False,
    replacement: Annotated[str, typer.Option(help="What to use instead, as `name:version` or a pin.")] = "",
    url: Annotated[str, typer.Option(help="Where more is to be read.")] = "",
    date: Annotated[
        str, typer.Option(help="When it became known [default: today].", show_default=False)
    ] = "",
    shipped: Annotated[
        bool,
        typer.Option("--shipped", help="Write it beside the verifier's published.toml, to travel with it."),
    ] = False,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Add an advisory, to the operator's own list in the data folder.

    Example: `countermark advisory add math-verify:0.8.0-r2 --yank --reason "Accepts empty answers."`

    A service that runs takes notice within a second, and from then on says so in every answer. Nothing
    stops working: old scores must be computed again by what made them. A service with refuse_yanked set
    refuses what is yanked.
    """
    from countermark_service.assembly import own_advisories
    from countermark_service.cli.console import note, print_json
    from countermark_service.registry import ADVISORIES_NAME, append_advisory, make_advisory

    settings = command_settings(data)
    pin, root = _pin(subject, settings, release=release)
    file = own_advisories(settings)
    if shipped:
        if root is None:
            raise typer.BadParameter(
                "only a verifier that is here can have it beside itself", param_hint="--shipped"
            )
        file = root / ADVISORIES_NAME
    made = make_advisory(
        pin,
        "yanked" if yank else "warning",
        reason,
        subject="release" if release else "verifier",
        date=date or datetime.now(UTC).date().isoformat(),
        replacement=replacement,
        url=url,
    )
    added = append_advisory(file, made)
    if as_json:
        print_json({**made.document(), "file": str(file), "added": added})
        return
    print(made.id)
    note(f"{made.kind}: {made.pin}; {'added to' if added else 'was already in'} {file}")


def _pin(subject: str, settings: "Settings", *, release: bool) -> tuple[str, Path | None]:
    """Return the pin that is meant, and the folder of bundles that it is in.

    A pin is taken as it is where nothing of the kind is here: what is bad may be gone already.
    """
    from countermark_service.assembly import build_registry, build_releases
    from countermark_service.cli.verifier.subject import bundle_root
    from countermark_service.model import BundleRef
    from countermark_service.releases import parse_release_ref

    try:
        if release:
            return str(build_releases(settings).resolve(subject).ref), None
        bundle = build_registry(settings).resolve(subject)
    except CountermarkError:
        ref = parse_release_ref(subject) if release else BundleRef.parse(subject)
        if ref.version is None or not ref.pinned:
            raise
        return str(ref), None
    return str(bundle.ref), bundle_root(bundle)
