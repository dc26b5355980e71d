"""`countermark release list`: every release that is registered here."""

from countermark_service.cli.options import DataOption, JsonOption, command_settings


def list_(data: DataOption = None, as_json: JsonOption = False) -> None:
    """List the releases that are registered in the data folder and in the folders of the settings.

    Example: `countermark release list`
    """
    from countermark_service.assembly import build_releases
    from countermark_service.cli.console import print_json, short_digest, show, table
    from countermark_service.releases import grade_card

    found = build_releases(command_settings(data)).all()
    if as_json:
        releases = [
            {
                "ref": str(one.release.ref),
                "name": one.release.card.name,
                "version": one.release.card.version,
                "digest": one.release.digest,
                "summary": one.release.card.summary,
                "registered": one.since or None,
                "grade": grade_card(one.release.card).grade,
                "tasks": [route.task for route in one.release.card.verifier.routes],
            }
            for one in found
        ]
        print_json({"releases": releases})
        return
    rows = table("release", "digest", "grade", "tasks", "summary")
    for one in found:
        card = one.release.card
        tasks = ", ".join(route.task for route in card.verifier.routes) or "-"
        name = f"{card.name}:{card.version}"
        rows.add_row(
            name, short_digest(one.release.digest), grade_card(card).grade, tasks, card.summary or "-"
        )
    show(rows if found else "no release is registered here")
