"""Results of a card computed again from their outputs, on this machine."""

from collections.abc import Callable
from pathlib import Path

from countermark_service.cli.judges import LocalJudge
from countermark_service.cli.release.card_file import file_digest, outputs_at_hand
from countermark_service.cli.rows import BadRow, Columns, Row, open_rows
from countermark_service.errors import CountermarkError
from countermark_service.model import Item
from countermark_service.releases import ReleaseCard, Result
from countermark_service.releases.recompute import (
    NotRecomputableError,
    Recomputed,
    can_recompute,
    counts_failures,
    recompute,
    route_of,
)
from countermark_service.settings import Settings

_BATCH_ROWS = 512
_BATCH_CHARACTERS = 8 << 20


class NotAtHandError(CountermarkError):
    """A result that cannot be computed again here; says why. That is no failure of the result."""

    code = "not_at_hand"


class OutputsError(CountermarkError):
    """Outputs that are not what the card says, or that cannot be scored."""

    code = "invalid_outputs"


async def rescore(
    card: ReleaseCard, result: Result, card_file: Path, settings: Settings, advance: Callable[[int], None]
) -> Recomputed:
    """Score the outputs of a result again, all of them, and compare.

    Args:
        card: The card.
        result: One of its results.
        card_file: Where the card is: outputs are found from its folder.
        settings: For workers, store and limits.
        advance: Is told how many bytes of the outputs are read.

    Raises:
        NotAtHandError: Its outputs are not here, or its metric is none that can be computed.
        OutputsError: The file is another one, or has rows that cannot be scored.
        CountermarkError: The verifier is not here, or cannot run.
    """
    judge = card.judge_of(result)
    if judge is None:
        raise NotAtHandError("the card does not say which verifier made it")
    if not can_recompute(result):
        raise NotAtHandError(f"the metric {result.metric!r} is none that is computed from scores")
    if result.outputs is None:
        raise NotAtHandError("the card names no outputs of it")
    file = outputs_at_hand(card_file, result.outputs)
    if isinstance(file, str):
        raise NotAtHandError(file)
    if result.outputs.digest is not None and (found := file_digest(file)) != result.outputs.digest:
        raise OutputsError(
            f"{file} is {found}, and the card names {result.outputs.digest}: it is another file"
        )
    scores, groups = await _scores(card, result, judge, file, settings, advance)
    if result.n is not None and len(scores) != result.n:
        raise OutputsError(f"{file} has {len(scores)} rows, and the card counts n = {result.n}")
    try:
        return recompute(result, scores, groups, zero=counts_failures(card, result))
    except NotRecomputableError as exc:
        raise OutputsError(f"{file}: {exc}") from exc


async def _scores(
    card: ReleaseCard,
    result: Result,
    pin: str,
    file: Path,
    settings: Settings,
    advance: Callable[[int], None],
) -> tuple[list[float | None], list[str | int | float | None]]:
    """Return the score of every row, and what its group is called."""
    assert result.outputs is not None  # noqa: S101 - looked at by the caller
    named: dict[str, str] = {str(key): column for key, column in result.outputs.columns.items()}
    group = named.pop("group", None)
    if group is not None:
        named["id"] = group  # a row's id is handed through, whatever it is called
    columns = Columns(**named)
    route = route_of(card, result)
    judge = LocalJudge(settings)
    scores: list[float | None] = []
    groups: list[str | int | float | None] = []
    batch: list[Item] = []

    async def judge_batch() -> None:
        judged = await judge.judge(0, batch)
        scores.extend(one.score for one in judged.judgements)
        batch.clear()

    try:
        await judge.open([pin])
        await judge.prepare()
        with open_rows(
            str(file), columns, route.params if route is not None else {}, result.outputs.format
        ) as rows:
            characters = 0
            for row in rows:
                _refuse_bad(row, judge, file)
                assert isinstance(row, Row)  # noqa: S101 - a bad one was refused
                batch.append(row.item)
                groups.append(row.id)
                characters += len(row.item.response)
                if len(batch) >= _BATCH_ROWS or characters >= _BATCH_CHARACTERS:
                    await judge_batch()
                    characters = 0
                    advance(rows.position())
            if batch:
                await judge_batch()
    finally:
        await judge.close()
    return scores, groups if group else [None] * len(scores)


def _refuse_bad(row: Row | BadRow, judge: LocalJudge, file: Path) -> None:
    """Refuse a row that cannot be scored: a number over the others would be another number."""
    problem = row.problem if isinstance(row, BadRow) else judge.refusal(0, row.item)
    if problem is not None:
        raise OutputsError(f"{file}, line {row.line}: {problem.rstrip('.')}. Nothing was compared.")
