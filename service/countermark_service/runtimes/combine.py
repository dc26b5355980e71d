"""How the verdicts of children become one: rules without a call.

The formulas stand in `bundles.composite_table`. A child without a score never counts
as a zero: what it makes is declared, and by default it is the composite's outcome.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from countermark_service.bundles.composite_table import Child, CompositeTable
from countermark_service.model import FAILURES, Outcome, Verdict
from countermark_service.runtimes.penalties import penalty_of


@dataclass(frozen=True, slots=True)
class Asked:
    """A child and its verdict."""

    child: Child
    verdict: Verdict

    @property
    def failed(self) -> bool:
        """Whether it has no score."""
        return self.verdict.outcome in FAILURES

    @property
    def score(self) -> float:
        """Its score; a child that failed has none."""
        if self.verdict.score is None:
            raise ValueError(f"child {self.child.name!r} has no score")
        return self.verdict.score

    @property
    def passes(self) -> bool:
        """Whether it reaches its threshold."""
        return self.score >= self.child.threshold


@dataclass(frozen=True, slots=True)
class Combined:
    """What the children make."""

    outcome: Outcome
    score: float | None
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What the detail says besides the children."""


def in_order(table: CompositeTable) -> bool:
    """Whether the children are asked one after the other, each only if those before leave it open."""
    return table.combine in ("gate", "fallback")


def settled(table: CompositeTable, asked: Sequence[Asked]) -> bool:
    """Whether, asking in order, the last child's verdict ends it."""
    last = asked[-1]
    if table.combine == "fallback":
        return last.verdict.outcome.value not in table.on
    return last.failed or not last.passes


def combined(table: CompositeTable, asked: Sequence[Asked], response: str) -> Combined:
    """Combine the verdicts of the children that were asked, in the manifest's order."""
    if table.combine == "fallback":
        last = asked[-1]
        return (
            _failure(table, last)
            if last.failed
            else Combined(last.verdict.outcome, last.score, {"decided_by": last.child.name})
        )
    failed = next((one for one in asked if one.failed), None)
    if failed is not None and table.failure != "skip":
        return _failure(table, failed)
    judged = [one for one in asked if not one.failed]
    if not judged and failed is not None:
        return _failure(table, failed)
    score, facts = _score(table, judged, response)
    silent = all(one.verdict.outcome is Outcome.NO_ANSWER for one in judged)
    if failed is not None:
        facts["skipped"] = [one.child.name for one in asked if one.failed]
    return Combined(Outcome.NO_ANSWER if silent and score == 0 else Outcome.SCORED, score, facts)


def _failure(table: CompositeTable, failed: Asked) -> Combined:
    outcome = Outcome.ABSTAIN if table.failure == "abstain" else failed.verdict.outcome
    code = "child_failed"
    message = f"the child {failed.child.name!r} has no score: {failed.verdict.outcome.value}."
    return Combined(outcome, None, {"code": code, "message": message, "failed": failed.child.name})


def _score(table: CompositeTable, asked: Sequence[Asked], response: str) -> tuple[float, dict[str, Any]]:
    if table.combine == "weighted":
        weights = _above_underflow([one.child.weight for one in asked])
        weighted = [weight * one.score for weight, one in zip(weights, asked, strict=True)]
        score = math.fsum(weighted) / math.fsum(weights)
        return min(1.0, max(0.0, score)), {}
    if table.combine == "all":
        return float(all(one.passes for one in asked)), {}
    if table.combine == "any":
        return float(any(one.passes for one in asked)), {}
    if table.combine == "gate":
        if len(asked) < len(table.children):
            return 0.0, {"stopped_by": asked[-1].child.name}
        return asked[-1].score, {}
    taken = [(one, *penalty_of(response, one)) for one in table.penalties]
    score = max(0.0, asked[0].score - math.fsum(off for _, _, off in taken))
    shown = [{"measure": one.measure, "value": value, "penalty": off} for one, value, off in taken]
    return score, {"penalties": shown}


def _above_underflow(weights: Sequence[float]) -> list[float]:
    """Return weights of which the greatest is 0.5 at least: times a score, so small ones as 5e-324 become nothing.

    All are multiplied by one power of two, which is exact and changes no mean; large enough ones stay as they are.
    """
    _, exponent = math.frexp(max(weights))
    return [math.ldexp(weight, max(0, -exponent)) for weight in weights]
