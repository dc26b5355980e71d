"""`countermark advisory list`: everything that is known against what is here."""

from countermark_service.cli.options import DataOption, JsonOption, command_settings


def list_(data: DataOption = None, as_json: JsonOption = False) -> None:
    """List every advisory, those that were withdrawn too, with the file that it is in.

    Example: `countermark advisory list`
    """
    from countermark_service.assembly import build_advisories
    from countermark_service.cli.console import print_json, show, table

    found = build_advisories(command_settings(data)).all()
    if as_json:
        print_json({"advisories": [{**one.document(), "file": str(file)} for one, file in found]})
        return
    rows = table("id", "is", "of", "since", "reason")
    files: dict[str, list[str]] = {}
    for one, file in found:
        state = "withdrawn" if one.withdrawn else one.kind
        reason = one.reason + (f" Instead: {one.replacement}." if one.replacement else "")
        reason += f" Withdrawn: {one.withdrawn}" if one.withdrawn else ""
        rows.add_row(one.id, state, one.pin.partition("@")[0], one.date, reason)
        files.setdefault(str(file), []).append(one.id)
    if not found:
        show("no advisories")
        return
    show(rows, "")
    for path, ids in files.items():
        print(f"{path}: {', '.join(ids)}")  # whole, however long a path is
