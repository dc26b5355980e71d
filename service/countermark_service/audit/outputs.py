"""The files that an audit leaves: the document, the flips, the report.

They are made from the work file alone, so they can be made again without scoring, and
each gets its name when it is whole. `summary` decides what they say, `report` how it looks.
"""

from collections.abc import Callable
from pathlib import Path

from countermark_service.audit.document import Claim, Document
from countermark_service.audit.report import render_report
from countermark_service.audit.summary import Facts, summarise
from countermark_service.audit.table import Table
from countermark_service.audit.verdict_files import whole
from countermark_service.audit.work_file import WorkFile
from countermark_service.releases import Release
from countermark_service.releases.recompute import counts_failures

DOCUMENT = "audit.json"
FLIPS = "flips.jsonl"
REPORT = "report.html"


def write_outputs(
    work: WorkFile,
    folder: Path,
    facts: Facts | None = None,
    on_progress: Callable[[int, int], None] | None = None,
    table: Table | None = None,
) -> Document:
    """Write `DOCUMENT`, `FLIPS` and `REPORT` into a folder and return the document.

    Args:
        work: The work file, scored or partly scored.
        folder: Made if it is not there; files of these names are replaced.
        facts: What the work file does not know.
        on_progress: Hears how many of how many rows with disagreements are done.
        table: What `read_table` gave, where it was read before.

    Raises:
        OutputError: A file cannot be written.
    """
    with whole(folder / FLIPS) as flips:
        document = summarise(work, flips, facts, on_progress, table)
    with whole(folder / DOCUMENT) as file:
        file.write(document.model_dump_json(indent=1).encode() + b"\n")
    with whole(folder / REPORT) as file:
        file.write(render_report(document).encode("utf-8", "replace"))
    return document


def claims_of(release: Release) -> list[Claim]:
    """Return what a release card says was published, as fractions."""
    return [
        Claim(
            task=one.task,
            model=one.model,
            metric=one.metric,
            value=one.value / (100 if one.unit == "percent" else 1),
            tolerance=0.5 * 10.0**-one.decimals / (100 if one.unit == "percent" else 1),
            source=f"card of {release.ref}",
            verifier=release.card.judge_of(one),
            outputs=one.outputs.digest.removeprefix("sha256:")
            if one.outputs and one.outputs.digest
            else None,
            zero_for_none=counts_failures(release.card, one),
        )
        for one in release.card.results
    ]
