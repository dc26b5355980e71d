"""`countermark audit`: published outputs, scored again.

This module is the command: options, progress, the summary. Reading is in
`audit.intake`, scoring in `audit.run`, who judges in `judges`.
"""

import fcntl
import importlib.util
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from countermark_service.cli.options import DataOption, JsonOption
from countermark_service.errors import CountermarkError

if TYPE_CHECKING:
    from countermark_service.audit.document import Document
    from countermark_service.audit.following import Following
    from countermark_service.audit.intake import ReadPlan
    from countermark_service.audit.judging import Judge
    from countermark_service.audit.plan import AuditPlan
    from countermark_service.audit.run import Progress
    from countermark_service.audit.table import Table
    from countermark_service.audit.verdict_files import VerdictFormat
    from countermark_service.audit.work_file import WorkFile
    from countermark_service.cli.audit_summary import AuditSummary
    from countermark_service.releases import Release

INCOMPLETE = 4
"""Exit code of an audit that ran to its end, but not over everything it was given."""


_NEEDS = {
    "--report": ("jinja2", "scipy"),
    "--verdicts jsonl.zst": ("zstandard",),
    "--verdicts parquet": ("pyarrow",),
}
"""Modules of the extra `audit` that options need, which the extra `service` does not bring."""


class MissingExtraError(CountermarkError):
    """What an option needs is not installed."""

    code = "missing_extra"

    def __init__(self, option: str, missing: Sequence[str]) -> None:
        without = " Without it: --no-report." if option == "--report" else ""
        super().__init__(f"{option} needs {', '.join(missing)}: pip install 'countermark[audit]'.{without}")
        self.option, self.missing = option, list(missing)


class FolderInUseError(CountermarkError):
    """Another audit writes into the same folder."""

    code = "folder_in_use"

    def __init__(self, folder: Path) -> None:
        super().__init__(f"another audit is running in {folder}: wait for it, or name another --out.")
        self.folder = str(folder)


def audit(
    outputs: Annotated[
        list[str],
        typer.Argument(
            help="Files or folders with outputs: lm-eval samples, lighteval details, Inspect logs, verl dumps, "
            "OpenR1-Math, HELM runs, OpenCompass predictions, Every Eval Ever, JSONL, Parquet or CSV."
        ),
    ],
    verifier: Annotated[
        list[str] | None,
        typer.Option(help="`name:version`, or a pin with digest; scores every row. May be given many times."),
    ] = None,
    card: Annotated[
        Path | None,
        typer.Option(
            help="Release card: its routes say which verifier scores which task.", show_default=False
        ),
    ] = None,
    server: Annotated[
        str | None, typer.Option(help="Address of a service that scores.", show_default=False)
    ] = None,
    in_process: Annotated[
        bool,
        typer.Option("--in-process", help="Score on this machine. This is what happens without --server."),
    ] = False,
    out: Annotated[
        Path, typer.Option(help="Folder of the audit. The same command goes on with what is there.")
    ] = Path("audit"),
    columns: Annotated[
        list[str] | None,
        typer.Option(
            help="Which column is what, such as `response=output,reference=doc.answer,published=acc`. Parts: "
            "response, reference, prompt, published, sample, task, model, variant, generation, params.",
            show_default=False,
        ),
    ] = None,
    metric: Annotated[
        str | None, typer.Option(help="Which published metric counts.", show_default=False)
    ] = None,
    task: Annotated[
        str | None, typer.Option(help="Task of every row, whatever the files say.", show_default=False)
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Model of every row, whatever the files say.", show_default=False)
    ] = None,
    reference_pattern: Annotated[
        str | None,
        typer.Option(
            help="Regular expression that finds the answer in a reference text, such as `#### (.+)`: the last match "
            "counts, its first group where it has one.",
            show_default=False,
        ),
    ] = None,
    verdicts: Annotated[
        Literal["jsonl", "jsonl.zst", "parquet"], typer.Option(help="Format of the file of verdicts.")
    ] = "jsonl",
    retry_failed: Annotated[
        bool,
        typer.Option("--retry-failed", help="Score again what ended in timeout, error or abstain before."),
    ] = False,
    receipts: Annotated[
        bool,
        typer.Option(
            "--receipts", help="Have every batch signed, by the service or with the key of the data folder."
        ),
    ] = False,
    report: Annotated[
        bool,
        typer.Option("--report/--no-report", help="Write `audit.json`, `flips.jsonl` and `report.html`."),
    ] = True,
    batch: Annotated[int, typer.Option(min=1, max=4096, help="Rows that go together.")] = 256,
    judge_mode: Annotated[
        Literal["auto", "replay", "fresh"] | None,
        typer.Option(
            help="Where judges' replies come from: transcripts only (replay), the model only (fresh), or both.",
            show_default=False,
        ),
    ] = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Score published outputs again and compare.

    Example: `countermark audit samples_gsm8k.jsonl --verifier math-verify:0.9.0-r2 --verifier math-verify:0.7.0-r2`

    Formats are known by content; a folder is searched. Every row is scored under every --verifier, and with
    --card under the verifier that its task's route names. The folder --out gets `audit.sqlite` (every
    row and verdict; a run that was stopped goes on from it), `report.html` for people, `audit.json` with all of
    its numbers, `flips.jsonl` (the rows that verifiers disagree on), `verdicts.jsonl`, `unusable.jsonl` (what
    could not be used, and why) and `every_eval_ever/`; with --receipts, also
    `receipts/`, which `countermark receipt verify` checks offline. A service that wants a key finds it in
    COUNTERMARK_API_KEY.

    A failure has no score and is never averaged. The exit code is 4 where the audit ran to its end but rows
    could not be used or have no verdict, 1 where it could not go on.
    """
    import asyncio

    from countermark_service.audit.output_files import spoken
    from countermark_service.audit.plan import refs_of
    from countermark_service.cli.console import note, print_json, show
    from countermark_service.cli.judges import choose_judge

    if server is not None and in_process:
        raise typer.BadParameter("--server and --in-process exclude each other", param_hint="--in-process")
    for option in (f"--verdicts {verdicts}", *(["--report"] if report else [])):
        missing = [name for name in _NEEDS.get(option, ()) if importlib.util.find_spec(name) is None]
        if missing:
            raise MissingExtraError(option, missing)
    asked = _Asked(
        outputs=outputs,
        release=_release(card),
        verifiers=verifier or [],
        reading=_reading(columns or [], metric, task, model, reference_pattern),
        judge_mode=judge_mode,
        out=out,
        batch=batch,
        retry_failed=retry_failed,
        receipts=receipts,
        verdicts=verdicts,
        report=report,
    )
    refs = refs_of(asked.release, asked.verifiers)
    with _alone(out):
        judge = choose_judge(server, batch, data, judge_mode, receipts=receipts)
        work, results, summary = asyncio.run(_run(asked, refs, judge))
        with work, results:
            summary.files, table = _write(work, out, results)
            if report:
                summary.headline = _report(work, out, asked.release, table).headline
                summary.files += [str(out / name) for name in ("audit.json", "flips.jsonl", "report.html")]
            note(f"the audit is in {spoken(str(out))}")
    if as_json:
        print_json(summary.document())
    else:
        show(*summary.parts())
    if summary.incomplete:
        raise typer.Exit(INCOMPLETE)


@dataclass(frozen=True)
class _Asked:
    """What the command line asked for."""

    outputs: Sequence[str]
    release: "Release | None"
    verifiers: Sequence[str]
    """Those named with --verifier."""
    reading: "ReadPlan"
    judge_mode: str | None
    out: Path
    batch: int
    retry_failed: bool
    receipts: bool
    verdicts: "VerdictFormat"
    report: bool


def _release(card: Path | None) -> "Release | None":
    from countermark_service.releases import read_release_file

    return None if card is None else read_release_file(card)


def _reading(
    columns: Sequence[str], metric: str | None, task: str | None, model: str | None, pattern: str | None
) -> "ReadPlan":
    from countermark_service.audit.intake import PARTS, ReadPlan

    found: dict[str, str] = {}
    for pair in (pair for text in columns for pair in text.split(",")):
        part, equals, column = pair.strip().partition("=")
        if not equals or not column or part not in PARTS:
            problem = f"{pair!r} is not PART=COLUMN with a part of {', '.join(PARTS)}"
            raise typer.BadParameter(problem, param_hint="--columns")
        if part in found:
            raise typer.BadParameter(f"names {part} twice", param_hint="--columns")
        found[part] = column
    try:
        re.compile(pattern or "")
    except re.error as exc:
        problem = f"{pattern!r} is no regular expression: {exc}"
        raise typer.BadParameter(problem, param_hint="--reference-pattern") from exc
    return ReadPlan(found, metric, task, model, pattern)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the folder for this audit; the system lets go when the process ends, however it ends.

    Raises:
        FolderInUseError: Another process holds it.
        OutputError: It cannot be made.
    """
    from countermark_service.audit.verdict_files import OutputError

    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / ".lock").open("wb")
    except OSError as exc:
        raise OutputError(folder, exc.strerror or str(exc)) from exc
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            raise FolderInUseError(folder) from exc
        yield


async def _run(
    asked: _Asked, refs: Sequence[str], judge: "Judge"
) -> "tuple[WorkFile, Following, AuditSummary]":
    """Read and score; the caller closes the work file, and what follows the scoring."""
    from countermark_service.audit.output_files import find_files
    from countermark_service.audit.plan import begin
    from countermark_service.cli.console import note

    try:
        plan = await _plan(asked, refs, judge)
        files = find_files(asked.outputs, besides=asked.out)
        with _byte_bar(2 * sum(file.path.stat().st_size for file in files)) as advance:
            work = begin(asked.out, plan, files, advance)
        try:
            return work, *(await _score(asked, work, judge))
        except BaseException:
            if work.verdict_count():
                note(f"what was scored is kept in {work.path}: the same command goes on from there")
            work.close()
            raise
    finally:
        await judge.close()


async def _plan(asked: _Asked, refs: Sequence[str], judge: "Judge") -> "AuditPlan":
    """Find the verifiers, and say what there is to know of them."""
    from countermark_service.audit.plan import AuditPlan, verifiers_of
    from countermark_service.cli.console import note

    await judge.open(refs)
    for advisory in judge.advisories:
        note(f"{advisory}.")
    for place, ref in ({} if asked.release is None else asked.release.card.unpinned()).items():
        note(f"the card names {ref} at {place} without its digest: it is what that name means here")
    verifiers = verifiers_of(asked.release, asked.verifiers, refs, judge.pins)
    if len(verifiers) != len(refs):  # two references to one pin
        await judge.open([str(one.pin) for one in verifiers])
    return AuditPlan(verifiers, asked.reading, asked.release, asked.judge_mode, asked.receipts)


async def _score(asked: _Asked, work: "WorkFile", judge: "Judge") -> "tuple[Following, AuditSummary]":
    """Score what has no verdict yet; the results are written meanwhile."""
    from countermark_service.audit.following import Following
    from countermark_service.audit.output_files import spoken
    from countermark_service.audit.run import AuditRun
    from countermark_service.cli.audit_summary import AuditSummary
    from countermark_service.cli.console import console, note

    with work.transaction():
        work.set_meta("advisories", judge.advisories)
        work.set_meta("command", [Path(sys.argv[0]).name, *map(spoken, sys.argv[1:])])
        if asked.retry_failed and (again := work.forget_failures()):
            note(f"{again} verdicts without a score are made again")
    if work.missing(0, 1):
        screen = console(stderr=True)
        with screen.status("preparing the verifiers") if screen.is_terminal else nullcontext():
            await judge.prepare()
    results = Following(work.path, asked.out, asked.verdicts, report=asked.report)
    with ExitStack() as unless_scored:
        unless_scored.push(results)
        with _verdict_bar() as show_progress:

            def advance(progress: "Progress") -> None:
                show_progress(progress)
                results.reach(progress.reached)

            progress = await AuditRun(work, judge, batch=asked.batch, on_progress=advance).run()
        with work.transaction():
            work.set_meta("state", "scored")
        unless_scored.pop_all()
    if progress.before:
        note(f"{progress.before} of {progress.due} verdicts were there already")
    return results, AuditSummary.of(work, progress)


def _write(work: "WorkFile", out: Path, results: "Following") -> "tuple[list[str], Table | None]":
    """Write what programs read; return the names of the files, and what the report is made of."""
    from countermark_service.audit.receipt_files import write_receipts
    from countermark_service.audit.verdict_files import write_unusable
    from countermark_service.cli.console import console

    screen = console(stderr=True)
    with screen.status("writing the verdicts") if screen.is_terminal else nullcontext():
        followed, table = results.finish()
        written = [work.path, *followed, write_unusable(work, out), *write_receipts(work, out)]
    return [str(path) for path in written], table


def _report(work: "WorkFile", out: Path, release: "Release | None", table: "Table | None") -> "Document":
    """Write what people read, and its numbers."""
    from countermark_service.audit.outputs import claims_of, write_outputs
    from countermark_service.audit.summary import Facts

    facts = Facts()
    if release is not None:
        title = f"Audit of {release.card.name}:{release.card.version}"
        facts = Facts(title=title, claims=claims_of(release))
    with _report_bar() as show_progress:
        return write_outputs(work, out, facts, show_progress, table)


@contextmanager
def _byte_bar(total: int) -> Iterator[Callable[[int], None]]:
    """Show how far the inputs are read; give what moves the bar by some bytes."""
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeElapsedColumn

    from countermark_service.cli.console import progress

    with progress(TextColumn("reading"), BarColumn(), DownloadColumn(), TimeElapsedColumn()) as bar:
        task = bar.add_task("reading", total=total)

        def advance(count: int) -> None:
            bar.advance(task, count)

        yield advance


@contextmanager
def _verdict_bar() -> "Iterator[Callable[[Progress], None]]":
    """Show how far the scoring is; give what moves the bar."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    from countermark_service.cli.console import progress

    shown = (
        TextColumn("scoring"), BarColumn(), MofNCompleteColumn(),
        TextColumn("{task.fields[failed]} failed"), TimeElapsedColumn(), TimeRemainingColumn(),
    )  # fmt: skip
    with progress(*shown) as bar:
        task = bar.add_task("scoring", total=None, failed=0)

        def advance(run: "Progress") -> None:
            bar.update(task, total=run.due, completed=run.before + run.done, failed=run.failed)

        yield advance


@contextmanager
def _report_bar() -> Iterator[Callable[[int, int], None]]:
    """Show how many of the rows that verifiers disagree on are sorted; give what moves the bar."""
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn

    from countermark_service.cli.console import progress

    with progress(TextColumn("reporting"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()) as bar:
        task = bar.add_task("reporting", total=None)

        def advance(done: int, total: int) -> None:
            bar.update(task, total=total, completed=done)

        yield advance
