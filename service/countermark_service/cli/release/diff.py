"""`countermark release diff`: what differs between two releases, factor by factor."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from countermark_service.cli.options import DataOption, JsonOption

if TYPE_CHECKING:
    from countermark_service.releases.difference import FactorDifference

_LONGEST = 120


def diff(
    first: Annotated[
        Path, typer.Argument(metavar="A", help="A card, or `name:version` of a registered one.")
    ],
    second: Annotated[Path, typer.Argument(metavar="B", help="The other.")],
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare two releases by the six factors.

    Example: `countermark release diff old/countermark.json new/countermark.json`

    A factor is the same, or differs, or is unknown: a card that leaves something out is not the same as one
    that says it. The exit code is 0 whatever differs.
    """
    from countermark_service.cli.console import print_json, show
    from countermark_service.cli.release.subject import find_release
    from countermark_service.releases.difference import compare

    one, other = find_release(first, data), find_release(second, data)
    found = compare(one, other)
    if as_json:
        differing = [each.factor for each in found if each.status == "differs" and each.factor != "results"]
        unknown = [each.factor for each in found if each.status == "unknown" and each.factor != "results"]
        print_json(
            {
                "first": str(one.ref),
                "second": str(other.ref),
                "differs": differing,
                "unknown": unknown,
                "factors": [each.document() for each in found],
            }
        )
        return
    show(f"A  {one.ref}", f"B  {other.ref}", "", *_parts(found))


def _parts(found: "tuple[FactorDifference, ...]") -> list[Any]:
    from countermark_service.cli.console import table
    from countermark_service.releases import FACTORS

    summary = table("factor", "is", "why")
    for one in found:
        summary.add_row(FACTORS.get(one.factor, one.factor), one.status, _why(one))
    parts: list[Any] = [summary]
    if any(one.changes for one in found):
        rows = table("place", "A", "B")
        for one in found:
            for change in one.changes:
                rows.add_row(change.field, _short(change.first), _short(change.second))
        parts += ["", rows]
    return parts


def _why(one: "FactorDifference") -> str:
    if one.status == "same":
        return "everything essential is said by both, and equal"
    if one.status == "differs":
        return f"{len(one.changes)} {'place differs' if len(one.changes) == 1 else 'places differ'}"
    gaps = [change.field for change in one.changes] + [f"{field} (neither)" for field in one.untold]
    return (
        "not said by both: " + ", ".join(gaps[:4]) + (f" and {len(gaps) - 4} more" if len(gaps) > 4 else "")
    )


def _short(value: Any) -> str:
    from countermark_service.releases.difference import NOT_SAID

    if value is NOT_SAID:
        return "not said"
    text = value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
