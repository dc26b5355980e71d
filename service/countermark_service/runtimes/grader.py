"""Graders that came with a request: rendered, handed to what carries them out, and read.

A grader has no code here. Its templates are filled with the row and the sample, the result
is scored like any other item by the bundle behind it, and the number comes from that verdict.
So parts that several graders share are judged once. A part without a score leaves the
whole without one, whatever the formula would make of it.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from countermark_service.bundles import Bundle
from countermark_service.bundles.formula import Formula, FormulaError
from countermark_service.bundles.grader import (
    InlineGrader,
    PythonGrader,
    ScoreModel,
    StringCheck,
    TextSimilarity,
)
from countermark_service.bundles.template import MissingValueError, filled
from countermark_service.model import Item, Outcome, Verdict
from countermark_service.runtimes.composite import Children
from countermark_service.runtimes.interface import OnReduction, OnVerdict
from countermark_service.runtimes.missing import missing_value
from countermark_service.runtimes.together import together


class GraderRuntime:
    """Judges items of inline graders. A `Runtime` with keys of its own (`OwnKeys`)."""

    def __init__(self, children: Children) -> None:
        """`children` may be filled later, before the first use."""
        self._children = children

    async def prepare(self, bundle: Bundle) -> None:
        """Prepare what carries the grader out; see `Runtime`."""
        for child in _below(_inline(bundle)):
            await self._children.scorer.runtime(child).prepare(child)

    def reduces(self, bundle: Bundle) -> bool:
        """False: what carries it out reduces."""
        return False

    async def reduce(self, bundle: Bundle, payloads: Sequence[bytes], on_reduction: OnReduction) -> None:
        """Report that there is no reduction; see `Runtime`."""
        for index in range(len(payloads)):
            on_reduction(index, None)

    def identity(self, bundle: Bundle) -> bytes:
        """Return its digest, or more where what carries it out has keys of its own; see `OwnKeys`."""
        below = _below(_inline(bundle))
        own = [self._children.scorer.identity(child) for child in below]
        if own == [child.digest_bytes for child in below]:
            return bundle.digest_bytes
        return hashlib.sha256(b"grader\0" + bundle.digest_bytes + b"".join(own)).digest()

    def kept(self, bundle: Bundle) -> bool:
        """Whether the verdicts that make its own are; see `OwnKeys`."""
        return all(self._children.scorer.kept(child) for child in _below(_inline(bundle)))

    def degraded(self, bundle: Bundle) -> str | None:
        """Say what the verdicts that make its own are made without; see `OwnKeys`."""
        return next(filter(None, map(self._children.scorer.degraded, _below(_inline(bundle)))), None)

    async def verify(self, bundle: Bundle, payloads: Sequence[bytes], on_verdict: OnVerdict) -> None:
        """Render, ask and read each item; see `Runtime`."""
        grader = _inline(bundle)
        rows = [tuple(msgspec.json.decode(payload)[:2]) for payload in payloads]
        if grader.child is None:
            verdicts = await self._multi(grader, rows)
        else:
            verdicts = await self._single(grader, grader.child, rows)
        for index, verdict in enumerate(verdicts):
            on_verdict(index, verdict)

    async def _single(
        self, grader: InlineGrader, child: Bundle, rows: Sequence[tuple[str, Any]]
    ) -> list[Verdict]:
        made: list[Item | Verdict] = [_rendered(grader, *row) for row in rows]
        asked = [one for one in made if isinstance(one, Item)]
        answers = iter(await self._children.scorer.verdicts(child, asked) if asked else [])
        return [one if isinstance(one, Verdict) else _read(grader, child, next(answers)) for one in made]

    async def _multi(self, grader: InlineGrader, rows: Sequence[tuple[str, Any]]) -> list[Verdict]:
        items = [Item(sample, row) for sample, row in rows]
        scorer = self._children.scorer
        columns = await together([scorer.verdicts(part, items) for part in grader.parts.values()])
        formula = Formula(grader.grader.calculate_output)
        return [
            _combined(formula, dict(zip(grader.parts, each, strict=True)))
            for each in zip(*columns, strict=True)
        ]

    async def close(self) -> None:
        """Nothing runs here; see `Runtime`."""


def _inline(bundle: Bundle) -> InlineGrader:
    if not isinstance(bundle, InlineGrader):
        raise TypeError(f"{bundle.ref} is no inline grader")
    return bundle


def _below(grader: InlineGrader) -> list[Bundle]:
    return [*grader.parts.values()] if grader.child is None else [grader.child]


def _rendered(inline: InlineGrader, sample: str, row: Any) -> "Item | Verdict":
    """Return what is asked for an item, or the verdict where it cannot be."""
    grader = inline.grader
    if isinstance(grader, PythonGrader):
        return Item(sample, {"source": grader.source, "item": row})
    if not isinstance(grader, StringCheck | TextSimilarity):
        return Item(sample, row)
    try:
        given, wanted = filled(grader.input, sample, row), filled(grader.reference, sample, row)
    except MissingValueError as exc:
        return missing_value(exc)
    if isinstance(grader, StringCheck):
        return Item(given, wanted, {"operation": grader.operation})
    return Item(given, wanted, {"metric": grader.evaluation_metric})


def _read(inline: InlineGrader, child: Bundle, verdict: Verdict) -> Verdict:
    """Return the grader's verdict, from that of what carried it out."""
    said = verdict.detail()
    detail = {**said, "reward": _reward(inline.grader, verdict, said), "verifier": str(child.ref)}
    surroundings = bytes(msgspec.json.decode(verdict.json, type=_Surroundings).surroundings)
    made = Verdict.made(verdict.outcome, verdict.score, msgspec.json.encode(detail), surroundings)
    return made if verdict.lasting else made.passing()


class _Surroundings(msgspec.Struct):
    surroundings: msgspec.Raw


def _reward(grader: Any, verdict: Verdict, detail: Mapping[str, Any]) -> float | None:
    """Return the number that a grader gives; None where there is none."""
    if verdict.score is None:
        return None
    if isinstance(grader, PythonGrader) and verdict.outcome is Outcome.SCORED:
        return float(detail["reward"])
    if isinstance(grader, ScoreModel):
        low, high = grader.bounds
        return low + verdict.score * (high - low)
    return verdict.score


def _combined(formula: Formula, parts: Mapping[str, Verdict]) -> Verdict:
    """Return the verdict of a `multi` from those of its parts."""
    rows = {name: msgspec.json.decode(verdict.json) for name, verdict in parts.items()}
    rewards = {name: row["detail"].get("reward") for name, row in rows.items()}
    detail: dict[str, Any] = {"reward": None, "sub_rewards": rewards, "parts": rows}
    failed = next((name for name, reward in rewards.items() if reward is None), None)
    if failed is not None:
        outcome, score = _worst(parts), None
        detail |= {"code": "part_failed", "message": f"the grader {failed!r} gave no number."}
    else:
        try:
            detail["reward"] = formula.value(rewards)
            outcome, score = Outcome.SCORED, min(1.0, max(0.0, detail["reward"]))
        except FormulaError as exc:
            outcome, score = Outcome.BAD_REFERENCE, None
            detail |= {"code": "formula_without_value", "message": f"calculate_output: {exc}."}
    verdict = Verdict.made(outcome, score, msgspec.json.encode(detail), b"{}")
    return verdict if all(one.keepable for one in parts.values()) else verdict.passing()


def _worst(parts: Mapping[str, Verdict]) -> Outcome:
    """Return the outcome of a whole whose parts have no score: one that may pass before one that stays."""
    found = {verdict.outcome for verdict in parts.values() if verdict.score is None}
    order = (Outcome.ERROR, Outcome.TIMEOUT, Outcome.ABSTAIN, Outcome.BAD_REFERENCE)
    return next(outcome for outcome in order if outcome in found)
