"""`countermark release embed`: the card in the files that others read."""

from pathlib import Path
from typing import Annotated

import typer

from countermark_service.cli.options import CardArgument, JsonOption
from countermark_service.kept import read_small

_LARGEST_TARGET = 64 << 20
"""Bytes; a Croissant file may name very many others."""


def embed(
    card: CardArgument = Path(),
    into: Annotated[
        list[Path] | None,
        typer.Option(
            help="README.md with YAML at its head, or a Croissant file. May be given many times "
            "[default: README.md and croissant.json beside the card].",
            show_default=False,
        ),
    ] = None,
    whole: Annotated[
        bool, typer.Option("--whole", help="Put the card itself into the README as well.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Name a card in a dataset card (README.md) and in a Croissant file.

    Example: `countermark release embed --into README.md --into croissant.json`

    The README gets one key, `countermark`, with the card's digest and pins; every other byte stays. A
    Croissant file gets the card as a literal, its file with SHA-256, and the pins. Doing it again replaces
    what was there.
    """
    import os

    from countermark_service.cli.console import print_json
    from countermark_service.cli.release.card_file import find_card, write_file
    from countermark_service.releases import CardError
    from countermark_service.releases.croissant import embed_in_croissant, is_croissant
    from countermark_service.releases.readme import embed_in_readme

    file, release = find_card(card)
    beside = [file.parent / name for name in ("README.md", "croissant.json")]
    targets = into or [one for one in beside if one.is_file()]
    if not targets:
        raise CardError(
            str(file.parent), "", "has neither README.md nor croissant.json; name a file with --into"
        )
    made: dict[Path, bytes] = {}
    for target in targets:
        content = read_target(target)
        path = Path(os.path.relpath(file.resolve(), target.resolve().parent)).as_posix()
        if path.startswith("../"):
            raise CardError(
                str(target), "", f"must lie beside the card or above it, so that both travel; {file} does not"
            )
        if is_croissant(content):
            made[target] = embed_in_croissant(
                content, release, file.read_bytes(), card=path, file=str(target)
            )
        else:
            text = text_of(content, target)
            made[target] = embed_in_readme(text, release, whole=whole, card=path, file=str(target)).encode()
    for target, content in made.items():  # all can be made, or none is written
        write_file(target, content)
    if as_json:
        print_json({"release": str(release.ref), "files": [str(target) for target in made]})
    else:
        for target in made:
            print(f"{target} names {release.card.name}:{release.card.version} {release.digest}")


def read_target(file: Path) -> bytes:
    """Return the bytes of a file.

    Raises:
        CardError: It cannot be read.
    """
    from countermark_service.releases import CardError

    try:
        return read_small(file, most=_LARGEST_TARGET)
    except OSError as exc:
        raise CardError(str(file), "", f"cannot be read: {exc.strerror or exc}") from exc


def text_of(content: bytes, file: Path) -> str:
    """Return the text in the bytes of a file.

    Raises:
        CardError: It is not UTF-8.
    """
    from countermark_service.releases import CardError

    try:
        return content.decode()
    except UnicodeDecodeError as exc:
        raise CardError(str(file), "", f"is not UTF-8: {exc.reason} at byte {exc.start}") from exc
