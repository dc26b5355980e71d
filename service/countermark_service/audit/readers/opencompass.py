"""OpenCompass: ``predictions/<model>/<dataset>.json``, one member per question.

A document is ``{"0": {origin_prompt, prediction, gold}, …}``; a run that was
interrupted leaves JSON lines with `idx` instead. A list of predictions is one for
every round of a conversation, of which the last counts, or several responses to one
prompt. Large datasets are cut into ``<dataset>_0.json``, ``<dataset>_1.json``, …,
which number their questions anew.

What was scored stands apart, in ``results/<model>/<dataset>.json`` under `details`,
for all shards together; where that file is beside the folder of predictions, its
`correct` is the published score. Since 0.4, `details` has one entry per question,
with lists over the replicas of the dataset (`n`); the predictions of all replicas
follow each other in one file.

Source: OpenCompass 0.5.4, `icl_base_inferencer.py`, `icl_base_evaluator.py`, `openicl_eval.py`.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from countermark_service.audit.readers.containers import opened
from countermark_service.audit.readers.interface import (
    MISSING,
    Found,
    InputFile,
    NothingBeside,
    Read,
    Remark,
    object_of,
    shaped,
    text_of,
)
from countermark_service.audit.readers.json_stream import JsonStream
from countermark_service.audit.readers.lines import InputFileError, explained, unpacked

_SHARD = re.compile(r"(?P<dataset>.+)_(?P<shard>\d+)")
_CORRECT = ("correct", "is_correct", "cascade_correct")
_ANSWER = ("answer", "answers", "references", "ref")
_EXTRACTED = ("pred", "predictions")


class OpenCompass:
    """The document form."""

    name: ClassVar[str] = "opencompass"

    @staticmethod
    def claims(file: InputFile) -> bool:
        """By members with numbers for names that hold predictions."""
        if file.kind not in ("json", "jsonl") or file.is_list:
            return False
        return any(
            name.isdecimal() and isinstance(value, dict) and "prediction" in value
            for name, value in file.first.items()
        ) or (file.kind == "json" and _names_are_numbers(file))

    @staticmethod
    def beside(file: InputFile) -> Sequence[Path]:
        """The file of results, where there is one."""
        folder = file.path.parent
        if folder.parent.name != "predictions":
            return []
        results = folder.parent.parent / "results" / folder.name / f"{_dataset(file.path)}.json"
        return [results] if results.is_file() else []

    @staticmethod
    def read(file: InputFile) -> Iterator[Read]:
        """Yield one row per member."""
        details = _Details()
        for results in OpenCompass.beside(file):
            try:
                details = _Details.read(results, _before(file))
            except InputFileError as exc:
                yield Remark(None, "results_unreadable", f"no published scores: {exc}")
        with opened(file.path, file.name) as raw, explained(file.name):
            for place, (member, _, value) in enumerate(
                JsonStream(file.name, unpacked(file.name, raw)), start=1
            ):
                if not isinstance(value, dict):
                    problem = f"member {str(member)!r} holds no prediction"
                    yield file.unusable(place, "not_of_format", problem)
                    continue
                make = partial(_found, file, place, str(member), value, details)
                yield from shaped(file, place, OpenCompass.name, make)


class OpenCompassLines(NothingBeside):
    """The form of a run that was interrupted, with JSON lines: ``tmp_<dataset>.jsonl``."""

    name: ClassVar[str] = "opencompass"

    def __init__(self, file: InputFile) -> None:
        """Task and model stand in the names of file and folder only."""
        self._file = file

    @staticmethod
    def claims(first: Mapping[str, Any]) -> bool:
        """By the members that each line has."""
        return {"idx", "prediction"} <= first.keys() and "origin_prompt" in first

    def rows(self, line: int, record: dict[str, Any]) -> Iterator[Read]:
        """Yield the response of one record."""
        yield from _found(self._file, line, str(record.get("idx")), record, _Details())


def _found(
    file: InputFile, line: int, key: str, record: dict[str, Any], details: "_Details"
) -> Iterator[Read]:
    prediction, gold = record.get("prediction", MISSING), record.get("gold")
    prompt = record.get("origin_prompt")
    extras: dict[str, Any] = {}
    responses = [prediction]
    if isinstance(prediction, list) and _is_conversation(prompt, prediction):
        extras["rounds"] = prediction
        responses = prediction[-1:] or [MISSING]
        gold = gold[-1] if isinstance(gold, list) and len(gold) == len(prediction) else gold
    elif isinstance(prediction, list):
        responses = prediction or [MISSING]
    said = details.of(key)
    question, replica = (key, 0) if said is None else (said.question, said.replica)
    if said is not None:
        extras["extracted"] = said.extracted
    if len(responses) > 1:
        message = "the published score is of several responses together, so no single one has it"
        yield Remark(line, "published_of_several", message)
    shard = _shard(file.path)
    for place, response in enumerate(responses):
        yield Found(
            line=line,
            task=_dataset(file.path),
            model=file.path.parent.name if file.path.parent.parent.name == "predictions" else "",
            sample=f"{shard}/{question}" if shard else question,
            generation=replica * len(responses) + place,
            prompt=_prompt(prompt),
            response=response.get("prediction", MISSING) if isinstance(response, dict) else response,
            # What is false in Python (0, an empty text) the writer leaves out.
            reference=gold if gold is not None else MISSING if said is None else said.answer,
            metrics=said.metrics if said is not None and len(responses) == 1 else {},
            extras=extras,
            record=record,
            place=place if len(responses) > 1 else None,
        )


def _is_conversation(prompt: Any, predictions: Sequence[Any]) -> bool:
    """Whether predictions are those of the rounds of one conversation.

    Then there is a prompt for each of them, or they are the answers in the messages, as far as these stood
    there when the messages were kept.
    """
    if not isinstance(prompt, list):
        return False
    if not any(isinstance(one, dict) for one in prompt):
        return len(prompt) == len(predictions)
    answers = [
        one.get("content") for one in prompt if isinstance(one, dict) and one.get("role") == "assistant"
    ]
    return len(answers) == len(predictions) and all(
        answer in (None, "", prediction) for answer, prediction in zip(answers, predictions, strict=True)
    )


def _prompt(prompt: Any) -> Any:
    if not isinstance(prompt, list):
        return prompt
    return "\n\n".join(
        f"{part.get('role', '')}: {text_of(part.get('prompt', part.get('content'))) or ''}"
        if isinstance(part, dict)
        else str(part)
        for part in prompt
    )


def _names_are_numbers(file: InputFile) -> bool:
    """Whether the first name is a number, in a document whose first member is larger than the head."""
    return list(file.first) == ["0"]


def _shard(path: Path) -> str:
    """Return the number of a shard; empty for a file that is whole."""
    match = _SHARD.fullmatch(path.name.partition(".")[0])
    if match is None:
        return ""
    whole = f"{match['dataset']}_{int(match['shard']) + (1 if match['shard'] == '0' else -1)}"
    neighbour = path.with_name(path.name.replace(path.name.partition(".")[0], whole, 1))
    return match["shard"] if neighbour.exists() else ""


def _dataset(path: Path) -> str:
    stem = path.name.partition(".")[0]
    stem = stem.removeprefix("tmp_") if path.suffix == ".jsonl" else stem
    match = _SHARD.fullmatch(stem)
    return match["dataset"] if match and _shard(path) else stem


def _before(file: InputFile) -> int:
    """Return how many questions the shards before one have.

    Raises:
        InputFileError: One of them cannot be read.
    """
    shard = _shard(file.path)
    count = 0
    for number in range(int(shard or 0)):
        stem = file.path.name.partition(".")[0]
        path = file.path.with_name(file.path.name.replace(stem, f"{_dataset(file.path)}_{number}", 1))
        with opened(path, path.name) as raw, explained(path.name):
            count += sum(1 for _ in JsonStream(path.name, unpacked(path.name, raw)))
    return count


@dataclass(frozen=True)
class _Said:
    """What a file of results says about one prediction."""

    question: str
    replica: int
    metrics: dict[str, Any]
    answer: Any
    extracted: Any


@dataclass(frozen=True)
class _Details:
    """The details of a file of results."""

    entries: Sequence[Mapping[str, Any]] = ()
    """One per question, in the order of the dataset."""
    before: int = 0
    """How many predictions stand in the shards before the one that is read."""

    @staticmethod
    def read(results: Path, before: int) -> "_Details":
        """Read a file of results; raises `InputFileError`."""
        with opened(results, results.name) as raw, explained(results.name):
            for member, _, value in JsonStream(results.name, unpacked(results.name, raw)):
                if member == "details" and isinstance(value, dict):
                    numbered = sorted((int(key), one) for key, one in value.items() if key.isdecimal())
                    if [number for number, _ in numbered] == list(range(len(numbered))):
                        return _Details([object_of(one) for _, one in numbered], before)
                elif member == "details" and isinstance(value, list):
                    return _Details([object_of(one) for one in value], before)
        return _Details()

    def of(self, key: str) -> _Said | None:
        """Return what is said about the prediction under a name of its file; None for nothing."""
        if not self.entries or not key.isdecimal():
            return None
        number = self.before + int(key)
        replica, question = divmod(number, len(self.entries))
        entry = self.entries[question]
        replicas = max(
            (len(entry[name]) for name in _CORRECT if isinstance(entry.get(name), list)), default=1
        )
        if replica >= replicas:
            return None

        def one(name: str) -> Any:
            """Return a value of this replica: since 0.4 there is a list of them, before there was one."""
            value = entry[name]
            by_replica = any(isinstance(entry.get(correct), list) for correct in _CORRECT)
            if by_replica and isinstance(value, list):
                return value[replica] if replica < len(value) else None
            return value

        def first(names: Sequence[str]) -> Any:
            return next((one(name) for name in names if entry.get(name) is not None), None)

        answer = first(_ANSWER)
        return _Said(
            question=key if replicas == 1 else str(question),
            replica=replica,
            metrics={name: one(name) for name in _CORRECT if entry.get(name) is not None},
            answer=MISSING if answer is None else answer,
            extracted=first(_EXTRACTED),
        )
