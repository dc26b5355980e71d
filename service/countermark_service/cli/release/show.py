"""`countermark release show`: a card in plain words."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from countermark_service.cli.options import CardArgument, DataOption, JsonOption, command_settings

if TYPE_CHECKING:
    from countermark_service.releases import Release


def show(card: CardArgument = Path(), data: DataOption = None, as_json: JsonOption = False) -> None:
    """Show a card: its digest, its routes, its results, and how complete it is.

    Example: `countermark release show countermark.json`

    The card may also be named as `name:version`, for one that is registered in the data folder.
    """
    from countermark_service.cli.console import print_json
    from countermark_service.cli.console import show as print_parts
    from countermark_service.cli.release.subject import find_release
    from countermark_service.releases import grade_card

    release = find_release(card, data)
    if as_json:
        print_json(
            {
                "ref": str(release.ref),
                "digest": release.digest,
                "card": dict(release.document),
                "completeness": grade_card(release.card).document(),
                "advisories": [one.document() for one in _advisories(release, data)],
            }
        )
        return
    print_parts(*_parts(release))
    for one in _advisories(release, data):
        print_parts("", f"{one.kind}: {one.pin}: {one.reason} ({one.id}, {one.date})")


def _advisories(release: "Release", data: Path | None) -> Any:
    from countermark_service.assembly import build_advisories

    digests = [ref.rpartition("@")[2] for ref in release.card.refs().values()]
    return build_advisories(command_settings(data)).about([release.digest, *digests])


def _parts(release: "Release") -> list[Any]:
    from countermark_service.cli.console import table
    from countermark_service.cli.release.grades import grade_parts
    from countermark_service.releases import grade_card

    card = release.card
    parts: list[Any] = [str(release.ref), card.summary or "no summary", ""]
    if card.verifier.routes:
        rows = table("task", "verifier", "failures", "data sources")
        for route in card.verifier.routes:
            sources = ", ".join(route.data_sources) or "-"
            rows.add_row(route.task, route.verifier, route.on_failure or "not said", sources)
        parts += [rows, ""]
    if card.results:
        rows = table("metric", "of", "judged by", numbers=("value", "n"))
        for result in card.results:
            value = f"{result.value:.{result.decimals}f}{' %' if result.unit == 'percent' else ''}"
            of = ", ".join(one for one in (result.model, result.dataset or result.task) if one) or "-"
            judge = card.judge_of(result) or "not said"
            rows.add_row(result.metric, of, judge.partition("@")[0], value, str(result.n or "-"))
        parts += [rows, ""]
    return [*parts, *grade_parts(grade_card(card), why=False)]
