"""What an audit writes for programs: a verdict file, and a list of what could not be used.

One record per row, in the order of the inputs, with what was published and what
every verifier says. A file gets its name when it is whole. Rows go by one at a
time; texts stay in the inputs and in the work file.
"""

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, Literal

import msgspec

from countermark_service.audit.work_file import NewVerdict, Ready, WorkFile, at_once
from countermark_service.errors import CountermarkError

VerdictFormat = Literal["jsonl", "jsonl.zst", "parquet"]

_ROW_GROUP = 10_000
_encode = msgspec.json.Encoder().encode


class OutputError(CountermarkError):
    """A file that an audit should write cannot be written."""

    code = "invalid_output_file"

    def __init__(self, file: Path, problem: str) -> None:
        super().__init__(f"{file} cannot be written: {problem}. What was scored before is kept.")
        self.file = str(file)


def write_verdicts(work: WorkFile, folder: Path, kind: VerdictFormat, ready: Ready = at_once) -> Path:
    """Write ``verdicts.<kind>`` and return it.

    A record has `row`, `file`, `line`, `task`, `variant`, `model`, `sample`, `generation`, `published`,
    `metric`, and `verdicts`: a list of {`verifier`, `outcome`, `score`, `reward`, `cached`, `detail`,
    `surroundings`}, or {`verifier`, `refused`} where the verifier does not take the row. In Parquet, detail
    and surroundings are JSON texts. The scoring may go on meanwhile, where `ready` says how far it is.

    Raises:
        OutputError: It cannot be written.
    """
    path = folder / f"verdicts.{kind}"
    if kind == "parquet":
        _write_parquet(work, path, ready)
        return path
    with whole(path) as file, _packed(file, kind) as stream:
        for record in _records(work, ready):
            stream.write(_encode(record) + b"\n")
    return path


def write_unusable(work: WorkFile, folder: Path) -> Path:
    """Write ``unusable.jsonl``: a line for every row and file that was not used, then one for every note.

    Raises:
        OutputError: It cannot be written.
    """
    path = folder / "unusable.jsonl"
    with whole(path) as file:
        for one in work.unusable():
            file.write(_encode({"kind": "unusable", **msgspec.structs.asdict(one)}) + b"\n")
        for note in work.notes():
            file.write(_encode({"kind": "note", **msgspec.structs.asdict(note)}) + b"\n")
    return path


@contextmanager
def whole(path: Path) -> Iterator[BinaryIO]:
    """Open a file that gets its name at the end of the block, when it is whole.

    Raises:
        OutputError: It cannot be written.
    """
    part = path.with_name(path.name + ".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as file:
            yield file
        part.replace(path)
    except OSError as exc:
        raise OutputError(path, exc.strerror or str(exc)) from exc
    finally:
        with suppress(OSError):  # it was given up in the middle; another attempt replaces it
            part.unlink(missing_ok=True)


@contextmanager
def _packed(file: BinaryIO, kind: VerdictFormat) -> Iterator[BinaryIO | io.BufferedWriter]:
    if kind == "jsonl":
        yield file
        return
    import zstandard

    with zstandard.ZstdCompressor(level=6).stream_writer(file, closefd=False) as packed:
        yield packed


def _records(work: WorkFile, ready: Ready) -> Iterator[dict[str, Any]]:
    pins = [str(one.pin) for one in work.verifiers]
    for start, stop in work.spans(ready):
        said: list[dict[int, dict[str, Any]]] = [{} for _ in range(start, stop)]
        for verdict in work.raw_verdicts(start, stop):
            said[verdict.row - start][verdict.pin] = _said(pins, verdict)
        for refusal in work.refusals(start, stop):
            refused = {"verifier": pins[refusal.pin], "refused": refusal.message}
            said[refusal.row - start][refusal.pin] = refused
        for row, each in zip(work.placed(start, stop), said, strict=True):
            row["verdicts"] = [each[pin] for pin in sorted(each)]
            yield row


def _said(pins: list[str], one: NewVerdict) -> dict[str, Any]:
    return {
        "verifier": pins[one.pin],
        "outcome": one.outcome,
        "score": one.score,
        "reward": one.reward,
        "cached": one.cached,
        "detail": msgspec.Raw(one.detail),
        "surroundings": msgspec.Raw(one.surroundings),
    }


def _write_parquet(work: WorkFile, path: Path, ready: Ready) -> None:
    # Here, because few need it and it takes long to load; it has no types of its own.
    import pyarrow  # type: ignore[import-untyped]
    import pyarrow.parquet  # type: ignore[import-untyped]

    text, number = pyarrow.string(), pyarrow.float64()
    verdict = pyarrow.struct(
        [
            ("verifier", text), ("outcome", text), ("score", number), ("reward", number),
            ("cached", pyarrow.bool_()), ("detail", text), ("surroundings", text), ("refused", text),
        ]
    )  # fmt: skip
    schema = pyarrow.schema(
        [
            ("row", pyarrow.int64()), ("file", text), ("line", pyarrow.int64()), ("task", text),
            ("variant", text), ("model", text), ("sample", text), ("generation", pyarrow.int64()),
            ("published", number), ("metric", text), ("verdicts", pyarrow.list_(verdict)),
        ]
    )  # fmt: skip
    records = _records(work, ready)
    with whole(path) as file, pyarrow.parquet.ParquetWriter(file, schema, compression="zstd") as writer:
        while group := [_flat(record) for record in islice(records, _ROW_GROUP)]:
            writer.write_table(pyarrow.Table.from_pylist(group, schema=schema))


def _flat(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record whose details are texts: they differ from verifier to verifier, columns do not."""
    verdicts = [
        {
            name: bytes(value).decode() if isinstance(value, msgspec.Raw) else value
            for name, value in one.items()
        }
        for one in record["verdicts"]
    ]
    return {**record, "verdicts": verdicts}
