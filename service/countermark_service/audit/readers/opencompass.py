"""OpenCompass: ``predictions/<model>/<dataset>.json``, one member per question.

A document is ``{"0": {origin_prompt, prediction, gold}, …}``; a run that was
interrupted leaves JSON lines with `idx` instead. What was scored stands apart, in
``results/<model>/<dataset>.json`` under `details`; where that file is beside the
folder of predictions, its `correct` is the published score. Large datasets are cut
into ``<dataset>_0.json``, ``<dataset>_1.json``, …, which number their questions anew.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from countermark_service.audit.readers.containers import opened
from countermark_service.audit.readers.interface import (
    MISSING,
    Found,
    InputFile,
    Read,
    Remark,
    shaped,
    text_of,
)
from countermark_service.audit.readers.json_stream import JsonStream
from countermark_service.audit.readers.lines import InputFileError, explained, unpacked

_SHARD = re.compile(r"(?P<dataset>.+)_(?P<shard>\d+)")


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
        return [results] if results.is_file() and not _shard(file.path) else []

    @staticmethod
    def read(file: InputFile) -> Iterator[Read]:
        """Yield one row per member."""
        details: dict[str, Any] = {}
        for results in OpenCompass.beside(file):
            try:
                details = _details(results)
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
                make = partial(_found, file, place, str(member), value, details.get(str(member)))
                yield from shaped(file, place, OpenCompass.name, make)


class OpenCompassLines:
    """The form of a run that was interrupted, with JSON lines."""

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
        yield from _found(self._file, line, str(record.get("idx")), record, None)


def _found(file: InputFile, line: int, key: str, record: dict[str, Any], detail: Any) -> list[Read]:
    prediction = record.get("prediction", MISSING)
    rounds = None
    if isinstance(prediction, list):
        rounds, prediction = prediction, prediction[-1] if prediction else MISSING
    prompt = record.get("origin_prompt")
    if isinstance(prompt, list):
        prompt = "\n\n".join(
            f"{part.get('role', '')}: {text_of(part.get('prompt')) or ''}"
            if isinstance(part, dict)
            else str(part)
            for part in prompt
        )
    shard = _shard(file.path)
    metrics = {"correct": detail["correct"]} if isinstance(detail, dict) and "correct" in detail else {}
    extras: dict[str, Any] = {"rounds": rounds} if rounds else {}
    if isinstance(detail, dict):
        extras["extracted"] = detail.get("pred")
    found = Found(
        line=line,
        task=_dataset(file.path),
        model=file.path.parent.name if file.path.parent.parent.name == "predictions" else "",
        sample=f"{shard}/{key}" if shard else key,
        generation=0,
        prompt=prompt,
        response=prediction,
        reference=record.get("gold", MISSING),
        metrics=metrics,
        extras=extras,
        record=record,
    )
    return [found]


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
    match = _SHARD.fullmatch(stem)
    return match["dataset"] if match and _shard(path) else stem


def _details(results: Path) -> dict[str, Any]:
    """Return what a file of results says about each question, by the question's name; raises `InputFileError`."""
    with opened(results, results.name) as raw, explained(results.name):
        for member, _, value in JsonStream(results.name, unpacked(results.name, raw)):
            if member == "details":
                pairs = value.items() if isinstance(value, dict) else enumerate(value or [])
                return {str(key): detail for key, detail in pairs}
    return {}
