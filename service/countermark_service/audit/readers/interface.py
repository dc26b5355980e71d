"""What a reader is: a name, a look at the content, and rows.

Two kinds of format exist. A *record* format is a kind of record (lm-eval's samples,
a rollout dump), whatever file holds its records: JSON lines, a JSON list, Parquet or
CSV (`containers`). A *document* format is a file of its own shape (an Inspect log, a
HELM run). A reader says what the file says. What becomes of it is the same for all
(which metric counts, whose columns win, what is a duplicate) and stands in `intake`.
Readers find their files by content: names differ, and lie.
"""

import ast
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol

import msgspec

from countermark_service.audit.rows import Unusable

HEAD_BYTES = 1 << 20
"""How much of a file is looked at to know its format."""


class Missing:
    """The type of `MISSING`."""

    def __repr__(self) -> str:
        return "MISSING"


MISSING = Missing()
"""What a file does not say; null is something that it says."""


class Found(msgspec.Struct):
    """One response, as a reader found it."""

    line: int
    """Where in the file, from 1, as in `OutputRow`."""
    task: str = ""
    """Empty where the format does not say."""
    variant: str = ""
    model: str = ""
    sample: str | None = None
    """Which question; None where the file does not say: then equal prompts are equal questions."""
    generation: int | None = None
    """Which response to it; None where the file does not number them: they are counted."""
    prompt: Any = None
    """Text, or chat messages."""
    response: Any = MISSING
    """Text, or chat messages of which the last answer counts."""
    reference: Any = MISSING
    params: Any = None
    metrics: dict[str, Any] = {}
    """Published scores by metric, best known first, as they stand in the file."""
    extras: dict[str, Any] = {}
    record: Any = None
    """What the file itself has at this place, for columns that the caller names."""
    place: int | None = None
    """Which of the responses in `record` this is, where it has a list of them."""


class Remark(msgspec.Struct, frozen=True):
    """What a reader of the audit should know of rows that are used."""

    line: int | None
    code: str
    message: str


Read = Found | Unusable | Remark
"""What a reader yields."""


@dataclass
class InputFile:
    """One file to read, after a look at its head."""

    path: Path
    name: str
    """As it is called in messages and rows."""
    kind: str = ""
    """Its container: ``jsonl``, ``json``, ``parquet``, ``csv``, ``zip``, or empty for none of them."""
    first: Mapping[str, Any] = field(default_factory=dict)
    """What the head shows of the first record, or of the document: its members; the last one is None where
    the head ends in it."""
    is_list: bool = False
    """For ``json``: whether the document is a list, so that `first` is of its first element."""
    is_alone: bool = False
    """For ``jsonl``: whether there is one line and no other, which is as well a document."""
    member: str | None = None
    """For ``json`` that is an object: the member that is a list of records, where one is."""
    wanted: Sequence[str] = ()
    """For ``parquet``: the columns, or parts of them, that its reader looks at; empty: all."""
    columns: Mapping[str, str] = field(default_factory=dict)
    """Parts of a row (`response`, `reference`, …) to the columns that the caller named for them."""

    def unusable(self, line: int | None, code: str, message: str) -> Unusable:
        """Say that a row (or all of the file, without `line`) cannot be used."""
        return Unusable(self.name, line, code, message)


class NothingBeside:
    """For formats whose files say everything themselves."""

    @staticmethod
    def beside(file: InputFile) -> Sequence[Path]:
        """Return nothing: no other file is read with it."""
        return []


class RecordReader(Protocol):
    """A record format; the classes of this folder satisfy it."""

    name: ClassVar[str]
    """Such as ``lm-eval``."""

    def __init__(self, file: InputFile) -> None:
        """Begin to read a file whose records are of this format."""

    @staticmethod
    def claims(first: Mapping[str, Any]) -> bool:
        """Whether a record is of this format, by its members; the last of them may not be known."""

    @staticmethod
    def beside(file: InputFile) -> Sequence[Path]:
        """Return the files beside it that are read with it."""

    def rows(self, line: int, record: dict[str, Any]) -> Iterator[Read]:
        """Yield what a record holds: one response, several, or a word on why there is none."""


class DocumentReader(Protocol):
    """A document format."""

    name: ClassVar[str]

    @staticmethod
    def claims(file: InputFile) -> bool:
        """Whether a file is of this format, by its kind and `first`."""

    @staticmethod
    def beside(file: InputFile) -> Sequence[Path]:
        """Return the files beside it that are read with it."""

    @staticmethod
    def read(file: InputFile) -> Iterator[Read]:
        """Yield every row in order, and a word on everything that is none.

        Raises:
            InputFileError: The file cannot be read on; what was yielded counts.
        """


_SHAPE_ERRORS = (AttributeError, TypeError, KeyError, IndexError, ValueError)
"""What code that reads JSON raises where a value is of another kind than its format says."""


def shaped(file: InputFile, line: int, name: str, make: Callable[[], Iterable[Read]]) -> Iterator[Read]:
    """Yield what `make` reads of one record; a record of a shape that its format does not have is unusable."""
    try:
        yield from make()
    except _SHAPE_ERRORS as exc:
        problem = f"row {line} is not shaped as {name} writes it: {' '.join(str(exc).split())[:200]}"
        yield file.unusable(line, "not_of_format", problem)


def literal_of(value: Any) -> Any:
    """Return what a text stands for where a writer put Python's ``str`` of a value into a file; else the value.

    Only literals are read: nothing is run.
    """
    if not isinstance(value, str):
        return value
    try:
        return ast.literal_eval(value)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return value


def object_of(value: Any) -> dict[str, Any]:
    """Return a JSON object; an empty one where the value is something else."""
    return value if isinstance(value, dict) else {}


_TEXT_PARTS = frozenset({"text", "input_text", "output_text"})


def text_of(content: Any) -> str | None:
    """Return the text of a message's content: text, or a list of parts of which the text parts count."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        parts = [
            part if isinstance(part, str) else part.get("text")
            for part in content
            if isinstance(part, str) or (isinstance(part, dict) and part.get("type") in _TEXT_PARTS)
        ]
        return "".join(part for part in parts if isinstance(part, str))
    return None


def dig(record: Any, path: str) -> Any:
    """Return what stands at a dotted path, such as ``doc.answer`` or ``code.0``; `MISSING` where nothing does.

    A key that has the dots in it wins over the way through them.
    """
    if isinstance(record, dict) and path in record:
        return record[path]
    head, dot, rest = path.partition(".")
    if isinstance(record, dict) and dot and head in record:
        return dig(record[head], rest)
    if isinstance(record, list) and head.isdecimal() and int(head) < len(record):
        return dig(record[int(head)], rest) if dot else record[int(head)]
    return MISSING


def shown(names: Any) -> str:
    """Return the first names of a record or header, for messages."""
    return ", ".join(map(repr, names))[:300] or "nothing"
