"""A bundle proves itself: vectors and attacks, twice, in real contained workers.

The second run has processes of its own and takes the items in the opposite order,
so a verifier that wavers, or that keeps something from one item to the next, gives
itself away. Where the bundle has a `reduce`, items with equal reductions must have
equal verdicts; to have such items at all, each vector's response is also sent with
some text before it and after it.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

from countermark_service.assembly import build_proving_runtimes
from countermark_service.bundles import Bundle, Vector
from countermark_service.bundles.json_schema import Schema
from countermark_service.cli.verifier.attacks import attacks
from countermark_service.errors import UnavailableError
from countermark_service.model import Item, Outcome, Verdict
from countermark_service.settings import Settings

_BEFORE = "Let me think about this first.\n\n"
_AFTER = "\n"

Kind = Literal["vector", "attack", "variant"]
Said = tuple[str, float | None, dict[str, Any]]
"""Outcome, score and detail: what must be the same."""


@dataclass(frozen=True)
class Problem:
    """Something that is not as it must be."""

    rule: Literal["vector", "parameters", "wavers", "attack", "reduce"]
    case: str
    """Id of the vector, or name of the attack."""
    problem: str
    """What was expected and what came, for a person."""


@dataclass
class Report:
    """What a check found."""

    bundle: Bundle
    vectors: int = 0
    attacks: int = 0
    timeouts: list[str] = field(default_factory=list)
    """Attacks that ran into the budget: allowed, and worth knowing."""
    reduced: int = 0
    """Items that share their reduction with another one."""
    problems: list[Problem] = field(default_factory=list)

    def document(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        problems = [{"rule": one.rule, "case": one.case, "problem": one.problem} for one in self.problems]
        return {
            "verifier": str(self.bundle.ref),
            "ok": not self.problems,
            "vectors": self.vectors,
            "attacks": self.attacks,
            "timeouts": self.timeouts,
            "shared_reductions": self.reduced if self.bundle.manifest.reduce else None,
            "problems": problems,
        }


@dataclass(frozen=True)
class _Case:
    kind: Kind
    name: str
    item: Item
    vector: Vector | None = None


@dataclass
class _Run:
    """What one set of workers said, by the place of the case."""

    said: list[Said]
    keys: list[bytes | None]


async def prove(bundle: Bundle, settings: Settings) -> Report:
    """Check a bundle.

    Args:
        bundle: What to check.
        settings: For the data folder, the workers and the limits.

    Raises:
        VectorsError: The vectors cannot be read.
        UnavailableError: The bundle runs no code of its own, or not here.
        CountermarkError: Its environment cannot be built, or the verifier not loaded.
    """
    report = Report(bundle)
    report.problems.extend(_wrong_parameters(bundle))
    cases = list(_cases(bundle))
    report.vectors = sum(case.kind == "vector" for case in cases)
    report.attacks = sum(case.kind == "attack" for case in cases)
    first = await _run(bundle, settings, cases)
    second = await _run(bundle, settings, cases[::-1])
    second.said.reverse()
    second.keys.reverse()
    _hold_to_vectors(report, cases, first)
    _hold_to_attacks(report, cases, first)
    _hold_to_each_other(report, cases, first, second)
    _hold_to_reductions(report, cases, first)
    return report


async def hold_to_vectors(bundle: Bundle, settings: Settings) -> list[Problem]:
    """Run a bundle's vectors once, in real workers, and return where a verdict is not the one that it must be.

    Raises:
        VectorsError: The vectors cannot be read.
        CountermarkError: The bundle cannot run here.
    """
    report = Report(bundle)
    cases = [_Case("vector", vector.id, vector.item, vector) for vector in bundle.vectors]
    _hold_to_vectors(report, cases, await _run(bundle, settings, cases))
    return report.problems


def _cases(bundle: Bundle) -> Iterator[_Case]:
    for vector in bundle.vectors:
        yield _Case("vector", vector.id, vector.item, vector)
    for name, item in attacks(bundle.vectors):
        yield _Case("attack", name, item)
    if bundle.manifest.reduce is None:
        return
    for vector in bundle.vectors:
        item = vector.item
        for name, response in {
            "text before": _BEFORE + item.response,
            "text after": item.response + _AFTER,
            "twice": f"{item.response}\n{item.response}",
        }.items():
            changed = Item(response, item.reference, item.params, item.prompt)
            yield _Case("variant", f"{vector.id}, {name}", changed)


def _wrong_parameters(bundle: Bundle) -> Iterator[Problem]:
    schema = Schema(bundle.manifest.parameters_schema())
    for vector in bundle.vectors:
        fault = schema.mismatch(vector.item.params)
        if fault is not None:
            yield Problem("parameters", vector.id, f"the manifest does not allow its params: {fault.message}")


async def _run(bundle: Bundle, settings: Settings, cases: list[_Case]) -> _Run:
    """Judge and reduce all cases in processes of their own."""
    payloads = [case.item.canonical(uses_prompt=bundle.manifest.uses_prompt) for case in cases]
    said: list[Said] = [("", None, {})] * len(cases)
    keys: list[bytes | None] = [None] * len(cases)

    measures = bundle.manifest.runtime == "sandbox"

    def take(index: int, verdict: Verdict) -> None:
        detail = verdict.detail()
        said[index] = (verdict.outcome.value, verdict.score, _unmeasured(detail) if measures else detail)

    def take_key(index: int, key: bytes | None) -> None:
        keys[index] = key

    runtimes = build_proving_runtimes(bundle, settings)
    try:
        runtime = runtimes.get(bundle.manifest.runtime)
        if runtime is None:
            raise UnavailableError(
                f"{bundle.ref} is of the runtime {bundle.manifest.runtime!r}, not to be had here."
            )
        if runtime.reduces(bundle):
            await runtime.reduce(bundle, payloads, take_key)
        await runtime.verify(bundle, payloads, take)
    finally:
        for one in runtimes.values():
            await one.close()
    return _Run(said, keys)


def _hold_to_vectors(report: Report, cases: list[_Case], run: _Run) -> None:
    for case, (outcome, score, detail) in zip(cases, run.said, strict=True):
        if case.vector is not None:
            difference = case.vector.expect.difference(Outcome(outcome), score, detail)
            if difference is not None:
                report.problems.append(Problem("vector", case.name, difference))


def _hold_to_attacks(report: Report, cases: list[_Case], run: _Run) -> None:
    for case, (outcome, _, detail) in zip(cases, run.said, strict=True):
        if case.kind == "attack" and outcome == Outcome.TIMEOUT:
            report.timeouts.append(case.name)
        elif case.kind != "vector" and outcome == Outcome.ERROR and not _wants_a_model(detail):
            report.problems.append(
                Problem("attack", case.name, f"expected a verdict, got error {_short(detail)}")
            )


def _wants_a_model(detail: dict[str, Any]) -> bool:
    """Whether an error is only that a judge was to be asked, which a check never does."""
    if detail.get("code") == "transcript_missing":
        return True
    return any(_wants_a_model(child["detail"]) for child in detail.get("children", ()))


def _hold_to_each_other(report: Report, cases: list[_Case], first: _Run, second: _Run) -> None:
    for place, case in enumerate(cases):
        if first.said[place] != second.said[place]:
            one, other = _short(first.said[place]), _short(second.said[place])
            report.problems.append(Problem("wavers", case.name, f"first {one}, then {other}"))
        if first.keys[place] != second.keys[place]:
            report.problems.append(Problem("wavers", case.name, "its reduction is another the second time"))


def _hold_to_reductions(report: Report, cases: list[_Case], run: _Run) -> None:
    groups: dict[bytes, list[int]] = defaultdict(list)
    for place, key in enumerate(run.keys):
        if key is not None:
            groups[key].append(place)
    for places in groups.values():
        report.reduced += len(places) if len(places) > 1 else 0
        head = places[0]
        for place in places[1:]:
            if run.said[place] != run.said[head]:
                problem = (
                    f"its reduction is that of {cases[head].name!r}, its verdict is not: "
                    f"{_short(run.said[place])} and {_short(run.said[head])}"
                )
                report.problems.append(Problem("reduce", cases[place].name, problem))


def _unmeasured(value: Any) -> Any:
    """Return what a sandbox told without the times that it measured, which differ from run to run."""
    if isinstance(value, dict):
        return {key: _unmeasured(part) for key, part in value.items() if not key.endswith("_seconds")}
    return [_unmeasured(part) for part in value] if isinstance(value, list) else value


def _short(value: object) -> str:
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= 160 else f"{text[:157]}..."
