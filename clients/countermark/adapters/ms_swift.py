"""Rewards for ms-swift: classes for its table of outcome rewards (`orms`).

>>> from swift.rewards import orms
>>> from countermark.adapters.ms_swift import async_orm
>>> orms["countermark"] = async_orm("math-verify:0.9.0-r2", gold="solution")

Its trainers make an object of such a class and call it with the completions and every other column of the data
set. They take None for a reward, but sum the rewards of a completion up, and where there is none the sum is 0;
so a failed verdict raises unless something else was said. Neither they nor this module ask for a base
class, so this works with every version that has the table.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ._columns import Columns, display_name
from ._scoring import RewardSource


class _Orm:
    """What both kinds share: they are made as ms-swift makes them, and keep its arguments."""

    source: RewardSource
    columns: Columns

    def __init__(self, args: Any = None, **others: Any) -> None:
        self.args = args


class CountermarkOrm(_Orm):
    """Scores a batch and waits for it; `orm` makes the subclass that knows a verifier."""

    def __call__(self, completions: Sequence[Any], **columns: Any) -> list[float | None]:
        """Return one reward for each completion, in order."""
        verdicts = self.source.verdicts(self.columns.asks(self.source, completions, columns))
        return [verdict.reward for verdict in verdicts]


class CountermarkAsyncOrm(_Orm):
    """Scores a batch while other asynchronous rewards do; `async_orm` makes the subclass."""

    async def __call__(self, completions: Sequence[Any], **columns: Any) -> list[float | None]:
        """Return one reward for each completion, in order."""
        verdicts = await self.source.verdicts_async(self.columns.asks(self.source, completions, columns))
        return [verdict.reward for verdict in verdicts]


def orm(verifier: str | None = None, gold: str = "solution", **options: Any) -> type[CountermarkOrm]:
    """Return a reward class that blocks while a batch is scored.

    Args:
        verifier: Ref or pin of the verifier; else ``COUNTERMARK_VERIFIER``.
        gold: Column that holds the reference.
        options: `verifier_column`, `source_column`, `params_column`, `prompt_column`, `name`, and the fields
            of `RewardSource` (`by_source`, `on_failure`, `params`, `reference_format`, `deadline`, `base_url`,
            `api_key`). `on_failure` is ``raise`` unless something else is said.

    Raises:
        InvalidInputError: An argument cannot be used.
    """
    made = _facts(verifier, gold, options)
    return type(made.pop("name"), (CountermarkOrm,), made)


def async_orm(
    verifier: str | None = None, gold: str = "solution", **options: Any
) -> type[CountermarkAsyncOrm]:
    """Return a reward class that is awaited beside the others; the arguments are those of `orm`."""
    made = _facts(verifier, gold, options)
    return type(made.pop("name"), (CountermarkAsyncOrm,), made)


def _facts(verifier: str | None, gold: str, options: dict[str, Any]) -> dict[str, Any]:
    """Return the attributes of a reward class, and its name."""
    columns = Columns(
        gold=gold,
        verifier=options.pop("verifier_column", None),
        data_source=options.pop("source_column", None),
        params=options.pop("params_column", None),
        prompt=options.pop("prompt_column", None),
    )
    name = options.pop("name", None)
    source = RewardSource(verifier=verifier, **{"on_failure": "raise", **options})
    return {"name": display_name(name, source), "source": source, "columns": columns}
