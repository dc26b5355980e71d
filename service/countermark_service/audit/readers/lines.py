"""Lines of people's files: packed or not, with a bound on everything.

People's files hold what they hold: byte-order marks, half a gzip, a line of 80 MB,
a packed file that unpacks to a terabyte. A line that is too long is said and
skipped; only a file that cannot be read on is an error. One line is in memory at a
time. What a line means is not known here.
"""

import csv
import gzip
import io
import json
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Any

import msgspec

from countermark_service.errors import CountermarkError
from countermark_service.model.json_text import read_parts, read_value

LARGEST_LINE = 64 << 20
"""Bytes of one line; a longer one is a bad row."""

GZIP_MAGIC = b"\x1f\x8b"
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"

_MOST_TIMES = 1000
"""A packed file that unpacks to more than this many times its size is no honest one."""
_FREE_BYTES = 256 << 20
"""Up to here nobody counts."""
_ZSTD_READ = 4096
"""Bytes that are unpacked at once: at worst they become 128 MiB."""
_ZSTD_WINDOW = 1 << 27
_DELIMITERS = ",\t;|"

DAMAGE = (OSError, EOFError, zlib.error)
"""What reading a file raises where it is not whole."""

_decode = msgspec.json.Decoder(dict[str, Any]).decode


class InputFileError(CountermarkError):
    """A file of rows that cannot be opened or read on."""

    code = "invalid_input_file"

    def __init__(self, file: str, problem: str) -> None:
        super().__init__(f"{file}: {problem}.")
        self.file, self.problem = file, problem


class Lines:
    """The lines of one file; counts them, and unpacks what gzip or zstd has packed."""

    def __init__(self, name: str, raw: io.BufferedReader) -> None:
        """Read from `raw`, which the caller closes; `name` is for messages."""
        self.name = name
        self.number = 0
        """Number of the line that was read last, from 1."""
        self._raw = raw

    def position(self) -> int:
        """How many bytes of the file, as it is stored, are read."""
        return self._raw.tell()

    def __iter__(self) -> Iterator[bytes | None]:
        """Yield each line with its end, None for one that is too long.

        Raises:
            InputFileError: The file cannot be read on.
        """
        with self.explained():
            stream = unpacked(self.name, self._raw)
            while line := stream.readline(LARGEST_LINE + 1):
                self.number += 1
                if len(line) <= LARGEST_LINE:
                    yield line.removeprefix(b"\xef\xbb\xbf") if self.number == 1 else line
                    continue
                while line and not line.endswith(b"\n"):
                    line = stream.readline(LARGEST_LINE)
                yield None

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Turn what reading raises into an `InputFileError` with the line."""
        with explained(self.name, lambda: f"cannot be read behind line {self.number}"):
            yield


@contextmanager
def explained(name: str, where: Any = lambda: "cannot be read") -> Iterator[None]:
    """Turn what reading a file raises into an `InputFileError`; `where` says how far it was read."""
    try:
        yield
    except DAMAGE as exc:
        packed = isinstance(exc, (gzip.BadGzipFile, EOFError, zlib.error))
        problem = f"{where()}: {exc}"
        raise InputFileError(name, f"{problem} (a damaged packed file)" if packed else problem) from exc


def read_up_to(stream: io.BufferedReader, size: int) -> bytes:
    """Return the next `size` bytes, or those before the end or before damage; raises only where there are none."""
    parts: list[bytes] = []
    try:
        while size > 0 and (more := stream.read1(size)):
            parts.append(more)
            size -= len(more)
    except DAMAGE:
        if not parts:
            raise
    return b"".join(parts)


def unpacked(name: str, raw: io.BufferedReader) -> io.BufferedReader:
    """Return the content of `raw`: as it is, or unpacked where its first bytes say gzip or zstd.

    Reading raises OSError, EOFError or zlib.error for a damaged file, and `InputFileError` for one that unpacks
    to over 256 MiB and 1000 times its size.
    """
    head = raw.peek(4)[:4]
    if head.startswith(GZIP_MAGIC):
        packed: io.RawIOBase | gzip.GzipFile = gzip.GzipFile(fileobj=raw)
    elif head == ZSTD_MAGIC:
        packed = _Zstd(name, raw)
    else:
        return raw
    return io.BufferedReader(_Bounded(name, raw, packed), 1 << 16)


class _Bounded(io.RawIOBase):
    """Unpacked bytes, up to what an honest file can hold."""

    def __init__(self, name: str, raw: io.BufferedReader, packed: io.RawIOBase | gzip.GzipFile) -> None:
        self._name, self._raw, self._packed = name, raw, packed
        self._given = 0
        self._damage: Exception | None = None

    def readable(self) -> bool:
        return True

    def _unpack(self, buffer: Any) -> int:
        """Unpack some bytes: what stands before a damage is given before the damage is raised."""
        if isinstance(self._packed, gzip.GzipFile):
            # `readinto` wants them all, and gives none where some are damaged.
            data = self._packed.read1(len(buffer))
            buffer[: len(data)] = data
            return len(data)
        return self._packed.readinto(buffer) or 0

    def readinto(self, buffer: Any) -> int:
        if self._damage is not None:  # whoever took what stood before it asks again
            raise self._damage
        try:
            count = self._unpack(buffer)
        except DAMAGE as exc:
            self._damage = exc
            raise
        self._given += count
        if self._given > _FREE_BYTES and self._given > _MOST_TIMES * max(self._raw.tell(), 1):
            raise InputFileError(
                self._name, f"unpacks to over {_MOST_TIMES} times its size, as no file of outputs does"
            )
        return count


class _Zstd(io.RawIOBase):
    """Zstandard frames, one behind the other; a file that is cut off is an error, not an end."""

    def __init__(self, name: str, raw: io.BufferedReader) -> None:
        try:
            import zstandard
        except ImportError as exc:
            raise InputFileError(name, "is packed with zstd: pip install 'countermark[audit]'") from exc
        self._raw = raw
        self._unpacker = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW)
        self._error = zstandard.ZstdError
        self._frame = self._unpacker.decompressobj()
        self._begun = False
        self._ready = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._ready:
            data = self._frame.unused_data if self._frame.eof else b""
            data = data or self._raw.read(_ZSTD_READ)
            if not data:
                if self._begun and not self._frame.eof:
                    raise EOFError("it ends in the middle of a frame")
                return 0
            if self._frame.eof:
                self._frame = self._unpacker.decompressobj()
            self._begun = True
            try:
                self._ready = memoryview(self._frame.decompress(data))
            except self._error as exc:
                raise EOFError(str(exc)) from exc
        count = min(len(buffer), len(self._ready))
        buffer[:count] = self._ready[:count]
        self._ready = self._ready[count:]
        return count


def read_object(
    line: bytes, wanted: Collection[str] | None = None, *, of_a_file: bool = True
) -> dict[str, Any] | str:
    """Return the JSON object in a line, or what is wrong with it as a sentence without its end.

    It is read as a request is: no key twice, no number that would be rounded. Values under other keys than
    `wanted` are left unread, as whoever wrote them meant them for somebody else. What is not `of_a_file` but one
    object by itself gets no advice on lines.
    """
    found: dict[str, Any] = {}
    try:
        for key, part in read_parts(line).items():
            found[key] = read_value(part) if wanted is None or key in wanted else part
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
        problem = json_problem(exc)
        return problem if of_a_file else problem.partition(": write one object a line")[0]
    return found


def read_loose_object(line: bytes) -> dict[str, Any] | str:
    """Read a line of other people's results: the last of repeated keys counts, and numbers are rounded.

    What Python's own writer puts into files is taken: NaN, Infinity, numbers without measure.
    Half of a surrogate pair stays refused: it is no character and has no UTF-8 form.
    """
    try:
        return _decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
        problem = json_problem(exc)
    try:
        found = json.loads(line.decode())  # of bytes, Python would guess at UTF-16
        json.dumps(found, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        return problem
    return found if isinstance(found, dict) else problem


def json_problem(exc: Exception) -> str:
    """Say what is wrong with a line of JSON."""
    text = str(exc)
    if isinstance(exc, RecursionError):
        return "is nested too deeply"
    if isinstance(exc, UnicodeDecodeError):
        return f"is not UTF-8: {exc.reason} at byte {exc.start}"
    if "got `array`" in text:
        return "holds a list: write one object a line (`jq -c '.[]'` turns a list into lines)"
    if "surrogate" in text:
        return f"holds half of a surrogate pair, which is no character: {text}"
    if "is given twice" in text or "more digits" in text:
        return f"cannot be read: {text}"
    if "trailing characters" in text:
        return "holds something behind its JSON object: write one object a line (`jq -c .` does)"
    return f"is no JSON object: {text}"


def delimiter_of(header: str) -> str | None:
    """Return what separates the columns in a first line: comma, tab, semicolon or bar; None where there is one."""
    best = max(_DELIMITERS, key=header.count)
    return best if best in header else None


class CsvTable:
    """The rows of a CSV file under its header, which shows by what they are separated."""

    def __init__(self, lines: Lines) -> None:
        """Read the header.

        Raises:
            InputFileError: There is none, or it names a column twice.
        """
        csv.field_size_limit(LARGEST_LINE)
        self._lines = lines
        # surrogateescape: a byte that is not UTF-8 spoils its row and no other; encoding it again finds it
        texts = (self._whole(line).decode("utf-8", "surrogateescape") for line in lines)
        first = next(texts, "")
        delimiter = delimiter_of(first) or _DELIMITERS[0]
        self._reader = csv.reader(chain([first], texts), strict=True, delimiter=delimiter)
        try:
            self.header = next(self._reader)
        except csv.Error:
            self.header = []
        if not self.header:
            raise InputFileError(lines.name, "has no header line, which names the columns of a CSV")
        if len(set(self.header)) != len(self.header):
            raise InputFileError(lines.name, "names a column twice in its header; rename one")

    def _whole(self, line: bytes | None) -> bytes:
        if line is None:  # which row it belongs to, and where that ends, is not known any more
            raise InputFileError(self._lines.name, f"line {self._lines.number} has over {LARGEST_LINE} bytes")
        return line

    def __iter__(self) -> Iterator[tuple[int, dict[str, str] | str]]:
        """Yield the line that a row begins on, and its cells by column or what is wrong with it.

        Raises:
            InputFileError: The file cannot be read on.
        """
        while True:
            begins = self._lines.number + 1
            try:
                cells = next(self._reader)
            except StopIteration:
                return
            except csv.Error as exc:
                yield begins, f"not CSV: {exc}; quote fields that hold quotes, commas or line ends"
                continue
            if cells:
                yield begins, self._row(cells)

    def _row(self, cells: list[str]) -> dict[str, str] | str:
        if len(cells) != len(self.header):
            fields = "1 field" if len(cells) == 1 else f"{len(cells)} fields"
            return f"has {fields}, the header has {len(self.header)}"
        found = dict(zip(self.header, cells, strict=True))
        for name, cell in found.items():
            try:
                cell.encode()
            except UnicodeEncodeError:
                return f"column {name!r} is not UTF-8; convert the file"
        return found
