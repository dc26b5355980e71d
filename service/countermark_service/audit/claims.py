"""Whether the results that a release card states come out of the outputs that were audited.

A card's number is about one file of outputs, scored in one way. It is held against a
recomputed score only where that is the same question: the same task and verifier, the
same file where the card has its digest, and the same treatment of outputs without a
score.
"""

import math
from collections.abc import Collection, Sequence

from countermark_service.audit.document import Claim, Column, Slice
from countermark_service.audit.wording import plural, shown_score
from countermark_service.releases.recompute import is_mean


def column_of(claim: Claim, parts: Sequence[Slice], digests: Collection[str]) -> Column | None:
    """Return the recomputed score that a claim is held against, or None where there is none.

    Args:
        claim: What the card states.
        parts: Of the audit: one for each task and model.
        digests: SHA-256 of every input, in hex.
    """
    if claim.verifier is None or (claim.outputs is not None and claim.outputs not in digests):
        return None
    fitting = [
        part for part in parts if claim.task in (None, part.task) and claim.model in (None, part.model)
    ]
    if len(fitting) != 1:
        return None
    return next(
        (column for column in fitting[0].columns if f"{column.id}@".startswith(f"{claim.verifier}@")), None
    )


def value_of(claim: Claim, column: Column | None) -> float | None:
    """Return the recomputed value in the way that the claim was made; None where that cannot be told."""
    if column is None or column.score is None or not is_mean(claim.metric):
        return None
    if not claim.zero_for_none:
        return column.score.value
    if column.waiting or column.refused:
        return None
    return column.score.value * column.score.rows / column.due


def met(claim: Claim, column: Column | None) -> bool | None:
    """Tell whether the recomputed value is the stated one, to the decimals that are stated; None: unknown."""
    value = value_of(claim, column)
    # A hair more than half a unit: the stated value was rounded once, and in binary.
    return None if value is None else abs(value - claim.value) <= claim.tolerance * 1.000001


def unmet_sentence(claims: Sequence[Claim], parts: Sequence[Slice], digests: Collection[str]) -> str:
    """Say which results of the card do not hold; nothing where all do, or none can be told."""
    columns = [(claim, column_of(claim, parts, digests)) for claim in claims]
    unmet = [(claim, value_of(claim, column)) for claim, column in columns if met(claim, column) is False]
    if not unmet:
        return ""
    claim, value = unmet[0]
    stated = max(3, round(-math.log10(2 * claim.tolerance)))
    texts = [
        (shown_score(claim.value, digits), shown_score(value or 0.0, digits))
        for digits in (stated, stated + 1, 15)
    ]
    told, found = next((pair for pair in texts if pair[0] != pair[1]), texts[-1])
    result = f"{claim.metric} {told}" + (f" for {claim.task}" if claim.task else "")
    if len(unmet) == 1:
        return f"The {result} that the release card states does not hold: these outputs give {found}."
    several = plural(len(unmet), "result")
    return f"{several} that the release card states do not hold; for {result} these outputs give {found}."
