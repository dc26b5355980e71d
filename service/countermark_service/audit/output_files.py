"""The files of an audit: which are meant, what is read with them, and their digests."""

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from countermark_service.audit.formats import document_format, record_format
from countermark_service.audit.readers.containers import look
from countermark_service.audit.readers.lines import InputFileError
from countermark_service.audit.work_file import Input

_HASHED_BYTES = 1 << 20

Progress = Callable[[int], None]
"""Hears how many bytes are done."""


class NoOutputsError(InputFileError):
    """Nothing that was named can be read."""

    code = "no_outputs"


@dataclass(frozen=True)
class OutputFile:
    """A file to read."""

    path: Path
    name: str
    """As it is called in messages and rows."""
    named: bool
    """True where the caller named it; a file that a folder holds may be something else than outputs."""
    beside: bool = False
    """True where it is read with another one, as the scores of a HELM run are."""


def find_files(outputs: Sequence[str], besides: Path | None = None) -> list[OutputFile]:
    """Return the files that are meant, in order: files, everything below folders, and what is read with them.

    Each is there once. What is read with a file is an input like any other: numbers depend on it.

    Args:
        outputs: Paths of files and folders.
        besides: A folder whose files are not meant: that of the audit itself, which may lie among its inputs.

    Raises:
        InputFileError: One does not exist or is neither file nor folder, has a name that is no UTF-8, or a folder
            is empty.
    """
    found: dict[Path, OutputFile] = {}
    for output in outputs:
        path = Path(output)
        _written(output)
        if path.is_dir():
            below = [
                each
                for each in sorted(path.rglob("*"))
                if each.is_file()
                and not any(part.startswith(".") for part in each.relative_to(path).parts)
                and (besides is None or not each.resolve().is_relative_to(besides.resolve()))
            ]
            if not below:
                raise NoOutputsError(output, "holds no file")
            for each in below:
                name = f"{output.rstrip('/')}/{each.relative_to(path).as_posix()}"
                found.setdefault(each.resolve(), OutputFile(each, _written(name), False))
        elif path.is_file():
            found[path.resolve()] = OutputFile(path, output, True)
        elif path.exists() or output == "-":
            raise NoOutputsError(output, "is no regular file; an audit names its inputs by digest")
        else:
            raise NoOutputsError(output, "does not exist")
    for path in [path for file in list(found.values()) for path in _read_with(file)]:
        there = found.get(path.resolve(), OutputFile(path, _written(str(path)), False))
        found[path.resolve()] = replace(there, beside=True)
    return list(found.values())


def spoken(name: str) -> str:
    """Return the name of a file as a text that can be written: bytes in it that are no UTF-8 are shown as escapes."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _written(name: str) -> str:
    """Return the name of an input, which rows, tasks and findings are named by; raises `InputFileError`."""
    if spoken(name) != name:
        raise NoOutputsError(
            spoken(name),
            "has a name that is no text here (no UTF-8, or of another locale), and so cannot be cited: rename it",
        )
    return name


def _read_with(file: OutputFile) -> Sequence[Path]:
    """Return the files that are read with one; what a look shows is not kept, there may be many files."""
    try:
        one = look(file.path, file.name, {})
    except InputFileError:
        return []  # reading says it
    document = document_format(one)
    if document is not None:
        return document.beside(one)
    found = record_format(one, any_table=file.named) if one.first else None
    return [] if found is None else found.beside(one)


def describe(file: OutputFile, progress: Progress) -> Input:
    """Return size and digest of a file; raises `InputFileError`."""
    digest = hashlib.sha256()
    size = 0
    try:
        with file.path.open("rb") as stream:
            while data := stream.read(_HASHED_BYTES):
                digest.update(data)
                size += len(data)
                progress(len(data))
    except OSError as exc:
        raise InputFileError(file.name, f"cannot be read: {exc.strerror}") from exc
    return Input(file.name, size, digest.hexdigest())
