"""`countermark advisory …`: one file per command."""

import typer

from countermark_service.cli.advisory.add import add
from countermark_service.cli.advisory.list import list_
from countermark_service.cli.advisory.withdraw import withdraw

app = typer.Typer(help="Mark verifiers and releases as bad, with a reason.", no_args_is_help=True)
app.command("add")(add)
app.command("list")(list_)
app.command("withdraw")(withdraw)
