"""Main effects and interactions of a set of runs, and what its design cannot tell apart.

Runs that vary several factors at once can say what each does, if the right runs were
made. Effects are least squares over coded columns: for a factor with two levels the
effect is the mean at the second level minus the mean at the first (Box, Hunter & Hunter,
*Statistics for Experimenters*, ch. 5); a factor with more levels has one effect for each
level after the first, against the mean over the levels. A column that the columns before
it already make up is *aliased*: it is not estimated, and the effects that stand for it
are named.

How sure an effect is depends on what there is to compare with: repeated runs, or effects
of higher order that are taken for noise (Student's t); else, in an unreplicated two-level
design, the bulk of small effects (Lenth 1989, *Technometrics* 31, 469-473). With neither
there is an estimate and no interval, and it says so.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats  # type: ignore[import-untyped]

from countermark_service.audit.attribution.errors import AttributionError

Level = str | float
Array = NDArray[np.float64]
_SMALL = 1e-9
_MOST_FACTORS = 16
_MOST_TERMS = 4096
_FEWEST_CONTRASTS = 3
"""Effects that Lenth's method needs at least."""
_ENOUGH_CONTRASTS = 7
"""Effects from which on it is used unasked, those of eight runs: with fewer, its intervals say nothing."""


@dataclass(frozen=True)
class Run:
    """One run: where every factor stood, and the score that came out."""

    name: str
    levels: Mapping[str, Level]
    score: float


@dataclass(frozen=True)
class Alias:
    """An effect that the runs cannot tell from others."""

    term: str
    made_of: Mapping[str, float]
    """The estimated effects that it adds to, and with which weight; an empty name stands for the mean."""


@dataclass(frozen=True)
class Effect:
    """One effect."""

    term: str
    """Such as ``data``, ``data x scaffold``; with more than two levels ``data[level]``."""
    factors: tuple[str, ...]
    estimate: float
    """In the units of the score."""
    interval: tuple[float, float] | None = None
    """At the level of confidence of the analysis; None where nothing says how sure it is."""
    aliased_with: Mapping[str, float] = field(default_factory=dict)
    """Effects that the estimate holds as well, with their weights: it is the sum of all of them."""


@dataclass(frozen=True)
class Analysis:
    """What a set of runs says."""

    runs: int
    factors: Mapping[str, tuple[Level, ...]]
    """Levels of every factor that varies, in the order of the coding: the first is minus."""
    constant: Mapping[str, Level]
    """Factors that stand at one level in all runs: nothing is said about them."""
    mean: float
    effects: tuple[Effect, ...]
    aliases: tuple[Alias, ...]
    error: Literal["replicates", "residual", "lenth", "none"]
    """What the intervals stand on."""
    standard_error: float | None
    """Of a two-level effect of a balanced design; Lenth's pseudo standard error where `error` is ``lenth``."""
    degrees_of_freedom: float | None
    confidence: float
    full: bool
    """Whether every combination of the levels was run."""

    def effect(self, term: str) -> Effect:
        """Return an effect by its name; raises `KeyError`."""
        for one in self.effects:
            if one.term == term:
                return one
        raise KeyError(term)


@dataclass(frozen=True)
class _Term:
    name: str
    factors: tuple[str, ...]
    column: Array


@dataclass(frozen=True)
class Fit:
    """A design with its estimable terms: what turns scores into effects."""

    runs: tuple[Run, ...]
    factors: Mapping[str, tuple[Level, ...]]
    constant: Mapping[str, Level]
    terms: tuple[_Term, ...]
    aliases: tuple[Alias, ...]

    @property
    def matrix(self) -> Array:
        """The model: a column of ones, then one per term."""
        return np.column_stack([np.ones(len(self.runs)), *(term.column for term in self.terms)])

    def effects_of(self, scores: Array) -> Array:
        """Return the mean and the effects, for one column of scores per set of runs: ``(1 + terms, …)``."""
        solved: Array = np.linalg.pinv(self.matrix) @ scores
        scale = np.array([1.0, *(self._scale(term) for term in self.terms)])
        effects: Array = solved * scale.reshape((-1,) + (1,) * (scores.ndim - 1))
        return effects

    def _scale(self, term: _Term) -> float:
        return 2.0 if all(len(self.factors[name]) == 2 for name in term.factors) else 1.0


def fit(runs: Sequence[Run], *, order: int | None = None) -> Fit:
    """Find what a set of runs can estimate.

    Args:
        runs: At least two.
        order: Factors that an interaction has at most; by default all, where every factor has two levels, else 2.

    Raises:
        AttributionError: Too few runs, a level that is missing, or nothing that varies.
    """
    factors, constant = _factors_of(runs)
    two_level = all(len(levels) == 2 for levels in factors.values())
    order = (len(factors) if two_level else 2) if order is None else order
    if order < 1:
        raise AttributionError(f"interactions of order {order} do not exist; main effects alone are order 1.")
    columns = {name: _columns(name, levels, runs) for name, levels in factors.items()}
    kept: list[_Term] = []
    aliases: list[Alias] = []
    basis = [np.ones(len(runs))]
    count = 0
    for size in range(1, min(order, len(factors)) + 1):
        for names in itertools.combinations(factors, size):
            for parts in itertools.product(*(columns[name] for name in names)):
                count += 1
                if count > _MOST_TERMS:
                    raise AttributionError(
                        f"these factors have over {_MOST_TERMS} interactions; bound them with --order."
                    )
                label = " x ".join(part.name for part in parts)
                column = np.prod([part.column for part in parts], axis=0)
                term = _Term(label, names, column)
                weights, left = _projected(np.column_stack(basis), column)
                if left > _SMALL * math.sqrt(len(runs)):
                    kept.append(term)
                    basis.append(column)
                else:
                    aliases.append(_alias(term, weights, kept))
    return Fit(tuple(runs), factors, constant, tuple(kept), tuple(aliases))


def analyse(runs: Sequence[Run], *, order: int | None = None, confidence: float = 0.95) -> Analysis:
    """Estimate effects with intervals; arguments and errors are those of `fit`."""
    found = fit(runs, order=order)
    scores = np.array([run.score for run in runs])
    if not np.isfinite(scores).all():
        raise AttributionError("a run has no finite score; leave it out, or find out why it failed.")
    mean, *estimates = found.effects_of(scores).tolist()
    error, standard, freedom = _error(found, scores, estimates)
    half = _half_widths(found, error, standard, freedom, confidence)
    held = _held(found)
    effects = tuple(
        Effect(
            term.name, term.factors, estimate,
            None if width is None else (estimate - width, estimate + width), held.get(term.name, {}),
        )
        for term, estimate, width in zip(found.terms, estimates, half, strict=True)
    )  # fmt: skip
    combinations = math.prod(len(levels) for levels in found.factors.values())
    return Analysis(
        runs=len(runs),
        factors=found.factors,
        constant=found.constant,
        mean=mean,
        effects=effects,
        aliases=found.aliases,
        error=error,
        standard_error=standard,
        degrees_of_freedom=freedom,
        confidence=confidence,
        full=len({_cell(run, found.factors) for run in runs}) == combinations,
    )


def lenth(effects: Sequence[float]) -> tuple[float, float]:
    """Return Lenth's pseudo standard error of some effects, and its degrees of freedom (a third of their number).

    Raises:
        AttributionError: Fewer than three effects.
    """
    if len(effects) < _FEWEST_CONTRASTS:
        raise AttributionError(f"Lenth's method needs {_FEWEST_CONTRASTS} effects; there are {len(effects)}.")
    sizes = np.abs(np.asarray(effects))
    first = 1.5 * float(np.median(sizes))
    small = sizes[sizes < 2.5 * first]
    pseudo = 1.5 * float(np.median(small)) if len(small) else first
    return pseudo, len(effects) / 3


def _factors_of(runs: Sequence[Run]) -> tuple[dict[str, tuple[Level, ...]], dict[str, Level]]:
    if len(runs) < 2:
        raise AttributionError(f"effects need two runs or more; there are {len(runs)}.")
    names = list(dict.fromkeys(name for run in runs for name in run.levels))
    factors: dict[str, tuple[Level, ...]] = {}
    constant: dict[str, Level] = {}
    for name in names:
        for run in runs:
            if name not in run.levels:
                raise AttributionError(f"run {run.name!r} does not say where the factor {name!r} stood.")
        levels = list(dict.fromkeys(run.levels[name] for run in runs))
        if all(isinstance(level, (int, float)) for level in levels):
            levels.sort(key=float)
        if len(levels) == 1:
            constant[name] = levels[0]
        else:
            factors[name] = tuple(levels)
    if not factors:
        raise AttributionError("no factor varies between these runs: there is no effect to estimate.")
    if len(factors) > _MOST_FACTORS:
        raise AttributionError(f"{len(factors)} factors vary; at most {_MOST_FACTORS} can be taken apart.")
    return factors, constant


def _columns(name: str, levels: Sequence[Level], runs: Sequence[Run]) -> list[_Term]:
    """Return the coded columns of a factor: -1 and +1, or one contrast against the mean for each further level."""
    place = [levels.index(run.levels[name]) for run in runs]
    if len(levels) == 2:
        return [_Term(name, (name,), np.array([2.0 * one - 1.0 for one in place]))]
    return [
        _Term(
            f"{name}[{levels[level]}]", (name,),
            np.array([1.0 if one == level else -1.0 if one == 0 else 0.0 for one in place]),
        )
        for level in range(1, len(levels))
    ]  # fmt: skip


def _projected(basis: Array, column: Array) -> tuple[Array, float]:
    """Return the weights of `basis` in `column`, and the length of what they leave over."""
    weights, *_ = np.linalg.lstsq(basis, column, rcond=None)
    return np.asarray(weights, dtype=np.float64), float(np.linalg.norm(column - basis @ weights))


def _alias(term: _Term, weights: Array, kept: Sequence[_Term]) -> Alias:
    names = ["", *(one.name for one in kept)]
    return Alias(
        term.name,
        {name: round(float(w), 9) for name, w in zip(names, weights, strict=True) if abs(w) > _SMALL},
    )


def _held(found: Fit) -> dict[str, dict[str, float]]:
    """Return, for each estimated effect, what else is in it."""
    held: dict[str, dict[str, float]] = {}
    for alias in found.aliases:
        for name, weight in alias.made_of.items():
            if name:
                held.setdefault(name, {})[alias.term] = weight
    return held


def _cell(run: Run, factors: Mapping[str, Any]) -> tuple[Level, ...]:
    return tuple(run.levels[name] for name in factors)


def _error(
    found: Fit, scores: Array, estimates: Sequence[float]
) -> tuple[Literal["replicates", "residual", "lenth", "none"], float | None, float | None]:
    """Return what tells effects from noise, the standard error of a two-level effect, and its degrees of freedom."""
    cells: dict[tuple[Level, ...], list[float]] = {}
    for run, score in zip(found.runs, scores, strict=True):
        cells.setdefault(_cell(run, found.factors), []).append(float(score))
    within = len(scores) - len(cells)
    per_effect = 2.0 / math.sqrt(len(scores))
    if within:
        squares = sum(float(np.var(values)) * len(values) for values in cells.values())
        return "replicates", math.sqrt(squares / within) * per_effect, float(within)
    free = len(scores) - 1 - len(found.terms)
    if free:
        left = scores - found.matrix @ (np.linalg.pinv(found.matrix) @ scores)
        return "residual", math.sqrt(float(left @ left) / free) * per_effect, float(free)
    two_level = all(len(levels) == 2 for levels in found.factors.values())
    if two_level and _orthogonal(found.matrix) and len(estimates) >= _ENOUGH_CONTRASTS:
        pseudo, freedom = lenth(estimates)
        return "lenth", pseudo, freedom
    return "none", None, None


def _orthogonal(matrix: Array) -> bool:
    """Whether the estimates are equally sure and independent, as Lenth's method takes them to be."""
    product = matrix.T @ matrix
    return bool(np.allclose(product, len(matrix) * np.eye(len(product))))


def _half_widths(
    found: Fit, error: str, standard: float | None, freedom: float | None, confidence: float
) -> list[float | None]:
    if standard is None or freedom is None:
        return [None] * len(found.terms)
    quantile = float(stats.t.ppf(0.5 + confidence / 2, freedom))
    if error == "lenth":
        return [quantile * standard] * len(found.terms)
    sigma = standard * math.sqrt(len(found.runs)) / 2
    matrix = found.matrix
    variances = np.diag(np.linalg.pinv(matrix.T @ matrix))[1:]
    scales = [found._scale(term) for term in found.terms]
    return [
        quantile * sigma * scale * math.sqrt(float(one)) for scale, one in zip(scales, variances, strict=True)
    ]
