"""`countermark release lock`: references become pins."""

from pathlib import Path

import typer

from countermark_service.cli.options import CardArgument, DataOption, JsonOption, command_settings


def lock(card: CardArgument = Path(), data: DataOption = None, as_json: JsonOption = False) -> None:
    """Write the digests into a card: of its verifiers, and of its files of outputs.

    Example: `countermark release lock`

    What carries a digest already is held to what is here and not changed. What is not here stays as it is,
    is said, and makes the exit code 1.
    """
    from countermark_service.assembly import build_registry
    from countermark_service.cli.console import note, print_json, show, table
    from countermark_service.cli.release.card_file import card_bytes, find_card, write_file
    from countermark_service.cli.release.locking import locked
    from countermark_service.releases import release_of

    file, release = find_card(card)
    found = locked(release, build_registry(command_settings(data)), file)
    if found.changes:
        write_file(file, card_bytes(found.document, file.read_bytes()))
    digest = release_of(found.document, file=str(file)).digest
    if as_json:
        print_json({"card": str(file), "digest": digest, "changes": found.changes, "open": found.open})
    else:
        rows = table("place", "now")
        for place, value in found.changes.items():
            rows.add_row(place, value)
        show(*([rows, ""] if found.changes else ["nothing to change"]), f"{file} {digest}")
        for place, why in found.open.items():
            note(f"still open: {place}: {why}")
    if found.open:
        raise typer.Exit(1)
