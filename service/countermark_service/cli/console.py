"""How commands print: tables for people, JSON for programs, progress on a terminal only.

What was asked for goes to standard output; whatever else there is to say (progress,
notes, errors) goes to standard error, so that output can be piped. Rich is loaded
by whoever prints with it: `countermark serve` does not.
"""

import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO

from countermark_service.errors import CountermarkError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress
    from rich.table import Table
    from rich.text import Text

_PIPED_WIDTH = 120
"""Columns of a table that goes to a file or a pipe, unless COLUMNS says otherwise."""
_LEAST_WIDTH = 12
"""Columns that a text of a table has, however narrow the terminal is."""
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""What a terminal obeys in place of showing it, save tabs and line ends; marks of the reading direction among them."""
_DIGEST = re.compile(r"\S*sha256:[0-9a-f]{64}\S*")
"""A pin or a digest that is whole, with what stands at it."""
_OF_A_LIST = re.compile(r"\s|[-*|#>]|\d+[.)]\s")


class ClosedOutputError(CountermarkError):
    """Standard output was closed before the start, and what a command makes should go there."""

    code = "closed_output"

    def __init__(self) -> None:
        super().__init__("standard output is closed, so that all output would be lost. Name a file for it.")


def harmless(text: str) -> str:
    """Return text in which what a terminal would obey is written as an escape: models and servers write it, too."""
    lines = text.replace("\r\n", "\n")
    return _CONTROLS.sub(lambda found: found.group().encode("unicode_escape").decode(), lines)


def output() -> BinaryIO:
    """Return standard output for what a command makes, as opposed to what it says.

    Raises:
        ClosedOutputError: It was closed before the start.
    """
    if sys.__stdout__ is None:
        raise ClosedOutputError
    return sys.stdout.buffer


def console(*, stderr: bool = False) -> "Console":
    """Return a console for tables and sentences; texts from bundles and responses are never markup."""
    import os

    from rich.console import Console

    class Terminal(Console):
        """A console on which texts can be read and nothing else: none of them moves the cursor or turns the line."""

        def render_str(self, text: str, **options: Any) -> "Text":
            return super().render_str(harmless(text), **options)

    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() or "COLUMNS" in os.environ else _PIPED_WIDTH
    return Terminal(stderr=stderr, width=width, highlight=False, markup=False, emoji=False, soft_wrap=False)


def table(*texts: str, numbers: Sequence[str] = (), caption: str | None = None) -> "Table":
    """Return an empty table: columns for `texts`, then for `numbers`.

    The first column names things and is not folded; what is long in the others is.
    """
    from rich import box
    from rich.table import Table

    made = Table(
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1, 0, 0),
        show_edge=False,
        caption=caption,
        caption_justify="left",
        caption_style="none",
    )
    for place, name in enumerate(texts):
        made.add_column(name, overflow="fold", no_wrap=place == 0)
    for name in numbers:
        made.add_column(name, justify="right")
    return made


def show(*parts: Any, stderr: bool = False) -> None:
    """Print tables and sentences, each on lines of its own.

    A pin is never broken over two lines, however narrow the terminal is: people copy it. In a
    file or a pipe, lines go without the blanks that fill them up.
    """
    screen = console(stderr=stderr)
    if screen.is_terminal:
        _print_parts(screen, parts)
        return
    with screen.capture() as captured:
        _print_parts(screen, parts)
    for line in captured.get().splitlines():
        print(line.rstrip(), file=screen.file)


def _print_parts(screen: "Console", parts: Sequence[Any]) -> None:
    from rich.table import Table

    for part in parts:
        if isinstance(part, Table):
            least = _readable_width(part)
            part.width = least if least > screen.width else part.width
            screen.print(part, crop=False)
        else:
            screen.print(part, soft_wrap=isinstance(part, str) and (" " not in part or "@sha256:" in part))


def _readable_width(made: "Table") -> int:
    """Give columns a least width, and return that of the table: numbers and pins are whole, texts fold to words.

    A terminal that is narrower breaks the lines itself; to leave out a digit, or a column, would be worse.
    """
    from rich.cells import cell_len

    for column in made.columns:
        lines = [line for cell in column.cells for line in str(cell).splitlines()]
        widest = max(map(cell_len, lines), default=0)
        heading = max(map(cell_len, str(column.header).split()), default=0)
        whole = column.no_wrap or column.justify == "right"
        pins = [pin for cell in column.cells for pin in _DIGEST.findall(str(cell))]
        pinned = max(map(cell_len, pins), default=0)
        column.min_width = max(heading, widest if whole else min(widest, _LEAST_WIDTH), pinned)
    return sum(column.min_width or 0 for column in made.columns) + len(made.columns)


def reflowed(text: str) -> str:
    """Return a text with the lines of each paragraph joined, so that it is broken where the terminal ends.

    A line that begins with a blank, a dash or a number stays a line of its own, as one of a list or a table does.
    """
    made: list[str] = []
    for line in text.strip().splitlines():
        joins = (
            made and made[-1] and line.strip() and not _OF_A_LIST.match(line) and not made[-1][0].isspace()
        )
        if joins:
            made[-1] += " " + line.rstrip()
        else:
            made.append(line.rstrip())
    return "\n".join(made)


def print_json(value: object, *, stderr: bool = False) -> None:
    """Print `value` as indented JSON and nothing else."""
    import json

    import msgspec

    stream = sys.stderr if stderr else sys.stdout
    try:
        text = msgspec.json.format(msgspec.json.encode(value, enc_hook=str), indent=2).decode()
        text.encode(stream.encoding)
    except UnicodeEncodeError:  # a name of a file that is no UTF-8, or a stream that holds less than Unicode
        text = json.dumps(msgspec.to_builtins(value, enc_hook=str), indent=2)
    print(text, file=stream)


def note(text: str) -> None:
    """Say something beside the output."""
    print(harmless(text), file=sys.stderr)


def counted(count: int, noun: str) -> str:
    """Write a number with its noun."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def short_digest(digest: str) -> str:
    """Return the head of a digest, for tables: enough to tell versions apart, not to pin one."""
    return digest[: len("sha256:") + 12]


@contextmanager
def progress(*columns: Any) -> "Iterator[Progress]":
    """Show a progress display on standard error while the block runs; nothing where that is no terminal."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    shown = columns or (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(
        *shown, console=console(stderr=True), transient=True, disable=not sys.stderr.isatty()
    ) as bar:
        yield bar
