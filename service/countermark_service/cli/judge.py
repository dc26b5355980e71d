"""`countermark judge`: probe a model's server, and move transcripts between machines."""

import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, cast

import typer

from countermark_service.cli.options import DataOption, JsonOption, command_settings
from countermark_service.cli.transcript import show
from countermark_service.errors import CountermarkError, UnavailableError

if TYPE_CHECKING:
    from countermark_service.judge import Transcript
    from countermark_service.settings import Settings
    from countermark_service.store.transcripts import KeptTranscripts

app = typer.Typer(
    help="Judges: probe the servers that models answer from; show, export and import transcripts.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)
app.command()(show)

_BATCH = 256
_HELD_BYTES = 64 << 20
"""Of an archive from a pipe; a larger one goes to a temporary file."""


@app.command()
def probe(
    models: Annotated[list[str] | None, typer.Argument(help="Models [default: all of the file].")] = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Find out what each model's server does with seed, temperature, schema and token bounds.

    Example: `countermark judge probe`

    The models and their servers are those of the file that COUNTERMARK_JUDGES names. What is found is kept and
    goes into every transcript from then on. The exit code is 1 where a server does not answer.
    """
    import asyncio

    from countermark_service.cli.console import note, print_json

    settings = command_settings(data)
    found, problems = asyncio.run(_probe(settings, models or []))
    if as_json:
        print_json({"models": found, "problems": problems})
    else:
        _print_probes(found)
        for problem in problems.values():
            note(problem)
    if problems:
        raise typer.Exit(1)


async def _probe(settings: "Settings", models: list[str]) -> tuple[dict[str, Any], dict[str, str]]:
    from countermark_service.assembly import build_asker
    from countermark_service.judge import CallError

    asker = build_asker(settings)
    if not asker.endpoints:
        raise UnavailableError(
            "no model has an endpoint here: name a file in COUNTERMARK_JUDGES."
            if settings.judges is None
            else f'no model has an endpoint here: {settings.judges} has no table [models."MODEL"].'
        )
    found: dict[str, Any] = {}
    problems: dict[str, str] = {}
    try:
        for model in models or list(asker.endpoints):
            try:
                assert asker.probes is not None  # noqa: S101 - `build_asker` gives them
                found[model] = await asker.probes.renew(asker.client(model))
            except CallError as exc:
                problems[model] = str(exc)
    finally:
        await asker.close()
    return found, problems


def _print_probes(found: dict[str, Any]) -> None:
    from countermark_service.cli.console import show as print_parts
    from countermark_service.cli.console import table

    words = {True: "yes", False: "NO", None: "not to be told"}
    for model, facts in found.items():
        rows = table(model, "honoured")
        for name in ("seed", "temperature", "response_format", "logprobs", "max_tokens"):
            rows.add_row(name, words[facts[name]])
        agreement = "-" if facts["agreement"] is None else f"{facts['agreement']:.0%}"
        rows.add_row("greedy judgements that repeat", agreement)
        rows.add_row("answers as", str(facts["model"]))
        print_parts(rows, "")


@app.command(name="export")
def export_(
    file: Annotated[Path, typer.Argument(help="Where to write, as JSONL; `-` is standard output.")],
    model: Annotated[str | None, typer.Option(help="Only transcripts of this model.")] = None,
    data: DataOption = None,
) -> None:
    """Write every transcript that is kept here, one a line under the digest of its content.

    Example: `countermark judge export transcripts.jsonl`

    Of several replies to one question, the one that is replayed here comes first: an import takes the first.
    """
    import asyncio

    from countermark_service.cli.console import note, output

    settings = command_settings(data)
    if str(file) == "-":
        count = asyncio.run(_export(settings, output(), model))
    else:
        try:
            with file.open("wb") as out:
                count = asyncio.run(_export(settings, out, model))
        except OSError as exc:
            raise CountermarkError(f"{file} cannot be written: {exc.strerror}.") from exc
    note(f"{count} transcripts")


async def _export(settings: "Settings", out: BinaryIO, model: str | None) -> int:
    """Write what is replayed here, then what is replayed of one revision only, then the other replies."""
    from countermark_service.assembly import open_transcripts
    from countermark_service.judge import archive_line
    from countermark_service.judge.transcripts import id_of

    count = 0
    later: tuple[list[bytes], list[bytes]] = ([], [])
    store = open_transcripts(settings)
    try:
        async for batch in _batches(_kept(settings), model):
            for (_, encoded), place in zip(batch, await _places(store, batch), strict=True):
                count += 1
                if place == 0:
                    out.write(archive_line(encoded))
                else:
                    later[place - 1].append(id_of(encoded))
        for ids in later:
            for first in range(0, len(ids), _BATCH):
                found = await store.get_many(ids[first : first + _BATCH])
                out.writelines(archive_line(encoded) for encoded in found if encoded is not None)
    finally:
        await store.close()
    return count


async def _batches(
    kept: AsyncIterator[bytes], model: str | None
) -> "AsyncIterator[list[tuple[Transcript, bytes]]]":
    """Yield the transcripts of a model, or of all, some at a time."""
    from countermark_service.judge.transcripts import decode, id_of

    batch: list[tuple[Transcript, bytes]] = []
    async for encoded in kept:
        transcript, _ = decode(encoded, id_of(encoded))
        if model is None or transcript.request.get("model") == model:
            batch.append((transcript, encoded))
        if len(batch) == _BATCH:
            yield batch
            batch = []
    yield batch


async def _places(store: "KeptTranscripts", batch: "list[tuple[Transcript, bytes]]") -> list[int]:
    """Return for each transcript 0 where it is the one that is replayed, 1 where of its revision only, else 2."""
    from countermark_service.judge.transcripts import id_of, pointers

    ways = [pointers(transcript.question(), transcript.revision) for transcript, _ in batch]
    targets = await store.get_many([way[-1] for way in ways] + [way[0] for way in ways])
    ids = [id_of(encoded) for _, encoded in batch]
    return [
        0 if mine == of_any else 1 if mine == of_revision else 2
        for mine, of_any, of_revision in zip(ids, targets, targets[len(batch) :], strict=False)
    ]


async def _kept(settings: "Settings") -> AsyncIterator[bytes]:
    from countermark_service.assembly import transcripts_file
    from countermark_service.store.transcripts import scan_redis, scan_sqlite

    if settings.redis_url:
        async for encoded in scan_redis(settings.redis_url):
            yield encoded
    else:
        for encoded in scan_sqlite(transcripts_file(settings)):
            yield encoded


@app.command(name="import")
def import_(
    file: Annotated[
        Path,
        typer.Argument(help="An archive that `countermark judge export` wrote; `-` is standard input."),
    ],
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check every line of an archive, then keep its transcripts.

    Example: `countermark judge import transcripts.jsonl`

    A line whose content is not what its id names refuses the whole file. Where a question has another
    transcript here already, that one stays the one that is replayed; both are kept.
    """
    import asyncio

    from countermark_service.cli.console import note, print_json

    settings = command_settings(data)
    with _opened(file) as (name, content):
        checked = sum(1 for _ in _read(name, content))  # all of it before any of it is kept
        new, other = asyncio.run(_import(settings, name, content))
    if as_json:
        print_json({"transcripts": checked, "new": new, "other_reply_here": other})
    else:
        note(f"{checked} transcripts, {new} of them new")
        if other:
            note(f"{other} questions have another reply here, which stays the one that is replayed")


@contextmanager
def _opened(file: Path) -> Iterator[tuple[str, BinaryIO]]:
    """Open an archive to read it twice: a pipe, whose content comes once, is copied first."""
    piped = str(file) == "-"
    name = "standard input" if piped else str(file)
    with _reading(name):
        source: BinaryIO = sys.stdin.buffer if piped else file.open("rb")
    with source, tempfile.SpooledTemporaryFile(_HELD_BYTES) as spool:
        if not piped and source.seekable():
            yield name, source
            return
        copy = cast("BinaryIO", spool)
        with _reading(name):
            shutil.copyfileobj(source, copy)
        yield name, copy


def _read(name: str, content: BinaryIO) -> "Iterator[tuple[Transcript, bytes]]":
    """Read an archive from its beginning."""
    from countermark_service.judge import read_archive
    from countermark_service.judge.transcripts import MOST_LINE_BYTES

    with _reading(name):
        content.seek(0)
        pieces = iter(lambda: content.readline(MOST_LINE_BYTES + 1), b"")
        yield from read_archive(pieces, file=name)


@contextmanager
def _reading(name: str) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        raise CountermarkError(f"{name} cannot be read: {exc.strerror}.") from exc


async def _import(settings: "Settings", name: str, content: BinaryIO) -> tuple[int, int]:
    from itertools import islice

    from countermark_service.assembly import build_transcripts
    from countermark_service.judge.transcripts import id_of, kept_entries, pointers

    new = 0
    other: set[bytes] = set()
    store = build_transcripts(settings)
    try:
        transcripts = _read(name, content)
        while batch := list(islice(transcripts, _BATCH)):
            ids = [id_of(encoded) for _, encoded in batch]
            firsts = [pointers(one.question(), one.revision)[0] for one, _ in batch]
            kept = kept_entries(batch)
            present = dict(zip(kept, await store.get_many(list(kept)), strict=True))
            own = set(ids)
            new += sum(present[mine] is None for mine in own)
            # What a full store evicted may still be pointed to: as if nothing were there.
            targets = list({value for key, value in present.items() if value and key not in own} - own)
            found = await store.get_many(targets)
            lost = {target for target, value in zip(targets, found, strict=True) if value is None}
            astray = [key for key, value in present.items() if value in lost]
            other |= {
                first
                for first, mine in zip(firsts, ids, strict=True)
                if present[first] not in (None, mine, *lost)
            }
            await store.discard_many(astray)
            missing = {key for key, value in present.items() if value is None}.union(astray)
            await store.put_many({key: value for key, value in kept.items() if key in missing})
    finally:
        await store.close()
    return new, len(other)
