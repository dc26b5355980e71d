"""`countermark receipt …`: check what a receipt proves, without any service."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from countermark_service.cli.options import DataOption, JsonOption, command_settings
from countermark_service.errors import CountermarkError
from countermark_service.kept import read_small

if TYPE_CHECKING:
    from countermark_service.model import Item
    from countermark_service.receipts import Checked, KeySet

app = typer.Typer(help="Check receipts of verdicts, offline.", no_args_is_help=True)
_SHOWN = 20
"""Receipts that do not hold and are told one by one."""
LARGEST_FILE = 1 << 30
"""Bytes of a receipt or a key set; a longer file is none."""

FileArgument = Annotated[
    Path, typer.Argument(metavar="FILE", help="A receipt, or a reply of /v1/score that has one.")
]
FilesArgument = Annotated[
    list[Path],
    typer.Argument(
        metavar="FILE...",
        help="Receipts, or replies of /v1/score that have one; of a folder, every `.json` in it.",
    ),
]


class ReceiptFileError(CountermarkError):
    """A file beside a receipt that cannot be read or written."""

    code = "receipt_file"

    def __init__(self, file: Path, problem: str) -> None:
        super().__init__(f"{file}: {problem}.")
        self.file, self.problem = str(file), problem


@app.command()
def verify(
    files: FilesArgument,
    keys: Annotated[
        list[Path] | None,
        typer.Option(
            help="Key set that you trust. May be given many times. [default: the data folder's own]"
        ),
    ] = None,
    items: Annotated[
        Path | None,
        typer.Option(help="What was scored, JSONL or CSV, in order: hold it against the one receipt."),
    ] = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say whether receipts hold, and what they prove. It asks no service.

    Example: `countermark receipt verify receipt.json --keys keys.json --items items.jsonl`

    What is wrong is said in a sentence, and the exit code is 1. The verdicts of a whole reply are held
    against its receipt, too. Of several receipts each is checked, and --json lists what it says of each.
    """
    found = _receipts_in(files)
    if items is not None and len(found) != 1:
        raise typer.BadParameter(f"goes with one receipt, not with {len(found)}", param_hint="--items")
    trusted = _trusted(keys, data)
    given = None if items is None else _items(items)
    if files == found and len(found) == 1:
        _verify_one(found[0], trusted, given, as_json=as_json)
    else:
        _verify_all(found, trusted, given, as_json=as_json)


@app.command()
def prove(
    file: FileArgument,
    index: Annotated[int, typer.Option(help="Place of the item in its batch, from 0.")],
    out: Annotated[Path | None, typer.Option(help="File to write; standard output by default.")] = None,
) -> None:
    """Draw the receipt of one verdict from that of a batch: the others stay with you.

    Example: `countermark receipt prove receipt.json --index 3 --out third.json`

    Nothing is checked here, and no key is needed: the signature is that of the batch.
    """
    import msgspec

    from countermark_service.receipts import prove, read

    document = msgspec.json.encode(prove(read(read_file(file)), index))
    if out is None:
        print(document.decode())
    else:
        write_file(out, document)


def _receipts_in(files: Sequence[Path]) -> list[Path]:
    """Return the files that are meant, those of a folder by name.

    Raises:
        ReceiptFileError: A folder has none.
    """
    found = []
    for file in files:
        inside = sorted(file.glob("*.json")) if file.is_dir() else [file]
        if not inside:
            raise ReceiptFileError(file, "has no receipt: no file in it is named `.json`")
        found += inside
    return found


def _verify_one(file: Path, trusted: "KeySet", items: "list[Item] | None", *, as_json: bool) -> None:
    from countermark_service.cli.console import print_json
    from countermark_service.receipts import ReceiptError, check, read

    try:
        checked = check(read(read_file(file)), trusted, items=items)
    except ReceiptError as exc:
        if not as_json:
            raise
        print_json({"valid": False, "code": exc.code, "detail": str(exc)})
        raise typer.Exit(1) from exc
    if as_json:
        print_json(checked.summary())
    else:
        _tell(checked)


def _verify_all(
    files: Sequence[Path], trusted: "KeySet", items: "list[Item] | None", *, as_json: bool
) -> None:
    """Check every file, whatever is wrong with those before it."""
    from countermark_service.cli.console import note, print_json, show, table
    from countermark_service.receipts import Checked

    sums: dict[tuple[str, str], list[int]] = {}
    said: list[dict[str, Any]] = []
    wrong = 0
    for file, outcome in _outcomes(files, trusted, items):
        if isinstance(outcome, Checked):
            counted = sums.setdefault((outcome.statement.predicate.verifier.ref, outcome.keyid), [0, 0])
            counted[0] += 1
            counted[1] += len(outcome.leaves)
            said.extend([{"file": str(file), **outcome.summary()}] if as_json else [])
            continue
        wrong += 1
        if as_json:
            said.append({"file": str(file), "valid": False, "code": outcome.code, "detail": str(outcome)})
        elif wrong <= _SHOWN:
            note(f"{file} does not hold ({outcome.code}): {outcome}")
    if as_json:
        print_json({"valid": not wrong, "receipts": said})
    else:
        if wrong > _SHOWN:
            note(f"the first {_SHOWN} of {wrong} are shown; --json has all")
        rows = table("verifier and key", numbers=("receipts", "verdicts"))
        for (ref, key), (receipts, verdicts) in sums.items():
            rows.add_row(f"{ref}\n{key}", str(receipts), str(verdicts))
        held = len(files) - wrong
        show(f"{held} of {len(files)} receipts hold.", *([rows] if sums else []))
    if wrong:
        raise typer.Exit(1)


def _outcomes(
    files: Sequence[Path], trusted: "KeySet", items: "list[Item] | None"
) -> "Iterator[tuple[Path, Checked | CountermarkError]]":
    from countermark_service.receipts import ReceiptError, check, read

    for file in files:
        try:
            yield file, check(read(read_file(file)), trusted, items=items)
        except (ReceiptError, ReceiptFileError) as exc:
            yield file, exc


def read_file(file: Path) -> bytes:
    """Return the content of a file.

    Raises:
        ReceiptFileError: It cannot be read, or is too large.
    """
    try:
        return read_small(file, most=LARGEST_FILE)
    except OSError as exc:
        raise ReceiptFileError(file, f"cannot be read: {exc.strerror}") from exc


def write_file(file: Path, content: bytes) -> None:
    """Write a file.

    Raises:
        ReceiptFileError: It cannot be written.
    """
    try:
        file.write_bytes(content)
    except OSError as exc:
        raise ReceiptFileError(file, f"cannot be written: {exc.strerror}") from exc


def _trusted(files: list[Path] | None, data: Path | None) -> "KeySet":
    from countermark_service.assembly import build_keyring
    from countermark_service.receipts import KeySet

    if not files:
        return build_keyring(command_settings(data)).public()
    sets = [KeySet.parse(read_file(file), str(file)) for file in files]
    return KeySet.of(key for each in sets for key in each.keys.values())


def _items(file: Path) -> "list[Item]":
    from countermark_service.cli.rows import BadRow, Columns, open_rows

    found = []
    with open_rows(str(file), Columns(), {}) as rows:
        for row in rows:
            if isinstance(row, BadRow):
                raise ReceiptFileError(file, f"line {row.line} {row.problem}")
            found.append(row.item)
    return found


def _tell(checked: "Checked") -> None:
    from countermark_service.cli.console import show, table

    statement = checked.statement
    predicate = statement.predicate
    facts = [
        ("verifier", predicate.verifier.ref),
        ("issued", f"{predicate.issued} by {predicate.service.name} {predicate.service.version}"),
        ("key", checked.keyid),
        ("verdicts", _counts(checked)),
        ("root", statement.root.hex()),
    ]
    facts[1:1] = [("asks", child.ref) for child in predicate.verifier.children]
    if predicate.release is not None:
        facts.insert(1, ("release", f"{predicate.release.ref} {predicate.release.digest}"))
    rows = table("", "")
    rows.show_header = False
    for name, value in facts:
        rows.add_row(name, value)
    held = [name for name, was in (("items", checked.items), ("verdicts", checked.verdicts)) if was]
    beside = f"; the {' and '.join(held)} are those that were signed" if held else ""
    show(f"The receipt holds{beside}.", rows)


def _counts(checked: "Checked") -> str:
    from countermark_service.receipts.statement import outcome_counts

    predicate = checked.statement.predicate
    if len(checked.leaves) != predicate.items:
        leaf = checked.leaves[0]
        score = "without a score" if leaf.score is None else f"with score {leaf.score:g}"
        return f"item {checked.first} of {predicate.items}: {leaf.outcome} {score}"
    counts = ", ".join(
        f"{number} {outcome}" for outcome, number in outcome_counts(predicate.outcomes).items()
    )
    failed = f"; {predicate.failed} without a score" if predicate.failed else ""
    return f"{predicate.items} ({counts or 'none'}{failed})"
