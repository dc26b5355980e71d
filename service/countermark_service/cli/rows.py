"""Rows of a JSONL or CSV file, one at a time, each with the line that it begins on.

People's files hold what they hold: other column names, byte-order marks, half a
gzip, a line of 80 MB. A row that cannot be scored is a `BadRow` with its line and
what to do, and the reader goes on behind it; only a file that cannot be read on is
an error. One row is in memory at a time.
"""

import csv
import gzip
import io
import sys
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal, cast

import msgspec

from countermark_service.errors import CountermarkError
from countermark_service.model import Item, last_assistant_text

LARGEST_LINE = 64 << 20
"""Bytes of one line; a longer one is a bad row."""

_GZIP_MAGIC = b"\x1f\x8b"
_decode = msgspec.json.Decoder(dict[str, Any]).decode

RowFormat = Literal["jsonl", "csv"]


class InputFileError(CountermarkError):
    """A file of rows that cannot be opened or read on."""

    code = "invalid_input_file"

    def __init__(self, file: str, problem: str) -> None:
        super().__init__(f"{file}: {problem}.")
        self.file, self.problem = file, problem


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
            raw: Bytes, gzip or not.
            columns: Where an item's parts are.
            params: Parameters of every row; a row's own win.
            row_format: ``jsonl`` or ``csv``; by default as the name ends, else ``jsonl``.
        """
        self.name = name
        self._raw = raw
        self._columns = columns
        self._params = dict(params)
        stem = name.lower().removesuffix(".gz")
        self._format = row_format or ("csv" if stem.endswith(".csv") else "jsonl")
        self._line = 0

    def __enter__(self) -> "Rows":
        return self

    def __exit__(self, *exc: object) -> None:
        self._raw.close()

    def position(self) -> int:
        """How many bytes of the file, as it is stored, are read."""
        return self._raw.tell()

    def __iter__(self) -> Iterator[Row | BadRow]:
        """Yield every row, in order.

        Raises:
            InputFileError: The file cannot be read on, or a CSV lacks a column.
        """
        stream = self._unpacked()
        try:
            yield from self._csv(stream) if self._format == "csv" else self._jsonl(stream)
        except (OSError, EOFError, zlib.error) as exc:
            packed = isinstance(exc, (gzip.BadGzipFile, EOFError, zlib.error))
            problem = f"cannot be read behind line {self._line}: {exc}"
            raise InputFileError(
                self.name, f"{problem} (a damaged gzip file)" if packed else problem
            ) from exc

    def _unpacked(self) -> BinaryIO:
        packed = self._raw.peek(2)[:2] == _GZIP_MAGIC
        return cast("BinaryIO", gzip.GzipFile(fileobj=self._raw)) if packed else self._raw

    def _lines(self, stream: BinaryIO) -> Iterator[bytes | None]:
        """Yield each line with its end, None for one that is too long; count them in `_line`."""
        while line := stream.readline(LARGEST_LINE + 1):
            self._line += 1
            if len(line) <= LARGEST_LINE:
                yield line.removeprefix(b"\xef\xbb\xbf") if self._line == 1 else line
                continue
            while line and not line.endswith(b"\n"):
                line = stream.readline(LARGEST_LINE)
            yield None

    # --- JSON lines ----------------------------------------------------------------------------------

    def _jsonl(self, stream: BinaryIO) -> Iterator[Row | BadRow]:
        for line in self._lines(stream):
            if line is None:
                yield BadRow(self._line, f"the line has over {LARGEST_LINE} bytes; no response is that long")
            elif line.strip():
                yield self._row_of_json(line)

    def _row_of_json(self, line: bytes) -> Row | BadRow:
        try:
            found = _decode(line)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
            return BadRow(self._line, _json_problem(exc))
        return self._row(self._line, found)

    # --- CSV -----------------------------------------------------------------------------------------

    def _csv(self, stream: BinaryIO) -> Iterator[Row | BadRow]:
        csv.field_size_limit(LARGEST_LINE)
        # surrogateescape: a byte that is not UTF-8 spoils its row and no other; encoding it again finds it
        texts = (self._whole(line).decode("utf-8", "surrogateescape") for line in self._lines(stream))
        reader = csv.reader(texts, strict=True)
        header = self._csv_header(reader)
        while True:
            begins = self._line + 1
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as exc:
                yield BadRow(begins, f"not CSV: {exc}; quote fields that hold quotes, commas or line ends")
                continue
            if cells:
                yield self._row_of_csv(begins, header, cells)

    def _whole(self, line: bytes | None) -> bytes:
        if line is None:  # which row it belongs to, and where that ends, is not known any more
            raise InputFileError(self.name, f"line {self._line} has over {LARGEST_LINE} bytes")
        return line

    def _csv_header(self, reader: "Iterator[list[str]]") -> list[str]:
        try:
            header = next(reader)
        except (StopIteration, csv.Error):
            raise InputFileError(self.name, "has no header line, which names the columns of a CSV") from None
        for name in (self._columns.response, self._columns.reference):
            if name not in header:
                shown = ", ".join(header)[:200]
                raise InputFileError(
                    self.name, f"has no column {name!r} but {shown}; name yours with --response-column "
                    "and --reference-column",
                )  # fmt: skip
        if len(set(header)) != len(header):
            raise InputFileError(self.name, "names a column twice in its header; rename one")
        return header

    def _row_of_csv(self, line: int, header: list[str], cells: list[str]) -> Row | BadRow:
        if len(cells) != len(header):
            return BadRow(line, f"has {len(cells)} fields, the header has {len(header)}")
        found: dict[str, Any] = dict(zip(header, cells, strict=True))
        for name, cell in found.items():
            try:
                cell.encode()
            except UnicodeEncodeError:
                return BadRow(line, f"column {name!r} is not UTF-8; convert the file")
        params = found.pop(self._columns.params, "")
        if params.strip():
            try:
                found[self._columns.params] = _decode(params)
            except (msgspec.MsgspecError, RecursionError) as exc:
                return BadRow(line, f"column {self._columns.params!r} is no JSON object: {exc}")
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


def _json_problem(exc: Exception) -> str:
    text = str(exc)
    if isinstance(exc, RecursionError):
        return "is nested too deeply"
    if isinstance(exc, UnicodeDecodeError):
        return f"is not UTF-8: {exc.reason} at byte {exc.start}"
    if "got `array`" in text:
        return "holds a list: write one object a line (`jq -c '.[]'` turns a list into lines)"
    if "surrogate" in text:
        return f"holds half of a surrogate pair, which is no character: {text}"
    return f"is no JSON object: {text}"


def _kind(value: object) -> str:
    names = {type(None): "null", bool: "true or false", list: "a list", dict: "an object", str: "text"}
    return names.get(type(value), "a number")
