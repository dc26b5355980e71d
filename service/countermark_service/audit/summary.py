"""From a work file to the document of an audit.

Two passes. The first reads every row without its texts into a `Table` of numbers, of
which all scores, intervals and tests are made. The second reads the texts of the rows
on which verifiers disagree, and only of those: each gets its kinds, becomes a line of
the file of flips, and the first of each kind become examples. Memory holds the numbers
of all rows and the texts of one.
"""

import hashlib
import itertools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import PurePath
from typing import Any, BinaryIO

import msgspec
import numpy as np

from countermark_service import __version__
from countermark_service.audit import statistics
from countermark_service.audit.document import (
    PUBLISHED,
    Bounds,
    Claim,
    Column,
    Comparison,
    Document,
    Estimate,
    Example,
    FileEntry,
    InputFile,
    Kind,
    Mark,
    PinnedVerifier,
    Receipt,
    Remark,
    RouteEntry,
    Slice,
    UnusableRows,
)
from countermark_service.audit.findings import finding_of, headline_of, shown_count
from countermark_service.audit.flips import (
    MEANINGS,
    TITLES,
    FlipKind,
    Said,
    kind_of,
    marks_of,
    reading,
    reference_texts,
)
from countermark_service.audit.rows import OutputRow
from countermark_service.audit.table import NONE, OUTCOMES, Flags, Part, Table, pairs_of, read_table
from countermark_service.audit.work_file import StoredVerdict, WorkFile
from countermark_service.model import FAILURES, Outcome

EXAMPLES_PER_KIND = 12
"""Rows of each kind that the document shows."""

_PROMPT, _RESPONSE, _REFERENCE, _EXTRACTED, _REASON = 400, 800, 300, 160, 240
"""Characters of the parts of an example."""
_EXTRACTIONS = 4
"""Readings of one verifier that an example shows."""
_TASKS = 200
"""Names of tasks that a route tells."""
MOST_PARTS = 2000
"""Parts, tasks and models that are told one by one, the largest: a file can name another model in every row."""
_SAMPLED = 2000
"""Rows from which it is learned how answers are usually written."""
_TELLING_SHARE = 0.4
_TELLING_RATIO = 2.0
"""A mark is told where it has this share of a kind and is this much more frequent there than usual."""

_encode = msgspec.json.Encoder(order="sorted").encode


@dataclass(frozen=True)
class Facts:
    """What the work file does not know and the report says."""

    title: str = ""
    command: Sequence[str] = ()
    """Program and arguments that make this audit again."""
    claims: Sequence[Claim] = ()
    receipts: Sequence[Receipt] = ()
    flips_path: str = "flips.jsonl"
    """Name of the file of flips, as the document gives it."""
    now: datetime | None = None
    """Time of making; the clock's by default."""


def summarise(
    work: WorkFile,
    flips: BinaryIO,
    facts: Facts | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Document:
    """Return the document of an audit.

    Args:
        work: The work file, scored or partly scored.
        flips: Takes JSON Lines: each row on which columns disagree.
        facts: What else the document says.
        on_progress: Hears how many of how many disagreeing rows are done.
    """
    facts = facts or Facts()
    table = read_table(work)
    return _Summary(work, table, facts).document(flips, on_progress or (lambda done, total: None))


class _Summary:
    """One making of a document."""

    def __init__(self, work: WorkFile, table: Table, facts: Facts) -> None:
        self._work, self._table, self._facts = work, table, facts
        self._verifiers = work.verifiers
        self._ids = [PUBLISHED, *(str(one.pin) for one in self._verifiers)]
        self._labels = ["published", *_labels([one.pin for one in self._verifiers])]

    def document(self, flips: BinaryIO, on_progress: Callable[[int, int], None]) -> Document:
        table, facts = self._table, self._facts
        gathered = _Disagreements(self._work, table, self._ids, flips, on_progress)
        gathered.run()
        kinds = gathered.kinds()
        overall = self._overall(gathered.by_pair, kinds)
        parts = self._slices(gathered, lambda part: part)
        tasks = self._slices(gathered, lambda part: Part(part.task, part.variant, ""), model=False)
        models = self._slices(gathered, lambda part: Part("", "", part.model), task=False)
        if len(parts) == 1:
            parts = [parts[0].model_copy(update={"finding": overall.finding})]
        complete = not any(column.waiting for column in overall.columns)
        return Document(
            title=facts.title or self._title(),
            countermark=__version__,
            made_at=(facts.now or datetime.now(UTC)).strftime("%Y-%m-%dT%H:%M:%SZ"),
            complete=complete,
            command=list(facts.command) or self._command(),
            inputs=[
                InputFile(path=one.path, size=one.size, sha256=one.sha256, format=one.format, rows=one.rows)
                for one in self._work.inputs
            ],
            verifiers=[
                PinnedVerifier(
                    pin=str(one.pin),
                    name=one.pin.name,
                    version=one.pin.version or "",
                    digest=one.pin.digest or "",
                    role=one.role,
                    surroundings=self._work.surroundings_of(place),
                )
                for place, one in enumerate(self._verifiers)
            ],
            routes=self._routes(),
            unusable=[
                UnusableRows(
                    code=code, count=count, example=next(self._work.unusable(limit=1, code=code)).message
                )
                for code, count in self._work.unusable_counts().items()
            ],
            remarks=[
                Remark(file=one.file, line=one.line, code=one.code, message=one.message, count=one.count)
                for one in self._work.notes()
            ],
            claims=list(facts.claims),
            receipts=list(facts.receipts),
            flips=FileEntry(path=facts.flips_path, sha256=gathered.digest, rows=gathered.rows),
            headline=headline_of(overall, parts, complete),
            overall=overall,
            parts=parts,
            parts_left_out=len(table.parts) - len(parts),
            tasks=tasks if 1 < len(tasks) < len(parts) else [],
            models=models if 1 < len(models) < len(parts) else [],
            kinds=kinds,
            notes=self._notes(overall),
            level=statistics.LEVEL,
        )

    def _title(self) -> str:
        files = [PurePath(one.path).name for one in self._work.inputs]
        more = f" and {len(files) - 1} more" if len(files) > 1 else ""
        return f"Audit of {files[0]}{more}" if files else "Audit"

    def _command(self) -> list[str]:
        """Return the command that made the audit, each verifier with its digest."""
        pins = {f"{one.pin.name}:{one.pin.version}": str(one.pin) for one in self._verifiers}
        told = self._work.meta("command")
        if told:
            words = [str(word) for word in told]
            return [
                pins.get(word, word) if before == "--verifier" else _pinned(word, pins)
                for before, word in zip(["", *words], words, strict=False)
            ]
        command = ["countermark", "audit", *(one.path for one in self._work.inputs)]
        for one in self._verifiers:
            command += ["--verifier", str(one.pin)]
        return command

    def _routes(self) -> list[RouteEntry]:
        """Return the routes, those of several tasks that are alike as one."""
        found: dict[bytes, RouteEntry] = {}
        for task, route in self._work.routes():
            entry = found.setdefault(
                _encode((route.pin, route.params)),
                RouteEntry(pin=self._ids[1 + route.pin], params=dict(route.params), tasks=[], task_count=0),
            )
            tasks = entry.tasks if len(entry.tasks) == _TASKS else [*entry.tasks, task]
            found[_encode((route.pin, route.params))] = entry.model_copy(
                update={"tasks": tasks, "task_count": entry.task_count + 1}
            )
        return list(found.values())

    # --- slices --------------------------------------------------------------------------------------

    def _overall(self, by_pair: Mapping[tuple[int, int], Counter[FlipKind]], kinds: Sequence[Kind]) -> Slice:
        table = self._table
        every = np.ones(table.rows, np.bool_)
        columns = self._columns(every)
        comparisons = [
            self._comparison(every, first, second, by_pair[first, second])
            for first, second in pairs_of(len(self._ids))
            if bool((table.there[first] & table.there[second]).any())
        ]
        adjusted = statistics.holm([one.mcnemar_p for one in comparisons])
        comparisons = [
            one.model_copy(update={"holm_p": p}) for one, p in zip(comparisons, adjusted, strict=True)
        ]
        return Slice(
            rows=table.rows,
            items=len(np.unique(table.items)),
            columns=columns,
            comparisons=comparisons,
            finding=finding_of(columns, comparisons, kinds, ""),
        )

    def _slices(
        self,
        gathered: "_Disagreements",
        key: Callable[[Part], Part],
        *,
        task: bool = True,
        model: bool = True,
    ) -> list[Slice]:
        """Return one slice per value of `key`, in the order of the names."""
        table = self._table
        keys = [key(part) for part in table.parts]
        sizes: Counter[Part] = Counter()
        for one, size in zip(keys, np.bincount(table.part, minlength=len(keys)).tolist(), strict=True):
            sizes[one] += size
        found = sorted(sizes)
        kept = set(found if len(found) <= MOST_PARTS else [one for one, _ in sizes.most_common(MOST_PARTS)])
        place = {one: number for number, one in enumerate(found)}
        number_of_part = np.array([place[one] for one in keys], np.int64)
        # Rows are sorted by slice once, so that a thousand slices do not mean a thousand passes.
        numbers = number_of_part[table.part] if table.rows else np.zeros(0, np.int64)
        order = np.argsort(numbers, kind="stable")
        ends = np.searchsorted(numbers[order], np.arange(len(found) + 1))
        kinds: dict[tuple[int, int, int], Counter[FlipKind]] = {}
        for (part, first, second), counts in gathered.by_part.items():
            kinds.setdefault((int(number_of_part[part]), first, second), Counter()).update(counts)
        return [
            self._slice(
                order[ends[number] : ends[number + 1]],
                partial(_kinds_of, kinds, number),
                one.task if task else None,
                one.variant if task else None,
                one.model if model else None,
            )
            for number, one in enumerate(found)
            if one in kept
        ]

    def _slice(
        self,
        rows: Any,
        kinds: Callable[[int, int], Mapping[FlipKind, int]],
        task: str | None,
        variant: str | None,
        model: str | None,
    ) -> Slice:
        table = self._table
        columns = self._columns(rows)
        present = [self._ids.index(column.id) for column in columns]
        main = next((number for number in present if number), None)
        comparisons = [
            self._comparison(rows, first, second, kinds(first, second))
            for place, first in enumerate(present)
            for second in present[place + 1 :]
            if first in (0, main)
        ]
        name = ", ".join(filter(None, (task, variant, model)))
        return Slice(
            task=task,
            variant=variant,
            model=model,
            rows=len(rows),
            items=len(np.unique(table.items[rows])),
            columns=columns,
            comparisons=comparisons,
            finding=finding_of(columns, comparisons, (), name),
        )

    def _columns(self, rows: Any) -> list[Column]:
        table = self._table
        columns = []
        published = table.published[rows]
        known = ~np.isnan(published)
        unusable = int(table.unscaled[rows].sum())
        if known.any() or unusable:
            columns.append(
                Column(
                    id=PUBLISHED,
                    label="published",
                    due=int(known.sum()) + unusable,
                    score=_estimate(statistics.mean(published[known], table.items[rows][known])),
                    bounds=None,
                    outcomes={},
                    unusable=unusable,
                )
            )
        for pin in range(table.pins):
            due = table.due[pin][rows]
            outcomes, scores = table.outcomes[pin][rows], table.scores[pin][rows]
            if not due.any() and (outcomes == NONE).all():
                continue
            scored = ~np.isnan(scores)
            judged = int((outcomes != NONE).sum())
            refused = int(table.refused[pin][rows].sum())
            waiting = int((due & (outcomes == NONE) & ~table.refused[pin][rows]).sum())
            missing = judged - int(scored.sum()) + refused + waiting
            bounds = statistics.bounds(scores[scored], missing) if missing else None
            counts = np.bincount(outcomes[outcomes != NONE], minlength=len(OUTCOMES))
            columns.append(
                Column(
                    id=self._ids[1 + pin],
                    label=self._labels[1 + pin],
                    due=int(due.sum()),
                    score=_estimate(statistics.mean(scores[scored], table.items[rows][scored])),
                    bounds=None if bounds is None else Bounds(low=bounds.low, high=bounds.high),
                    outcomes={
                        str(outcome): int(count)
                        for outcome, count in zip(OUTCOMES, counts, strict=True)
                        if count
                    },
                    refused=refused,
                    waiting=waiting,
                )
            )
        return columns

    def _comparison(self, rows: Any, first: int, second: int, kinds: Mapping[FlipKind, int]) -> Comparison:
        table = self._table
        one, two = self._scores(first)[rows], self._scores(second)[rows]
        there = table.there[first][rows] & table.there[second][rows]
        scored = (~np.isnan(one), ~np.isnan(two))
        both = there & scored[0] & scored[1]
        one, two, items = one[both], two[both], table.items[rows][both]
        counts = statistics.paired_counts(one, two)
        differing = int((one != two).sum()) - counts.flips
        clustered = len(np.unique(items)) < len(items)
        down, up = statistics.items_moved(one, two, items) if clustered else (None, None)
        return Comparison(
            first=self._ids[first],
            second=self._ids[second],
            rows=counts.rows,
            both_right=counts.both,
            first_only=counts.first_only,
            second_only=counts.second_only,
            both_wrong=counts.neither,
            changed=differing,
            first_alone=int((there & scored[0] & ~scored[1]).sum()),
            second_alone=int((there & scored[1] & ~scored[0]).sum()),
            difference=_estimate(statistics.paired_difference(one, two, items)),
            mcnemar_p=statistics.mcnemar(counts),
            items_down=down,
            items_up=up,
            items_p=None if down is None or up is None else statistics.sign_test(down, up),
            kinds={kind: kinds[kind] for kind in FlipKind if kinds.get(kind)},
        )

    def _scores(self, column: int) -> Any:
        return self._table.published if column == 0 else self._table.scores[column - 1]

    # --- notes ---------------------------------------------------------------------------------------

    def _notes(self, overall: Slice) -> list[str]:
        notes = []
        for scale in self._table.scales:
            name = f"of the metric {scale.metric!r} " if scale.metric else ""
            if scale.shifted:
                notes.append(
                    f"The published scores {name}are {scale.low:g} and {scale.high:g}; they are taken as 0 and 1."
                )
            elif not scale.used:
                notes.append(
                    f"{shown_count(scale.rows)} published scores {name}run from {scale.low:g} to {scale.high:g}. "
                    "That is no scale from 0 to 1, so they are compared with nothing."
                )
        for column in overall.columns:
            failed = sum(count for outcome, count in column.outcomes.items() if Outcome(outcome) in FAILURES)
            if column.refused:
                notes.append(
                    f"{column.label} does not take {shown_count(column.refused)} rows; they have no score under it."
                )
            if failed:
                notes.append(
                    f"{column.label} has no score for {shown_count(failed)} of {shown_count(column.due)} rows; "
                    "they are left out of its mean, and the bounds say how far they could move it."
                )
        tasks = {part.task for part in self._table.parts}
        if len({(part.task, part.variant) for part in self._table.parts}) > len(tasks):
            notes.append(
                "Some tasks come in several variants, such as filters: the same responses with other published scores. "
                "Numbers over all rows count such a response once per variant."
            )
        if len(self._table.parts) > MOST_PARTS:
            notes.append(
                f"The files name {shown_count(len(self._table.parts))} sets of outputs; the {shown_count(MOST_PARTS)} "
                "largest are told one by one, and all are in the numbers over all rows."
            )
        if overall.items < overall.rows:
            notes.append(
                "Several rows answer the same question. They are not independent, so every interval takes the "
                "question as the unit that was drawn. McNemar's test counts rows; the sign test beside it, questions."
            )
        if len(overall.comparisons) > 1:
            notes.append(
                f"{len(overall.comparisons)} pairs are tested; the adjusted p-values (Holm) take their number into "
                "account."
            )
        if not self._facts.receipts:
            notes.append("The verdicts carry no signed receipt.")
        return notes


def _pinned(word: str, pins: Mapping[str, str]) -> str:
    option, equals, value = word.partition("=")
    return f"{option}={pins.get(value, value)}" if option == "--verifier" and equals else word


def _kinds_of(
    kinds: Mapping[tuple[int, int, int], Counter[FlipKind]], number: int, first: int, second: int
) -> Mapping[FlipKind, int]:
    return kinds.get((number, first, second), Counter())


def _estimate(found: statistics.Estimate | None) -> Estimate | None:
    if found is None:
        return None
    return Estimate(
        value=found.value,
        low=found.low,
        high=found.high,
        level=found.level,
        method=found.method,
        rows=found.rows,
        items=found.items,
    )


def _labels(pins: Sequence[Any]) -> list[str]:
    """Return a short name for each pin; with the head of the digest where two would be the same."""
    short = [f"{pin.name}:{pin.version}" for pin in pins]
    seen = Counter(short)
    return [
        text if seen[text] == 1 else f"{text}@{(pin.digest or '')[7:15]}"
        for text, pin in zip(short, pins, strict=True)
    ]


@dataclass
class _KindTally:
    """What is known so far of one kind."""

    rows: int = 0
    inferred: int = 0
    with_answer: int = 0
    marks: Counter[str] = field(default_factory=Counter)
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


class _Disagreements:
    """The pass over the rows on which columns disagree."""

    def __init__(
        self,
        work: WorkFile,
        table: Table,
        ids: Sequence[str],
        flips: BinaryIO,
        on_progress: Callable[[int, int], None],
    ) -> None:
        self._work, self._table, self._ids = work, table, ids
        self._flips, self._on_progress = flips, on_progress
        self._hash = hashlib.sha256()
        self._tallies: dict[FlipKind, _KindTally] = {}
        self._masks: dict[tuple[int, int], Flags] = {
            pair: mask for pair in pairs_of(len(ids)) if (mask := table.disagreeing(*pair)).any()
        }
        self.by_pair: dict[tuple[int, int], Counter[FlipKind]] = {
            pair: Counter() for pair in pairs_of(len(ids))
        }
        self.by_part: dict[tuple[int, int, int], Counter[FlipKind]] = {}
        """Kinds by the part of the rows and the pair."""
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
        pairs = []
        for (first, second), mask in self._masks.items():
            if mask[place]:
                found = kind_of(said[first], said[second], reference=reference, response=row.response)
                pairs.append((first, second, found))
                self.by_pair[first, second][found.kind] += 1
                part = int(self._table.part[place])
                self.by_part.setdefault((part, first, second), Counter())[found.kind] += 1
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
            if texts:
                tally.with_answer += 1
                tally.marks.update(marks_of(texts))
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
        pairs: Sequence[tuple[int, int, Any]],
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
        usual = self._usual() if self._tallies else {}
        kinds = [
            Kind(
                kind=kind,
                title=TITLES[kind],
                meaning=MEANINGS[kind],
                rows=tally.rows,
                inferred=tally.inferred,
                marks=_telling(tally, usual),
                examples=tally.examples(),
            )
            for kind, tally in self._tallies.items()
        ]
        order = list(FlipKind)
        return sorted(kinds, key=lambda one: (-one.rows, order.index(one.kind)))

    def _usual(self) -> dict[str, float]:
        """Return how many of all answers have each mark, from rows evenly spread over the audit."""
        rows = self._table.rows
        counts: Counter[str] = Counter()
        answers = 0
        for place in sorted({int(p) for p in np.linspace(0, rows - 1, min(rows, _SAMPLED))}):
            texts = [
                text for one in self._work.verdicts_of(place).values() for text in reading(one.detail) or ()
            ]
            if texts:
                answers += 1
                counts.update(marks_of(texts))
        return {mark: count / answers for mark, count in counts.items()}


def _telling(tally: _KindTally, usual: Mapping[str, float]) -> list[Mark]:
    """Return the marks that are frequent in a kind and rarer elsewhere, the most telling first."""
    of = tally.with_answer
    found = [
        Mark(name=name, rows=count, of=of, usual=usual.get(name, 0.0))
        for name, count in tally.marks.items()
        if count / of >= _TELLING_SHARE and count / of >= _TELLING_RATIO * usual.get(name, 0.0)
    ]
    return sorted(found, key=lambda mark: (-(mark.rows / mark.of - mark.usual), mark.name))[:3]


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
