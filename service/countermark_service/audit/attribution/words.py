"""What an attribution says: a document for programs, and sentences for people.

Scores are fractions in the document and points (hundredths) in sentences. A failure is
in the counts and in nothing else.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from countermark_service.audit.attribution.cells import Crossed
from countermark_service.audit.attribution.design import Analysis
from countermark_service.audit.attribution.factors import Remainder
from countermark_service.audit.attribution.pair import CELLS, Decomposition, Estimate
from countermark_service.audit.attribution.sides import Side
from countermark_service.audit.wording import plural, points_range, shown_points
from countermark_service.releases.difference import FactorDifference


def interval(one: Estimate) -> str:
    """Return an interval in points."""
    return "no interval" if one.low is None or one.high is None else points_range(one.low, one.high)


@dataclass(frozen=True)
class PairFinding:
    """Two releases on one task."""

    first: Side
    second: Side
    pins: tuple[str, str]
    """Of the verifier of each."""
    judges: tuple[str, ...]
    """Pins of the verifiers in the order of the counts: the two, or the one that both are."""
    crossed: Crossed
    decomposition: Decomposition
    differences: Sequence[FactorDifference] = ()
    """Of the cards; empty where a side has none."""
    remainder: Remainder | None = None
    """None where a side has no card."""
    degraded: Sequence[str] = field(default_factory=tuple)
    advisories: Sequence[str] = ()
    """What is known to be wrong with the verifiers, in sentences without their full stops."""

    @property
    def same_verifier(self) -> bool:
        """Whether both were scored by one verifier with the same parameters."""
        return self.pins[0] == self.pins[1] and dict(self.first.params) == dict(self.second.params)

    def sentence(self) -> str:
        """Return the finding in one sentence."""
        effects, level = self.decomposition.effects, self.decomposition.confidence
        gap, verifier, outputs = effects["gap"], effects["verifier"], effects["outputs"]
        sides = f"{self.first.name} and {self.second.name}"
        where = f"{shown_points(gap.value)} points between {sides} on {self.first.task}"
        if self.same_verifier:
            return (
                f"Of {where}, none are the verifier, which is the same; all are the outputs ({level:.0%} interval "
                f"{interval(outputs)})."
            )
        said = (
            f"Of {where}, {shown_points(verifier.value)} are the verifier ({level:.0%} interval {interval(verifier)}) "
            f"and {shown_points(outputs.value)} the outputs ({interval(outputs)})."
        )
        if not verifier.clear:
            said += " The verifier's part cannot be told from zero."
        return said

    def sentences(self) -> list[str]:
        """Return what else is to be said, the most important first."""
        effects = self.decomposition.effects
        said = []
        if not effects["gap"].clear:
            said.append(
                f"The gap itself, {shown_points(effects['gap'].value)} points, cannot be told from zero "
                f"({interval(effects['gap'])})."
            )
        if not self.same_verifier:
            first, second = (
                shown_points(effects[f"verifier_on_{side}_outputs"].value) for side in ("first", "second")
            )
            said.append(
                f"In the one order the verifier is {first} (on the first outputs), in the other {second} (on the "
                "second); the figure above is their mean."
            )
            if effects["interaction"].clear:
                said.append(
                    "The two orders differ by more than chance: the second verifier does not change both outputs alike."
                )
        said += [f"{one}." for one in self.advisories]
        said += self._of_published()
        said += self._of_counts()
        if self.remainder is not None:
            said += self.remainder.sentences()
        else:
            said.append(
                "Which other factors differ is not known: a release card for each side would say it "
                "(`countermark release init`)."
            )
        return said

    def _of_published(self) -> list[str]:
        said = []
        for side, cell in ((self.first, "first_first"), (self.second, "second_second")):
            published = side.published
            if published is None:
                continue
            told, again = published.value, self.decomposition.cells[cell].value
            text = f"{side.name} published {100 * told:.1f} ({published.metric})"
            if not published.is_mean:
                said.append(f"{text}, which is no mean over outputs and not what is compared here.")
                continue
            text += f"; under its own verifier the questions compared here give {100 * again:.1f}"
            if abs(again - told) < 0.0005:  # less than a tenth of a point shows
                said.append(f"{text}.")
            elif published.failures_are_zero:
                said.append(
                    f"{text}, {shown_points(again - told)}: its card counts outputs without a score as zeros."
                )
            else:
                said.append(f"{text}, {shown_points(again - told)}: it is not what was published.")
        return said

    def _of_counts(self) -> list[str]:
        said = []
        for side in self.crossed.sides:
            for place, counts in enumerate(side.without_score):
                if counts:
                    shown = ", ".join(f"{number} {outcome}" for outcome, number in counts.items())
                    said.append(
                        f"{sum(counts.values())} of {side.rows} outputs of {side.name} have no score under "
                        f"{self.judges[place].partition('@')[0]} ({shown}): they are left out under every verifier, "
                        "and are no zeros."
                    )
            if side.unusable:
                shown = ", ".join(f"{number} {code}" for code, number in side.unusable.items())
                said.append(f"Rows of {side.name} that cannot be read: {shown}.")
        if self.crossed.without_score:
            left_out = plural(self.crossed.without_score, "question is", "questions are")
            said.append(f"{left_out} left out for lack of a score.")
        if self.crossed.other_reference:
            said.append(
                f"{plural(self.crossed.other_reference, 'question is', 'questions are')} left out because the sides "
                "hold them against different references."
            )
        return said

    def document(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        found = self.decomposition
        return {
            "task": self.first.task,
            "first": _side(self.first, self.pins[0]),
            "second": _side(self.second, self.pins[1]),
            "same_verifier": self.same_verifier,
            "counts": self.crossed.document(),
            "confidence": found.confidence,
            "cells": {name: _estimate(found.cells[name]) for name in CELLS},
            "effects": {name: _estimate(one) for name, one in found.effects.items()},
            "verifier_share": None if found.share is None else _estimate(found.share),
            "questions_changed_by_second_verifier": {
                name: {"lower": lower, "higher": higher} for name, (lower, higher) in found.changed.items()
            },
            "factors": [one.document() for one in self.differences],
            "remainder": None if self.remainder is None else self.remainder.document(),
            "degraded": list(self.degraded),
            "advisories": list(self.advisories),
            "sentence": self.sentence(),
            "sentences": self.sentences(),
        }


@dataclass(frozen=True)
class RunsFinding:
    """A set of runs that varies several factors, under one verifier."""

    task: str
    verifier: str | None
    """Pin; None where the scores are as they were given."""
    response: str
    analysis: Analysis
    over_questions: Mapping[str, Estimate] = field(default_factory=dict)
    """Effects with intervals over questions, where the runs answered the same ones: how they would be on other
    questions. What another seed would do is not in them."""
    crossed: Crossed | None = None
    """What was scored again; None for a table, whose scores are shown as they were given."""
    advisories: Sequence[str] = ()
    """What is known to be wrong with the verifier, in sentences without their full stops."""

    @property
    def scale(self) -> int:
        """What a score is multiplied by to be shown: 100, for points, or 1 for those of a table."""
        return 1 if self.crossed is None else 100

    def shown(self, value: float) -> str:
        """Return an effect, or a bound of one, as text; what rounding leaves of nothing is 0."""
        return f"{round(self.scale * value, 9) + 0.0:+.4g}"

    def sentences(self) -> list[str]:
        """Return what is to be said besides the table of effects."""
        found = self.analysis
        said = []
        basis = {
            "replicates": "repeated runs",
            "residual": "the interactions that were left out of the model, taken for noise",
            "lenth": "Lenth's pseudo standard error: most effects are taken to be noise",
        }
        if found.error == "none":
            said.append(
                "Nothing in these runs says how large chance is: repeat a run with another seed to get intervals."
            )
        else:
            said.append(f"Intervals between runs stand on {basis[found.error]}.")
        for one in found.effects:
            if one.aliased_with:
                others = ", ".join(_weighted(name, weight) for name, weight in one.aliased_with.items())
                said.append(f"The effect of {one.term} is aliased: it holds {others} as well.")
        said += [
            f"The effect of {alias.term} cannot be estimated: it is the mean itself in these runs."
            for alias in found.aliases
            if set(alias.made_of) <= {""}
        ]
        if found.constant:
            said.append(f"Nothing is said of what did not vary: {', '.join(found.constant)}.")
        return [*said, *(f"{one}." for one in self.advisories)]

    def document(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        found = self.analysis
        return {
            "task": self.task,
            "verifier": self.verifier,
            "response": self.response,
            "runs": found.runs,
            "full_factorial": found.full,
            "factors": {name: list(levels) for name, levels in found.factors.items()},
            "constant": dict(found.constant),
            "mean": found.mean,
            "error": found.error,
            "standard_error": found.standard_error,
            "degrees_of_freedom": found.degrees_of_freedom,
            "confidence": found.confidence,
            "effects": [
                {
                    "term": one.term,
                    "estimate": one.estimate,
                    "interval": None if one.interval is None else list(one.interval),
                    "over_questions": _estimate(self.over_questions[one.term])
                    if one.term in self.over_questions
                    else None,
                    "aliased_with": dict(one.aliased_with),
                }
                for one in found.effects
            ],
            "aliases": [{"term": one.term, "made_of": dict(one.made_of)} for one in found.aliases],
            "counts": None if self.crossed is None else self.crossed.document(),
            "advisories": list(self.advisories),
            "sentences": self.sentences(),
        }


def _weighted(name: str, weight: float) -> str:
    if abs(abs(weight) - 1) < 1e-6:
        return name if weight > 0 else f"minus {name}"
    return f"{weight:+.3g} times {name}"


def _side(side: Side, pin: str) -> dict[str, Any]:
    published = side.published
    return {
        "name": side.name,
        "release": None if side.release is None else str(side.release.ref),
        "verifier": pin,
        "params": dict(side.params),
        "outputs": None if side.path is None else str(side.path),
        "published": None if published is None else {"metric": published.metric, "value": published.value},
    }


def _estimate(one: Estimate) -> dict[str, Any]:
    return {"value": one.value, "low": one.low, "high": one.high, "method": one.method}
