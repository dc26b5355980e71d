"""The files that an audit leaves: the document, the flips, the report.

They are made from the work file alone, so they can be made again without scoring, and
each gets its name when it is whole. `summary` decides what they say, `report` how it looks.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from countermark_service.audit.document import Document
from countermark_service.audit.report import render_report
from countermark_service.audit.summary import Facts, summarise
from countermark_service.audit.work_file import WorkFile
from countermark_service.errors import CountermarkError

DOCUMENT = "audit.json"
FLIPS = "flips.jsonl"
REPORT = "report.html"


class OutputError(CountermarkError):
    """A file of the audit cannot be written."""

    code = "invalid_output_file"

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(f"{path} cannot be written: {problem}. Name another folder with --out.")
        self.path, self.problem = str(path), problem


def write_outputs(
    work: WorkFile,
    folder: Path,
    facts: Facts | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Document:
    """Write `DOCUMENT`, `FLIPS` and `REPORT` into a folder and return the document.

    Args:
        work: The work file, scored or partly scored.
        folder: Made if it is not there; files of these names are replaced.
        facts: What the work file does not know.
        on_progress: Hears how many of how many rows with disagreements are done.

    Raises:
        OutputError: A file cannot be written.
    """
    with _whole(folder / FLIPS) as flips:
        document = summarise(work, flips, facts, on_progress)
    with _whole(folder / DOCUMENT) as file:
        file.write(document.model_dump_json(indent=1).encode() + b"\n")
    with _whole(folder / REPORT) as file:
        file.write(render_report(document).encode("utf-8", "replace"))
    return document


@contextmanager
def _whole(path: Path) -> Iterator[BinaryIO]:
    part = path.with_name(path.name + ".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as file:
            yield file
        part.replace(path)
    except OSError as exc:
        raise OutputError(path, exc.strerror or str(exc)) from exc
