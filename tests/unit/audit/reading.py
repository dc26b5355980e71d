"""Reads files into a work file, as an audit does, for tests of readers."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from countermark_service.audit import Note, OutputRow, Unusable, WorkFile
from countermark_service.audit.intake import Intake, ReadPlan
from countermark_service.audit.output_files import describe, find_files


@dataclass(frozen=True)
class Content:
    """What an audit finds in files."""

    rows: list[OutputRow]
    unusable: list[Unusable]
    notes: list[Note]
    formats: list[str | None]

    @property
    def reasons(self) -> list[tuple[int | None, str]]:
        """Where something is unusable, and why."""
        return [(one.line, one.code) for one in self.unusable]


def read(folder: Path, *outputs: Path, **plan: Any) -> Content:
    """Read `outputs` with a work file in `folder`; `plan` is `ReadPlan`'s."""
    files = find_files([str(output) for output in outputs])
    with WorkFile.create(folder / "read.sqlite") as work:
        with work.transaction():
            for file in files:
                work.add_input(describe(file, lambda _: None))
        Intake(work, ReadPlan(**plan)).read(files, lambda _: None)
        return Content(
            list(work.rows()), list(work.unusable()), list(work.notes()), [one.format for one in work.inputs]
        )


def write_lines(path: Path, records: Iterable[Mapping[str, Any]]) -> Path:
    """Write JSON lines as Python's own writer does, NaN and all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def write_json(path: Path, value: Any, indent: int | None = None) -> Path:
    """Write a JSON document."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=indent), encoding="utf-8")
    return path
