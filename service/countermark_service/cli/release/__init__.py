"""`countermark release …`: one file per command."""

import typer

from countermark_service.cli.release.check import check
from countermark_service.cli.release.diff import diff
from countermark_service.cli.release.embed import embed
from countermark_service.cli.release.extract import extract
from countermark_service.cli.release.init import init
from countermark_service.cli.release.list import list_
from countermark_service.cli.release.lock import lock
from countermark_service.cli.release.register import register
from countermark_service.cli.release.schema import schema
from countermark_service.cli.release.show import show

app = typer.Typer(help="Write, prove, compare and register release cards.", no_args_is_help=True)
app.command("init")(init)
app.command("lock")(lock)
app.command("check")(check)
app.command("show")(show)
app.command("diff")(diff)
app.command("embed")(embed)
app.command("extract")(extract)
app.command("register")(register)
app.command("list")(list_)
app.command("schema")(schema)
