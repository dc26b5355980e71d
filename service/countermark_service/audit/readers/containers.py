"""Files that hold records: JSON lines, a JSON list, Parquet, CSV.

One record is in memory at a time, or one small batch of a Parquet file. What a
record means is for the record formats.
"""

import csv
import io
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from countermark_service.audit.readers.interface import HEAD_BYTES, InputFile
from countermark_service.audit.readers.json_stream import JsonStream
from countermark_service.audit.readers.lines import (
    LARGEST_LINE,
    CsvTable,
    InputFileError,
    Lines,
    delimiter_of,
    explained,
    read_loose_object,
    read_up_to,
    unpacked,
)
from countermark_service.audit.rows import Unusable

ZIP_MAGIC = b"PK\x03\x04"
PARQUET_MAGIC = b"PAR1"
_LOOKED_AT_LINES = 20
_ROW_GROUP_BYTES = 2 << 30
"""A Parquet file is read by row groups; a larger one does not fit the memory."""
_BATCH = 64
_SHOWN_BYTES = 16


def look(path: Path, name: str, columns: Mapping[str, str]) -> InputFile:
    """Look at the head of a file.

    Raises:
        InputFileError: It cannot be opened or unpacked.
    """
    file = InputFile(path, name, columns=columns)
    with opened(path, name) as raw, explained(name):
        magic = raw.peek(4)[:4]
        if magic == ZIP_MAGIC:
            file.kind = "zip"
        elif magic == PARQUET_MAGIC:
            file.kind = "parquet"
            file.first = dict.fromkeys(_parquet(path, name).schema_arrow.names)
        else:
            _look_at_text(file, read_up_to(unpacked(name, raw), HEAD_BYTES))
    return file


@contextmanager
def opened(path: Path, name: str) -> Iterator[io.BufferedReader]:
    """Open a file; raises `InputFileError` where that is not possible."""
    try:
        raw = path.open("rb")
    except OSError as exc:
        raise InputFileError(name, f"cannot be opened: {exc.strerror}") from exc
    with raw:
        yield raw


def _look_at_text(file: InputFile, head: bytes) -> None:
    """Say what a text is. A broken line at its beginning does not hide what the others are."""
    if wide_encoding(head) or _ends_in_cr(head) or _is_tar(head):
        return
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if text[:1] == b"[":
        file.kind, file.is_list = "json", True
        _look_at_document(file, text)
        return
    whole = len(head) < HEAD_BYTES
    lines = text.split(b"\n")
    printed = lines[0].rstrip() == b"{"  # a document over many lines, of which some may well be objects
    for line in lines[
        : 0 if printed else _LOOKED_AT_LINES if whole else min(_LOOKED_AT_LINES, len(lines) - 1)
    ]:
        if line.lstrip()[:1] == b"{":
            found = read_loose_object(line)
            if isinstance(found, dict):
                # One object on one line is a file of one line; document formats look at it first.
                file.kind, file.first = "jsonl", found
                file.is_alone = whole and not b"".join(lines[1:]).strip()
                return
    if text[:1] == b"{":
        # The first object goes on behind its first line, or behind the head.
        file.kind = "json" if b"\n" in text else "jsonl"
        _look_at_document(file, text)
    elif b"\x00" not in head and (header := _header(lines[0])):
        file.kind = "csv"
        file.first = dict.fromkeys(header)


def _look_at_document(file: InputFile, text: bytes) -> None:
    first: dict[str, Any] = {}
    stream = JsonStream(file.name, _stream(text))
    try:
        for member, _, value in stream:
            if file.is_list:
                file.first = value if isinstance(value, dict) else {}
                return
            first[str(member)] = value
    except InputFileError:
        # The head ends, or the file does not go on as it began: reading says which.
        if stream.member is not None:
            first.setdefault(stream.member, None)
    if not first and file.is_list:
        inner = InputFile(file.path, file.name)
        _look_at_document(inner, text[1:].lstrip())
        first = dict(inner.first)
    file.first = first


def head_of(file: InputFile) -> bytes:
    """Return what a file begins with, unpacked.

    Raises:
        InputFileError: It cannot be opened or unpacked.
    """
    with opened(file.path, file.name) as raw, explained(file.name):
        return read_up_to(unpacked(file.name, raw), HEAD_BYTES)


def lists_in(file: InputFile) -> Iterator[InputFile]:
    """Yield an object in JSON once for each of its members that is a list of records, as far as its head shows.

    Raises:
        InputFileError: It cannot be opened or unpacked.
    """
    head = head_of(file)
    try:
        for member, place, value in JsonStream(file.name, _stream(head), lists=file.first):
            if member is not None and place == 1 and isinstance(value, dict):
                yield replace(file, kind="json", member=member, first=value)
    except InputFileError:
        return  # the head ends


def records(file: InputFile) -> Iterator[tuple[int, dict[str, Any] | Unusable]]:
    """Yield every record with its place in the file, or why it is none.

    Raises:
        InputFileError: The file cannot be read on.
    """
    if file.kind == "parquet":
        return _parquet_records(file)
    return {"jsonl": _json_lines, "json": _json_list, "csv": _csv_records}[file.kind](file)


def _json_lines(file: InputFile) -> Iterator[tuple[int, dict[str, Any] | Unusable]]:
    with opened(file.path, file.name) as raw:
        lines = Lines(file.name, raw)
        for line in lines:
            number = lines.number
            if line is None:
                problem = f"line {number} has over {LARGEST_LINE} bytes; no response is that long"
                yield number, file.unusable(number, "line_too_long", problem)
            elif line.strip():
                found = read_loose_object(line)
                if isinstance(found, str):
                    cut = not line.endswith(b"\n") and "truncated" in found
                    hint = "; it is the last line and has no end: the file is cut off" if cut else ""
                    found_here = file.unusable(number, "not_json", f"line {number} {found}{hint}")
                    yield number, found_here
                else:
                    yield number, found


def _json_list(file: InputFile) -> Iterator[tuple[int, dict[str, Any] | Unusable]]:
    with opened(file.path, file.name) as raw, explained(file.name):
        lists = () if file.member is None else (file.member,)
        for member, place, value in JsonStream(file.name, unpacked(file.name, raw), lists):
            if member != file.member or not place:
                continue
            if isinstance(value, dict):
                yield place, value
            else:
                problem = f"element {place} of the list is no object"
                yield place, file.unusable(place, "not_json", problem)


def _csv_records(file: InputFile) -> Iterator[tuple[int, dict[str, Any] | Unusable]]:
    with opened(file.path, file.name) as raw:
        for line, found in CsvTable(Lines(file.name, raw)):
            if isinstance(found, str):
                yield line, file.unusable(line, "not_csv", f"line {line}: {found}")
            else:
                yield line, dict(found)


def _stream(data: bytes) -> io.BufferedReader:
    return io.BufferedReader(io.BytesIO(data))


def _header(line: bytes) -> list[str]:
    """Return the columns that a first line names; nothing where it is no header of several."""
    text = line.decode("utf-8", "replace").strip("\r\n\ufeff")
    delimiter = delimiter_of(text)
    try:
        return next(csv.reader([text], delimiter=delimiter), []) if delimiter else []
    except csv.Error:
        return []


def wide_encoding(head: bytes) -> str | None:
    """Return the name of an encoding in which a character takes two or four bytes, where a text is in one."""
    name = json.detect_encoding(head)
    if not head or name.startswith("utf-8"):
        return None
    begins = head[:64].decode(name, "ignore").lstrip("\ufeff")[:1]
    return name[:6].upper() if begins.isprintable() or begins.isspace() else None


def _ends_in_cr(head: bytes) -> bool:
    """Whether the lines of a text end in CR alone: no LF, and CR not at its very end only."""
    return b"\n" not in head and b"\r" in head.rstrip()


_FOREIGN: Mapping[bytes, str] = {
    b"BZh": "is packed with bzip2; unpack it",
    b"\xfd7zXZ": "is packed with xz; unpack it",
    b"7z\xbc\xaf": "is a 7z archive; unpack it and name the files",
    b"ARROW1": "is an Arrow file; write its table as Parquet",
    b"\x89HDF": "is an HDF5 file; write its table as Parquet or JSON lines",
    b"SQLite format 3": "is an SQLite database; write its table as CSV or JSON lines",
    b"\x80\x04": "is a pickle, which runs programs when it is read; write it as JSON lines or Parquet",
    b"\x80\x05": "is a pickle, which runs programs when it is read; write it as JSON lines or Parquet",
    b"version https://git-lfs": "is a pointer of Git LFS and not the file itself; `git lfs pull` fetches that",
}
"""What files begin with that are of a known kind which is not read, and what to do."""
_TAR_AT, _TAR = 257, b"ustar"


def _is_tar(head: bytes) -> bool:
    return head[_TAR_AT : _TAR_AT + len(_TAR)] == _TAR


def other_kind(head: bytes) -> str | None:
    """Return what a file is that holds no lines of UTF-8, as a sentence without its end; None where it may.

    Args:
        head: What it begins with, unpacked.
    """
    if encoding := wide_encoding(head):
        return f"the file is {encoding}; convert it to UTF-8 (`iconv -f {encoding} -t UTF-8` does)"
    for magic, said in _FOREIGN.items():
        if head.startswith(magic):
            return f"the file {said}"
    if _is_tar(head):
        return "the file is a tar archive; unpack it and name the files"
    if _ends_in_cr(head):
        return "the lines of the file end in CR alone; write LF instead (`tr '\\r' '\\n'` does)"
    return None


def what_it_is(head: bytes) -> str:
    """Say of a file that is of no kind which is read what it is instead, as a sentence without its end.

    Args:
        head: What it begins with, unpacked.
    """
    if not head.strip():
        return "the file is empty" if not head else "the file holds nothing but blank lines"
    if (said := other_kind(head)) is not None:
        return said
    if head.lstrip()[:1] in (b"{", b"["):
        found = read_loose_object(head.strip().partition(b"\n")[0])
        if isinstance(found, str):
            return f"the file begins like JSON, but its first line {found}"
    return (
        "the file is none of JSON, JSON lines, CSV, Parquet or an Inspect log: it begins with "
        f"{head[:_SHOWN_BYTES]!r}"
    )


def _parquet(path: Path, name: str) -> Any:
    try:
        # Here, because few need it and it takes long to load; it has no types of its own.
        import pyarrow  # type: ignore[import-untyped]
        import pyarrow.parquet  # type: ignore[import-untyped]
    except ImportError as exc:
        raise InputFileError(name, "is a Parquet file: pip install 'countermark[audit]'") from exc
    try:
        table = pyarrow.parquet.ParquetFile(path, pre_buffer=False)
        _ = table.schema_arrow.names  # names may be what no reader can decode
    except (pyarrow.ArrowException, OSError, ValueError) as exc:
        raise InputFileError(name, f"is no whole Parquet file: {_one_line(exc)}") from exc
    return table


def _parquet_records(file: InputFile) -> Iterator[tuple[int, dict[str, Any] | Unusable]]:
    import pyarrow

    table = _parquet(file.path, file.name)
    row = 0
    wanted = list(file.wanted) or None
    with table:
        for group in range(table.num_row_groups):
            meta = table.metadata.row_group(group)
            if meta.total_byte_size > _ROW_GROUP_BYTES:
                problem = (
                    f"row group {group} (rows {row + 1} to {row + meta.num_rows}) has "
                    f"{meta.total_byte_size} bytes, the limit is {_ROW_GROUP_BYTES}; write smaller row groups"
                )
                yield row + 1, file.unusable(row + 1, "row_group_too_large", problem)
                row += meta.num_rows
                continue
            try:
                for batch in table.iter_batches(_BATCH, [group], wanted, use_threads=False):
                    for record in _batch_records(batch):
                        row += 1
                        if record is None:
                            problem = f"row {row} holds text that is not UTF-8"
                            yield row, file.unusable(row, "not_utf8", problem)
                        else:
                            yield row, record
            except (pyarrow.ArrowException, OSError, ValueError) as exc:
                raise InputFileError(file.name, f"cannot be read behind row {row}: {_one_line(exc)}") from exc


def _batch_records(batch: Any) -> Iterator[dict[str, Any] | None]:
    """Yield the rows of a batch, None for one whose texts are no UTF-8."""
    try:
        yield from batch.to_pylist()
    except UnicodeDecodeError:
        for place in range(batch.num_rows):
            try:
                yield batch.slice(place, 1).to_pylist()[0]
            except UnicodeDecodeError:
                yield None


def _one_line(exc: Exception) -> str:
    return " ".join(str(exc).split())[:300].rstrip(".")
