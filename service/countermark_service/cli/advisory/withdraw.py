"""`countermark advisory withdraw`: an advisory that was wrong."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from countermark_service.cli.options import DataOption, JsonOption, command_settings


def withdraw(
    advisory_id: Annotated[
        str, typer.Argument(metavar="ID", help="As `countermark advisory list` shows it.")
    ],
    reason: Annotated[str, typer.Option(help="Why it does not stand.")],
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take back an advisory of the operator's own list; both entries stay to be read.

    Example: `countermark advisory withdraw adv-0a1b2c3d4e5f --reason "It was the data."`
    """
    from countermark_service.assembly import own_advisories
    from countermark_service.cli.console import note, print_json
    from countermark_service.registry import append_withdrawal

    file = own_advisories(command_settings(data))
    found = append_withdrawal(file, advisory_id, reason, date=datetime.now(UTC).date().isoformat())
    if as_json:
        print_json(found.document() | {"withdrawn": reason})
        return
    note(f"{found.pin} is no longer marked as {found.kind} by {advisory_id}")
