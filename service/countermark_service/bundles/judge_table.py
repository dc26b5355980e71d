"""`[judge]`: everything that decides what a language model is asked and how its reply is read.

A judge has no code, so this table is the verifier: the model, the messages, the
sampling, what of an item is shown, what is refused unasked, and what the reply is
worth. All of it is in the digest. `rules` names the service's way of reading this
table (how data is written into messages, how answers are found, how replies are
parsed); a later way will have another number, so that this one stays what it is.
"""

import math
import re
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from countermark_service.bundles.json_schema import schema_problem
from countermark_service.bundles.strict import Strict, as_tuple, fault
from countermark_service.bundles.template import TemplateError, check_path

RULES = 6
"""The newest number."""
MARK = re.compile(r"\{\{\s*([a-z_]+|(?:item|sample)[.\[][^\s{}]*)\s*\}\}")
"""A place in a message where data goes."""
PLACES = {
    "text": {"prompt", "response", "reference"},
    "json": {"prompt", "response", "reference"},
    "choice": {"prompt", "response"},
    "criteria": {"prompt", "response", "criteria"},
    "pair": {"prompt", "first", "second"},
}
"""What messages may show, by the kind of reference; with ``template``: values of item and sample."""

Words = Annotated[tuple[Annotated[str, Field(min_length=1, max_length=400)], ...], Field(max_length=2000)]
Reference = Literal["text", "json", "choice", "criteria", "pair", "template"]


class Message(Strict):
    """One message to the model; `{{name}}` stands for data, written as one line of JSON."""

    role: Literal["system", "user", "assistant"]
    content: Annotated[str, Field(min_length=1, max_length=50_000)]

    @field_validator("content")
    @classmethod
    def _marks(cls, value: str) -> str:
        rest = MARK.sub("", value)
        if "{{" in rest or "}}" in rest:
            raise ValueError("`{{` and `}}` are for places such as {{response}} only")
        return value

    @cached_property
    def places(self) -> frozenset[str]:
        """The data that it shows."""
        return frozenset(MARK.findall(self.content))


class Sampling(Strict):
    """How the model is asked to choose its words."""

    temperature: Annotated[float, Field(ge=0, le=2)] = 0.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    max_tokens: Annotated[int, Field(ge=1, le=65536)]
    """Tokens of one reply."""
    seed: Annotated[int, Field(ge=0, le=2**31)] | None = None
    """Seed of the first question; the n-th question on the same item has `seed + n - 1`."""


class Show(Strict):
    """What of the response the model sees."""

    part: Literal["whole", "after_reasoning", "final_answer"] = "whole"
    """``final_answer``: the last box, answer tag or "answer is" line, else a short text itself."""
    most_chars: Annotated[int, Field(ge=1, le=1_000_000)] = 20_000
    """Characters of that part."""
    longer: Literal["no_answer", "abstain", "middle"] = "abstain"
    """What a longer part is: an outcome, or shown without its middle, which is said."""
    most_prompt_chars: Annotated[int, Field(ge=1, le=1_000_000)] = 50_000
    """Characters of the question; a longer one is `abstain`."""
    most_reference_chars: Annotated[int, Field(ge=1, le=1_000_000)] = 50_000
    """Characters of the reference, as JSON; a longer one is `bad_reference`."""


class Before(Strict):
    """What is decided without a call. Texts are compared without case, width and end punctuation."""

    openers: Words = ()
    """A shown part that is one of these is `no_answer`, unless the reference is an opener or claim too."""
    claims: Words = ()
    """As openers: texts that say nothing but that they are right."""
    instructions: Words = ()
    """A shown part that holds one of these talks to the judge."""
    addressed: Literal["no_answer", "abstain"] = "abstain"
    """The outcome of such a part."""

    _tuples = field_validator("openers", "claims", "instructions", mode="before")(as_tuple)


class Output(Strict):
    """What a reply must be, and what it is worth."""

    kind: Literal["json", "tokens", "range", "criteria"]
    """``tokens``: the last line is a label; ``range``: it is a number; ``json``: the reply is one object."""
    field: Annotated[str, Field(min_length=1, max_length=64)] = "verdict"
    """With ``json``: the member that holds the label or the number."""
    schema_: Annotated[dict[str, Any] | None, Field(alias="schema")] = None
    """With ``json``: what the reply must be; it is sent as `response_format` too."""
    labels: dict[str, float] = Field(default_factory=dict)
    """Score of each label, in [0, 1]."""
    by_reference: dict[str, dict[str, float]] = Field(default_factory=dict)
    """With a reference of the kind ``choice``: the labels' scores under each reference."""
    abstain: Words = ()
    """Labels by which the model declines."""
    low: float = 0.0
    high: float = 1.0
    """The range of a number; `low` is score 0, `high` score 1."""
    structured: bool = True
    """Whether `response_format` is sent, where the kind has a schema."""

    _tuples = field_validator("abstain", mode="before")(as_tuple)

    @field_validator("schema_")
    @classmethod
    def _is_schema(cls, value: dict[str, Any] | None) -> dict[str, Any] | None:
        if value is not None and (problem := schema_problem(value)):
            raise ValueError(f"no JSON Schema: {problem}")
        return value

    @field_validator("labels")
    @classmethod
    def _scores(cls, value: dict[str, float]) -> dict[str, float]:
        return _in_unit(value)

    @field_validator("by_reference")
    @classmethod
    def _tables(cls, value: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
        return {reference: _in_unit(labels) for reference, labels in value.items()}

    @model_validator(mode="after")
    def _fits(self) -> "Output":
        labelled = bool(self.labels or self.by_reference)
        if self.labels and self.by_reference:
            raise fault("by_reference", "it stands in place of `labels`; drop one of the two")
        if self.kind == "tokens" and not labelled:
            raise fault("labels", 'the kind "tokens" needs it')
        if self.kind in ("range", "criteria") and labelled:
            raise fault("labels", f'the kind "{self.kind}" has none')
        if self.kind == "json" and self.schema_ is None:
            raise fault("schema", 'the kind "json" needs it')
        if self.kind != "json" and self.schema_ is not None:
            raise fault("schema", 'it is for the kind "json"')
        if self.low >= self.high:
            raise fault("high", f"it must be over `low`, which is {self.low}")
        if not math.isfinite(self.high - self.low):
            raise fault("high", f"from {self.low} to {self.high} is wider than a number can say; narrow it")
        tables = [set(table) for table in self.by_reference.values()]
        if tables and any(table != tables[0] for table in tables):
            raise fault("by_reference", "every reference must score the same labels")
        folded = [label.casefold() for label in (*self.all_labels, *self.abstain)]
        if len(set(folded)) != len(folded):
            raise fault("labels", "two labels differ in case only, or a label abstains as well")
        return self

    @property
    def all_labels(self) -> tuple[str, ...]:
        """The labels that have a score."""
        return tuple(self.labels or next(iter(self.by_reference.values()), {}))


def _in_unit(labels: dict[str, float]) -> dict[str, float]:
    for label, score in labels.items():
        if not label.strip() or not 0 <= score <= 1:
            raise ValueError(f"label {label!r} has the score {score}, which is not in [0, 1]")
    return labels


class Votes(Strict):
    """How many times the model is asked, and what the answers make together."""

    count: Annotated[int, Field(ge=1, le=64)] = 1
    combine: Literal["majority", "mean", "unanimous"] = "majority"
    """``majority``: the label with more than half of the readable votes; without one, `abstain`."""
    least: Annotated[int, Field(ge=1, le=64)] = 1
    """Readable votes below which the outcome is `abstain`."""
    both_orders: bool = False
    """Ask every question in both orders of a pair; orders that do not agree are `abstain`."""

    @model_validator(mode="after")
    def _reachable(self) -> "Votes":
        if self.least > self.count:
            raise fault("least", f"it is over `count`, which is {self.count}")
        return self


class JudgeTable(Strict):
    """The declared facts of a judge."""

    rules: Literal[1, 2, 3, 4, 5, 6]
    """Number of the rules by which the table is read; see above."""
    model: Annotated[str, Field(min_length=1, max_length=200)]
    """Name of the model, for which the operator names an endpoint."""
    revision: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    """Revision of the weights; an endpoint that declares another, or none, is not asked."""
    reference: Reference = "text"
    """What an item's reference must be."""
    messages: Annotated[tuple[Message, ...], Field(min_length=1, max_length=64)]
    sampling: Sampling
    show: Show = Show.model_construct()
    before: Before = Before.model_construct()
    output: Output
    votes: Votes = Votes.model_construct()

    _tuples = field_validator("messages", mode="before")(as_tuple)

    @model_validator(mode="after")
    def _fits(self) -> "JudgeTable":
        shown = frozenset().union(*(message.places for message in self.messages))
        if self.reference == "template":
            _refuse_paths(shown)
        elif shown - (allowed := PLACES[self.reference]):
            raise fault(
                "messages",
                f"{{{{{min(shown - allowed)}}}}} is no place here; with reference = {self.reference!r} "
                f"there are {', '.join(sorted(allowed))}",
            )
        needed = {"pair": {"first", "second"}, "template": set()}.get(self.reference, {"response"})
        if needed - shown:
            raise fault("messages", f"no message shows {{{{{min(needed - shown)}}}}}")
        if any(message.places for message in self.messages if message.role != "user"):
            raise fault("messages", "data goes into messages of the role user only")
        if (self.output.kind == "criteria") is not (self.reference == "criteria"):
            raise fault("output", 'the kind "criteria" goes with reference = "criteria", and only with it')
        if bool(self.output.by_reference) is not (self.reference == "choice"):
            raise fault("output", '`by_reference` goes with reference = "choice", and only with it')
        if self.votes.both_orders and self.reference != "pair":
            raise fault("votes", '`both_orders` is for reference = "pair"')
        if (
            self.votes.combine == "majority"
            and self.output.kind in ("range", "criteria")
            and self.votes.count > 1
        ):
            raise fault("votes", f'votes of the kind "{self.output.kind}" have no majority; use "mean"')
        return self

    @cached_property
    def shows_prompt(self) -> bool:
        """Whether the question is shown."""
        return any("prompt" in message.places for message in self.messages)


def _refuse_paths(shown: frozenset[str]) -> None:
    """Refuse places that name no value of item or sample."""
    for path in sorted(shown):
        try:
            check_path(path)
        except TemplateError as exc:
            raise fault("messages", str(exc)) from exc
