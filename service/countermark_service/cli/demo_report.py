"""What `countermark demo` found, as one table and as JSON.

Versions are the columns. The table fits the terminal: a wide one has everything, a
narrower one leaves out what stands elsewhere, and below that it becomes lines.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import msgspec

from countermark_service.model import BundleRef, Outcome

_WIDE = 100
_NARROW = 72
_FAILED = frozenset({Outcome.TIMEOUT, Outcome.ERROR, Outcome.ABSTAIN})


class SampleItem(msgspec.Struct, frozen=True):
    """A response with the verdict that a person would give it."""

    id: str
    response: str
    reference: Any
    right: bool
    """Whether the response is right."""
    shape: str
    """What is special about how it is written, in a word or two."""
    prompt: str | None = None


@dataclass(frozen=True)
class Pass:
    """What one verifier said in one pass, item by item."""

    scores: Sequence[float | None]
    outcomes: Sequence[str]
    cached: int
    """How many of these the service had already."""

    def count(self, *outcomes: Outcome) -> int:
        """How many items ended in one of `outcomes`."""
        return sum(outcome in outcomes for outcome in self.outcomes)

    def mark(self, index: int) -> str:
        """Say a verdict in a letter: T and F for right and wrong, n for no answer, ! for no score."""
        score = self.scores[index]
        if score is None:
            return "!"
        return "n" if self.outcomes[index] == Outcome.NO_ANSWER else "T" if score == 1.0 else "F"


@dataclass(frozen=True)
class Report:
    """Two passes over one sample, under several verifiers."""

    items: Sequence[SampleItem]
    pins: Sequence[BundleRef]
    first: Sequence[Pass]
    second: Sequence[Pass]
    pass_seconds: tuple[float, float]
    """Wall time of each pass, all verifiers at once."""
    seconds: float
    """Wall time of the whole demo."""

    @cached_property
    def disagreements(self) -> list[int]:
        """Places of the items that got different scores, a missing one being different too."""
        return [
            place for place in range(len(self.items)) if len({one.scores[place] for one in self.first}) > 1
        ]

    @cached_property
    def faults(self) -> list[str]:
        """What is not as it must be, in words; empty where all is well."""
        found = []
        for pin, first, second in zip(self.pins, self.first, self.second, strict=True):
            failed = sum(outcome in _FAILED for outcome in first.outcomes)
            if failed:
                found.append(f"{pin.name}:{pin.version} failed on {failed} items")
            if second.cached != len(self.items):
                missing = len(self.items) - second.cached
                found.append(f"{pin.name}:{pin.version} was asked again for {missing} items it had judged")
            if (first.scores, first.outcomes) != (second.scores, second.outcomes):
                found.append(f"{pin.name}:{pin.version} gave other verdicts in the second pass")
        return found

    def agreement(self, one: Pass) -> int:
        """On how many items a verifier says what a person would."""
        return sum((score == 1.0) is item.right for score, item in zip(one.scores, self.items, strict=True))

    def document(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        return {
            "ok": not self.faults,
            "faults": self.faults,
            "items": len(self.items),
            "right": sum(item.right for item in self.items),
            "seconds": round(self.seconds, 2),
            "passes": [
                {"seconds": round(seconds, 3), "verdicts": verdicts, "cached": cached}
                for seconds, verdicts, cached in self._passes()
            ],
            "verifiers": [
                {"verifier": str(pin), **dict(self._counts(one)), "cached": [one.cached, two.cached]}
                for pin, one, two in zip(self.pins, self.first, self.second, strict=True)
            ],
            "disagreements": [
                {
                    "id": self.items[place].id,
                    "shape": self.items[place].shape,
                    "reference": self.items[place].reference,
                    "final": final_text(self.items[place].response),
                    "right": self.items[place].right,
                    "verdicts": [
                        {"verifier": str(pin), "outcome": one.outcomes[place], "score": one.scores[place]}
                        for pin, one in zip(self.pins, self.first, strict=True)
                    ],
                }
                for place in self.disagreements
            ],
        }

    def _counts(self, one: Pass) -> list[tuple[str, int]]:
        scored = one.count(Outcome.SCORED)
        right = sum(score == 1.0 for score in one.scores)
        return [
            ("right", right),
            ("wrong", scored - right),
            ("no_answer", one.count(Outcome.NO_ANSWER)),
            ("bad_reference", one.count(Outcome.BAD_REFERENCE)),
            ("failed", one.count(*_FAILED)),
            ("agrees", self.agreement(one)),
        ]

    # --- for people ------------------------------------------------------------------------------------

    def parts(self, width: int) -> Iterator[Any]:
        """Yield what to print on a terminal of `width` columns."""
        items, right = len(self.items), sum(item.right for item in self.items)
        yield f"{items} responses ({right} right, {items - right} wrong) under {len(self.pins)} verifiers\n"
        if width < _NARROW:
            yield from self._lines()
        else:
            yield self._table(wide=width >= _WIDE)
        yield "\nT right, F wrong, n no answer, ! no score. What is right, as the sample says, is under `truth`.\n"
        yield from map(str, self.pins)
        yield ""
        for name, (seconds, verdicts, cached) in zip(("first", "second"), self._passes(), strict=True):
            yield f"{name} pass: {verdicts} verdicts in {seconds:.2f} s, {cached} of them from the store"
        for fault in self.faults:
            yield f"not as it must be: {fault}"
        if any(one.cached for one in self.first):
            yield "(What the first pass found there is of an earlier run, or of an equal response.)"
        yield f"all in all: {self.seconds:.1f} s"

    def _labels(self) -> list[str]:
        """Return what each verifier is called: its version where all are one verifier's."""
        if len({pin.name for pin in self.pins}) == 1:
            return [pin.version or "" for pin in self.pins]
        return [f"{pin.name}:{pin.version}" for pin in self.pins]

    def _figures(self) -> Iterator[tuple[str, list[str], str]]:
        """Yield lines of figures: name, one value per verifier, and the truth where there is one."""
        items, right = len(self.items), sum(item.right for item in self.items)
        truth = {"right": str(right), "wrong": str(items - right), "agrees": str(items)}
        counts = [self._counts(one) for one in self.first]
        for row in zip(*counts, strict=True):
            name = row[0][0]
            yield name.replace("_", " "), [str(value) for _, value in row], truth.get(name, "")

    def _hits(self) -> Iterator[tuple[str, list[str]]]:
        for name, passes in (("first pass", self.first), ("second pass", self.second)):
            yield f"from the store, {name}", [str(one.cached) for one in passes]

    def _passes(self) -> Iterator[tuple[float, int, int]]:
        """Yield seconds, verdicts and hits of each pass."""
        for seconds, passes in zip(self.pass_seconds, (self.first, self.second), strict=True):
            yield seconds, sum(len(one.scores) for one in passes), sum(one.cached for one in passes)

    def _described(self, place: int) -> str:
        item = self.items[place]
        reference = item.reference if isinstance(item.reference, str) else json.dumps(item.reference)
        shape = "" if item.id.startswith(item.shape) else f"{item.shape}: "
        return f"{shape}{_shortened(reference, 40)} <- {final_text(item.response)}"

    def _table(self, *, wide: bool) -> Any:
        from countermark_service.cli.console import table

        made = table("", "reference <- end of the response", numbers=[*self._labels(), "truth"])
        made.columns[0].min_width = max(
            (len(self.items[place].id) for place in self.disagreements), default=4
        )
        made.columns[1].ratio = 1
        made.expand = True
        for name, values, truth in self._figures():
            made.add_row("", name, *values, truth)
        made.add_section()
        for name, values in self._hits():
            made.add_row("", name, *values, "")
        if wide:
            made.add_row("", "digest, its head", *[(pin.digest or "")[7:15] for pin in self.pins], "")
        made.add_section()
        for place in self.disagreements:
            marks = [one.mark(place) for one in self.first]
            truth = "T" if self.items[place].right else "F"
            made.add_row(self.items[place].id, self._described(place), *marks, truth)
        if not self.disagreements:
            made.add_row("", "they agree on every item", *[""] * (len(self.pins) + 1))
        return made

    def _lines(self) -> Iterator[str]:
        """Yield the same as text, for a terminal that holds no table."""
        labels = self._labels()
        figures = [*((name, values) for name, values, _ in self._figures()), *self._hits()]
        for place, label in enumerate(labels):
            yield label
            yield "  " + "; ".join(f"{name}: {values[place]}" for name, values in figures)
        yield f"\n{len(self.disagreements)} items on which they disagree, as {' '.join(labels)}, truth:"
        for place in self.disagreements:
            marks = " ".join(one.mark(place) for one in self.first)
            truth = "T" if self.items[place].right else "F"
            yield f"{self.items[place].id}  {marks}  truth {truth}"
            yield f"  {self._described(place)}"


def final_text(response: str) -> str:
    """Return the end of a response on one line, where the answer usually stands."""
    text = " ".join(response.split())
    return text if len(text) <= 32 else f"…{text[-31:]}"


def _shortened(text: str, longest: int) -> str:
    text = " ".join(text.split())
    return text if len(text) <= longest else f"{text[: longest - 1]}…"
