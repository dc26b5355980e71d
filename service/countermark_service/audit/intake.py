"""From files to rows of the work file: what is the same for all formats.

Readers say what stands in a file. Here it is decided which of several published
metrics counts, what a question is where nothing names it, what is a duplicate, and
that a row without a response or a reference is none. Whatever is not used is noted
with its place and its reason, and counted: nothing is dropped in silence.
"""

import hashlib
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import msgspec

from countermark_service.audit.formats import document_format, record_format
from countermark_service.audit.output_files import OutputFile, Progress
from countermark_service.audit.published_values import number_of, params_of, prompt_of, response_of
from countermark_service.audit.readers.containers import head_of, lists_in, look, records, what_it_is
from countermark_service.audit.readers.interface import (
    MISSING,
    Found,
    InputFile,
    Read,
    Remark,
    dig,
    shaped,
    shown,
)
from countermark_service.audit.readers.lines import InputFileError
from countermark_service.audit.readers.tables import MathHarness, OpenR1, Table
from countermark_service.audit.rows import OutputRow, Unusable
from countermark_service.audit.work_file import WorkFile

PARTS = (
    "response",
    "reference",
    "prompt",
    "published",
    "sample",
    "task",
    "model",
    "variant",
    "generation",
    "params",
)
"""Parts of a row that a caller can name a column for."""

_TRANSACTION_ROWS = 512
_SHARD = re.compile(r"-\d{5}-of-\d{5}$")
_SOLUTION = re.compile(r"\n#### [^\n]+\Z")
_SOLUTION_NOTE = (
    "the reference is a whole solution that ends in '#### answer'; a verifier that wants the answer alone gets it "
    "with --reference-pattern '#### (.+)'"
)
_LARGEST_GENERATION = 1 << 53
_WITH_OWN_COLUMNS = frozenset({Table.name, OpenR1.name, MathHarness.name})
"""Formats whose reader looks at the caller's columns itself."""


@dataclass(frozen=True)
class ReadPlan:
    """How files are read, beyond what they say themselves."""

    columns: Mapping[str, str] = field(default_factory=dict)
    """Parts of a row (`PARTS`) to dotted paths in the file's own records."""
    metric: str | None = None
    """Which published metric counts; None: the best known of each format."""
    task: str | None = None
    """The task of every row, whatever the files say."""
    model: str | None = None
    """The model of every row, whatever the files say."""
    reference_pattern: str | None = None
    """Regular expression that finds the answer in a reference that is a text: the last match counts, its first
    group where it has one. A reference that it does not match is none."""
    unnamed: Mapping[str, str] = field(default_factory=dict)
    """Tasks of files whose rows name none, by the file's own name; ``""`` has that of every other file. Without
    one it is the file's name without its endings."""


class _Answer(msgspec.Struct, frozen=True, gc=False):
    """A row that has no place among the others yet."""

    row: OutputRow
    key: bytes
    """Of its question, and of its number where the file gives one."""
    generation: int | None
    """The number that the file gives; None where answers are counted."""
    named: bool
    """Whether the file names the question."""


class Intake:
    """Fills a work file."""

    def __init__(self, work: WorkFile, plan: ReadPlan) -> None:
        """Nothing is read yet; the inputs are noted in `work`."""
        self._work = work
        self._plan = plan
        self._next = work.row_count()
        self._taken: list[_Answer | Unusable] = []
        self._rows: list[OutputRow] = []
        self._unusable: list[Unusable] = []
        self._kept: list[tuple[str, int | None, str, str, int]] = []
        self._said = 0
        self._metrics: dict[tuple[str, str], str] = {}
        self._folders: dict[str, set[Path]] = {}
        self._folder = ""
        self._pattern = re.compile(plan.reference_pattern) if plan.reference_pattern is not None else None

    def read(self, files: Sequence[OutputFile], on_file: Progress) -> None:
        """Read everything; `on_file` hears how many bytes each file had.

        Raises:
            WorkFileError: The work file cannot be written.
        """
        for file in files:
            if not file.beside:
                self._folders.setdefault(_stem(file.path), set()).add(file.path.resolve().parent)
        sizes = {one.path: one.size for one in self._work.inputs}
        for file in files:
            self._read_file(file)
            on_file(sizes[file.name])

    def _read_file(self, file: OutputFile) -> None:
        try:
            one = look(file.path, file.name, self._plan.columns)
            name, reads = self._reads(file, one)
        except InputFileError as exc:
            with self._work.transaction():
                self._work.add_unusable([_unreadable(file, exc)])
            return
        before = self._next
        self._metrics, self._said = {}, 0
        self._folder = self._folder_of(file)
        ended = False
        while not ended:
            with self._work.transaction():
                ended = self._read_some(one, reads, before, own_columns=name in _WITH_OWN_COLUMNS)
        with self._work.transaction():
            self._work.finish_input(file.name, name, self._next - before)
            if self._next == before and not self._said and not file.beside:
                self._work.add_note(
                    file.name, None, "no_outputs", f"read as {name}, the file has no row in it"
                )

    def _folder_of(self, file: OutputFile) -> str:
        """Return what tells the folder of a file from others that hold one of its name; empty without these."""
        folders = self._folders.get(_stem(file.path), set())
        folder = file.path.resolve().parent
        if len(folders) < 2 or folder not in folders:
            return ""
        below = folder.relative_to(os.path.commonpath(folders)).as_posix()
        return folder.name if below == "." else below

    def _read_some(self, file: InputFile, reads: Iterator[Read], before: int, *, own_columns: bool) -> bool:
        """Read and write some hundred rows; say whether the file is at its end."""
        ended = True
        try:
            for read in reads:
                self._take(file, read, own_columns=own_columns)
                if len(self._taken) + len(self._kept) >= _TRANSACTION_ROWS:
                    ended = False
                    break
        except InputFileError as exc:
            self._number(file)
            self._unusable.append(_unreadable(file, exc, used=self._next - before))
        self._number(file)
        self._said += len(self._unusable) + len(self._kept)
        self._work.add_rows(self._rows)
        self._work.add_unusable(self._unusable)
        for note in self._kept:
            self._work.add_note(*note)
        self._rows, self._unusable, self._kept = [], [], []
        return ended

    def _reads(self, file: OutputFile, one: InputFile) -> tuple[str | None, Iterator[Read]]:
        """Return the name of the format and what its reader yields."""
        if file.beside:
            return "beside", iter(())
        document = document_format(one)
        if document is not None:
            return document.name, document.read(one)
        is_records = one.kind in ("jsonl", "parquet", "csv") or one.is_list
        if is_records:
            found = record_format(one, any_table=file.named and not one.is_alone)
            if found is not None:
                return found.name, _record_reads(one, found(one))
        if one.kind == "json" or one.is_alone:
            for member in lists_in(one):
                found = record_format(member, any_table=False)
                if found is not None:
                    return found.name, _record_reads(member, found(member))
        if one.is_alone and file.named:
            return Table.name, _record_reads(one, Table(one))
        return None, iter([self._nothing(file, one)])

    def _nothing(self, file: OutputFile, one: InputFile) -> Read:
        head = head_of(one)
        line = head.lstrip().partition(b"\n")[0].rstrip()
        if one.kind == "zip":
            said = "the file is a ZIP archive that is cut off, or none of Inspect's; unpack it and name the files"
        elif one.first and not (one.kind == "json" and line.endswith(b"}")):
            said = f"the file holds no outputs of a known format: it begins with {shown(one.first)}"
        else:
            said = what_it_is(head)
        if not file.named:
            return Remark(None, "not_outputs", f"no outputs of a known format, so it is left alone: {said}")
        return one.unusable(None, "unknown_format", said)

    # --- one row -------------------------------------------------------------------------------------

    def _take(self, file: InputFile, read: Read, *, own_columns: bool) -> None:
        if isinstance(read, Remark):
            self._kept.append((file.name, read.line, read.code, read.message, 1))
            return
        taken = self._row(file, read, own_columns=own_columns) if isinstance(read, Found) else read
        self._taken.append(taken)

    def _row(self, file: InputFile, found: Found, *, own_columns: bool) -> _Answer | Unusable:
        if not own_columns:
            problem = self._named(file, found)
            if problem is not None:
                return file.unusable(found.line, "no_column", problem)
        response = response_of(found.response)
        if response is None:
            said = "no response" if found.response in (MISSING, None) else "a response that is no text"
            return file.unusable(found.line, "no_response", f"row {found.line} has {said}")
        reference = found.reference
        if (
            reference is MISSING
            or reference is None
            or (isinstance(reference, float) and math.isnan(reference))
        ):
            problem = (
                f"row {found.line} has no reference; name where it stands with --columns reference=COLUMN"
            )
            return file.unusable(found.line, "no_reference", problem)
        whole = reference
        if self._pattern is not None:
            reference = self._answer(reference)
            if reference is None:
                problem = f"row {found.line}: --reference-pattern finds nothing in the reference {str(whole)[-80:]!r}"
                return file.unusable(found.line, "no_reference", problem)
        elif isinstance(reference, str) and _SOLUTION.search(reference):
            self._kept.append((file.name, found.line, "reference_is_solution", _SOLUTION_NOTE, 1))
        params = params_of(found.params)
        if params is None:
            return file.unusable(
                found.line, "bad_params", f"row {found.line}: the parameters are no JSON object"
            )
        named = self._plan.task or found.task or self._task_of(file.path)
        task = named or _stem(file.path)
        model = self._plan.model or found.model
        if not model and own_columns:
            model = self._model_of(file, found, named=bool(named))
        prompt = prompt_of(found.prompt)
        sample = found.sample
        if sample is None:
            sample = str(found.line) if prompt is None else hashlib.sha256(_bytes(prompt)).hexdigest()[:16]
        metric, published = self._published(file, found, task)
        row = OutputRow(
            index=0, file=file.name, line=found.line, task=task, variant=found.variant, model=model,
            sample=sample, generation=0, prompt=prompt, response=response, reference=reference, params=params,
            published=published, metric=metric,
            extras={name: value for name, value in found.extras.items() if value is not None and value != {}}
            | ({} if whole is reference else {"whole_reference": whole}),
        )  # fmt: skip
        try:
            msgspec.json.encode((prompt, response, reference, params, row.extras, task, model, sample))
        except (UnicodeEncodeError, ValueError):
            problem = f"row {found.line} holds half of a surrogate pair, which is no character"
            return file.unusable(found.line, "not_utf8", problem)
        except (TypeError, RecursionError) as exc:
            problem = f"row {found.line} holds what cannot be written as JSON: {exc}"
            return file.unusable(found.line, "not_json", problem)
        own = found.generation if found.generation is None or found.generation < _LARGEST_GENERATION else None
        key = msgspec.json.encode((row.task, row.variant, row.model, row.sample, own))
        return _Answer(row, hashlib.sha256(key).digest()[:16], own, found.sample is not None)

    def _model_of(self, file: InputFile, found: Found, *, named: bool) -> str:
        """Return what stands for the model of a table that names none.

        Several tables of one task are not of one model, and neither are tables of one name in several folders.
        """
        if self._folder:
            message = (
                f"no model is named, and files of this name lie in several folders: taken as {self._folder!r}"
            )
            self._kept.append((file.name, found.line, "model_is_folder", message, 1))
            return self._folder
        return _stem(file.path) if named and len(self._folders) > 1 else ""

    def _task_of(self, path: Path) -> str:
        return self._plan.unnamed.get(path.name) or self._plan.unnamed.get("", "")

    def _answer(self, reference: Any) -> Any:
        """Return what the pattern finds in a text, or in every text of a list; None where it finds nothing."""
        if isinstance(reference, list):
            found = [self._answer(one) for one in reference]
            return None if None in found else found
        if not isinstance(reference, str) or self._pattern is None:
            return reference
        last = None
        for last in self._pattern.finditer(reference):  # noqa: B007 - the last one is what is wanted
            pass
        return None if last is None else last[1 if self._pattern.groups else 0]

    def _number(self, file: InputFile) -> None:
        """Give what was taken its place among the rows; they are looked up together, which costs a tenth."""
        known = self._work.samples([one.key for one in self._taken if isinstance(one, _Answer)])
        for taken in self._taken:
            row = self._numbered(file, taken, known) if isinstance(taken, _Answer) else taken
            if isinstance(row, Unusable):
                self._unusable.append(row)
            else:
                self._rows.append(row)
                self._next += 1
        self._work.keep_samples(known)
        self._taken = []

    def _numbered(
        self, file: InputFile, answer: _Answer, known: dict[bytes, tuple[int, int]]
    ) -> OutputRow | Unusable:
        """Give a response its number among those to its question; one that is there twice is a duplicate."""
        row, own = answer.row, answer.generation
        before, first = known.get(answer.key, (0, self._next))
        known[answer.key] = (before + 1, first)
        if own is not None and before:
            path, line = self._place(first)
            problem = (
                f"row {row.line} is the same question, model and response number (id {row.sample!r}) as "
                f"row {line} of {path}; two runs of one model are audited one by one"
            )
            return file.unusable(row.line, "duplicate_id", problem)
        if own is None and before and answer.named:
            message = (
                f"the id {row.sample!r} is there again: taken as a further response to the same question"
            )
            self._kept.append((file.name, row.line, "ids_repeated", message, 1))
        return msgspec.structs.replace(row, index=self._next, generation=before if own is None else own)

    def _place(self, index: int) -> tuple[str, int]:
        for row in self._rows:
            if row.index == index:
                return row.file, row.line
        return self._work.place_of(index)

    def _named(self, file: InputFile, found: Found) -> str | None:
        """Put what the caller's columns say in place of what the reader found; return what is wrong."""
        for part, column in file.columns.items():
            value = dig(found.record, column)
            if isinstance(value, list) and part in ("response", "published") and found.place is not None:
                value = value[found.place] if found.place < len(value) else MISSING
            if value is MISSING:
                return f"row {found.line} has no {column!r}; it has {shown(found.record or ())}"
            if part == "published":
                found.metrics = {column: value, **found.metrics}
            elif part in ("sample", "task", "model", "variant"):
                setattr(found, part, str(value))
            else:
                setattr(found, part, value)
        return None

    def _published(self, file: InputFile, found: Found, task: str) -> tuple[str | None, float | None]:
        """Return the metric that counts and its value.

        It is the first that a task has a number for, and then the same for all its rows in a file: a mean
        over two metrics is of neither.
        """
        group = (task, found.variant)
        counts = self._plan.metric or self._metrics.get(group)
        for name in list(found.metrics) if counts is None else [counts]:
            if name not in found.metrics:
                message = f"no metric {name!r}; published are {shown(found.metrics)}"
                self._kept.append((file.name, found.line, "metric_missing", message, 1))
                continue
            value = number_of(found.metrics[name])
            if value is not None:
                self._metrics[group] = name
                return name, value
            if not isinstance(found.metrics[name], (list, dict)):
                message = (
                    f"the published {name} is {found.metrics[name]!r:.60}, no finite number: taken as unknown"
                )
                self._kept.append((file.name, found.line, "published_not_a_number", message, 1))
        return None, None


def _record_reads(file: InputFile, reader: Any) -> Iterator[Read]:
    claims = type(reader).claims
    for line, record in records(file):
        if isinstance(record, Unusable):
            yield record
        elif not claims(record):
            problem = f"row {line} is no record of {reader.name}, as the file began: it has {shown(record)}"
            yield file.unusable(line, "not_of_format", problem)
        else:
            yield from shaped(file, line, reader.name, partial(reader.rows, line, record))


def _unreadable(file: OutputFile | InputFile, exc: InputFileError, used: int = 0) -> Unusable:
    """Say that a file cannot be read, or not read on; who shows it says which file."""
    begins = exc.problem.partition(" ")[0]
    problem = exc.problem if begins in ("the", "line") else f"the file {exc.problem}"
    kept = f" The {used} rows before it are used." if used else ""
    return Unusable(file.name, None, "unreadable", f"{problem}.{kept}")


@lru_cache(maxsize=16)
def _stem(path: Path) -> str:
    """Return a file's name without its endings and without the number of a shard."""
    return _SHARD.sub("", path.name.partition(".")[0]) or path.name


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
