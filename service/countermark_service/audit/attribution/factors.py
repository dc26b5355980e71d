"""What differs between two releases besides the verifier, and which run would tell it apart.

What both verifiers leave of a gap is the outputs' own, and outputs come of five
factors together. Where the cards differ in one of them and agree in the others, the
rest of the gap is that factor's (and chance's). Where they differ in several, the rest
is *confounded*: no analysis of these outputs says which of them it is. A further run
does, if it takes some of the factors from one release and the others from the other.
Generating answers again is cheap beside training, so the run that is proposed needs no
training where one such run can separate anything.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from countermark_service.releases import FACTORS
from countermark_service.releases.difference import FactorDifference

VERIFIER = "verifier"
TRAINED = ("base_model", "data", "optimizer")
"""Factors that are in the weights."""
GENERATED = ("scaffold", "inference")
"""Factors that can be changed with the weights as they are."""

SEEDS = frozenset({"optimizer.seeds", "inference.seed"})
"""Fields of a card that make a repetition of a run, and no other run."""

Needs = Literal["nothing", "generation", "training"]


@dataclass(frozen=True)
class NextRun:
    """A run that would separate what is confounded."""

    from_first: tuple[str, ...]
    """Factors that the run takes from the first release."""
    from_second: tuple[str, ...]
    """Factors that it takes from the second; those in which both agree are as they are."""
    separates: tuple[tuple[str, ...], tuple[str, ...]]
    """Two groups whose effects it tells apart."""
    needs: Needs

    def sentence(self) -> str:
        """Return what to do, as a sentence."""
        first, second = _named(self.from_first), _named(self.from_second)
        cost = "answers generated again, no training" if self.needs == "generation" else "training"
        return (
            f"One run with the {second} of the second release and the {first} of the first separates "
            f"the {_named(self.separates[0])} from the {_named(self.separates[1])}; it needs {cost}."
        )

    def document(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        return {
            "from_first": list(self.from_first),
            "from_second": list(self.from_second),
            "separates": [list(group) for group in self.separates],
            "needs": self.needs,
            "sentence": self.sentence(),
        }


@dataclass(frozen=True)
class Remainder:
    """What the verifier does not explain, and what it may be."""

    differing: tuple[str, ...]
    """Factors in which the cards differ, the verifier left out."""
    unknown: tuple[str, ...]
    """Factors of which the cards say too little to tell."""
    same: tuple[str, ...]
    """Factors in which they agree; other seeds do not count."""
    other_seeds: bool
    """Whether the cards name different seeds."""
    next_run: NextRun | None
    """None where nothing more can be separated, or the cards must say more first."""
    alternatives: tuple[NextRun, ...]
    """Other runs that separate something."""

    @property
    def identified(self) -> str | None:
        """The one factor that the remainder belongs to, if there is just one."""
        return self.differing[0] if len(self.differing) == 1 and not self.unknown else None

    def sentences(self) -> list[str]:
        """Return what can be said of the remainder."""
        said = []
        if self.identified is not None:
            said.append(
                f"The cards differ in the {FACTORS[self.identified]} alone, so what the verifier does not explain "
                "is its effect, and chance: of seeds nothing is known until a run is repeated."
            )
        elif len(self.differing) > 1:
            said.append(
                f"What the verifier does not explain is confounded: the cards differ in the {_named(self.differing)}, "
                "and nothing in these outputs says which of them it is."
            )
        elif self.differing:
            said.append(
                f"What the verifier does not explain may be the {FACTORS[self.differing[0]]}, in which the cards "
                "differ."
            )
        elif not self.unknown:
            said.append(
                "The cards agree in every other factor: what the verifier does not explain is chance, such as "
                "another seed, or something that the cards do not say."
            )
        if self.other_seeds:
            said.append("The cards name different seeds, so part of what remains is chance.")
        if self.unknown:
            said.append(
                f"The cards say too little of the {_named(self.unknown)}: until they do, that may be part of it"
                f"{' too' if len(self.differing) == 1 else ''}."
            )
        if self.next_run is not None:
            said.append(self.next_run.sentence())
        elif self.identified is not None or (not self.differing and not self.unknown):
            said.append("One run of either release with another seed would say how much is chance.")
        return said

    def document(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        return {
            "differing": list(self.differing),
            "unknown": list(self.unknown),
            "same": list(self.same),
            "other_seeds": self.other_seeds,
            "identified": self.identified,
            "next_run": None if self.next_run is None else self.next_run.document(),
            "alternatives": [one.document() for one in self.alternatives],
            "sentences": self.sentences(),
        }


def remainder(differences: Sequence[FactorDifference]) -> Remainder:
    """Return what is left besides the verifier, from the factors of `releases.difference.compare`."""
    others = [one for one in differences if one.factor in FACTORS and one.factor != VERIFIER]
    seeded = [one.factor for one in others if one.status == "differs" and _in_seeds_alone(one)]
    differing = tuple(one.factor for one in others if one.status == "differs" and one.factor not in seeded)
    found = _runs(differing)
    return Remainder(
        differing=differing,
        unknown=tuple(
            one.factor for one in others if one.status == "unknown" or (one.factor in seeded and one.untold)
        ),
        same=tuple(
            one.factor for one in others if one.status == "same" or (one.factor in seeded and not one.untold)
        ),
        other_seeds=any(change.field in SEEDS for one in others for change in one.changes),
        next_run=found[0] if found else None,
        alternatives=tuple(found[1:]),
    )


def _in_seeds_alone(one: FactorDifference) -> bool:
    return all(change.field in SEEDS for change in one.changes)


def _runs(differing: Sequence[str]) -> list[NextRun]:
    """Return runs that separate something, the cheapest first."""
    if len(differing) < 2:
        return []
    trained = tuple(one for one in differing if one in TRAINED)
    generated = tuple(one for one in differing if one in GENERATED)
    found = []
    if trained and generated:  # the weights of one release, asked as the other was
        found.append(NextRun(generated, trained, (trained, generated), "generation"))
        found.append(NextRun(trained, generated, (trained, generated), "generation"))
    for one in generated if len(generated) > 1 else ():
        rest = tuple(other for other in differing if other != one)
        found.append(NextRun((one,), rest, ((one,), rest), "generation"))
    for one in trained if len(trained) > 1 else ():
        rest = tuple(other for other in differing if other != one)
        found.append(NextRun((one,), rest, ((one,), rest), "training"))
    return found


def _named(factors: Sequence[str]) -> str:
    names = [FACTORS[one] for one in factors]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
