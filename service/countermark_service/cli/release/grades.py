"""How complete a card is, as a table that people read from top to bottom."""

from typing import Any

from countermark_service.releases import FACTORS, Completeness, FactorGrade


def grade_parts(found: Completeness, *, why: bool = True) -> list[Any]:
    """Return what to print: a line for each factor, then what is missing, essential things first."""
    from countermark_service.cli.console import table

    rows = table("factor", "grade", "said", "missing")
    for one in (*found.factors, found.results):
        rows.add_row(
            FACTORS.get(one.factor, one.factor), one.grade, f"{one.said} of {one.asked}", _missing(one)
        )
    parts: list[Any] = [f"completeness: {found.grade} (the weakest factor)", "", rows]
    essential = [rule for one in (*found.factors, found.results) for rule in one.missing if rule.essential]
    if essential and why:
        reasons = table("essential and missing", "why it matters")
        for rule in essential:
            reasons.add_row(rule.field, f"{rule.missing}: {rule.why}")
        parts += ["", reasons]
    return parts


def _missing(one: FactorGrade) -> str:
    if one.not_applicable is not None:
        return f"not applicable: {one.not_applicable}"
    return "; ".join(rule.missing for rule in one.missing) or "-"
