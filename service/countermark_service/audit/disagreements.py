"""The rows on which columns disagree: read one by one, sorted by kind, written and counted.

Only these rows are read with their texts. Each becomes a line of the file of flips; the
first of each kind become examples, taken in turn from the pairs of columns that disagree,
so that a frequent pair does not hide a rare one. What their answers have in common is found
by counting how they are written, against how answers of the audit are usually written.
"""

import hashlib
import itertools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, BinaryIO

import msgspec
import numpy as np

from countermark_service.audit.document import Example, Kind, Mark
from countermark_service.audit.flips import (
    MEANINGS,
    TITLES,
    FlipKind,
    Judgement,
    Said,
    is_about,
    kind_of,
    marks_of,
    reading,
    reference_texts,
)
from countermark_service.audit.rows import OutputRow
from countermark_service.audit.table import Flags, Table, pairs_of
from countermark_service.audit.work_file import StoredVerdict, WorkFile
from countermark_service.model import Outcome

EXAMPLES_PER_KIND = 12
"""Rows of each kind that the document shows."""

_PROMPT, _RESPONSE, _REFERENCE, _EXTRACTED, _REASON = 400, 800, 300, 160, 240
"""Characters of the parts of an example."""
_EXTRACTIONS = 4
"""Readings of one verifier that an example shows."""
_SAMPLED = 2000
"""Rows from which it is learned how answers are usually written."""
_TELLING_SHARE = 0.4
_TELLING_RATIO = 2.0
"""A mark is told where it has this share of a kind and is this much more frequent there than usual."""

_encode = msgspec.json.Encoder(order="sorted").encode

KindCounts = Counter[tuple[FlipKind, bool | None]]
"""Rows by kind: all of them under None, those about the first column under True, the others under False."""


@dataclass
class _Writing:
    """How answers are written: how many there are, and how many have which mark."""

    answers: int = 0
    marks: Counter[str] = field(default_factory=Counter)

    def add(self, texts: Sequence[str]) -> None:
        """Count one answer, in all forms that it was read in; none where it was not read."""
        if texts:
            self.answers += 1
            self.marks.update(marks_of(texts))

    def telling(self, usual: Mapping[str, float]) -> list[Mark]:
        """Return the marks that are frequent here and rarer elsewhere, the most telling first."""
        of = self.answers
        found = [
            Mark(name=name, rows=count, of=of, usual=usual.get(name, 0.0))
            for name, count in self.marks.items()
            if count / of >= _TELLING_SHARE and count / of >= _TELLING_RATIO * usual.get(name, 0.0)
        ]
        return sorted(found, key=lambda mark: (mark.usual - mark.rows / mark.of, mark.name))[:3]


@dataclass
class _KindTally:
    """What is known so far of one kind."""

    rows: int = 0
    inferred: int = 0
    writing: _Writing = field(default_factory=_Writing)
    shown: dict[tuple[tuple[int, int], ...], list[dict[str, Any]]] = field(default_factory=dict)
    """Lines of the first rows for each set of pairs that disagree in this way."""

    def show(self, pairs: tuple[tuple[int, int], ...], line: dict[str, Any]) -> None:
        """Keep a line, if it is among the first of its kind."""
        if pairs in self.shown or len(self.shown) < EXAMPLES_PER_KIND:
            lines = self.shown.setdefault(pairs, [])
            if len(lines) < EXAMPLES_PER_KIND:
                lines.append(line)

    def examples(self) -> list[Example]:
        """Return the first of each set of pairs in turn, in the order of the rows."""
        in_turn = itertools.chain.from_iterable(itertools.zip_longest(*self.shown.values()))
        kept = list(itertools.islice((line for line in in_turn if line is not None), EXAMPLES_PER_KIND))
        return [Example.model_validate(line) for line in sorted(kept, key=lambda line: int(line["row"]))]


class Disagreements:
    """The pass over the rows on which columns disagree."""

    def __init__(
        self,
        work: WorkFile,
        table: Table,
        ids: Sequence[str],
        flips: BinaryIO,
        on_progress: Callable[[int, int], None],
    ) -> None:
        """Prepare the pass; `run` makes it.

        Args:
            work: Where the texts are.
            table: The numbers of all rows.
            ids: Of the columns, the published one first.
            flips: Takes the lines.
            on_progress: Hears how many of how many rows are done.
        """
        self._work, self._table, self._ids = work, table, ids
        self._flips, self._on_progress = flips, on_progress
        self._hash = hashlib.sha256()
        self._tallies: dict[FlipKind, _KindTally] = {}
        self._masks: dict[tuple[int, int], Flags] = {
            pair: mask for pair in pairs_of(len(ids)) if (mask := table.disagreeing(*pair)).any()
        }
        self._writing: dict[tuple[int, int, FlipKind], _Writing] = {}
        self.by_part: dict[tuple[int, int, int], KindCounts] = {}
        """Kinds by the part of the rows and the pair of columns."""
        self.rows = 0
        """Rows on which some pair disagrees."""

    @property
    def digest(self) -> str:
        """SHA-256 of what was written, as hex digits."""
        return self._hash.hexdigest()

    def run(self) -> None:
        """Read each such row, write its line and count its kinds."""
        if not self._masks:
            return
        places = np.flatnonzero(np.any(np.stack(list(self._masks.values())), axis=0))
        for done, place in enumerate(places.tolist()):
            self._take(place)
            if done % 256 == 0:
                self._on_progress(done, len(places))
        self._on_progress(len(places), len(places))
        self.rows = len(places)

    def _take(self, place: int) -> None:
        row, verdicts = self._work.row(place), self._work.verdicts_of(place)
        said = self._said(row, verdicts)
        reference = reference_texts(row.reference, [one.detail for one in verdicts.values()])
        pairs: list[tuple[int, int, Judgement]] = []
        for (first, second), mask in self._masks.items():
            if mask[place]:
                found = kind_of(said[first], said[second], reference=reference, response=row.response)
                pairs.append((first, second, found))
                part = int(self._table.part[place])
                counts = self.by_part.setdefault((part, first, second), Counter())
                counts[found.kind, None] += 1
                counts[found.kind, is_about(found.kind, said[first])] += 1
        line = self._line(row, verdicts, said, pairs)
        data = _encode(line) + b"\n"
        self._hash.update(data)
        self._flips.write(data)
        for kind in {found.kind for _, _, found in pairs}:
            of_kind = [(first, second, found) for first, second, found in pairs if found.kind is kind]
            tally = self._tallies.setdefault(kind, _KindTally())
            tally.rows += 1
            tally.inferred += all(found.inferred for _, _, found in of_kind)
            texts = [
                text for first, second, _ in of_kind for n in (first, second) for text in said[n].read or ()
            ]
            tally.writing.add(texts)
            for first, second, _ in of_kind:
                writing = self._writing.setdefault((first, second, kind), _Writing())
                writing.add([text for n in (first, second) for text in said[n].read or ()])
            tally.show(tuple((first, second) for first, second, _ in of_kind), line)

    def _said(self, row: OutputRow, verdicts: Mapping[int, StoredVerdict]) -> list[Said]:
        """Return what each column says, the published one first."""
        extracted = row.extras.get("extracted")
        read = reading({"answer": extracted}) if extracted is not None else None
        published = float(self._table.published[row.index])
        said = [Said(None if np.isnan(published) else published, None, read)]
        for pin in range(self._table.pins):
            one = verdicts.get(pin)
            if one is None:
                said.append(Said(None))
                continue
            ending = one.detail.get("class")
            said.append(
                Said(one.score, one.outcome, reading(one.detail), ending if isinstance(ending, str) else None)
            )
        return said

    def _line(
        self,
        row: OutputRow,
        verdicts: Mapping[int, StoredVerdict],
        said: Sequence[Said],
        pairs: Sequence[tuple[int, int, Judgement]],
    ) -> dict[str, Any]:
        speaking = _speaking(verdicts, said)
        reference = row.reference if isinstance(row.reference, str) else _encode(row.reference).decode()
        return {
            "row": row.index,
            "file": row.file,
            "line": row.line,
            "task": row.task,
            "variant": row.variant,
            "model": row.model,
            "sample": _begin(row.sample, 200),
            "generation": row.generation,
            "prompt": None if row.prompt is None else _begin(row.prompt, _PROMPT),
            "response": _end(row.response, _RESPONSE),
            "response_characters": len(row.response),
            "reference": _begin(reference, _REFERENCE),
            "sides": [
                {
                    "column": self._ids[number],
                    "outcome": None if one.outcome is None else str(one.outcome),
                    "score": one.score,
                    "extracted": None
                    if one.read is None
                    else [_begin(text, _EXTRACTED) for text in one.read[:_EXTRACTIONS]],
                    "reason": _reason(verdicts.get(number - 1)),
                }
                for number, one in enumerate(said)
                if number in speaking
            ],
            "pairs": [
                {
                    "first": self._ids[first],
                    "second": self._ids[second],
                    "kind": str(found.kind),
                    "inferred": found.inferred,
                }
                for first, second, found in pairs
            ],
        }

    def kinds(self) -> list[Kind]:
        """Return the kinds that occur, the most frequent first."""
        kinds = [
            Kind(
                kind=kind,
                title=TITLES[kind],
                meaning=MEANINGS[kind],
                rows=tally.rows,
                inferred=tally.inferred,
                marks=tally.writing.telling(self.usual),
                examples=tally.examples(),
            )
            for kind, tally in self._tallies.items()
        ]
        order = list(FlipKind)
        return sorted(kinds, key=lambda one: (-one.rows, order.index(one.kind)))

    def marks_between(self, first: int, second: int) -> dict[FlipKind, Mark]:
        """Return the most telling mark of each kind of disagreement between two columns."""
        return {
            kind: telling[0]
            for (one, two, kind), writing in self._writing.items()
            if (one, two) == (first, second) and (telling := writing.telling(self.usual))
        }

    @cached_property
    def usual(self) -> dict[str, float]:
        """How many of all answers have each mark, from rows evenly spread over the audit."""
        rows, written = self._table.rows, _Writing()
        for place in sorted({int(p) for p in np.linspace(0, rows - 1, min(rows, _SAMPLED))}):
            texts = [
                text for one in self._work.verdicts_of(place).values() for text in reading(one.detail) or ()
            ]
            written.add(texts)
        return {mark: count / written.answers for mark, count in written.marks.items()}


def _speaking(verdicts: Mapping[int, StoredVerdict], said: Sequence[Said]) -> set[int]:
    """Return the columns that say something about a row."""
    columns = {1 + pin for pin in verdicts}
    return columns | {0} if said[0].score is not None else columns


def _reason(verdict: StoredVerdict | None) -> str | None:
    if verdict is None or verdict.outcome == Outcome.SCORED:
        return None
    told = [verdict.detail.get(key) for key in ("code", "message")]
    text = ": ".join(one for one in told if isinstance(one, str))
    return _begin(text, _REASON) if text else None


def _begin(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "\u2026"


def _end(text: str, most: int) -> str:
    return text if len(text) <= most else "\u2026" + text[-(most - 1) :]
