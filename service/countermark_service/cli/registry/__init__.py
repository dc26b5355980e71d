"""`countermark registry …`: questions about everything that is here, one file per command."""

import typer

from countermark_service.cli.registry.who_uses import who_uses

app = typer.Typer(help="Ask about everything that is registered here.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Keep the group a group: with one command, typer would take its name away."""


app.command("who-uses")(who_uses)
