"""lm-evaluation-harness: ``samples_<task>_<date>.jsonl``, one record per question and filter.

A filter changes what is compared, not what the model wrote, so each filter is a
variant of its task with its own published score, and the response of all is the
raw one (``resps``). Where a filter looks at several responses at once (majority
vote), its score is of none of them: the responses are taken and the score is not.
``results_<date>.json`` of the same run, where it is beside, names the model: the
folder does so in the layout of the writer only.

Source: lm-eval 0.4.13, `evaluator.py` and `loggers/evaluation_tracker.py`; lists hold texts only, since the
writer turns every value into one: a list of accepted answers stands there as Python prints it, a chat as a list
with one text of JSON. lmms-eval, which came of it, writes ``<date>_samples_<task>.jsonl`` and
``<date>_results.json``, may leave `resps` out, and has metrics that are objects with a `score`.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from countermark_service.audit.readers.containers import opened
from countermark_service.audit.readers.interface import (
    MISSING,
    Found,
    InputFile,
    Read,
    Remark,
    literal_of,
)
from countermark_service.audit.readers.json_stream import JsonStream
from countermark_service.audit.readers.lines import InputFileError, explained

_NAMES = (
    (re.compile(r"samples_(?P<task>.+?)_(?P<date>\d{4}-\d\d-\d\dT[\d:\-]+(?:\.\d+)?)"), "results_{}.json"),
    (re.compile(r"^(?P<date>\d{8}_\d{6})_samples_(?P<task>[^.]+)"), "{}_results.json"),
)
"""Names of files of samples, and of the results of the same run."""
_NO_METRIC = frozenset({"bypass"})
"""What stands for a metric where none was computed: its value is 999."""
_OWN = frozenset(
    (
        *("doc_id", "doc", "target", "arguments", "resps", "filtered_resps", "filter", "metrics"),
        *("doc_hash", "prompt_hash", "target_hash", "input", "input_media", "token_counts"),
    )
)


class LmEval:
    """See the module."""

    name: ClassVar[str] = "lm-eval"

    def __init__(self, file: InputFile) -> None:
        """Task and model stand in names of file and folder, the model also in the results beside it."""
        match, _ = _named(file)
        self._file = file
        self._task = match["task"] if match else file.path.name.partition(".")[0].removeprefix("samples_")
        self._model = _model(file) or (file.path.parent.name if match else "")

    @staticmethod
    def claims(first: Mapping[str, Any]) -> bool:
        """By the members that no other format has together."""
        return "doc_id" in first and any(
            both <= first.keys()
            for both in ({"doc", "resps"}, {"resps", "target"}, {"filtered_resps", "target"})
        )

    @staticmethod
    def beside(file: InputFile) -> Sequence[Path]:
        """The results of the same run, where they are."""
        match, results = _named(file)
        beside = file.path.with_name(results.format(match["date"])) if match else None
        return [beside] if beside is not None and beside.is_file() else []

    def rows(self, line: int, record: dict[str, Any]) -> Iterator[Read]:
        """Yield the responses to one question."""
        requests = record.get("resps")
        if requests is None and record.get("filtered_resps"):
            requests = [_texts(record["filtered_resps"])]
            message = "the file holds no `resps`: what the filter left of a response is taken for it"
            yield Remark(line, "response_filtered", message)
        responses = requests[0] if isinstance(requests, list) and len(requests) == 1 else None
        if not isinstance(responses, list) or not all(isinstance(one, str) for one in responses):
            problem = (
                f"line {line} is a question whose answers were ranked by likelihood (or lacks `resps`): "
                "there is no text to score"
            )
            yield self._file.unusable(line, "no_response_text", problem)
            return
        names = record.get("metrics")
        if not isinstance(names, list):
            names = [name for name in record if name not in _OWN]
        metrics = {
            str(name): _value(record[name]) for name in names if name in record and name not in _NO_METRIC
        }
        filtered = record.get("filtered_resps")
        kept = filtered[0] if isinstance(filtered, list) and filtered else None
        if len(responses) > 1:
            message = "the published score is of several responses together, so no single one has it"
            yield Remark(line, "published_of_several", message)
        for place, response in enumerate(responses):
            yield Found(
                line=line,
                task=self._task,
                variant=str(record.get("filter") or ""),
                model=self._model,
                sample=str(record.get("doc_id")),
                generation=place,
                prompt=_prompt(record.get("arguments")) or record.get("input"),
                response=response,
                reference=_target(record),
                metrics=metrics if len(responses) == 1 else {},
                extras={
                    "metrics": metrics,
                    "extracted": kept,
                    "doc_hash": record.get("doc_hash"),
                    "target_hash": record.get("target_hash"),
                },
                record=record,
                place=place,
            )


def _named(file: InputFile) -> tuple[re.Match[str] | None, str]:
    """Return what the name of a file says, and the pattern of the name of its results."""
    for name, results in _NAMES:
        match = name.search(file.path.name)
        if match is not None:
            return match, results
    return None, ""


def _texts(filtered: Any) -> Any:
    """Return what a filter left as a list of texts: one text, or lists within a list, are that too."""
    if isinstance(filtered, list) and len(filtered) == 1 and isinstance(filtered[0], list):
        return filtered[0]
    return [filtered] if isinstance(filtered, str) else filtered


def _value(metric: Any) -> Any:
    return metric["score"] if isinstance(metric, dict) and "score" in metric else metric


def _model(file: InputFile) -> str:
    """Return the model that the results beside a file name; empty where none is named."""
    for results in LmEval.beside(file):
        try:
            with opened(results, results.name) as raw, explained(results.name):
                for member, _, value in JsonStream(results.name, raw):
                    if member == "model_name":
                        return value if isinstance(value, str) else ""
        except InputFileError:
            return ""  # the folder names it
    return ""


def _target(record: Mapping[str, Any]) -> Any:
    """Return the reference; accepted answers that the writer printed as one text are a list again.

    A question whose own answer is such a text keeps it.
    """
    target = record.get("target", MISSING)
    if not isinstance(target, str) or target[:1] not in ("[", "("):
        return target
    doc = record.get("doc")
    if isinstance(doc, dict) and target in doc.values():
        return target
    answers = literal_of(target)
    if isinstance(answers, (list, tuple)) and answers and all(isinstance(one, str) for one in answers):
        return answers[0] if len(answers) == 1 else list(answers)
    return target


def _prompt(arguments: Any) -> Any:
    """Return the first argument of the first request, in the present shape or the older one of lists."""
    if isinstance(arguments, dict):
        arguments = [list(one.values()) if isinstance(one, dict) else one for one in arguments.values()]
    if not isinstance(arguments, list) or not arguments:
        return None
    first = arguments[0]
    if isinstance(first, list) and first:
        first = first[0]
    if isinstance(first, list) and len(first) == 1 and isinstance(first[0], str):  # a chat
        try:
            return json.loads(first[0])
        except (ValueError, RecursionError):
            return first[0]
    return first if isinstance(first, str) else None
