"""What an audit was asked for, and whether a work file is the one of it.

The plan names everything that decides the numbers: inputs by digest, verifiers by
pin, how files were read. It is kept in the work file. A run goes on only where the
plan is the same: verdicts on other bytes, or of another pin, never mix with these.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from countermark_service import __version__
from countermark_service.audit.intake import Intake, ReadPlan
from countermark_service.audit.output_files import OutputFile, Progress, describe
from countermark_service.audit.rows import Unusable
from countermark_service.audit.work_file import AuditVerifier, Input, Route, WorkFile
from countermark_service.errors import CountermarkError
from countermark_service.model import BundleRef, OnFailure
from countermark_service.releases import Release
from countermark_service.releases import Route as CardRoute

_LOOKED_AT, _TOLD = 1000, 10
"""Rows that cannot be used, of which the first of each file and reason is told, and how many of these."""

WORK_FILE = "audit.sqlite"
"""Name of the work file in the folder of an audit."""


class AuditPlanError(CountermarkError):
    """An audit that names nothing to score with, or no row to score."""

    code = "invalid_audit"


class OtherAuditError(CountermarkError):
    """The folder holds an audit of something else."""

    code = "other_audit"

    def __init__(self, path: Path, differences: Sequence[str]) -> None:
        said = "".join(f"\n  {one}" for one in differences)
        super().__init__(
            f"{path} holds another audit, and its verdicts are not mixed with these:{said}\n"
            "Name another folder with --out, or move this one away."
        )
        self.path, self.differences = str(path), list(differences)


@dataclass(frozen=True)
class AuditPlan:
    """Verifiers, and the way files are read."""

    verifiers: Sequence[AuditVerifier]
    reading: ReadPlan
    release: Release | None = None
    """Its card routes tasks to verifiers."""
    judge_mode: str | None = None
    """Where judges' replies come from; None leaves it to the settings."""
    receipts: bool = False
    """Whether every batch is signed: of the verdicts of one audit all have a receipt, or none has."""

    def document(self) -> dict[str, Any]:
        """Return what decides the numbers besides the inputs, as JSON values."""
        return {
            "verifiers": [{"verifier": str(one.pin), "role": one.role} for one in self.verifiers],
            "release": None if self.release is None else str(self.release.ref),
            "columns": dict(self.reading.columns),
            "metric": self.reading.metric,
            "task": self.reading.task,
            "model": self.reading.model,
            "reference_pattern": self.reading.reference_pattern,
            "judge_mode": self.judge_mode,
            "receipts": "signed" if self.receipts else None,
        }

    def routes(self, task: str) -> list[Route]:
        """Return who scores the rows of a task: whom the card names, and everybody who was asked for."""
        found: dict[int, Route] = {}
        named = None if self.release is None else self.release.card.verifier.route(task)
        if named is not None:
            place = self._place(named.ref)
            found[place] = Route(place, named.params, named.on_failure or OnFailure.NULL)
        for place, verifier in enumerate(self.verifiers):
            if verifier.asked and place not in found:
                found[place] = Route(place, {}, OnFailure.NULL)
        return [found[place] for place in sorted(found)]

    @property
    def card_routes(self) -> Sequence[CardRoute]:
        """What the card routes; nothing without a card."""
        return () if self.release is None else self.release.card.verifier.routes

    def routed(self, task: str) -> bool:
        """Tell whether the card, where there is one, says who scores a task."""
        return self.release is None or self.release.card.verifier.route(task) is not None

    def _place(self, ref: BundleRef) -> int:
        for place, verifier in enumerate(self.verifiers):
            same = (ref.name, ref.version) == (verifier.pin.name, verifier.pin.version)
            if same and ref.digest in (None, verifier.pin.digest):
                return place
        raise AuditPlanError(f"the card's verifier {ref} is none of the audit's.")  # `refs_of` names them all


def refs_of(release: Release | None, asked: Sequence[str]) -> list[str]:
    """Return the verifiers that an audit needs, those of the card first.

    Raises:
        AuditPlanError: There is none.
    """
    routes = [] if release is None else release.card.verifier.routes
    found = list(dict.fromkeys([*(route.verifier for route in routes), *asked]))
    if not found:
        said = "the card has no routes" if release is not None else "nothing says how to score"
        raise AuditPlanError(
            f"{said}: name a verifier with --verifier name:version, or a release card with --card."
        )
    return found


def tasks_of_files(release: Release | None) -> dict[str, str]:
    """Return the tasks of files whose rows name none, as `ReadPlan.unnamed` has them.

    A result of the card says which task its file of outputs is of. Every other file is of the card's task where
    it routes no more than one.
    """
    if release is None:
        return {}
    card = release.card
    told: dict[str, set[str]] = {}
    for result in card.results:
        if result.outputs is not None and result.task is not None:
            told.setdefault(PurePosixPath(result.outputs.file).name, set()).add(result.task)
    names = [name for route in card.verifier.routes for name in route.names]
    only = {"": names[0]} if len(names) == 1 else {}
    return only | {file: tasks.pop() for file, tasks in told.items() if len(tasks) == 1}


def verifiers_of(
    release: Release | None, asked: Sequence[str], refs: Sequence[str], pins: Sequence[BundleRef]
) -> list[AuditVerifier]:
    """Return each verifier once, by its pin.

    Args:
        release: Whose card was read.
        asked: References that were asked for by name.
        refs: What `refs_of` gave.
        pins: What these mean, in order.
    """
    of_card = {route.verifier for route in release.card.verifier.routes} if release is not None else set()
    by_pin: dict[BundleRef, tuple[bool, bool]] = {}
    for ref, pin in zip(refs, pins, strict=True):
        card, named = by_pin.get(pin, (False, False))
        by_pin[pin] = (card or ref in of_card, named or ref in asked)
    return [
        AuditVerifier(pin, "card" if card else "asked", asked=named) for pin, (card, named) in by_pin.items()
    ]


def begin(folder: Path, plan: AuditPlan, files: Sequence[OutputFile], progress: Progress) -> WorkFile:
    """Return the work file of an audit with its rows read: a new one, or the one of a run that was stopped.

    Args:
        folder: Folder of the audit.
        plan: What was asked for.
        files: The inputs.
        progress: Hears of bytes: each input is read once for its digest and, in a new file, once for its rows.

    Raises:
        OtherAuditError: The folder's audit is of other inputs, or of another plan, and has verdicts.
        WorkFileError: The work file cannot be used.
        AuditPlanError: No row can be scored.
    """
    path = folder / WORK_FILE
    inputs = [describe(file, progress) for file in files]
    work = WorkFile.open(path) if path.exists() else WorkFile.create(path)
    try:
        others = [] if work.meta("plan") is None else _differences(work, plan, inputs)
        if others and work.verdict_count():
            raise OtherAuditError(path, others)
        if others or work.meta("state") not in ("read", "scored"):  # without a verdict, nothing is lost
            _read(work, plan, files, inputs, progress)
        else:
            progress(sum(one.size for one in inputs))
        if not work.row_count():
            raise AuditPlanError(_no_rows(work))
    except BaseException:
        work.close()
        raise
    return work


def _read(
    work: WorkFile, plan: AuditPlan, files: Sequence[OutputFile], inputs: Sequence[Input], progress: Progress
) -> None:
    with work.transaction():
        work.clear_rows()
        work.set_meta("plan", plan.document())
        work.set_meta("version", __version__)
        work.set_meta("state", "reading")
        work.set_verifiers(plan.verifiers)
        for one in inputs:
            work.add_input(one)
    Intake(work, replace(plan.reading, unnamed=tasks_of_files(plan.release))).read(files, progress)
    with work.transaction():
        for task, path, line, rows in work.tasks():
            routes = plan.routes(task)
            if not work.routes_of(task):
                work.add_routes(task, routes)
            if not plan.routed(task):
                scored = (
                    "are scored by the verifiers that were asked for alone" if routes else "are not scored"
                )
                named = ", ".join(repr(name) for route in plan.card_routes for name in route.names)
                message = (
                    f"the card routes no task {task!r}, so its {rows} rows {scored}; it routes {named}: "
                    f"--task, or --columns task=COLUMN, says which of these it is"
                )
                work.add_note(path, line, "not_in_card" if routes else "no_route", message, rows)
        work.finish_rows()
        work.set_meta("state", "read")


def _differences(work: WorkFile, plan: AuditPlan, inputs: Sequence[Input]) -> list[str]:
    """Say in what the audit of a work file is another one; nothing where it is the same."""
    before, now = work.meta("plan"), plan.document()
    found = [
        f"{name}: there {_shown(before.get(name))}, here {_shown(now[name])}"
        for name in now
        if before.get(name) != now[name]
    ]
    there = {one.path: one for one in work.inputs}
    here = {one.path: one for one in inputs}
    for path in [*there, *(path for path in here if path not in there)]:
        if path not in here:
            found.append(f"input {path}: there, and not here")
        elif path not in there:
            found.append(f"input {path}: here, and not there")
        elif there[path].sha256 != here[path].sha256:
            digests = f"sha256 {there[path].sha256[:12]}… there, {here[path].sha256[:12]}… here"
            found.append(f"input {path} has changed: {digests}")
    return found


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(
            str(one.get("verifier", one)) if isinstance(one, dict) else str(one) for one in value
        )
    return "nothing" if value in (None, {}) else str(value)


def _no_rows(work: WorkFile) -> str:
    first: dict[tuple[str, str], Unusable] = {}
    for one in work.unusable(_LOOKED_AT):
        first.setdefault((one.file, one.code), one)
    reasons = list(first.values())[:_TOLD]
    said = "".join(f"\n  {_placed(one)}: {one.message.rstrip('.')}." for one in reasons)
    counts = ", ".join(f"{count} {code}" for code, count in work.unusable_counts().items())
    more = f"\n  In all: {counts}." if sum(work.unusable_counts().values()) > len(reasons) else ""
    notes = "" if reasons else "".join(f"\n  {note.file}: {note.message}." for note in work.notes())
    return f"no row can be scored.{said}{more}{notes}"


def _placed(one: Unusable) -> str:
    """Return where something stands, as far as its message does not say so itself."""
    told = one.line is None or re.match(rf"\w+ {one.line}\b", one.message)
    return one.file if told else f"{one.file}, row {one.line}"
