"""LightEval: ``details/<model>/<date>/details_<task>_<date>.parquet``, one record per question.

Source: lighteval 0.13.0 (columns `doc`, `metric`, `model_response`); before 0.11 the columns were flat
(`full_prompt`, `predictions`, `gold`, `metrics`), and both are read. Some of these older releases wrote every
column as Python prints its value (``"['It is 2']"``). A metric over several responses is of none of them. Tokens
and their probabilities are most of a file and are not looked at.
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
    literal_of,
)

_PRINTED = ("predictions", "gold", "metrics", "choices", "gold_index")
"""Columns that older releases wrote as text, and that are looked at."""


class LightEval(NothingBeside):
    """See the module."""

    name: ClassVar[str] = "lighteval"

    def __init__(self, file: InputFile) -> None:
        """The model stands in the name of a folder only: two above the file, or that of the published data set."""
        self._file = file
        if "model_response" in file.first and not file.columns:  # who names columns may name any
            texts = ("model_response.text", "model_response.text_post_processed")
            file.wanted = ("doc", "metric", *texts)
        self._model = _model(file.path.parent.parts)

    @staticmethod
    def claims(first: Mapping[str, Any]) -> bool:
        """By its columns."""
        return {"doc", "model_response", "metric"} <= first.keys() or {
            "full_prompt",
            "predictions",
            "gold",
            "metrics",
        } <= first.keys()

    def rows(self, line: int, record: dict[str, Any]) -> Iterator[Read]:
        """Yield the responses to one question."""
        doc = record.get("doc") or {}
        said = record.get("model_response") or {}
        if not said:
            record |= {name: literal_of(record[name]) for name in _PRINTED if name in record}
        responses = said.get("text") if said else record.get("predictions")
        metrics = record.get("metric") or record.get("metrics") or {}
        metrics = {name: value for name, value in metrics.items() if value is not None}
        if not isinstance(responses, list) or not responses or not all(isinstance(r, str) for r in responses):
            problem = f"row {line} has no text of the model (its answers were ranked by likelihood)"
            yield self._file.unusable(line, "no_response_text", problem)
            return
        if len(responses) > 1:
            message = "the published score is of several responses together, so no single one has it"
            yield Remark(line, "published_of_several", message)
        processed = said.get("text_post_processed") or []
        sample = doc.get("id")
        for place, response in enumerate(responses):
            yield Found(
                line=line,
                task=str(doc.get("task_name") or _task(self._file.path.name)),
                model=self._model,
                sample=str(sample) if sample not in (None, "") else str(line - 1),
                generation=place,
                prompt=doc.get("query") if doc else record.get("full_prompt"),
                response=response,
                reference=_gold(doc) if doc else _one(record.get("gold") or _gold(record)),
                metrics=metrics if len(responses) == 1 else {},
                extras={
                    "metrics": metrics,
                    "extracted": processed[place] if place < len(processed) else None,
                },
                record=record,
                place=place,
            )


def _model(folders: tuple[str, ...]) -> str:
    """Return what stands between ``details`` and the date, or behind ``details_``."""
    if "details" in folders[:-1]:
        return "/".join(folders[folders.index("details") + 1 : -1])
    named = [folder for folder in folders if folder.startswith("details_")]
    return named[-1].removeprefix("details_").replace("__", "/", 1) if named else ""


def _gold(doc: Mapping[str, Any]) -> Any:
    choices, places = doc.get("choices"), doc.get("gold_index")
    if not isinstance(choices, list) or places is None:
        return MISSING
    found = [
        choices[place]
        for place in (places if isinstance(places, list) else [places])
        if isinstance(place, int) and 0 <= place < len(choices)
    ]
    return _one(found) if found else MISSING


def _one(value: Any) -> Any:
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def _task(name: str) -> str:
    """Return what stands between ``details_`` and the date."""
    return name.removeprefix("details_").rpartition("_")[0] or name.partition(".")[0]
