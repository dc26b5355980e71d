"""How much a card says of each factor, what is missing, and why that matters.

Every rule asks for one thing. An essential one is needed to do the release again at
all; the others are needed to get the same numbers. The grades:

    A  everything is said            C  at least half of the essential things are
    B  every essential thing is      D  less than half
                                     F  nothing is said of the factor

A card has the grade of its weakest factor: an interface with five factors told and
one not is one that nobody can rebuild. The results are graded beside the factors, by
whether anybody else could recompute them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from countermark_service.model import BundleRef
from countermark_service.releases.card import FACTORS, Factor, ReleaseCard, Result

Grade = Literal["A", "B", "C", "D", "F"]
RESULTS = "results"


@dataclass(frozen=True, slots=True)
class Rule:
    """One thing that a card should say."""

    factor: str
    """Field of the card."""
    field: str
    """Where it would be said."""
    essential: bool
    missing: str
    """What is missing, where it is."""
    why: str
    said: Callable[[ReleaseCard], bool]


@dataclass(frozen=True, slots=True)
class FactorGrade:
    """What a card says of one factor."""

    factor: str
    """Field of the card."""
    grade: Grade
    said: int
    """Rules that hold."""
    asked: int
    """Rules that there are."""
    missing: tuple[Rule, ...]
    """Essential ones first."""
    not_applicable: str | None = None
    """Why the release has no such factor, in the card's words."""

    def document(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        return {
            "factor": self.factor,
            "grade": self.grade,
            "said": self.said,
            "asked": self.asked,
            "not_applicable": self.not_applicable,
            "missing": [
                {"field": one.field, "essential": one.essential, "missing": one.missing, "why": one.why}
                for one in self.missing
            ],
        }


@dataclass(frozen=True, slots=True)
class Completeness:
    """How much a card says."""

    grade: Grade
    """Of the weakest factor."""
    factors: tuple[FactorGrade, ...]
    """The six, in order."""
    results: FactorGrade

    def document(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        return {
            "grade": self.grade,
            "factors": [one.document() for one in self.factors],
            "results": self.results.document(),
        }


def grade_card(card: ReleaseCard) -> Completeness:
    """Return how much a card says of each factor."""
    factors = tuple(_graded(card, name) for name in FACTORS)
    return Completeness(max(one.grade for one in factors), factors, _graded(card, RESULTS))


def _graded(card: ReleaseCard, name: str) -> FactorGrade:
    rules = [rule for rule in RULES if rule.factor == name]
    part = getattr(card, name)
    if isinstance(part, Factor) and part.not_applicable is not None:
        return FactorGrade(name, "A", len(rules), len(rules), (), part.not_applicable)
    held = [rule for rule in rules if rule.said(card)]
    missing = sorted((rule for rule in rules if rule not in held), key=lambda rule: not rule.essential)
    essential = [rule for rule in rules if rule.essential]
    told = sum(rule.essential for rule in held)
    return FactorGrade(
        name, _grade(held, missing, told, len(essential)), len(held), len(rules), tuple(missing)
    )


def _grade(held: list[Rule], missing: list[Rule], told: int, essential: int) -> Grade:
    if not missing:
        return "A"
    if told == essential:
        return "B"
    if told * 2 >= essential:
        return "C"
    return "D" if held else "F"


def _routes(card: ReleaseCard) -> bool:
    return bool(card.verifier.routes)


def _pinned(card: ReleaseCard) -> bool:
    return _routes(card) and all(route.ref.pinned for route in card.verifier.routes)


def _failures_said(card: ReleaseCard) -> bool:
    return _routes(card) and all(route.on_failure is not None for route in card.verifier.routes)


def _tasks_routed(card: ReleaseCard) -> bool:
    return _routes(card) and all(
        result.task is None or card.verifier.route(result.task) is not None for result in card.results
    )


def _sources(card: ReleaseCard) -> bool:
    return bool(card.data.sources)


def _every_source(field: str) -> Callable[[ReleaseCard], bool]:
    return lambda card: (
        _sources(card) and all(getattr(source, field) is not None for source in card.data.sources or ())
    )


def _generators_exact(card: ReleaseCard) -> bool:
    models = card.data.generator_models
    return models is not None and all(model.revision is not None for model in models)


def _every_result(holds: Callable[[ReleaseCard, Result], bool]) -> Callable[[ReleaseCard], bool]:
    return lambda card: bool(card.results) and all(holds(card, result) for result in card.results)


def _judge_pinned(card: ReleaseCard, result: Result) -> bool:
    judge = card.judge_of(result)
    return judge is not None and BundleRef.parse(judge).pinned


def _has(factor: str, *fields: str) -> Callable[[ReleaseCard], bool]:
    """Return whether one of the fields of a factor is said; an empty text or list says that there is none."""
    return lambda card: any(getattr(getattr(card, factor), field) is not None for field in fields)


def _hyperparameters(card: ReleaseCard) -> bool:
    return bool(card.optimizer.hyperparameters)


def _seeds(card: ReleaseCard) -> bool:
    return bool(card.optimizer.seeds)


RULES: tuple[Rule, ...] = (
    Rule("verifier", "verifier.routes", True, "no verifier",
         "Published scorers disagree on the same outputs by tens of points.", _routes),
    Rule("verifier", "verifier.routes[].verifier", True, "a verifier without digest",
         "One version of a library with another version of what it uses judges differently.", _pinned),
    Rule("verifier", "verifier.routes[].on_failure", True, "what becomes of a failure",
         "A timeout that is counted as 0 is a lower score and another reward than one that is left out.",
         _failures_said),
    Rule("verifier", "verifier.routes[].task", False, "a route for every task of the results",
         "A result of a task without route cannot be scored by naming the release.", _tasks_routed),
    Rule("base_model", "base_model.id", True, "which model",
         "The same data and verifier give other gains from another start.", _has("base_model", "id")),
    Rule("base_model", "base_model.revision", True, "its revision",
         "The files under a name change; a commit does not.", _has("base_model", "revision")),
    Rule("base_model", "base_model.weights_digest", False, "the digest of its weights",
         "It proves that a copy is the same model, wherever it is from.", _has("base_model", "weights_digest")),
    Rule("data", "data.sources", True, "the sources",
         "Without them nobody can build the data again.", _sources),
    Rule("data", "data.sources[].revision", True, "the revision of every source",
         "Data sets are corrected in place.", _every_source("revision")),
    Rule("data", "data.decontamination", True, "what was done against contamination",
         "A gain on an evaluation that was trained on is none. Say `none` where nothing was done.",
         _has("data", "decontamination")),
    Rule("data", "data.sources[].split", False, "the split of every source",
         "Training on a test split is the commonest mistake of all.", _every_source("split")),
    Rule("data", "data.filters", False, "the filters",
         "What was left out decides how hard the rest is. An empty list says that there are none.",
         _has("data", "filters")),
    Rule("data", "data.generator_models", False, "the models that wrote it, with their revisions",
         "Whoever trains on a model's outputs learns from that model. An empty list says that there are none.",
         _generators_exact),
    Rule("optimizer", "optimizer.algorithm", True, "the algorithm",
         "The same rewards make other models under another one.", _has("optimizer", "algorithm")),
    Rule("optimizer", "optimizer.library", True, "the library",
         "Implementations of one algorithm differ in loss, normalization and masking.", _has("optimizer", "library")),
    Rule("optimizer", "optimizer.library_version", True, "its version",
         "Defaults change between versions.", _has("optimizer", "library_version")),
    Rule("optimizer", "optimizer.hyperparameters", True, "the hyperparameters",
         "Learning rate, batch size and KL weight move results more than most claims.", _hyperparameters),
    Rule("optimizer", "optimizer.seeds", True, "the seeds",
         "Seeds alone move small evaluations by 5 to 15 points; one run is an anecdote.", _seeds),
    Rule("optimizer", "optimizer.steps", False, "the number of steps",
         "Gains of verifiers show early or late.", _has("optimizer", "steps")),
    Rule("optimizer", "optimizer.hardware", False, "the hardware",
         "Batch shapes and kernels depend on it, and numbers on them.", _has("optimizer", "hardware")),
    Rule("scaffold", "scaffold.prompt_template", True, "the prompt template",
         "Format instructions decide what the verifier can read.",
         _has("scaffold", "prompt_template", "prompt_template_digest")),
    Rule("scaffold", "scaffold.system_prompt", True, "the system prompt",
         "It moves scores like a template. An empty text says that there is none.",
         _has("scaffold", "system_prompt", "system_prompt_digest")),
    Rule("scaffold", "scaffold.chat_template_digest", False, "the digest of the chat template",
         "It is changed in repositories of models long after their release.",
         _has("scaffold", "chat_template_digest")),
    Rule("scaffold", "scaffold.tools", False, "the tools",
         "A model with a calculator is another one. An empty list says that there are none.",
         _has("scaffold", "tools")),
    Rule("scaffold", "scaffold.environment", False, "the environment",
         "Agents are measured in one, and it has versions too.", _has("scaffold", "environment")),
    Rule("inference", "inference.samples", True, "samples for one prompt",
         "pass@8 against pass@1 is no gain.", _has("inference", "samples")),
    Rule("inference", "inference.max_tokens", True, "tokens of one answer",
         "An answer that is cut off has none.", _has("inference", "max_tokens")),
    Rule("inference", "inference.temperature", True, "the temperature",
         "Greedy and sampled answers of one model score differently.", _has("inference", "temperature")),
    Rule("inference", "inference.context_tokens", False, "the context",
         "A long prompt leaves less for the answer.", _has("inference", "context_tokens")),
    Rule("inference", "inference.top_p", False, "top_p",
         "Servers have defaults of their own.", _has("inference", "top_p")),
    Rule("inference", "inference.stop", False, "the stop texts",
         "They cut answers off. An empty list says that there are none.", _has("inference", "stop")),
    Rule("inference", "inference.seed", False, "the seed of sampling",
         "Without it sampled answers cannot be drawn again.", _has("inference", "seed")),
    Rule("inference", "inference.engine", False, "engine and version",
         "Engines differ in numerics and in what they do with an option that they do not know.",
         _has("inference", "engine")),
    Rule(RESULTS, "results", True, "any result",
         "There is nothing to hold the release to.", lambda card: bool(card.results)),
    Rule(RESULTS, "results[].n", True, "how many outputs each is over",
         "Without it there is no interval.", _every_result(lambda _, result: result.n is not None)),
    Rule(RESULTS, "results[].verifier", True, "the pinned verifier of each",
         "A score without its scorer cannot be compared with any other.", _every_result(_judge_pinned)),
    Rule(RESULTS, "results[].outputs", True, "the outputs of each, with the digest of the file",
         "Only outputs can be scored again.",
         _every_result(lambda _, result: result.outputs is not None and result.outputs.digest is not None)),
    Rule(RESULTS, "results[].interval", False, "an interval of each",
         "One item of a small evaluation is 3 points.",
         _every_result(lambda _, result: result.interval is not None)),
)  # fmt: skip
"""Everything that a card should say."""
