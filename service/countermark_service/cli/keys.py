"""`countermark keys …`: the keys that sign receipts. Those of callers are `countermark access`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from countermark_service.cli.options import DataOption, JsonOption, command_settings

if TYPE_CHECKING:
    from countermark_service.receipts import Keyring, SigningKey

app = typer.Typer(
    help="Make, rotate and publish the keys that sign receipts. (Keys of callers: `countermark access`.)",
    no_args_is_help=True,
)
DaysOption = Annotated[float, typer.Option(help="Days for which the key is valid.")]
LabelOption = Annotated[str, typer.Option(help="Whose it is, in your words; it is published.")]


@app.command()
def new(
    days: DaysOption = 365, label: LabelOption = "", data: DataOption = None, as_json: JsonOption = False
) -> None:
    """Make the first key. A service that runs signs with it at once.

    Example: `countermark keys new --label "Example Lab"`

    The private half stays in the data folder, readable by its owner only.
    """
    from countermark_service.cli.console import note

    ring = _ring(data)
    key = ring.make(days=days, label=label)
    _print_key(key, as_json)
    note(f"Signs until {key.valid_until}. Private half: {ring.folder / (key.keyid + '.pem')}.")


@app.command()
def rotate(
    days: DaysOption = 365, label: LabelOption = "", data: DataOption = None, as_json: JsonOption = False
) -> None:
    """Make a key and retire those before it: what they signed stays good, their private halves are deleted.

    Example: `countermark keys rotate`
    """
    from countermark_service.cli.console import note

    key = _ring(data).rotate(days=days, label=label)
    _print_key(key, as_json)
    note("Publish the set anew: `countermark keys export`.")


@app.command()
def retire(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="Key id, or a beginning of it.")],
    compromised: Annotated[
        bool,
        typer.Option("--compromised", help="Somebody may have the private half: no receipt of it counts."),
    ] = False,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Use a key no more and delete its private half. What it signed before stays good.

    Example: `countermark keys retire 2e2f84e1`
    """
    _print_key(_ring(data).retire(key_id, compromised=compromised), as_json)


@app.command("list")
def list_(data: DataOption = None, as_json: JsonOption = False) -> None:
    """List the keys of this data folder.

    Example: `countermark keys list`
    """
    from countermark_service.cli.console import print_json, show, table

    ring = _ring(data)
    keys, current = ring.public().keys.values(), ring.current()
    if as_json:
        print_json({"keys": [_values(key) for key in keys], "current": current.keyid if current else None})
        return
    rows = table("id", "state", "valid from", "until", "label")
    for key in keys:
        rows.add_row(key.keyid[:16], _state(key, current), key.valid_from, key.valid_until, key.label)
    show(rows if keys else "no signing keys: `countermark keys new` makes one")


@app.command()
def export(
    out: Annotated[Path | None, typer.Option(help="File to write; standard output by default.")] = None,
    data: DataOption = None,
) -> None:
    """Write the public keys, retired ones too: whoever checks your receipts needs them.

    Example: `countermark keys export --out keys.json`
    """
    from countermark_service.cli.receipt import write_file

    document = _ring(data).public().encoded()
    if out is None:
        sys.stdout.write(document.decode())
    else:
        write_file(out, document)


def _ring(data: Path | None) -> "Keyring":
    from countermark_service.assembly import build_keyring

    return build_keyring(command_settings(data))


def _state(key: "SigningKey", current: "SigningKey | None") -> str:
    if key.compromised:
        return "compromised"
    if key.retired is not None:
        return f"retired {key.retired}"
    return "signs" if current is not None and key.keyid == current.keyid else "not in use"


def _values(key: "SigningKey") -> Any:
    import msgspec

    return msgspec.to_builtins(key)


def _print_key(key: "SigningKey", as_json: bool) -> None:
    from countermark_service.cli.console import print_json

    if as_json:
        print_json(_values(key))
    else:
        print(key.keyid)
