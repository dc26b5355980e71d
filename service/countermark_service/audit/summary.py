"""From a work file to the document of an audit.

Two passes. The first reads every row without its texts into a `Table` of numbers, of
which all scores, intervals and tests are made. The second reads the texts of the rows
on which verifiers disagree, and only of those: each gets its kinds, becomes a line of
the file of flips, and the first of each kind become examples. Memory holds the numbers
of all rows and the texts of one.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import PurePath
from typing import Any, BinaryIO

import msgspec
import numpy as np

from countermark_service import __version__
from countermark_service.audit import statistics
from countermark_service.audit.claims import unmet_sentence
from countermark_service.audit.disagreements import Disagreements, KindCounts
from countermark_service.audit.document import (
    PUBLISHED,
    Bounds,
    Claim,
    Column,
    Comparison,
    Document,
    Estimate,
    FileEntry,
    InputFile,
    PinnedVerifier,
    Remark,
    RouteEntry,
    Slice,
    UnusableRows,
)
from countermark_service.audit.findings import finding_of, finding_over, headline_of
from countermark_service.audit.flips import FlipKind
from countermark_service.audit.receipt_files import receipts_of, signers_of
from countermark_service.audit.table import NONE, OUTCOMES, Part, Table, pairs_of, read_table
from countermark_service.audit.wording import plural, shown_count
from countermark_service.audit.work_file import WorkFile
from countermark_service.model import FAILURES, Outcome

_TASKS = 200
"""Names of tasks that a route tells."""
MOST_PARTS = 2000
"""Parts, tasks and models that are told one by one, the largest: a file can name another model in every row."""

_encode = msgspec.json.Encoder(order="sorted").encode


@dataclass(frozen=True)
class Facts:
    """What the work file does not know and the report says."""

    title: str = ""
    command: Sequence[str] = ()
    """Program and arguments that make this audit again."""
    claims: Sequence[Claim] = ()
    flips_path: str = "flips.jsonl"
    """Name of the file of flips, as the document gives it."""
    now: datetime | None = None
    """Time of making; the clock's by default."""


def summarise(
    work: WorkFile,
    flips: BinaryIO,
    facts: Facts | None = None,
    on_progress: Callable[[int, int], None] | None = None,
    table: Table | None = None,
) -> Document:
    """Return the document of an audit.

    Args:
        work: The work file, scored or partly scored.
        flips: Takes JSON Lines: each row on which columns disagree.
        facts: What else the document says.
        on_progress: Hears how many of how many disagreeing rows are done.
        table: What `read_table` gave, where it was read before.
    """
    facts = facts or Facts()
    table = table or read_table(work)
    return _Summary(work, table, facts).document(flips, on_progress or (lambda done, total: None))


class _Summary:
    """One making of a document."""

    def __init__(self, work: WorkFile, table: Table, facts: Facts) -> None:
        self._work, self._table, self._facts = work, table, facts
        self._verifiers = work.verifiers
        self._receipts = receipts_of(work)
        self._ids = [PUBLISHED, *(str(one.pin) for one in self._verifiers)]
        self._labels = ["published", *_labels([one.pin for one in self._verifiers])]

    def document(self, flips: BinaryIO, on_progress: Callable[[int, int], None]) -> Document:
        table, facts = self._table, self._facts
        gathered = Disagreements(self._work, table, self._ids, flips, on_progress)
        gathered.run()
        kinds = gathered.kinds()
        overall = self._overall(gathered)
        parts = self._slices(gathered, lambda part: part)
        tasks = self._slices(gathered, lambda part: Part(part.task, part.variant, ""), model=False)
        models = self._slices(gathered, lambda part: Part("", "", part.model), task=False)
        if (mixed := finding_over(parts)) is not None:
            overall = overall.model_copy(update={"finding": mixed})
        if len(parts) == 1:
            parts = [parts[0].model_copy(update={"finding": overall.finding})]
        complete = not any(column.waiting for column in overall.columns)
        unmet = unmet_sentence(facts.claims, parts, [one.sha256 for one in self._work.inputs])
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
            receipts=self._receipts,
            receipt_keys=signers_of(self._work, self._receipts),
            flips=FileEntry(path=facts.flips_path, sha256=gathered.digest, rows=gathered.rows),
            headline=headline_of(overall, parts, complete, unmet),
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

    def _overall(self, gathered: Disagreements) -> Slice:
        table = self._table
        every = np.ones(table.rows, np.bool_)
        columns = self._columns(every)
        by_pair: dict[tuple[int, int], KindCounts] = {}
        for (_, first, second), counts in gathered.by_part.items():
            by_pair.setdefault((first, second), Counter()).update(counts)
        comparisons = [
            self._comparison(every, first, second, by_pair.get((first, second), Counter()))
            for first, second in pairs_of(len(self._ids))
            if bool((table.there[first] & table.there[second]).any())
        ]
        adjusted = statistics.holm([one.mcnemar_p for one in comparisons])
        place = {name: number for number, name in enumerate(self._ids)}
        comparisons = [
            one.model_copy(
                update={"holm_p": p, "marks": gathered.marks_between(place[one.first], place[one.second])}
            )
            for one, p in zip(comparisons, adjusted, strict=True)
        ]
        return Slice(
            rows=table.rows,
            items=len(np.unique(table.items)),
            columns=columns,
            comparisons=comparisons,
            finding=finding_of(columns, comparisons, ""),
        )

    def _slices(
        self,
        gathered: Disagreements,
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
        kinds: dict[tuple[int, int, int], KindCounts] = {}
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
        kinds: Callable[[int, int], KindCounts],
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
            finding=finding_of(columns, comparisons, name),
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

    def _comparison(self, rows: Any, first: int, second: int, kinds: KindCounts) -> Comparison:
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
            kinds={kind: kinds[kind, None] for kind in FlipKind if kinds[kind, None]},
            about_first={kind: kinds[kind, True] for kind in FlipKind if kinds[kind, True]},
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
                why = self._work.why_refused(self._ids.index(column.id) - 1)
                notes.append(
                    f"{column.label} does not take {plural(column.refused, 'row')}, so there is no score of it. "
                    f"The first is {why}."
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
        if not self._receipts:
            notes.append("The verdicts carry no signed receipt.")
        return notes


def _pinned(word: str, pins: Mapping[str, str]) -> str:
    option, equals, value = word.partition("=")
    return f"{option}={pins.get(value, value)}" if option == "--verifier" and equals else word


def _kinds_of(
    kinds: Mapping[tuple[int, int, int], KindCounts], number: int, first: int, second: int
) -> KindCounts:
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
