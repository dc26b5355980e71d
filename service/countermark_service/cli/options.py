"""Options that several commands share, and the settings that they lead to."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from countermark_service.settings import Settings

DataOption = Annotated[
    Path | None,
    typer.Option(
        help="Folder for environments, store and keys [default: COUNTERMARK_DATA, else "
        "~/.local/share/countermark].",
        show_default=False,
    ),
]
CardArgument = Annotated[
    Path,
    typer.Argument(metavar="CARD", help="The card's file, or the folder that has it as countermark.json."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


def command_settings(data: Path | None) -> "Settings":
    """Return the settings for a command that works and ends; warnings go to standard error, the rest nowhere.

    Raises:
        SettingsError: A setting cannot be used.
    """
    from countermark_service.cli.logs import configure_logs
    from countermark_service.settings import load_settings

    settings = load_settings({"data": data})
    configure_logs(settings.model_copy(update={"log_level": "warning"}))
    return settings
