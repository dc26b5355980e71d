"""Rewards for frameworks that hand over a batch as columns: TRL, and those that took over its signature.

Such a function gets the completions and, as keyword arguments, every other column of the data set as a list of
the same length. Which columns hold the reference and, where rows differ, the verifier, is said once when the
function is made.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .._errors import InvalidInputError
from .._types import Outcome, Verdict
from ._plain import plain
from ._scoring import Ask, RewardSource

_LISTED = 20
"""How many columns an error names."""


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Which columns hold what; None for what no column holds."""

    gold: str
    """The reference."""
    verifier: str | None = None
    """The ref of the verifier for the row; an empty one leaves it to the source."""
    data_source: str | None = None
    """The name under which `RewardSource.by_source` lists the row's verifier."""
    params: str | None = None
    """Parameters of the verifier for the row."""
    prompt: str | None = None
    """The prompt, for verifiers whose manifest says that it counts."""

    def __post_init__(self) -> None:
        for role, name in vars(self).items():
            if not isinstance(name, str) and (name is not None or role == "gold"):
                raise InvalidInputError(f"the column of {role} is {name!r:.200}; it must be a name.")

    def asks(self, source: RewardSource, completions: Iterable[Any], columns: Mapping[str, Any]) -> list[Ask]:
        """Return what to score, one for each completion, in order.

        Raises:
            InvalidInputError: A column is missing or has another length, or nothing names a verifier.
        """
        completions = list(completions)
        values = {role: _column(role, name, columns, len(completions)) for role, name in vars(self).items()}
        return [
            source.ask(
                completion,
                values["gold"][i],
                row=values["verifier"][i],
                data_source=values["data_source"][i],
                params=values["params"][i],
                prompt=prompt_text(values["prompt"][i]),
            )
            for i, completion in enumerate(completions)
        ]


def prompt_text(prompt: Any) -> Any:
    """Return a prompt as one text: that of chat messages is the text of the last one of the user."""
    if not isinstance(prompt, Sequence) or isinstance(prompt, str):
        return prompt
    for message in reversed(prompt):
        if isinstance(message, Mapping) and message.get("role") == "user":
            content = message.get("content")
            if isinstance(content, Sequence) and not isinstance(content, str):
                return "".join(str(part.get("text") or "") for part in content if isinstance(part, Mapping))
            return content
    return None


def log_verdicts(name: str, verdicts: Sequence[Verdict], log_extra: Any, log_metric: Any) -> None:
    """Tell a framework that listens about verdicts: the same columns and metrics at every call.

    Args:
        name: Of the reward function; begins each column and metric.
        verdicts: What came.
        log_extra: ``log_extra(column, values)``, or None.
        log_metric: ``log_metric(name, value)``, or None.
    """
    if callable(log_extra):
        log_extra(f"{name}/outcome", [verdict.outcome.value for verdict in verdicts])
        log_extra(f"{name}/verifier", [verdict.pin for verdict in verdicts])
    if callable(log_metric) and verdicts:
        log_metric(f"{name}/failed", sum(verdict.failed for verdict in verdicts) / len(verdicts))
        none = sum(verdict.outcome is Outcome.NO_ANSWER for verdict in verdicts)
        log_metric(f"{name}/no_answer", none / len(verdicts))


def display_name(name: str | None, source: RewardSource) -> str:
    """Return the name of a reward function: the one given, else that of verifier or release with its version.

    Without the digest, and with characters that every tracker of metrics takes; ``countermark`` where rows name
    their verifiers.
    """
    if name is not None:
        if not isinstance(name, str) or not name.strip():
            raise InvalidInputError(f"name is {name!r:.200}; it must be a text, or None for the verifier's.")
        return name
    judge = source.verifier or source.release
    if judge is None:
        return "countermark"
    return judge.partition("@")[0].replace("/", "-").replace(":", "-")


def _column(role: str, name: str | None, columns: Mapping[str, Any], count: int) -> Sequence[Any]:
    """Return the values of a column, None for each row where no column was named."""
    if name is None:
        return [None] * count
    if name not in columns:
        known = sorted(key for key, column in columns.items() if isinstance(column, Sequence))
        more = f", and {len(known) - _LISTED} more" if len(known) > _LISTED else ""
        raise InvalidInputError(
            f"the data set has no column {name!r}, which is to hold the {role}. It has "
            f"{', '.join(map(repr, known[:_LISTED])) or 'none'}{more}."
        )
    column = columns[name]
    column = column if isinstance(column, Sequence) else plain(column)
    listed = isinstance(column, Sequence) and not isinstance(column, str)
    if not listed or len(column) != count:
        size = f"{len(column)} values" if listed else f"a {type(column).__name__}"
        raise InvalidInputError(f"the column {name!r} has {size} for {count} completions.")
    return column
