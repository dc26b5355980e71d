"""`countermark verifier check`: a bundle proves itself, or says where it does not."""

from contextlib import nullcontext
from typing import TYPE_CHECKING, Annotated

import typer

from countermark_service.cli.options import DataOption, JsonOption, command_settings

if TYPE_CHECKING:
    from countermark_service.bundles import Bundle
    from countermark_service.cli.verifier.proof import Report
    from countermark_service.settings import Settings


def check(
    bundle: Annotated[str, typer.Argument(help="Folder of a bundle, or `name:version`.")],
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run a bundle's vectors, and hostile items, twice in real workers.

    Example: `countermark verifier check verifiers/my-rules/1.0.0`

    Every vector must get its verdict. Both runs, which have processes of their own and opposite orders,
    must agree in outcome, score and detail. Hostile items (empty, huge, broken, deeply nested) must not
    be errors. Where the bundle has a `reduce`, equal reductions must have equal verdicts. The exit code
    is 1 where anything differs.
    """
    from countermark_service.cli.console import print_json
    from countermark_service.cli.verifier.subject import bundle_root, find_bundle, refuse_change

    settings = command_settings(data)
    found = find_bundle(bundle, settings)
    root = bundle_root(found)
    if root is not None:
        refuse_change(found, root)
    report = check_bundle(found, settings)
    if as_json:
        print_json(report.document())
    else:
        print_report(report)
    if report.problems:
        raise typer.Exit(1)


def check_bundle(bundle: "Bundle", settings: "Settings") -> "Report":
    """Check a bundle, with a word on a terminal meanwhile; raises what `prove` raises."""
    import asyncio

    from countermark_service.cli.console import console
    from countermark_service.cli.verifier.proof import prove

    screen = console(stderr=True)
    with screen.status(f"checking {bundle.manifest.name}") if screen.is_terminal else nullcontext():
        return asyncio.run(prove(bundle, settings))


def print_report(report: "Report") -> None:
    """Print what was found, the differences as a table."""
    from countermark_service.cli.console import show, table

    bundle, count = report.bundle, len(report.problems)
    said = [
        str(bundle.ref),
        f"{report.vectors} vectors and {report.attacks} hostile items, twice, in real workers",
    ]
    if report.timeouts:
        said.append(f"{len(report.timeouts)} hostile items ran into the budget: {', '.join(report.timeouts)}")
    if bundle.manifest.reduce:
        said.append(f"{report.reduced} items share a reduction with another one")
    if not report.problems:
        show(*said, "all as it must be")
        return
    rows = table("rule", "case", "what differs")
    for problem in report.problems:
        rows.add_row(problem.rule, problem.case, problem.problem)
    show(*said, "", rows, "", f"{count} {'difference' if count == 1 else 'differences'}")
