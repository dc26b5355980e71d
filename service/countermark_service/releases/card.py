"""The release card: what a model learned from, as one document.

A reward is made by six factors together (verifier, base model, data lineage,
optimizer, scaffold, inference budget), and a release that names five of them has
named nothing that can be done again. The card has a field for each, and keeps apart
what was not said (the field is missing or null) and what was said to be none (an
empty list or text, or `not_applicable` with the reason): only the first is a gap.

This module is the shape. How a card is read and named is in `release`, what it
lacks in `completeness`, how two differ in `difference`.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, JsonValue, model_validator
from pydantic_core import PydanticCustomError

from countermark_service.bundles.strict import Strict, as_tuple
from countermark_service.errors import RefError
from countermark_service.model import BundleRef
from countermark_service.model.ref import NAME_PATTERN, VERSION_PATTERN

CARD_NAME = "countermark.json"
"""What the file is called beside the data."""

_LONGEST_LINE = 2_000
_LONGEST_TEXT = 200_000
_MOST_ENTRIES = 1_000
_LARGEST_WHOLE = 2**53 - 1
"""Whole numbers beyond it are not the same in every JSON reader."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def _is_line(value: str) -> str:
    if not value.strip() or _CONTROL.search(value):
        raise PydanticCustomError("line", "must be one line of text, not empty")
    return value


def _is_ref(value: str) -> str:
    try:
        ref = BundleRef.parse(value)
    except RefError as exc:
        raise PydanticCustomError("ref", "{problem}", {"problem": str(exc)}) from exc
    if ref.version is None:
        raise PydanticCustomError(
            "ref", "names no version; write `name:version`, and `countermark release lock` adds the digest"
        )
    return value


def _is_name(value: str) -> str:
    if len(value) > 128 or not NAME_PATTERN.fullmatch(value):
        raise PydanticCustomError(
            "name", "must be lowercase letters, digits and single separators `. _ -`, one `/` at most"
        )
    return value


def _is_version(value: str) -> str:
    if not VERSION_PATTERN.fullmatch(value):
        raise PydanticCustomError("version", "must be 1 to 128 characters of `0-9 A-Z a-z . _ -`")
    return value


Line = Annotated[str, Field(min_length=1, max_length=_LONGEST_LINE), AfterValidator(_is_line)]
Text = Annotated[str, Field(max_length=_LONGEST_TEXT)]
Name = Annotated[str, Field(min_length=1, max_length=128), AfterValidator(_is_name)]
Version = Annotated[str, Field(min_length=1, max_length=128), AfterValidator(_is_version)]
Digest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
Ref = Annotated[str, Field(max_length=512), AfterValidator(_is_ref)]
"""A verifier with its version; a pin once it carries the digest."""
Count = Annotated[int, Field(ge=0, le=_LARGEST_WHOLE)]
Seed = Annotated[int, Field(ge=-_LARGEST_WHOLE, le=_LARGEST_WHOLE)]
Part = Literal[
    "response", "reference", "prompt", "id", "group", "params", "task", "model", "variant", "generation"
]
"""Parts of a row of outputs."""
Lines = Annotated[tuple[Line, ...], Field(max_length=_MOST_ENTRIES), BeforeValidator(as_tuple)]
Values = Annotated[dict[str, JsonValue], Field(max_length=_MOST_ENTRIES)]


class Factor(Strict):
    """One of the six, or why a release does not have it."""

    not_applicable: Line | None = Field(
        None, description="Why this release has no such factor, such as a data set without training."
    )

    @model_validator(mode="after")
    def _absent_or_told(self) -> Self:
        told = [
            name for name in self.model_fields_set - {"not_applicable"} if getattr(self, name) is not None
        ]
        if self.not_applicable is not None and told:
            problem = f"says `not_applicable` and yet tells `{min(told)}`; keep one of the two"
            raise PydanticCustomError("factor", "{problem}", {"problem": problem})
        return self


class Route(Strict):
    """Who judges one task."""

    task: Line = Field(description="Name of the task, unique in the card.")
    data_sources: Lines = Field(
        (), description="Names of data sources that this route is for too, as the data's rows carry them."
    )
    verifier: Ref = Field(description="Verifier with version; with its digest once the card is locked.")
    params: Values = Field(
        {}, description="Parameters of every item. An item may add others and not change these."
    )
    on_failure: Literal["null", "zero", "raise"] | None = Field(
        None, description="What a reward is where there is no score. Not said: the caller chooses."
    )

    @property
    def ref(self) -> BundleRef:
        """The verifier."""
        return BundleRef.parse(self.verifier)

    @property
    def names(self) -> tuple[str, ...]:
        """Everything that a request may call this route."""
        return (self.task, *self.data_sources)


class VerifierFactor(Strict):
    """Who decides the rewards: the one factor that a card can nail down completely."""

    routes: Annotated[tuple[Route, ...], Field(max_length=_MOST_ENTRIES), BeforeValidator(as_tuple)] = Field(
        (), description="One for each task or data source."
    )

    @model_validator(mode="after")
    def _names_once(self) -> Self:
        seen: dict[str, str] = {}
        for route in self.routes:
            for name in route.names:
                if name in seen:
                    problem = (
                        f"{name!r} is named by the routes {seen[name]!r} and {route.task!r}; once is enough"
                    )
                    raise PydanticCustomError("routes", "{problem}", {"problem": problem})
                seen[name] = route.task
        return self

    def route(self, name: str) -> Route | None:
        """Return the route of a task or data source; None where there is none."""
        return next((route for route in self.routes if name in route.names), None)


class BaseModelFactor(Factor):
    """What was trained, or what answered."""

    id: Line | None = Field(None, description="Such as Qwen/Qwen2.5-7B.")
    revision: Line | None = Field(None, description="Commit of the weights; a branch moves.")
    weights_digest: Digest | None = Field(
        None,
        description="SHA-256 over the RFC 8785 JSON of the weight files' [{path, sha256, size}, …], sorted by "
        "path; of the file itself where it is one.",
    )
    dtype: Line | None = Field(None, description="Such as bfloat16.")
    license: Line | None = None


class Source(Strict):
    """Data that went in."""

    id: Line = Field(description="Such as open-r1/OpenR1-Math-220k, or a file.")
    revision: Line | None = Field(None, description="Commit or version.")
    subset: Line | None = Field(None, description="Configuration of the data set.")
    split: Line | None = None
    rows: Count | None = Field(None, description="Rows that were taken.")
    digest: Digest | None = Field(None, description="Of the file, where it is one.")
    role: Literal["train", "evaluation", "seed"] | None = None
    license: Line | None = None


class Filter(Strict):
    """A step that took rows out or changed them."""

    name: Line
    description: Text | None = None
    code: Line | None = Field(None, description="Where its code is, with a revision.")
    rows_before: Count | None = None
    rows_after: Count | None = None


class Decontamination(Strict):
    """What was done so that no evaluation is in the training data."""

    method: Line = Field(description="Such as 13-gram overlap; `none` where nothing was done.")
    against: Lines = Field((), description="Evaluations that were looked for.")
    removed: Count | None = Field(None, description="Rows taken out.")


class Generator(Strict):
    """A model whose outputs are in the data."""

    id: Line
    revision: Line | None = None
    role: Line | None = Field(None, description="Such as responses, prompts, filtering.")
    sampling: Values = Field({}, description="Temperature and the like.")


class DataFactor(Factor):
    """Where the data is from and what was done to it. An empty list says that there is none."""

    sources: (
        Annotated[tuple[Source, ...], Field(max_length=_MOST_ENTRIES), BeforeValidator(as_tuple)] | None
    ) = None
    filters: (
        Annotated[tuple[Filter, ...], Field(max_length=_MOST_ENTRIES), BeforeValidator(as_tuple)] | None
    ) = None
    decontamination: Decontamination | None = None
    generator_models: (
        Annotated[tuple[Generator, ...], Field(max_length=_MOST_ENTRIES), BeforeValidator(as_tuple)] | None
    ) = None


class OptimizerFactor(Factor):
    """How it was trained."""

    algorithm: Line | None = Field(None, description="Such as grpo.")
    library: Line | None = Field(None, description="Such as verl, trl, openrlhf.")
    library_version: Line | None = Field(None, description="Version or commit.")
    hyperparameters: Values | None = Field(None, description="By the library's own names.")
    seeds: Annotated[tuple[Seed, ...], Field(max_length=_MOST_ENTRIES), BeforeValidator(as_tuple)] | None = (
        Field(None, description="Of every run that the results are from.")
    )
    steps: Count | None = None
    hardware: Line | None = None


class Tool(Strict):
    """A tool that the model may call."""

    name: Line
    description: Text | None = None
    digest: Digest | None = Field(None, description="Of its schema or code.")


class Environment(Strict):
    """What the model acts in."""

    name: Line
    version: Line | None = None
    digest: Digest | None = Field(None, description="Of its image or package.")


class ScaffoldFactor(Factor):
    """What stands around the model. An empty text or list says that there is none."""

    prompt_template: Text | None = Field(None, description="With a place for the question.")
    prompt_template_digest: Digest | None = Field(None, description="SHA-256 of its UTF-8 bytes.")
    system_prompt: Text | None = None
    system_prompt_digest: Digest | None = Field(
        None, description="SHA-256 of its UTF-8 bytes, where the text itself is not given."
    )
    chat_template_digest: Digest | None = Field(None, description="SHA-256 of its UTF-8 bytes.")
    tools: Annotated[tuple[Tool, ...], Field(max_length=_MOST_ENTRIES), BeforeValidator(as_tuple)] | None = (
        None
    )
    environment: Environment | None = None


class InferenceFactor(Factor):
    """What an answer may cost."""

    samples: Annotated[int, Field(ge=1, le=_LARGEST_WHOLE)] | None = Field(
        None, description="Answers for one prompt."
    )
    max_tokens: Count | None = Field(None, description="Of one answer.")
    context_tokens: Count | None = Field(None, description="Prompt and answer together.")
    temperature: Annotated[float, Field(ge=0)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=-1, le=_LARGEST_WHOLE)] | None = None
    stop: Annotated[tuple[str, ...], Field(max_length=100), BeforeValidator(as_tuple)] | None = None
    seed: Seed | None = None
    engine: Line | None = Field(None, description="Such as vllm 0.11.0.")


class Outputs(Strict):
    """The file of model outputs that a result was measured on."""

    file: Line = Field(description="Path from the card's folder, or an address.")
    digest: Digest | None = Field(None, description="SHA-256 of the file.")
    columns: dict[Part, Line] = Field(
        {},
        description="Columns that are called otherwise than usual, by part of a row. `group` (or `id`) names what "
        "the samples of one prompt share.",
    )


class Result(Strict):
    """A number that was published, and what it was measured on."""

    metric: Line = Field(
        description="mean_score, accuracy or pass@K can be recomputed; others are kept as told."
    )
    value: float
    unit: Literal["fraction", "percent"] = "fraction"
    decimals: Annotated[int, Field(ge=0, le=12)] = Field(
        4, description="Decimals that `value` is rounded to: how close a recomputed one must come."
    )
    n: Count | None = Field(None, description="Outputs that it is the mean over.")
    task: Line | None = Field(None, description="Task or data source of the card's routes.")
    dataset: Line | None = Field(None, description="Evaluation, with its revision.")
    model: Line | None = Field(None, description="Whose outputs they are.")
    verifier: Ref | None = Field(None, description="Who judged; the task's route where it is not said.")
    on_failure: Literal["null", "zero"] | None = Field(
        None,
        description="Whether outputs without a score were left out or counted as 0; as the route where not said.",
    )
    interval: Annotated[tuple[float, float], BeforeValidator(as_tuple)] | None = Field(
        None, description="95 % confidence interval of the value."
    )
    outputs: Outputs | None = None
    note: Text | None = None


class ReleaseCard(Strict):
    """A release card, `countermark.json`."""

    schema_version: Literal[1]
    name: Name
    version: Version
    summary: Line | None = None
    license: Line | None = None
    homepage: Line | None = None
    released: Annotated[str, Field(pattern=r"^\d{4}-\d{2}-\d{2}$")] | None = Field(
        None, description="Date, as 2026-11-28."
    )
    verifier: VerifierFactor = VerifierFactor.model_construct()
    base_model: BaseModelFactor = BaseModelFactor.model_construct()
    data: DataFactor = DataFactor.model_construct()
    optimizer: OptimizerFactor = OptimizerFactor.model_construct()
    scaffold: ScaffoldFactor = ScaffoldFactor.model_construct()
    inference: InferenceFactor = InferenceFactor.model_construct()
    results: Annotated[tuple[Result, ...], Field(max_length=_MOST_ENTRIES), BeforeValidator(as_tuple)] = (
        Field((), description="What was published, with what it was measured on.")
    )
    notes: Text | None = None

    def refs(self) -> dict[str, str]:
        """Return every verifier that the card names, by its place in the card."""
        found = {
            f"verifier.routes[{i}].verifier": route.verifier for i, route in enumerate(self.verifier.routes)
        }
        for i, result in enumerate(self.results):
            if result.verifier is not None:
                found[f"results[{i}].verifier"] = result.verifier
        return found

    def unpinned(self) -> dict[str, str]:
        """Return the verifiers that are named without digest, by their place."""
        return {place: ref for place, ref in self.refs().items() if not BundleRef.parse(ref).pinned}

    def judge_of(self, result: Result) -> str | None:
        """Return the reference of the verifier that a result is by; None where the card does not say."""
        if result.verifier is not None or result.task is None:
            return result.verifier
        route = self.verifier.route(result.task)
        return None if route is None else route.verifier


FACTORS: Mapping[str, str] = {
    "verifier": "verifier",
    "base_model": "base model",
    "data": "data lineage",
    "optimizer": "optimizer",
    "scaffold": "scaffold",
    "inference": "inference budget",
}
"""The six factors: field of the card, and what people call it."""


def card_schema() -> dict[str, Any]:
    """Return the JSON Schema of a card, as it is published."""
    made = ReleaseCard.model_json_schema()
    made["properties"]["$schema"] = {"type": "string", "description": "For editors; no part of the card."}
    head = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:countermark:schema:release-card:1",
        "title": "Countermark release card",
    }
    return head | {key: value for key, value in made.items() if key not in head}
