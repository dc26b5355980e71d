"""`countermark score`: the rows of a file under one or more verifiers.

This module is the command: options, the file of verdicts, the progress bar, the
summary. The work is in `score_run`, and who judges in `judges`.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from countermark_service.cli.options import DataOption, JsonOption
from countermark_service.errors import CountermarkError
from countermark_service.model import OnFailure

if TYPE_CHECKING:
    from countermark_service.audit.judging import Judge
    from countermark_service.cli.rows import BadRow, Rows
    from countermark_service.cli.score_run import Plan, Sink
    from countermark_service.cli.tally import Summary

_REPORTED_BAD_ROWS = 20


class OutputFileError(CountermarkError):
    """The file for the verdicts cannot be written."""

    code = "invalid_output_file"

    def __init__(self, file: Path, problem: str) -> None:
        super().__init__(f"{file} cannot be written: {problem}. Name another file with --out.")
        self.file = str(file)


def score(
    file: Annotated[
        str, typer.Argument(help="JSONL or CSV, packed (gzip, zstd) or not; `-` is standard input.")
    ],
    verifier: Annotated[
        list[str], typer.Option(help="`name:version`, or a pin with digest. May be given many times.")
    ],
    server: Annotated[
        str | None, typer.Option(help="Address of a service. Without it, rows are judged on this machine.")
    ] = None,
    out: Annotated[str, typer.Option(help="File for the verdicts; `-` is standard output.")] = "-",
    on_failure: Annotated[
        OnFailure,
        typer.Option(
            help="What `reward` is where there is no score: null, 0, or an error that ends the run."
        ),
    ] = OnFailure.NULL,
    params: Annotated[
        str, typer.Option(help="Parameters of every row, a JSON object. A row's own win.")
    ] = "{}",
    response_column: Annotated[str, typer.Option(help="Name of the column, or key.")] = "response",
    reference_column: Annotated[str, typer.Option(help="Name of the column, or key.")] = "reference",
    prompt_column: Annotated[str, typer.Option(help="Name of the column, or key.")] = "prompt",
    id_column: Annotated[str, typer.Option(help="Name of the column, or key.")] = "id",
    params_column: Annotated[str, typer.Option(help="Name of the column, or key.")] = "params",
    row_format: Annotated[
        Literal["jsonl", "csv"] | None,
        typer.Option("--format", help="Format of the rows [default: as the name ends, else jsonl]."),
    ] = None,
    batch: Annotated[int, typer.Option(min=1, max=4096, help="Rows that go together.")] = 256,
    judge_mode: Annotated[
        Literal["auto", "replay", "fresh"] | None,
        typer.Option(
            help="Where judges' replies come from: transcripts only (replay), the model only (fresh), or both."
        ),
    ] = None,
    receipts: Annotated[
        Path | None,
        typer.Option(
            help="Folder for signed receipts of every batch; the service signs, or the key of the data folder.",
            show_default=False,
        ),
    ] = None,
    skip_bad_rows: Annotated[
        bool, typer.Option("--skip-bad-rows", help="Leave out rows that cannot be scored, and count them.")
    ] = False,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Score the rows of a file.

    Example: `countermark score outputs.jsonl --verifier math-verify:0.9.0-r2 --out verdicts.jsonl`

    A row has `response` and `reference`, and may have `prompt`, `params` and `id`; other columns are
    ignored. It becomes one line of JSON with its `line`, its `id` and a verdict per verifier. The summary
    goes to standard output, or to standard error where the verdicts are there. It says why what has no score has none.

    A row that cannot be scored ends the command before anything is scored, with its line and what to
    do. Rows from standard input are scored as they come, so there it ends at that row. With
    --skip-bad-rows they are counted and left out. With --receipts there is a file for each batch and verifier, named
    by its lines; `countermark receipt verify` checks it offline. A service that wants a key finds it in
    COUNTERMARK_API_KEY.
    """
    import asyncio

    from countermark_service.cli.console import output, print_json, show
    from countermark_service.cli.judges import choose_judge
    from countermark_service.cli.rows import Columns
    from countermark_service.cli.score_run import Plan

    plan = Plan(
        file=file,
        verifiers=list(dict.fromkeys(verifier)),
        on_failure=on_failure,
        params=_params(params),
        columns=Columns(response_column, reference_column, prompt_column, id_column, params_column),
        row_format=row_format,
        batch=batch,
        skip_bad_rows=skip_bad_rows,
        receipts=receipts,
    )
    on_stderr = out == "-"
    if on_stderr:
        output()  # a closed one is refused before anything is scored
    judge = choose_judge(server, batch, data, judge_mode, receipts=receipts is not None)
    try:
        summary = asyncio.run(_run(plan, judge, out))
    except KeyboardInterrupt:
        _tell_what_is_kept(out)
        raise
    if as_json:
        print_json(summary.document(), stderr=on_stderr)
    else:
        show(summary.table(), *summary.reasons(), stderr=on_stderr)


def _tell_what_is_kept(out: str) -> None:
    from countermark_service.cli.console import note

    part = Path(out + ".partial")
    if out != "-" and part.is_file():
        note(
            f"the verdicts so far are in {part}. The store has them too, so the same command is soon where it was."
        )


def _params(text: str) -> dict[str, Any]:
    from countermark_service.audit.readers.lines import read_object

    found = read_object(os.fsencode(text), of_a_file=False)
    if isinstance(found, str):
        problem = f'{text[:200]!r} {found}. Write it like \'{{"extract": "boxed"}}\'.'
        raise typer.BadParameter(problem, param_hint="--params")
    return found


async def _run(plan: "Plan", judge: "Judge", out: str) -> "Summary":
    from countermark_service.audit.receipt_files import make_folder
    from countermark_service.cli.console import console, note
    from countermark_service.cli.score_run import ScoreRun, refuse_bad_rows
    from countermark_service.cli.tally import Summary, Tally

    try:
        _refuse_input_as_output(plan.file, out)
        await judge.open(plan.verifiers)
        for advisory in judge.advisories:
            note(f"{advisory}.")
        if not plan.skip_bad_rows:
            refuse_bad_rows(plan, judge)
        if plan.receipts is not None:
            make_folder(plan.receipts)
        screen = console(stderr=True)
        with screen.status("preparing the verifiers") if screen.is_terminal else nullcontext():
            await judge.prepare()
        summary = Summary([Tally(pin) for pin in judge.pins])
        with plan.open() as rows, _sink(out) as sink, _bar(plan.file, rows, summary) as advance:
            reporter = _BadRowReporter()
            run = ScoreRun(plan, judge, rows, sink, summary, on_bad_row=reporter.report, on_progress=advance)
            await run.run()
            reporter.finish()
        return summary
    finally:
        await judge.close()


def _refuse_input_as_output(file: str, out: str) -> None:
    """Leave people their rows: the verdicts would take their place.

    Raises:
        OutputFileError: Both names lead to one file.
    """
    for target in (Path(out), Path(out + ".partial")):
        if "-" not in (file, out) and target.is_file() and Path(file).is_file() and target.samefile(file):
            raise OutputFileError(target, "it is the file of rows")


@contextmanager
def _sink(out: str) -> "Iterator[Sink]":
    """Give what takes the verdicts; a file gets its name at the end, when it is whole.

    A device or a pipe is written to as it is: to put a file in its place would take it from everybody.

    Raises:
        OutputFileError: It cannot be written.
    """
    from countermark_service.cli.console import output

    if out == "-":
        yield output()
        output().flush()
        return
    target = Path(out)
    special = target.exists() and not target.is_file()
    part = target if special else Path(out + ".partial")
    try:
        with part.open("wb") as file:
            yield file
        if not special:
            part.replace(target)
    except OSError as exc:
        raise OutputFileError(part, exc.strerror or str(exc)) from exc


@contextmanager
def _bar(file: str, rows: "Rows", summary: "Summary") -> Iterator[Callable[[], None]]:
    """Show how far the file is read; give what moves the bar."""
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn

    from countermark_service.cli.console import progress

    path = Path(file)
    total = path.stat().st_size if path.is_file() else None
    columns = [TextColumn("{task.fields[rows]} rows"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn()]
    with progress(*columns) as bar:
        task = bar.add_task("score", total=total, rows=0)

        def advance() -> None:
            bar.update(task, completed=rows.position() if total else None, rows=summary.rows)

        yield advance


class _BadRowReporter:
    """Says which rows are left out, the first of them one by one."""

    def __init__(self) -> None:
        self._count = 0

    def report(self, row: "BadRow") -> None:
        from countermark_service.cli.console import note

        self._count += 1
        if self._count <= _REPORTED_BAD_ROWS:
            note(f"line {row.line} is left out: {row.problem.rstrip('.')}.")

    def finish(self) -> None:
        from countermark_service.cli.console import note

        if self._count > _REPORTED_BAD_ROWS:
            note(f"{self._count - _REPORTED_BAD_ROWS} more rows are left out.")
