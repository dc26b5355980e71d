"""Every Eval Ever: the instance-level half, one JSON line per sample.

Source: the JSON Schemas of every-eval-ever 0.3.0. `output.raw` holds one text per
response of a single turn; of several turns, the last answer of `messages` counts.
One sample may stand there once for each result that it is part of: these are variants.
"""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from countermark_service.audit.readers.interface import MISSING, Found, InputFile, NothingBeside, Read


class EveryEvalEver(NothingBeside):
    """See the module."""

    name: ClassVar[str] = "every-eval-ever"

    def __init__(self, file: InputFile) -> None:
        """A record says everything itself."""
        self._file = file

    @staticmethod
    def claims(first: Mapping[str, Any]) -> bool:
        """By the members that its schema requires."""
        return {"evaluation_id", "evaluation_name", "sample_id", "interaction_type"} <= first.keys()

    def rows(self, line: int, record: dict[str, Any]) -> Iterator[Read]:
        """Yield the responses of one sample."""
        asked = record.get("input") or {}
        evaluation = record.get("evaluation") or {}
        if record.get("error"):
            problem = f"line {line}: the sample failed when it was evaluated: {str(record['error'])[:200]}"
            yield self._file.unusable(line, "sample_error", problem)
            return
        output = record.get("output") or {}
        responses = output.get("raw") if record.get("messages") is None else [record["messages"]]
        if isinstance(responses, str):
            responses = [responses]
        reference = asked.get("reference", MISSING)
        if isinstance(reference, list):
            reference = reference[0] if len(reference) == 1 else reference or MISSING
        attribution = record.get("answer_attribution") or []
        for place, response in enumerate(responses or [MISSING]):
            yield Found(
                line=line,
                task=str(record.get("evaluation_name") or ""),
                variant=str(record.get("evaluation_result_id") or ""),
                model=str(record.get("model_id") or ""),
                sample=str(record.get("sample_id")),
                # Records of one sample may be its repeats, so they are counted and not numbered.
                prompt=asked.get("raw"),
                response=response,
                reference=reference,
                metrics={name: evaluation[name] for name in ("score", "is_correct") if name in evaluation}
                if len(responses or []) == 1
                else {},
                extras={
                    "metrics": evaluation,
                    "extracted": attribution[-1].get("extracted_value") if attribution else None,
                    "evaluation_id": record.get("evaluation_id"),
                    "choices": asked.get("choices"),
                },
                record=record,
                place=place,
            )
