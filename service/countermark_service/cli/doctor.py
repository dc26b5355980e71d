"""`countermark doctor`: what this machine gives, and what to do about each lack."""

import typer

from countermark_service.cli.options import DataOption, JsonOption, command_settings

_MARKS = {"ok": "ok", "warn": "warn", "fail": "FAIL"}


def doctor(data: DataOption = None, as_json: JsonOption = False) -> None:
    """Say what this machine gives, and what to do about each lack.

    Example: `countermark doctor`

    `warn` is something that works with less; `FAIL` is something essential that is missing, and makes
    the exit code 1.
    """
    from countermark_service.cli.checks import examine
    from countermark_service.cli.console import print_json, show, table

    checks = list(examine(command_settings(data)))
    if as_json:
        ok = all(check.status != "fail" for check in checks)
        print_json({"ok": ok, "checks": [check.document() for check in checks]})
    else:
        rows = table("", "what", "found, and what to do")
        for check in checks:
            rows.add_row(_MARKS[check.status], check.name, check.found)
            if check.advice:
                rows.add_row("", "", f"-> {check.advice}")
        show(rows)
    if any(check.status == "fail" for check in checks):
        raise typer.Exit(1)
