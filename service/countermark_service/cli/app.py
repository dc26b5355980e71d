"""The `countermark` command: its parts, and how it ends.

Three endings, three exit codes: an error that is expected 1, interrupted 130, and
3 for a bug. No ending shows a traceback, save a bug's with COUNTERMARK_DEBUG set.
"""

import errno
import io
import os
import signal
import sys
import traceback
from pathlib import Path
from typing import NoReturn

import typer

from countermark_service import __version__
from countermark_service.cli.access import app as access
from countermark_service.cli.advisory import app as advisory
from countermark_service.cli.attribute import attribute
from countermark_service.cli.audit import audit
from countermark_service.cli.console import harmless
from countermark_service.cli.demo import demo
from countermark_service.cli.doctor import doctor
from countermark_service.cli.judge import app as judge
from countermark_service.cli.keys import app as keys
from countermark_service.cli.receipt import app as receipt
from countermark_service.cli.registry import app as registry
from countermark_service.cli.release import app as release
from countermark_service.cli.score import score
from countermark_service.cli.serve import serve
from countermark_service.cli.settings import settings
from countermark_service.cli.verifier import app as verifier
from countermark_service.errors import CountermarkError

_AUDIT_EXTRA = frozenset({"jinja2", "numpy", "pyarrow", "ruamel", "scipy", "zstandard"})
"""Packages that come with the extra `audit` alone."""

app = typer.Typer(
    name="countermark",
    help="Scores model outputs with verifiers that cannot change under you.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)
app.command()(serve)
app.command()(score)
app.command()(audit)
app.command()(attribute)
app.command()(demo)
app.command()(doctor)
app.command()(settings)
app.add_typer(verifier, name="verifier")
app.add_typer(release, name="release")
app.add_typer(registry, name="registry")
app.add_typer(advisory, name="advisory")
app.add_typer(judge, name="judge")
app.add_typer(access, name="access")
app.add_typer(receipt, name="receipt")
app.add_typer(keys, name="keys")


@app.callback(invoke_without_command=True)
def _root(version: bool = typer.Option(False, "--version", help="Print the version and end.")) -> None:
    if version:
        typer.echo(__version__)
        raise typer.Exit


_NO_BUGS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.ENAMETOOLONG})
"""Errors that only the machine or the caller can mend, wherever they are met."""


_LEFT_IGNORED = frozenset({
    signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGPIPE, signal.SIGXFSZ,
    signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU,
})  # fmt: skip
"""Signals by which a terminal, or whoever starts programs, is heard or not: `nohup` and shells have some ignored.
Python itself ignores those about pipes and files."""


def run() -> None:
    """Run the command line and end the process with its code."""
    _hear_signals()
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # it was closed before the start: what is said goes nowhere
            # Not closed by us: a standard stream is open for as long as the process runs.
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 - see above
    if sys.stdin is None:  # closed as well: what is read from it fails, as it does in every other program
        sys.stdin = os.fdopen(os.open(os.devnull, os.O_WRONLY), "r", encoding="utf-8")
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        # As standard error has it: a name of a file, or a line around a table, may be more than its encoding holds.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        app()
    except CountermarkError as exc:
        typer.echo(f"countermark: {harmless(str(exc))}", err=True)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    except ModuleNotFoundError as exc:
        if (exc.name or "").partition(".")[0] not in _AUDIT_EXTRA:
            _end_with_bug(exc)
        typer.echo(f"countermark: this command needs {exc.name}: pip install 'countermark[audit]'.", err=True)
        sys.exit(1)
    except OSError as exc:
        if exc.errno not in _NO_BUGS:
            _end_with_bug(exc)
        typer.echo(f"countermark: {str(exc.filename or 'the output')[:200]}: {exc.strerror}.", err=True)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what is still to be written would fail once more
        sys.exit(1)
    except Exception as exc:  # noqa: BLE001 - the edge of the program: a bug ends it with one line, not a page
        _end_with_bug(exc)


def _hear_signals() -> None:
    """Undo what started us has blocked or ignored: both are inherited, by what we start as well.

    No end of a child would be heard of, in bubblewrap neither; and what ends one program would not end another.
    """
    signal.pthread_sigmask(signal.SIG_UNBLOCK, signal.valid_signals())
    for number in signal.valid_signals() - _LEFT_IGNORED:
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)


def _end_with_bug(exc: Exception) -> NoReturn:
    if os.environ.get("COUNTERMARK_DEBUG"):
        traceback.print_exc()
    typer.echo(f"countermark: a bug: {exc!r}. Set COUNTERMARK_DEBUG=1 to see where.", err=True)
    sys.exit(3)
