"""`countermark release extract`: the card out of the files that carry it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from countermark_service.releases import Release


def extract(
    file: Annotated[
        Path, typer.Argument(help="README.md or a Croissant file that carries a card or names one.")
    ],
    out: Annotated[Path | None, typer.Option(help="File for the card; without it, standard output.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file of --out.")] = False,
) -> None:
    """Take the release card out of a dataset card or a Croissant file, held to its digest.

    Example: `countermark release extract croissant.json --out countermark.json`

    A README that only names the card's file leads to that file, which must have the digest that the README
    names.
    """
    from countermark_service.cli.console import note, output
    from countermark_service.cli.release.card_file import card_bytes, write_file

    release = carried(file)
    content = card_bytes(release.document)
    if out is None:
        output().write(content)
    else:
        write_file(out, content, force=force)
    note(f"{release.card.name}:{release.card.version} {release.digest}")


def carried(file: Path) -> "Release":
    """Return the card that a file carries or names.

    Raises:
        CardError: It does neither, or the card is not the one that it names.
    """
    from countermark_service.cli.release.embed import read_target, text_of
    from countermark_service.releases import CardError, read_release_file
    from countermark_service.releases.croissant import extract_from_croissant, is_croissant
    from countermark_service.releases.readme import read_pointer

    content = read_target(file)
    if is_croissant(content):
        release = extract_from_croissant(content, file=str(file))
        if release is None:
            raise CardError(str(file), "interfaceCard", "is not there: the file carries no release card")
        return release
    pointer = read_pointer(text_of(content, file), file=str(file))
    if pointer is None:
        raise CardError(str(file), "countermark", "is not there: the file names no release card")
    release = pointer.release(file=str(file))
    if release is not None:
        return release
    folder = file.resolve().parent
    named = (folder / pointer.card).resolve()
    if not named.is_relative_to(folder):
        raise CardError(str(file), "countermark.card", f"{pointer.card!r} leads out of the file's folder")
    return pointer.held_to(read_release_file(named), file=str(file))
