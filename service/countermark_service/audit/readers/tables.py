"""Tables of people's own making: one record per response or per question, under names of their choice.

The caller says which column is what; else a few usual names are tried, and what
was taken is said. A column of lists holds several responses to one question, as
OpenR1-Math's `generations`: columns with a list beside it are read along, and where
theirs is short, nothing is known.
"""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from countermark_service.audit.readers.interface import (
    MISSING,
    Found,
    InputFile,
    NothingBeside,
    Read,
    Remark,
    dig,
    shown,
)

USUAL: Mapping[str, tuple[str, ...]] = {
    "response": (
        "response", "responses", "output", "completion", "completions", "generation", "generations",
        "prediction", "predictions", "model_output", "messages",
    ),
    "reference": (
        "reference", "answer", "target", "gold", "ground_truth", "gts", "label", "expected", "expected_answer",
        "gold_answer", "correct_answer", "reward_model.ground_truth", "solution",
    ),
    "prompt": (
        "prompt", "question", "problem", "input", "query", "instruction", "responses_create_params.input",
    ),
    "published": (
        "published", "correct", "is_correct", "symbolic_correct", "acc", "accuracy", "score", "reward",
        "exact_match", "correctness_math_verify", "correctness_llama", "correctness", "scores", "rewards",
    ),
    "sample": ("id", "uuid", "sample_id", "question_id", "doc_id", "idx", "index"),
    "task": ("task", "task_name", "dataset", "data_source", "benchmark"),
    "model": ("model", "model_name", "model_id", "response.model"),
    "variant": (),
    "generation": ("generation_index", "epoch", "sample_index", "rollout"),
    "params": ("params",),
}  # fmt: skip
"""Parts of a row, and the names that columns usually have for them; a dotted one leads into an object."""


class Table(NothingBeside):
    """See the module."""

    name: ClassVar[str] = "table"
    usual: ClassVar[Mapping[str, tuple[str, ...]]] = USUAL
    """Where each part is looked for."""

    def __init__(self, file: InputFile) -> None:
        """Nothing is chosen before the first record."""
        self._file = file
        self._chosen: dict[str, str] | None = None
        self._scores: list[str] = []
        self._absent: list[str] = []
        self._seen: set[str] = set()

    @staticmethod
    def claims(first: Mapping[str, Any]) -> bool:
        """Whatever has columns is a table, where no other format has claimed it."""
        return bool(first)

    def rows(self, line: int, record: dict[str, Any]) -> Iterator[Read]:
        """Yield the responses of one record."""
        if self._chosen is None:
            self._chosen, guessed = self._choose(record)
            if guessed:
                message = "columns by their usual names: " + ", ".join(
                    f"{part} is {column!r}" for part, column in guessed.items()
                )
                yield Remark(line, "columns_guessed", message)
            for message in self._absent:
                yield Remark(line, "column_missing", message)
        elif not self._seen.issuperset(record):
            yield from self._choose_late(line, record)
        chosen = self._chosen
        response = dig(record, chosen["response"]) if "response" in chosen else MISSING
        if response is MISSING:
            yield self._file.unusable(line, "no_response", self._lacks(line, "response", record))
            return
        if "reference" not in chosen or dig(record, chosen["reference"]) is MISSING:
            yield self._file.unusable(line, "no_reference", self._lacks(line, "reference", record))
            return
        if isinstance(response, list) and not all(isinstance(message, dict) for message in response):
            for place, one in enumerate(response):
                yield self._found(line, record, one, place)
        else:
            yield self._found(line, record, response, None)

    def _choose(self, record: Mapping[str, Any]) -> tuple[dict[str, str], dict[str, str]]:
        named = dict(self._file.columns)
        guessed = {}
        self._seen.update(record)
        for part, names in self.usual.items():
            there = [
                name for name in names if name not in named.values() and dig(record, name) is not MISSING
            ]
            if part not in named and there:
                guessed[part] = there[0]
            if part == "published":
                self._scores = [named[part]] if part in named else there
        for part, column in self._file.columns.items():
            if part not in ("response", "reference") and dig(record, column) is MISSING:
                self._absent.append(f"no column {column!r} for {part}; the columns are {shown(record)}")
        return guessed | named, guessed

    def _choose_late(self, line: int, record: Mapping[str, Any]) -> Iterator[Remark]:
        """Take a usual column that the rows so far did not have, for a part that none of theirs was taken for."""
        assert self._chosen is not None  # noqa: S101 - `rows` chooses before the first call
        new = {name for name in record if name not in self._seen and name not in self._chosen.values()}
        self._seen.update(record)
        taken = []
        for part, names in self.usual.items():
            there = [
                name for name in names if name.partition(".")[0] in new and dig(record, name) is not MISSING
            ]
            if part in self._chosen or not there:
                continue
            self._chosen[part] = there[0]
            if part == "published":
                self._scores = there
            taken.append(f"{part} is {there[0]!r}")
        if taken:
            yield Remark(
                line, "columns_late", f"columns that row {line} is the first to have: {', '.join(taken)}"
            )

    def _lacks(self, line: int, part: str, record: Mapping[str, Any]) -> str:
        named = self._file.columns.get(part)
        what = f"no column {named!r}" if named else f"no {part}"
        return (
            f"row {line} has {what}; its columns are {shown(record)}. "
            f"Name the one with --columns {part}=COLUMN"
        )

    def _found(self, line: int, record: dict[str, Any], response: Any, place: int | None) -> Found:
        assert self._chosen is not None  # noqa: S101 - `rows` chooses before the first call
        chosen = self._chosen

        def part(name: str) -> Any:
            value = dig(record, chosen[name]) if name in chosen else MISSING
            return MISSING if value == "" and self._file.kind == "csv" else value

        def text(name: str) -> str:
            value = part(name)
            return "" if value is MISSING or value is None else str(value)

        sample, generation = part("sample"), part("generation")
        if place is not None and isinstance(sample, (str, int)):
            generation = place
        elif isinstance(generation, str) and generation.isdecimal():
            generation = int(generation)
        metrics = {
            name: _aligned(value, place)
            for name in self._scores
            if (value := dig(record, name)) is not MISSING and value is not None
        }
        return Found(
            line=line,
            task=text("task"),
            variant=text("variant"),
            model=text("model"),
            sample=None if sample is MISSING or sample is None else str(sample),
            generation=generation if type(generation) is int and generation >= 0 else None,
            prompt=None if (prompt := part("prompt")) is MISSING else prompt,
            response=response,
            reference=part("reference"),
            params=None if (params := part("params")) is MISSING else params,
            metrics={name: value for name, value in metrics.items() if value is not None},
            extras={"metrics": metrics},
            record=record,
            place=place,
        )


def _aligned(value: Any, place: int | None) -> Any:
    """Return the value that belongs to a response of a list; None where the list is short or missing."""
    if place is None or not isinstance(value, list):
        return value
    return value[place] if place < len(value) else None


class OpenR1(Table):
    """Generations as OpenR1-Math-220k publishes them: a table whose names are known."""

    name: ClassVar[str] = "openr1-math"

    @staticmethod
    def claims(first: Mapping[str, Any]) -> bool:
        """By the lists of generations and of verdicts on them."""
        return {"generations", "problem", "answer"} <= first.keys() and any(
            name.startswith("correctness_") for name in first
        )


class MathHarness(Table):
    """Outputs as math-evaluation-harness writes them, which ToRA and Qwen2.5-Math publish: several to a question.

    `code` holds the responses (programs or texts), `pred` what was extracted, `score` the verdicts, `gt` the
    answer.
    """

    name: ClassVar[str] = "math-evaluation-harness"
    usual: ClassVar[Mapping[str, tuple[str, ...]]] = {
        **USUAL,
        "response": ("code",),
        "reference": ("gt",),
        "published": ("score",),
    }

    @staticmethod
    def claims(first: Mapping[str, Any]) -> bool:
        """By the members that it alone has together; the score is there once there is one."""
        return {"gt", "code", "pred"} <= first.keys()
