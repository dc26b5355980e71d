"""Which release a command is about: a file, or one that is registered in the data folder."""

from pathlib import Path

from countermark_service.cli.options import command_settings
from countermark_service.cli.release.card_file import find_card
from countermark_service.releases import Release


def find_release(named: Path, data: Path | None) -> Release:
    """Return the card in a file or folder, or the registered one of that name.

    Raises:
        CardError: The file is no card.
        CountermarkError: There is no such file, and no such release.
    """
    text = str(named)
    if not named.exists() and ":" in text and not text.endswith(".json"):
        from countermark_service.assembly import build_releases

        return build_releases(command_settings(data)).resolve(text)
    return find_card(named)[1]
