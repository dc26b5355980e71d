"""Counts over a run of `countermark score`, one verifier at a time.

Verdicts of different pins are never averaged together, and a failure is never a
zero: the mean is over items that have a score, and the others are counted beside it.
"""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from countermark_service.audit.judging import Judgement
from countermark_service.model import BundleRef, Outcome

_MOST_REASONS = 5
"""Reasons that people are told of one verifier; the JSON has all."""
_SHOWN_CHARS = 240


@dataclass
class Unscored:
    """Items without a score for one reason."""

    outcome: str
    code: str | None
    """Of the verdicts' detail; None where a verifier gives none."""
    example: str
    """What the first of them says."""
    items: int = 0

    def __str__(self) -> str:
        code = f", {self.code}" if self.code else ""
        more = "" if len(self.example) <= _SHOWN_CHARS else "…"
        example = f": {self.example[:_SHOWN_CHARS]}{more}" if self.example else ""
        return f"{self.items} x {self.outcome}{code}{example}"


@dataclass
class Tally:
    """What one verifier said in all."""

    pin: BundleRef
    outcomes: Counter[str] = field(default_factory=Counter)
    cached: int = 0
    score_sum: float = 0.0
    busy_seconds: float = 0.0
    """Wall time during which it had something to judge."""
    _unscored: dict[tuple[str, str | None], Unscored] = field(default_factory=dict)
    _open: int = 0
    _since: float = 0.0

    def begin(self) -> None:
        """A batch goes to the verifier."""
        if self._open == 0:
            self._since = time.perf_counter()
        self._open += 1

    def end(self) -> None:
        """A batch is back."""
        self._open -= 1
        if self._open == 0:
            self.busy_seconds += time.perf_counter() - self._since

    def add(self, judgements: Sequence[Judgement]) -> None:
        """Count a batch."""
        for judgement in judgements:
            self.outcomes[judgement.outcome] += 1
            self.cached += judgement.cached
            self.score_sum += judgement.score or 0.0
            if judgement.score is None:
                self._add_unscored(judgement)

    def _add_unscored(self, judgement: Judgement) -> None:
        detail = msgspec.json.decode(msgspec.json.encode(judgement.detail))  # it may be JSON text as it came
        code = detail.get("code")
        key = (judgement.outcome, code if isinstance(code, str) else None)
        if key not in self._unscored:
            told = detail.get("message") or detail.get("reason") or ""
            self._unscored[key] = Unscored(*key, " ".join(str(told).split()))
        self._unscored[key].items += 1

    @property
    def unscored(self) -> list[Unscored]:
        """Why items have no score, what is most frequent first."""
        return sorted(self._unscored.values(), key=lambda one: -one.items)

    @property
    def items(self) -> int:
        """How many verdicts there are."""
        return self.outcomes.total()

    @property
    def mean(self) -> float | None:
        """Mean score over the items that have one; None where none has."""
        with_score = self.outcomes[Outcome.SCORED] + self.outcomes[Outcome.NO_ANSWER]
        return self.score_sum / with_score if with_score else None

    @property
    def rate(self) -> float | None:
        """Items per second while it had something to judge."""
        return self.items / self.busy_seconds if self.busy_seconds else None

    def document(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        return {
            "verifier": str(self.pin),
            "name": self.pin.name,
            "version": self.pin.version,
            "digest": self.pin.digest,
            "items": self.items,
            "mean_score": self.mean,
            "outcomes": {outcome.value: self.outcomes[outcome] for outcome in Outcome},
            "unscored": [vars(one) for one in self.unscored],
            "cached": self.cached,
            "items_per_second": None if self.rate is None else round(self.rate, 1),
        }


@dataclass
class Summary:
    """A whole run."""

    tallies: list[Tally]
    rows: int = 0
    """Rows that were scored, under every verifier."""
    bad_rows: int = 0
    disagreements: int = 0
    """Rows on which verifiers differ in outcome or score."""
    seconds: float = 0.0
    degraded: set[str] = field(default_factory=set)

    def add(self, judged: Sequence[Sequence[Judgement]]) -> None:
        """Count a batch: per verifier, its verdicts in the order of the rows."""
        for tally, judgements in zip(self.tallies, judged, strict=True):
            tally.add(judgements)
        for verdicts in zip(*judged, strict=True):
            self.rows += 1
            self.disagreements += len({(one.outcome, one.score) for one in verdicts}) > 1

    def document(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        return {
            "rows": self.rows,
            "bad_rows": self.bad_rows,
            "seconds": round(self.seconds, 3),
            "disagreements": self.disagreements,
            "verifiers": [tally.document() for tally in self.tallies],
            "degraded": sorted(self.degraded),
        }

    def table(self) -> Any:
        """Return everything as a table for people, a `rich.table.Table`."""
        from countermark_service.cli.console import short_digest, table

        numbers = ("items", "mean", "no answer", "bad ref.", "failed", "cached", "items/s")
        rows = table("verifier and pin", numbers=numbers, caption=self._caption())
        for tally in self.tallies:
            failed = [tally.outcomes[one] for one in (Outcome.TIMEOUT, Outcome.ERROR, Outcome.ABSTAIN)]
            rows.add_row(
                f"{tally.pin.name}:{tally.pin.version}\n{short_digest(tally.pin.digest or '')}",
                f"{tally.items}",
                "-" if tally.mean is None else f"{tally.mean:.4f}",
                f"{tally.outcomes[Outcome.NO_ANSWER]}",
                f"{tally.outcomes[Outcome.BAD_REFERENCE]}",
                f"{sum(failed)}",
                f"{tally.cached}",
                "-" if tally.rate is None else f"{tally.rate:,.0f}",
            )
        return rows

    def reasons(self) -> list[str]:
        """Return sentences about what has no score and why, for people; none where everything has one."""
        return [
            f"No score from {tally.pin.name}:{tally.pin.version}: {one}"
            for tally in self.tallies
            for one in tally.unscored[:_MOST_REASONS]
        ]

    def _caption(self) -> str:
        from countermark_service.cli.console import counted

        explained = (
            "The mean is over scored and no answer; bad references and failures (timeout, error, abstain) "
            "have no score and are not in it."
        )
        parts = [f"{counted(self.rows, 'row')} in {self.seconds:.1f} s.", explained]
        if self.bad_rows:
            parts.append(f"{self.bad_rows} bad rows were skipped.")
        if len(self.tallies) > 1:
            parts.append(f"The verifiers differ on {counted(self.disagreements, 'row')}.")
        if self.degraded:
            parts.append(f"Meanwhile: {', '.join(sorted(self.degraded))}; that cost time, no verdicts.")
        return " ".join(parts)
