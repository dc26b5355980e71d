"""What goes into the work file of an audit and comes out of it, as values."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from countermark_service.model import BundleRef, Outcome

Role = Literal["card", "asked"]


@dataclass(frozen=True)
class Input:
    """An input file, as it was when it was read."""

    path: str
    """As it was named; a file of a folder with its path below the folder."""
    size: int
    """Bytes."""
    sha256: str
    """Of its bytes: 64 hex digits."""
    format: str | None = None
    """Name of the reader that read it, such as ``lm-eval``; None where none could."""
    rows: int = 0
    """Usable rows that came from it."""


@dataclass(frozen=True)
class AuditVerifier:
    """One verifier of the audit."""

    pin: BundleRef
    """Name, version and digest."""
    role: Role
    """``card``: a route of the release card names it. ``asked``: it was named with --verifier only."""
    asked: bool = True
    """Whether it scores every row; one that only the card names scores the rows of its tasks."""


@dataclass(frozen=True)
class Route:
    """That the rows of a task are scored by a verifier."""

    pin: int
    """Place among the verifiers."""
    params: Mapping[str, Any]
    """Parameters for the verifier; a row may add others and not change these."""
    on_failure: str
    """``null``, ``zero`` or ``raise``: what `reward` is where there is no score."""


class StoredVerdict(msgspec.Struct, frozen=True, gc=False):
    """One verdict, whole."""

    row: int
    """Index of the row."""
    pin: int
    """Place of the verifier, from 0."""
    outcome: Outcome
    score: float | None
    """In [0, 1], or None for a failure."""
    reward: float | None
    """`score`, or what `on_failure` puts in its place."""
    cached: bool
    detail: dict[str, Any]
    """What the verifier found; for a failure `code` and `message`."""
    surroundings: dict[str, Any]
    """Interpreter, platform and containment that it was made in."""


class NewVerdict(msgspec.Struct, frozen=True, gc=False):
    """One verdict on its way in or out, its `detail` and `surroundings` as JSON objects that nobody reads."""

    row: int
    pin: int
    outcome: str
    score: float | None
    reward: float | None
    cached: bool
    detail: bytes
    surroundings: bytes


class Mark(msgspec.Struct, frozen=True, gc=False):
    """What statistics need of a verdict."""

    outcome: Outcome
    score: float | None
    """In [0, 1], or None for a failure."""


class JudgedRow(msgspec.Struct, frozen=True):
    """A row without its texts, with what every verifier said: what statistics need, and cheap to read."""

    index: int
    task: str
    variant: str
    model: str
    sample: str
    generation: int
    published: float | None
    metric: str | None
    marks: tuple[Mark | None, ...]
    """One per verifier, by its place; None where it does not score this task, refused the row, or has not yet."""


class Texts(msgspec.Struct, frozen=True, gc=False):
    """What scoring needs of a row."""

    row: int
    task: str
    prompt: str | None
    response: str
    reference: Any
    params: dict[str, Any]


class Refusal(msgspec.Struct, frozen=True, gc=False):
    """That a verifier does not take a row; there is no verdict."""

    row: int
    pin: int
    message: str


class StoredReceipt(msgspec.Struct, frozen=True, gc=False):
    """A signed receipt over verdicts of one verifier."""

    pin: int
    rows: list[int]
    """Whose verdicts it is over, in its order."""
    root: str
    """Of the tree over them, as hex."""
    key: str
    """Id of the key that signed it."""
    document: bytes
    """The receipt, JSON."""


class Note(msgspec.Struct, frozen=True, gc=False):
    """What a reader should know of rows that are used."""

    file: str
    line: int | None
    """Of the first row that it is about."""
    code: str
    message: str
    """What was found on the first of them, as a sentence."""
    count: int
    """How many rows of the file it is about."""
