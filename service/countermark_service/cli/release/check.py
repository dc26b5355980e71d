"""`countermark release check`: a card proves itself, or says where it does not."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from countermark_service.cli.options import CardArgument, DataOption, JsonOption, command_settings

if TYPE_CHECKING:
    from countermark_service.cli.release.checks import Line, Subject


def check(
    card: CardArgument = Path(),
    vectors: Annotated[
        bool, typer.Option("--vectors/--no-vectors", help="Run the vectors of its verifiers here.")
    ] = True,
    results: Annotated[
        bool,
        typer.Option("--results/--no-results", help="Score the outputs that are here again, and compare."),
    ] = True,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Hold a release card to its schema, its verifiers and its results.

    Example: `countermark release check countermark.json`

    Its verifiers must be here by their digests, take the parameters of their routes, and give every one of
    their vectors its verdict in real workers. Outputs that are beside the card are scored again and the
    published numbers compared; what is not here is skipped and said so. The exit code is 1 where anything
    does not hold; an incomplete card is a warning.
    """
    from countermark_service.cli.console import print_json, show, table
    from countermark_service.cli.release.card_file import find_card
    from countermark_service.cli.release.checks import report_document, subject_of
    from countermark_service.releases import grade_card

    file, release = find_card(card)
    subject = subject_of(release, file, command_settings(data))
    lines = _looked_at(subject, vectors=vectors, results=results)
    failed = sum(line.status == "fail" for line in lines)
    if as_json:
        print_json(report_document(subject, lines))
    else:
        rows = table("is", "rule", "of", "found")
        for line in lines:
            rows.add_row(line.status, line.rule, line.subject, line.found)
        verdict = (
            "everything that could be looked at holds"
            if not failed
            else (f"{failed} {'thing does' if failed == 1 else 'things do'} not hold")
        )
        grade = grade_card(release.card).grade
        show(str(release.ref), "", rows, "", f"{verdict}; completeness {grade}")
    if failed:
        raise typer.Exit(1)


def _looked_at(subject: "Subject", *, vectors: bool, results: bool) -> "list[Line]":
    from countermark_service.cli.console import progress
    from countermark_service.cli.release import checks

    lines: list[Line] = []
    for look in (checks.pins, checks.parameters, checks.advisories, checks.completeness, checks.embedded):
        lines.extend(look(subject))
    with progress() as bar:
        if vectors:
            task = bar.add_task("running vectors", total=len(subject.bundles))
            lines.extend(checks.vectors(subject, lambda done: bar.update(task, completed=done)))
        if results:
            task = bar.add_task("scoring outputs again", total=None)
            lines.extend(
                checks.results(subject, lambda done, total: bar.update(task, completed=done, total=total))
            )
    return lines
