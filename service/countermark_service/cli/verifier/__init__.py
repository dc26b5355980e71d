"""`countermark verifier …`: one file per command."""

import typer

from countermark_service.cli.verifier.build import build
from countermark_service.cli.verifier.check import check
from countermark_service.cli.verifier.export import export
from countermark_service.cli.verifier.import_ import import_
from countermark_service.cli.verifier.list import list_
from countermark_service.cli.verifier.new import new
from countermark_service.cli.verifier.publish import publish
from countermark_service.cli.verifier.show import show

app = typer.Typer(help="Look at, write, prove and move verifiers.", no_args_is_help=True)
app.command("list")(list_)
app.command("show")(show)
app.command("new")(new)
app.command("check")(check)
app.command("publish")(publish)
app.command("build")(build)
app.command("export")(export)
app.command("import")(import_)
