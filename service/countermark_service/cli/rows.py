"""Rows of a JSONL or CSV file, one at a time, each with the line that it begins on.

People's files hold what they hold: other column names, byte-order marks, half a
gzip, a line of 80 MB. A row that cannot be scored is a `BadRow` with its line and
what to do, and the reader goes on behind it; only a file that cannot be read on is
an error. One row is in memory at a time.
"""

import io
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any, Literal, cast

from countermark_service.audit.readers.containers import PARQUET_MAGIC, ZIP_MAGIC, other_kind
from countermark_service.audit.readers.lines import (
    GZIP_MAGIC,
    LARGEST_LINE,
    ZSTD_MAGIC,
    CsvTable,
    InputFileError,
    Lines,
    read_object,
)
from countermark_service.model import Item, last_assistant_text

RowFormat = Literal["jsonl", "csv"]
_TABLES = (".csv", ".tsv")
_LOOKED_AT_BYTES = 4096
_PRINTED = re.compile(rb'(\xef\xbb\xbf)?\s*(\[\s*\n|\{\s*\n\s*")')
"""How JSON begins that is laid out for people."""


@dataclass(frozen=True)
class Columns:
    """Under which names a file has the parts of an item."""

    response: str = "response"
    reference: str = "reference"
    prompt: str = "prompt"
    id: str = "id"
    params: str = "params"


@dataclass(frozen=True, slots=True)
class Row:
    """A row that can be scored."""

    line: int
    """Number of the line it begins on, from 1."""
    id: str | int | float | None
    """The row's own name; it is only handed through."""
    item: Item


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that cannot be scored."""

    line: int
    problem: str
    """What is wrong with it and what to do, as a sentence without its end."""


class Rows:
    """The rows of one file, or of standard input; a context manager and an iterator."""

    def __init__(
        self,
        name: str,
        raw: io.BufferedReader,
        columns: Columns,
        params: Mapping[str, Any],
        row_format: RowFormat | None = None,
    ) -> None:
        """Read from `raw`, which this object closes.

        Args:
            name: Of the file, for messages and, without `row_format`, for the format.
            raw: Bytes, packed with gzip or zstd or not.
            columns: Where an item's parts are.
            params: Parameters of every row; a row's own win.
            row_format: ``jsonl`` or ``csv``; by default as the name ends, else ``jsonl``.
        """
        self.name = name
        self._raw = raw
        self._columns = columns
        self._wanted = frozenset(astuple(columns))
        self._params = dict(params)
        stem = name.lower().removesuffix(".gz").removesuffix(".zst")
        self._format = row_format or ("csv" if stem.endswith(_TABLES) else "jsonl")
        self._lines = Lines(name, raw)

    def __enter__(self) -> "Rows":
        return self

    def __exit__(self, *exc: object) -> None:
        self._raw.close()

    def position(self) -> int:
        """How many bytes of the file, as it is stored, are read."""
        return self._lines.position()

    def __iter__(self) -> Iterator[Row | BadRow]:
        """Yield every row, in order.

        Raises:
            InputFileError: The file holds no rows but something else, cannot be read on, or lacks a column as a CSV.
        """
        with self._lines.explained():
            said = _no_rows(self._raw.peek(_LOOKED_AT_BYTES)[:_LOOKED_AT_BYTES])
        if said is not None:
            raise InputFileError(self.name, said)
        yield from self._csv() if self._format == "csv" else self._jsonl()

    def _jsonl(self) -> Iterator[Row | BadRow]:
        for line in self._lines:
            number = self._lines.number
            if line is None:
                yield BadRow(number, f"the line has over {LARGEST_LINE} bytes; no response is that long")
            elif line.strip():
                found = read_object(line, self._wanted)
                yield BadRow(number, found) if isinstance(found, str) else self._row(number, found)

    def _csv(self) -> Iterator[Row | BadRow]:
        table = CsvTable(self._lines)
        for name in (self._columns.response, self._columns.reference):
            if name not in table.header:
                shown = ", ".join(table.header)[:200]
                raise InputFileError(
                    self.name, f"has no column {name!r} but {shown}; name yours with --response-column "
                    "and --reference-column",
                )  # fmt: skip
        for line, found in table:
            yield BadRow(line, found) if isinstance(found, str) else self._row_of_csv(line, dict(found))

    def _row_of_csv(self, line: int, found: dict[str, Any]) -> Row | BadRow:
        params = found.pop(self._columns.params, "")
        if params.strip():
            read = read_object(params.encode(), of_a_file=False)
            if isinstance(read, str):
                return BadRow(line, f"column {self._columns.params!r} {read}")
            found[self._columns.params] = read
        for name in (self._columns.prompt, self._columns.id):
            if found.get(name) == "":
                del found[name]
        return self._row(line, found)

    # --- what both become ----------------------------------------------------------------------------

    def _row(self, line: int, found: dict[str, Any]) -> Row | BadRow:
        columns = self._columns
        for name, option in (
            (columns.response, "--response-column"),
            (columns.reference, "--reference-column"),
        ):
            if name not in found:
                keys = ", ".join(map(repr, found))[:200] or "nothing"
                return BadRow(line, f"has no {name!r} but {keys}; name another column with {option}")
        response = found[columns.response]
        if isinstance(response, list) and all(isinstance(message, dict) for message in response):
            response = last_assistant_text(response)
            if response is None:
                return BadRow(line, f"{columns.response!r} has no assistant message with text")
        if not isinstance(response, str):
            return BadRow(
                line, f"{columns.response!r} is {_kind(response)}; it must be text, or chat messages"
            )
        prompt, row_id = found.get(columns.prompt), found.get(columns.id)
        params = found.get(columns.params)
        if prompt is not None and not isinstance(prompt, str):
            return BadRow(line, f"{columns.prompt!r} is {_kind(prompt)}; it must be text")
        if row_id is not None and (isinstance(row_id, bool) or not isinstance(row_id, (str, int, float))):
            return BadRow(line, f"{columns.id!r} is {_kind(row_id)}; it must be text or a number")
        if params is not None and not isinstance(params, dict):
            return BadRow(line, f"{columns.params!r} is {_kind(params)}; it must be an object")
        merged = {**self._params, **(params or {})}
        return Row(line, row_id, Item(response, found[columns.reference], merged, prompt))


def open_rows(
    file: str, columns: Columns, params: Mapping[str, Any], row_format: RowFormat | None = None
) -> Rows:
    """Open a file of rows, ``-`` for standard input; see `Rows`.

    Raises:
        InputFileError: It cannot be opened.
    """
    if file == "-":
        return Rows(
            "standard input", cast("io.BufferedReader", sys.stdin.buffer), columns, params, row_format
        )
    try:
        raw = Path(file).open("rb")  # noqa: SIM115 - `Rows` closes it
    except OSError as exc:
        raise InputFileError(file, f"cannot be opened: {exc.strerror}") from exc
    return Rows(file, raw, columns, params, row_format)


def _no_rows(head: bytes) -> str | None:
    """Return what a file is, by its first bytes as they are stored, where it holds no rows; else None."""
    if head.startswith(PARQUET_MAGIC):
        return "the file is Parquet; `countermark audit` reads that, or write its table as JSON lines"
    if head.startswith(ZIP_MAGIC):
        return "the file is a ZIP archive; unpack it and name the file of rows"
    if head.startswith((GZIP_MAGIC, ZSTD_MAGIC)):
        return None
    if _PRINTED.match(head):
        return "the file is one document over many lines; write one object a line (`jq -c '.[]'` does with a list)"
    return other_kind(head)


def _kind(value: object) -> str:
    names = {type(None): "null", bool: "true or false", list: "a list", dict: "an object", str: "text"}
    return names.get(type(value), "a number")
