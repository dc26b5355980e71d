"""lm-evaluation-harness: ``samples_<task>_<date>.jsonl``, one record per question and filter.

A filter changes what is compared, not what the model wrote, so each filter is a
variant of its task with its own published score, and the response of all is the
raw one (``resps``). Where a filter looks at several responses at once (majority
vote), its score is of none of them: the responses are taken and the score is not.

Source: lm-eval 0.4.13, `evaluator.py` and `loggers/evaluation_tracker.py`; lists hold texts only, since the
writer turns every value into one.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from countermark_service.audit.readers.interface import MISSING, Found, InputFile, Read, Remark

_NAME = re.compile(r"samples_(?P<task>.+?)_\d{4}-\d\d-\d\dT[\d.:\-]+")
_OWN = frozenset(
    (
        *("doc_id", "doc", "target", "arguments", "resps", "filtered_resps", "filter", "metrics"),
        *("doc_hash", "prompt_hash", "target_hash"),
    )
)


class LmEval:
    """See the module."""

    name: ClassVar[str] = "lm-eval"

    def __init__(self, file: InputFile) -> None:
        """Task and model stand in the names of file and folder only."""
        match = _NAME.search(file.path.name)
        self._file = file
        self._task = match["task"] if match else file.path.name.partition(".")[0].removeprefix("samples_")
        self._model = file.path.parent.name if match else ""

    @staticmethod
    def claims(first: Mapping[str, Any]) -> bool:
        """By the members that no other format has together."""
        return {"doc_id", "doc", "resps"} <= first.keys() or {"doc_id", "resps", "target"} <= first.keys()

    def rows(self, line: int, record: dict[str, Any]) -> Iterator[Read]:
        """Yield the responses to one question."""
        requests = record.get("resps")
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
        metrics = {str(name): record[name] for name in names if name in record}
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
                prompt=_prompt(record.get("arguments")),
                response=response,
                reference=record.get("target", MISSING),
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


def _prompt(arguments: Any) -> Any:
    """Return the first argument of the first request, in the present shape or the older one of lists."""
    if isinstance(arguments, dict):
        arguments = [one.values() if isinstance(one, dict) else one for one in arguments.values()]
    if isinstance(arguments, list) and arguments:
        first = next(iter(arguments[0]), None) if not isinstance(arguments[0], str) else arguments[0]
        return first if isinstance(first, str) else None
    return None
