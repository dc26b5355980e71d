"""`countermark access …`: the keys that a service asks its callers for."""

from typing import TYPE_CHECKING, Annotated

import typer

from countermark_service.cli.options import DataOption, JsonOption, command_settings

if TYPE_CHECKING:
    from pathlib import Path

    from countermark_service.store.access_keys import AccessKeys

app = typer.Typer(help="Make, list and remove the keys of a service.", no_args_is_help=True)


@app.command()
def add(
    scope: Annotated[list[str], typer.Option(help="score, run, audit or admin. May be given many times.")],
    label: Annotated[str, typer.Option(help="Whose it is, in your words.")] = "",
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a key and print it, once: only its hash is kept.

    Example: `countermark access add --scope score --label trainer`

    With the first key a service asks every caller for one. A service that runs takes notice at once.
    """
    from countermark_service.cli.console import note, print_json

    secret, key = _keys(data).add(scope, label)
    if as_json:
        print_json(
            {"id": key.id, "key": secret, "scopes": key.scopes, "label": label, "created": key.created}
        )
        return
    print(secret)
    note(f"Key {key.id} ({', '.join(key.scopes)}), shown this once. Send it as `Authorization: Bearer …`.")


@app.command("list")
def list_(data: DataOption = None, as_json: JsonOption = False) -> None:
    """List the keys, without the keys themselves.

    Example: `countermark access list`
    """
    from countermark_service.cli.console import print_json, show, table

    keys = _keys(data).all()
    if as_json:
        found = [{"id": k.id, "scopes": k.scopes, "label": k.label, "created": k.created} for k in keys]
        print_json({"keys": found})
        return
    rows = table("id", "scopes", "label", "made")
    for key in keys:
        rows.add_row(key.id, ", ".join(key.scopes), key.label, key.created)
    show(rows if keys else "no keys: the service asks nobody for one")


@app.command()
def remove(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="As `countermark access list` shows it.")],
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Remove a key: whoever has it is refused from then on.

    Example: `countermark access remove 1f9c02ab`
    """
    from countermark_service.cli.console import note, print_json

    _keys(data).remove(key_id)
    if as_json:
        print_json({"removed": key_id})
        return
    note(f"key {key_id} is removed; a service that runs refuses it from now on")


def _keys(data: "Path | None") -> "AccessKeys":
    from countermark_service.store.access_keys import AccessKeys

    return AccessKeys(command_settings(data).data / "keys.json")
