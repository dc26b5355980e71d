"""What `countermark attribute` does: score every output under every verifier, and put the scores side by side.

Each side is an audit of its own in a folder of its own, so a run that was killed goes
on where it was. The verdicts come from where audits have them: workers of this machine
or a service.
"""

import csv
import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from countermark_service.audit.attribution.cells import Crossed, SideScores, cross, read_side
from countermark_service.audit.attribution.design import Level, Run, analyse, fit
from countermark_service.audit.attribution.errors import AttributionError, MixedPinsError
from countermark_service.audit.attribution.factors import SEEDS, VERIFIER, remainder
from countermark_service.audit.attribution.pair import Estimate, decompose, mean_over_questions
from countermark_service.audit.attribution.plan import CrossPlan
from countermark_service.audit.attribution.sides import Side, pairs_of, published_gap, sides_of
from countermark_service.audit.attribution.words import PairFinding, RunsFinding
from countermark_service.audit.intake import ReadPlan
from countermark_service.audit.output_files import find_files
from countermark_service.audit.plan import begin
from countermark_service.audit.run import AuditRun, Progress
from countermark_service.audit.wording import shown_points
from countermark_service.audit.work_file import AuditVerifier
from countermark_service.kept import read_small
from countermark_service.model import BundleRef
from countermark_service.releases import FACTORS
from countermark_service.releases.difference import compare

if TYPE_CHECKING:
    from countermark_service.audit.judging import Judge

_NOT_FACTORS = ("run", "name", "id", "verifier", "n", "failed")
_LONGEST_LEVEL = 60


@dataclass(frozen=True)
class _Judges:
    """The different verifiers of some sides."""

    refs: list[str]
    params: list[Mapping[str, Any]]
    of_side: list[int]
    """For each side, the place of its own."""
    advisories: tuple[str, ...] = ()
    """What is known of them, in sentences without their full stops."""


async def compare_pair(
    first: str,
    second: str,
    *,
    verifiers: tuple[str | None, str | None],
    task: str | None,
    out: Path,
    judge: "Callable[[], Judge]",
    batch: int,
    confidence: float,
) -> list[PairFinding]:
    """Compare two releases on every task that both have.

    Raises:
        MixedPinsError: There are no outputs to score again, and the scores are of different verifiers.
        CountermarkError: Something cannot be read or scored.
    """
    sides = [
        sides_of(one, verifier=ref, task=task) for one, ref in zip((first, second), verifiers, strict=True)
    ]
    found = []
    for one, other in pairs_of(*sides):
        if one.path is None or other.path is None:
            gap = shown_points(published_gap(one, other))
            raise AttributionError(
                f"{one.name} and {other.name} published a gap of {gap} points on {one.task} under one verifier "
                f"({one.verifier}), which therefore is no part of it. More cannot be said without outputs on both "
                "sides: name them in the cards' results (`outputs`)."
            )
        crossed, pins, judges, degraded = await _scored([one, other], out / _slug(one.task), judge, batch)
        places = judges.of_side
        scores = crossed.scores[:, [0, 0, 1, 1], [places[0], places[1], places[0], places[1]]]
        same = places[0] == places[1]
        differences = compare(one.release, other.release) if one.release and other.release else ()
        found.append(
            PairFinding(
                first=one,
                second=other,
                pins=(pins[places[0]], pins[places[1]]),
                judges=tuple(pins),
                crossed=crossed,
                decomposition=decompose(scores, same_verifier=same, confidence=confidence),
                differences=differences,
                remainder=remainder(differences) if differences else None,
                degraded=sorted(degraded),
                advisories=judges.advisories,
            )
        )
    return found


async def compare_runs(
    releases: Sequence[str],
    *,
    task: str | None,
    out: Path,
    judge: "Callable[[], Judge]",
    batch: int,
    order: int | None,
    confidence: float,
) -> list[RunsFinding]:
    """Find the effects of the factors in which releases differ, once under each of their verifiers.

    Raises:
        AttributionError: There is no task that all have, or nothing varies.
        CountermarkError: Something cannot be read or scored.
    """
    sides = [{side.task: side for side in sides_of(one, verifier=None, task=task)} for one in releases]
    tasks = [name for name in sides[0] if all(name in each for each in sides)]
    if not tasks:
        raise AttributionError("the releases have results of no task that all of them have.")
    found = []
    for name in tasks:
        chosen = [each[name] for each in sides]
        for side in chosen:
            if side.path is None:
                raise MixedPinsError(
                    {one.name: one.verifier for one in chosen},
                    f"{side.name} names no outputs of {name!r} that could be scored again.",
                )
        levels = _levels(chosen)
        crossed, pins, judges, _ = await _scored(chosen, out / _slug(name), judge, batch)
        for place, pin in enumerate(pins):
            scores = crossed.scores[:, :, place]
            runs = [
                Run(side.name, level, float(score))
                for side, level, score in zip(chosen, levels, scores.mean(axis=0), strict=True)
            ]
            analysis = analyse(runs, order=order, confidence=confidence)
            model = fit(runs, order=order)
            over = mean_over_questions(model.effects_of(scores.T).T, confidence=confidence)[1:]
            by_term: dict[str, Estimate] = dict(
                zip([one.term for one in analysis.effects], over, strict=True)
            )
            known = tuple(said for said in judges.advisories if said.startswith(pin))
            found.append(RunsFinding(name, pin, "mean score", analysis, by_term, crossed, known))
    return found


def read_runs(file: Path, response: str, *, order: int | None, confidence: float) -> RunsFinding:
    """Analyse a table of runs.

    Raises:
        AttributionError: The table cannot be read, or a run has no score.
        MixedPinsError: Its scores were made by different verifiers.
    """
    rows = _table(file)
    runs = []
    pins: dict[str, str] = {}
    for number, row in enumerate(rows, start=1):
        name = str(row.get("run") or row.get("name") or row.get("id") or f"row {number}")
        score = row.get(response)
        if response not in row:
            raise AttributionError(
                f"{file}: {name} has no column {response!r}; name the scores' with --response."
            )
        if isinstance(score, bool) or not isinstance(score, (int, float)):
            raise AttributionError(
                f"{file}: {name} has the score {score!r}, which is no number. A run that failed is left out of the "
                "table; it is no zero."
            )
        if row.get("verifier"):
            pins[name] = str(row["verifier"])
        levels = {key: _level(value) for key, value in row.items() if key not in (response, *_NOT_FACTORS)}
        runs.append(Run(name, levels, float(score)))
    if pins and (len(set(pins.values())) > 1 or len(pins) < len(runs)):
        raise MixedPinsError(
            pins if len(pins) == len(runs) else {**pins, "others": "nobody that the table names"},
            "Score all runs again under one verifier (`countermark attribute` with their release cards does), or keep "
            "the runs of one verifier in the table.",
        )
    analysis = analyse(runs, order=order, confidence=confidence)
    return RunsFinding(file.name, next(iter(pins.values()), None), response, analysis)


async def _scored(
    sides: Sequence[Side], out: Path, judge: "Callable[[], Judge]", batch: int
) -> tuple[Crossed, list[str], _Judges, set[str]]:
    """Score all outputs under all verifiers; return the questions side by side, and the pins."""
    judges = _judges(sides)
    judging = judge()
    degraded: set[str] = set()
    try:
        await judging.open(judges.refs)
        pins = list(judging.pins)
        known = [(pin, _encoded(params)) for pin, params in zip(pins, judges.params, strict=True)]
        if len(set(known)) < len(known):  # two references to one pin
            judges = _joined(judges, known)
            await judging.open(judges.refs)
            pins = list(judging.pins)
        judges = replace(judges, advisories=tuple(judging.advisories))
        scores: list[SideScores] = []
        prepared = False
        for place, side in enumerate(sides):
            assert side.path is not None  # noqa: S101 - the callers see to it
            verifiers = [AuditVerifier(pin, "asked") for pin in pins]
            plan = CrossPlan(verifiers, ReadPlan(side.columns, task=side.task), params=judges.params)
            work = begin(out / str(place + 1), plan, find_files([str(side.path)]), lambda _: None)
            with work:
                if work.missing(0, 1) and not prepared:
                    await judging.prepare()
                    prepared = True
                with _bar(side.name) as advance:
                    progress = await AuditRun(work, judging, batch=batch, on_progress=advance).run()
                with work.transaction():
                    work.set_meta("state", "scored")
                degraded |= progress.degraded
                scores.append(_named(read_side(side.name, work), scores))
        return cross(scores), [str(pin) for pin in pins], judges, degraded
    finally:
        await judging.close()


def _judges(sides: Sequence[Side]) -> _Judges:
    keys: list[tuple[str, bytes]] = []
    found = _Judges([], [], [])
    for side in sides:
        key = (side.verifier, _encoded(side.params))
        if key not in keys:
            keys.append(key)
            found.refs.append(side.verifier)
            found.params.append(side.params)
        found.of_side.append(keys.index(key))
    return found


def _joined(judges: _Judges, known: Sequence[tuple[BundleRef, bytes]]) -> _Judges:
    """Return the verifiers once each, where two references turned out to mean one pin."""
    kept = list(dict.fromkeys(known))
    first = [known.index(one) for one in kept]
    places = [kept.index(one) for one in known]
    return _Judges(
        [judges.refs[place] for place in first],
        [judges.params[place] for place in first],
        [places[place] for place in judges.of_side],
    )


def _named(side: SideScores, others: Sequence[SideScores]) -> SideScores:
    if side.name in [other.name for other in others]:
        side.name = f"{side.name} ({len(others) + 1})"
    return side


@contextmanager
def _bar(name: str) -> Iterator[Callable[[Progress], None]]:
    """Show how far the scoring of a side is."""
    from countermark_service.cli.console import progress

    with progress() as shown:
        task = shown.add_task(f"scoring {name}", total=None)

        def advance(run: Progress) -> None:
            shown.update(task, total=run.due, completed=run.before + run.done)

        yield advance


def _levels(sides: Sequence[Side]) -> list[dict[str, Level]]:
    """Return where each factor but the verifier stands in each release: levels are named by what differs.

    Releases that differ in seeds alone stand at the same levels: they are repetitions.
    """
    documents: list[Mapping[str, Any]] = []
    for side in sides:
        if side.release is None:
            raise AttributionError(
                f"{side.name} is no release card, so nothing says where its factors stand."
            )
        documents.append(side.release.document)
    found: list[dict[str, Level]] = [{} for _ in sides]
    for factor in FACTORS:
        if factor == VERIFIER:
            continue
        parts = [
            {
                name: text
                for name, text in _flat(document.get(factor, {})).items()
                if f"{factor}.{name}" not in SEEDS
            }
            for document in documents
        ]
        names = sorted({name for part in parts for name in part})
        differing = [name for name in names if len({part.get(name, "not said") for part in parts}) > 1]
        for place, part in enumerate(parts):
            shown = ", ".join(f"{name}={part.get(name, 'not said')}" for name in differing)
            if len(shown) > _LONGEST_LEVEL:
                shown = f"as in {sides[parts.index(part)].name}"
            found[place][factor] = shown or "the same"
    return found


def _flat(value: Any, path: str = "") -> dict[str, str]:
    if isinstance(value, dict):
        return {
            name: text
            for key, below in value.items()
            for name, text in _flat(below, f"{path}.{key}".lstrip(".")).items()
        }
    if value is None:
        return {}
    return {path: value if isinstance(value, str) else _encoded(value).decode()}


def _table(file: Path) -> list[dict[str, Any]]:
    try:
        text = read_small(file).decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as exc:
        raise AttributionError(f"{file} cannot be read: {exc}.") from exc
    try:
        if text.lstrip().startswith("{"):
            return [
                msgspec.json.decode(line, type=dict[str, Any]) for line in text.splitlines() if line.strip()
            ]
        rows = list(csv.DictReader(text.splitlines(), strict=True))
    except (msgspec.MsgspecError, csv.Error) as exc:
        raise AttributionError(f"{file} is neither CSV nor JSON lines: {exc}.") from exc
    for number, row in enumerate(rows, start=2):
        if None in row or None in row.values():
            raise AttributionError(f"{file}, line {number}: it has another number of fields than the header.")
    return [{key: _number(value) for key, value in row.items()} for row in rows]


def _number(text: str) -> str | float:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _level(value: Any) -> Level:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return value
    return value if isinstance(value, str) else _encoded(value).decode()


def _encoded(value: Any) -> bytes:
    return msgspec.json.encode(value, order="deterministic")


def _slug(task: str) -> str:
    """Return a name for a folder; tasks that differ have different ones."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", task).strip(".-")[:80]
    return plain if plain == task else f"{plain or 'task'}-{hashlib.sha256(task.encode()).hexdigest()[:8]}"
