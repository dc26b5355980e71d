"""Results of a card computed again from their outputs, on this machine.

Outputs are read as an audit reads them: the format that they are published in is
known by content, and no more than a batch of rows is in memory. An audit goes on
over rows that it cannot use and counts them; here one such row is an error, as a
number over the others would be another number.
"""

from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

from countermark_service.audit import OutputRow, WorkFile
from countermark_service.audit.intake import Intake, ReadPlan
from countermark_service.audit.output_files import describe, find_files
from countermark_service.cli.judges import LocalJudge
from countermark_service.cli.release.card_file import outputs_at_hand
from countermark_service.errors import CountermarkError
from countermark_service.model import Item
from countermark_service.releases import Outputs, ReleaseCard, Result
from countermark_service.releases.recompute import (
    NotRecomputableError,
    Recomputed,
    can_recompute,
    counts_failures,
    recompute,
    route_of,
)
from countermark_service.sandbox.scratch import Scratch
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
    card: ReleaseCard,
    result: Result,
    card_file: Path,
    settings: Settings,
    advance: Callable[[int, int], None],
) -> Recomputed:
    """Score the outputs of a result again, all of them, and compare.

    Args:
        card: The card.
        result: One of its results.
        card_file: Where the card is: outputs are found from its folder.
        settings: For workers, store and limits.
        advance: Is told how many of how many rows are scored.

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
    with Scratch() as scratch, WorkFile.create(scratch.new("check") / "rows.sqlite") as work:
        _read(work, file, result, result.outputs)
        scores, groups = await _scores(card, result, judge, work, settings, advance)
    try:
        return recompute(result, scores, groups, zero=counts_failures(card, result))
    except NotRecomputableError as exc:
        raise OutputsError(f"{file}: {exc}") from exc


def _read(work: WorkFile, file: Path, result: Result, outputs: Outputs) -> None:
    """Read the outputs into a work file.

    Raises:
        OutputsError: They are not those of the card, or some row of them cannot be scored.
    """
    (found,) = find_files([str(file)])
    told = describe(found, lambda _: None)
    if outputs.digest is not None and f"sha256:{told.sha256}" != outputs.digest:
        raise OutputsError(
            f"{file} is sha256:{told.sha256}, and the card names {outputs.digest}: it is another file"
        )
    work.add_input(told)
    columns: dict[str, str] = {}
    for part, column in outputs.columns.items():
        columns["sample" if part == "group" else part] = column
    if "id" in columns:  # it names the question, where nothing else does
        own = columns.pop("id")
        columns.setdefault("sample", own)
    Intake(work, ReadPlan(columns)).read([found], lambda _: None)
    bad = sum(work.unusable_counts().values())
    if bad:
        first = next(work.unusable(1))
        place = "" if first.line is None else f", line {first.line}"
        raise OutputsError(
            f"{file}{place}: {first.message.rstrip('.')} ({bad} in all). Nothing was compared; a card names columns "
            "in `outputs.columns`."
        )
    kinds = sorted({(task, variant) for task, variant, _, _ in work.groups()})
    if len(kinds) > 1:
        shown = ", ".join(f"{task}{f' ({variant})' if variant else ''}" for task, variant in kinds[:6])
        raise OutputsError(
            f"{file} holds the outputs of {len(kinds)} tasks or variants ({shown}): a result names a file of its own"
        )
    if result.n is not None and work.row_count() != result.n:
        raise OutputsError(f"{file} has {work.row_count()} rows, and the card counts n = {result.n}")


async def _scores(
    card: ReleaseCard,
    result: Result,
    pin: str,
    work: WorkFile,
    settings: Settings,
    advance: Callable[[int, int], None],
) -> tuple[list[float | None], list[str]]:
    """Return the score of every row, and which prompt it answers."""
    route = route_of(card, result)
    params = route.params if route is not None else {}
    judge = LocalJudge(settings)
    scores: list[float | None] = []
    groups: list[str] = []
    try:
        await judge.open([pin])
        await judge.prepare()
        for rows in _batches(work):
            items = []
            for row in rows:
                item = Item(row.response, row.reference, {**row.params, **params}, row.prompt)
                items.append(item)
                groups.append(row.sample)
            for place, problem in judge.refusals(0, items).items():
                row = rows[place]
                raise OutputsError(
                    f"{row.file}, line {row.line}: {problem.rstrip('.')}. Nothing was compared."
                )
            judged = await judge.judge(0, items)
            scores.extend(one.score for one in judged.judgements)
            advance(len(scores), work.row_count())
    finally:
        await judge.close()
    return scores, groups


def _batches(work: WorkFile) -> Iterator[list[OutputRow]]:
    rows = work.rows()
    while batch := list(islice(rows, 1)):
        characters = len(batch[0].response)
        for row in islice(rows, _BATCH_ROWS - 1):
            batch.append(row)
            characters += len(row.response)
            if characters >= _BATCH_CHARACTERS:
                break
        yield batch
