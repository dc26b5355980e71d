"""`countermark attribute`: how much of a gain is the verifier, and what cannot be told.

This module is the command: options, and how findings are shown. What is scored and
compared is in `attribute_run`; the rules are in `audit.attribution`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from countermark_service.cli.options import DataOption, JsonOption, command_settings

if TYPE_CHECKING:
    from countermark_service.audit.attribution.words import PairFinding, RunsFinding
    from countermark_service.audit.judging import Judge


def attribute(
    releases: Annotated[
        list[str] | None,
        typer.Argument(
            help="Two release cards (or folders with one, or files of outputs) to compare, or more that vary factors.",
            show_default=False,
        ),
    ] = None,
    verifier_a: Annotated[
        str | None,
        typer.Option(
            help="Who scored the first: `name:version` or a pin. Else its card says it.", show_default=False
        ),
    ] = None,
    verifier_b: Annotated[
        str | None, typer.Option(help="Who scored the second, likewise.", show_default=False)
    ] = None,
    task: Annotated[
        str | None, typer.Option(help="The task to compare. [default: all in common]", show_default=False)
    ] = None,
    runs: Annotated[
        Path | None,
        typer.Option(
            help="In place of releases: a table of runs, CSV or JSONL, with a column per factor and one of scores.",
            show_default=False,
        ),
    ] = None,
    response: Annotated[str, typer.Option(help="Column of --runs with the score.")] = "score",
    order: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Factors that an interaction has at most. [default: all, where factors have two levels]",
            show_default=False,
        ),
    ] = None,
    confidence: Annotated[float, typer.Option(help="Coverage of intervals.")] = 0.95,
    server: Annotated[
        str | None,
        typer.Option(help="Address of a service that scores; this machine by default.", show_default=False),
    ] = None,
    out: Annotated[
        Path,
        typer.Option(help="Folder for verdicts and findings. The same command goes on with what is there."),
    ] = Path("attribution"),
    batch: Annotated[int, typer.Option(min=1, max=4096, help="Rows that go together.")] = 256,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say how much of the gap between two releases is the verifier.

    Example: `countermark attribute first/countermark.json second/countermark.json`

    Both outputs are scored under both verifiers. The gap is taken apart in both orders, with intervals over
    questions; what remains is laid to the factors in which the cards differ, with the run that would tell them
    apart. With more than two releases, or a table of --runs, it gives main effects and interactions and says what
    is aliased. Scores of different verifiers are never compared or averaged as they are: they are made again, or it
    is an error. A failure has no score and is counted.

    The folder --out gets `attribution.json` and `attribution.html`.
    """
    import asyncio

    from countermark_service.audit.verdict_files import OutputError
    from countermark_service.cli.attribute_run import compare_pair, compare_runs, read_runs

    named = releases or []
    if not 0.5 <= confidence < 1:
        raise typer.BadParameter("must be from 0.5 to below 1", param_hint="--confidence")
    if (runs is None) is (not named):
        raise typer.BadParameter("name two releases or more, or a table of --runs", param_hint="RELEASES")
    if len(named) > 2 and (verifier_a or verifier_b):
        raise typer.BadParameter(
            "--verifier-a and --verifier-b are for two releases; cards name theirs", param_hint="--verifier-a"
        )
    if len(named) == 1:
        raise typer.BadParameter(
            f"one release, {named[0]}, has nothing to be compared with", param_hint="RELEASES"
        )
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise OutputError(out, exc.strerror or str(exc)) from exc
    if runs is not None:
        finding = read_runs(runs, response, order=order, confidence=confidence)
        _finish({"kind": "runs", "findings": [finding.document()]}, [finding], out, as_json)
        return

    def judge() -> "Judge":
        return _judge(server, batch, data)

    if len(named) == 2:
        pairs = asyncio.run(
            compare_pair(
                named[0], named[1], verifiers=(verifier_a, verifier_b), task=task, out=out, judge=judge, batch=batch,
                confidence=confidence,
            )
        )  # fmt: skip
        document: dict[str, Any] = {"kind": "pair", "findings": [one.document() for one in pairs]}
        _finish(document, pairs, out, as_json)
    else:
        found = asyncio.run(
            compare_runs(
                named, task=task, out=out, judge=judge, batch=batch, order=order, confidence=confidence
            )
        )
        _finish({"kind": "runs", "findings": [one.document() for one in found]}, found, out, as_json)


def _judge(server: str | None, batch: int, data: Path | None) -> "Judge":
    from countermark_service.cli.judges import LocalJudge, RemoteJudge

    return LocalJudge(command_settings(data)) if server is None else RemoteJudge(server, batch)


def _finish(
    document: dict[str, Any],
    findings: "Sequence[PairFinding | RunsFinding]",
    out: Path,
    as_json: bool,
) -> None:
    import msgspec

    from countermark_service.audit.attribution.page import write_page
    from countermark_service.audit.attribution.words import PairFinding
    from countermark_service.audit.verdict_files import whole
    from countermark_service.cli.console import note, print_json, show

    with whole(out / "attribution.json") as file:
        file.write(msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n")
    write_page(findings, out / "attribution.html")
    if as_json:
        print_json(document)
    else:
        for place, one in enumerate(findings):
            parts = pair_parts(one) if isinstance(one, PairFinding) else runs_parts(one)
            show(*([""] if place else []), *parts)
    note(f"the findings are in {out}")


def pair_parts(one: "PairFinding") -> list[Any]:
    """Return a finding on two releases as tables and sentences."""
    from countermark_service.audit.attribution.words import interval
    from countermark_service.audit.wording import shown_points
    from countermark_service.cli.console import table

    found = one.decomposition
    cells = table("mean score, in points", numbers=[pin.partition("@")[0] for pin in one.pins])
    for name, prefix in ((one.first.name, "first"), (one.second.name, "second")):
        cells.add_row(
            name, *(f"{100 * found.cells[f'{prefix}_{by}'].value:.1f}" for by in ("first", "second"))
        )
    effects = table("part of the gap", numbers=["points", f"{found.confidence:.0%} interval"])
    for key, label in (
        ("gap", "gap"), ("verifier", "  the verifier"), ("outputs", "  the outputs"),
        ("verifier_on_first_outputs", "the verifier, on the first outputs"),
        ("verifier_on_second_outputs", "the verifier, on the second outputs"),
        ("interaction", "difference of these two"),
    ):  # fmt: skip
        effects.add_row(label, shown_points(found.effects[key].value), interval(found.effects[key]))
    pins = [f"{side}: {pin}" for side, pin in zip(("first", "second"), one.pins, strict=True)]
    return [
        one.sentence(),
        "",
        cells,
        "",
        effects,
        "",
        f"{found.questions} questions.",
        *one.sentences(),
        "",
        *pins,
    ]


def runs_parts(one: "RunsFinding") -> list[Any]:
    """Return a finding on a set of runs as a table and sentences."""
    from countermark_service.audit.attribution.words import interval
    from countermark_service.cli.console import table

    found = one.analysis
    level = f"{found.confidence:.0%}"
    numbers = [
        "effect",
        f"{level} between runs",
        *([f"{level} over questions"] if one.over_questions else []),
    ]
    effects = table("term", numbers=numbers)
    for each in found.effects:
        row = [
            one.shown(each.estimate),
            "-" if each.interval is None else " to ".join(map(one.shown, each.interval)),
        ]
        if one.over_questions:
            row.append(interval(one.over_questions[each.term]))
        effects.add_row(each.term, *row)
    coding = [
        f"{name}: from {levels[0]} to {levels[1]}"
        if len(levels) == 2
        else f"{name}: {', '.join(map(str, levels))}"
        for name, levels in found.factors.items()
    ]
    by = f" under {one.verifier}" if one.verifier is not None else ""
    head = (
        f"{found.runs} runs{by}, mean {one.scale * found.mean:.4g}{'' if one.crossed is None else ' points'}"
    )
    return [head, "", effects, "", *coding, *one.sentences()]
