"""verl: rollout and validation dumps, ``<dir>/<step>.jsonl``, one record per response.

A record is ``input, output, gts, score, step`` and whatever the reward function
returned besides. The score is in the units of that function (DAPO's is 1 and -1);
where it also says `acc`, that is the verdict. Nothing names a question: equal
inputs of a step are one, and its responses are counted.
"""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from countermark_service.audit.readers.interface import MISSING, Found, InputFile, NothingBeside, Read

_VERDICTS = ("acc", "accuracy", "correct")
_OWN = frozenset({"input", "output", "gts", "step", "data_source"})


class Verl(NothingBeside):
    """See the module."""

    name: ClassVar[str] = "verl"

    def __init__(self, file: InputFile) -> None:
        """The folder of a dump is its run."""
        self._task = file.path.parent.name or "rollouts"

    @staticmethod
    def claims(first: Mapping[str, Any]) -> bool:
        """By the members that every dump has."""
        return {"input", "output", "score", "step"} <= first.keys()

    def rows(self, line: int, record: dict[str, Any]) -> Iterator[Read]:
        """Yield the response of one record."""
        others = {
            name: value
            for name, value in record.items()
            if name not in _OWN and isinstance(value, (int, float))
        }
        names = sorted(others, key=lambda name: (name not in _VERDICTS, name != "score"))
        yield Found(
            line=line,
            task=str(record.get("data_source") or self._task),
            variant=f"step {record.get('step')}",
            prompt=record.get("input"),
            response=record.get("output", MISSING),
            reference=record.get("gts", MISSING),
            metrics={name: others[name] for name in names},
            extras={name: value for name, value in record.items() if name not in _OWN and name not in others},
            record=record,
        )
