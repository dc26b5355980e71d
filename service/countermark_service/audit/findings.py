"""What the numbers come to, in sentences that need no knowledge of Countermark.

Each sentence is made from the document's figures and nothing else, so it is as true as they
are. Scores are shown as fractions, differences in points (hundredths).
"""

from collections.abc import Mapping, Sequence

from countermark_service.audit.document import (
    PUBLISHED,
    Column,
    Comparison,
    Estimate,
    Finding,
    Mark,
    Slice,
    Standing,
)
from countermark_service.audit.flips import FlipKind
from countermark_service.audit.wording import (
    interval,
    plural,
    shown_count,
    shown_points,
    shown_score,
    shown_share,
)

MARGIN = 0.05
"""How far from zero the interval of a difference may reach where a score is said to hold up: 5 points."""

_REASONS: Mapping[FlipKind, str] = {
    FlipKind.FORMAT: "{about} finds no answer in a form that it can read",
    FlipKind.EXTRACTION: "the two read different answers from the response",
    FlipKind.EQUIVALENCE: "both read the same answer, and only {about} takes it as equal to the reference",
    FlipKind.TIMEOUT: "{about} ran out of time",
    FlipKind.REFERENCE: "{about} cannot read the reference",
    FlipKind.FAILURE: "{about} failed",
    FlipKind.OTHER: "the verdicts do not tell why",
}
"""Sentences without their beginning; `about` is the column that it is about."""


def standing_of(published: Column | None, recomputed: Column | None, pair: Comparison | None) -> Standing:
    """Return how a published score stands; see `Standing`."""
    if published is None or published.score is None:
        return "unpublished"
    if recomputed is None or pair is None or pair.difference is None:
        return "unscored"
    if pair.flips == 0 and pair.changed == 0 and _unscored(recomputed, pair) == 0:
        return "reproduced"
    difference = pair.difference
    if recomputed.bounds is not None:
        low, high = recomputed.bounds.low, recomputed.bounds.high
        reach = max(difference.high - difference.value, difference.value - difference.low)
        if high - low > reach and low <= published.score.value <= high:
            return "undecided"
    # With few flips an interval is bolder than the exact test; where scores are right or wrong, both must say so.
    chance = _holds_zero(difference) or (pair.changed == 0 and _exact_p(pair) > 1 - difference.level)
    if not chance:
        return "differs"
    return "agrees" if _reach(difference) <= MARGIN else "too_few"


def _holds_zero(difference: Estimate) -> bool:
    return difference.low <= 0 <= difference.high


def _reach(difference: Estimate) -> float:
    """Return how far from zero the interval of a difference goes, on the farther side."""
    return max(-difference.low, difference.high)


def _exact_p(pair: Comparison) -> float:
    """Return the p-value of the exact test that takes no two rows of one question as independent."""
    return pair.mcnemar_p if pair.items_p is None else pair.items_p


def _unscored(recomputed: Column, pair: Comparison) -> int:
    """Return how many rows have no recomputed score, whatever the reason."""
    return pair.first_alone + recomputed.refused + recomputed.waiting


def finding_of(columns: Sequence[Column], comparisons: Sequence[Comparison], what: str) -> Finding:
    """Say what a slice comes to.

    Args:
        columns: Of the slice, the published one first where there is one.
        comparisons: Of the slice.
        what: Name of the slice in a sentence, such as ``gsm8k, model-a``; empty for the whole.
    """
    published = next((column for column in columns if column.id == PUBLISHED), None)
    verifiers = [column for column in columns if column.id != PUBLISHED]
    main = verifiers[0] if verifiers else None
    pair = None if main is None else _between(comparisons, PUBLISHED, main.id)
    standing = standing_of(published, main, pair)
    return Finding(
        standing=standing,
        claimed=_claimed(published, what),
        holds=_holds(standing, published, main, pair),
        why=_why(standing, verifiers, comparisons, pair),
    )


def main_of(one: Slice) -> Column | None:
    """Return the verifier that a slice's published score is held against: the first that scores it."""
    return next((column for column in one.columns if column.id != PUBLISHED), None)


def finding_over(parts: Sequence[Slice]) -> Finding | None:
    """Say what parts come to that different verifiers are to score; None where one verifier scores them all.

    Scores of different verifiers make no common mean, so there is none: only verdicts are counted together.
    """
    mains = [main for part in parts if (main := main_of(part)) is not None]
    if len({main.id for main in mains}) < 2:
        return None
    pairs = [
        pair
        for part in parts
        if (main := main_of(part)) is not None and (pair := part.comparison(PUBLISHED, main.id)) is not None
    ]
    published = sum(part.finding.standing != "unpublished" for part in parts)
    rows, lost = sum(pair.rows for pair in pairs), sum(pair.first_only for pair in pairs)
    gained, alone = sum(pair.second_only for pair in pairs), sum(pair.first_alone for pair in pairs)
    holds = (
        f"Each set of outputs is held against the verifier of its task. Of {plural(rows, 'answer')} with both scores, "
        f"{plural(lost + gained, 'verdict changes', 'verdicts change')}: {shown_count(lost)} from right to wrong "
        f"and {shown_count(gained)} from wrong to right."
    )
    if alone:
        holds += f" {plural(alone, 'published answer has', 'published answers have')} no recomputed score."
    kinds: dict[FlipKind, int] = {}
    for pair in pairs:
        for kind, count in pair.kinds.items():
            kinds[kind] = kinds.get(kind, 0) + count
    told = [
        f"{shown_count(count)} times {_REASONS[kind].format(about='one')}"
        for kind, count in sorted(kinds.items(), key=lambda one: -one[1])
    ]
    standings = [part.finding.standing for part in parts]
    order: tuple[Standing, ...] = (
        "differs", "undecided", "unscored", "too_few", "agrees", "reproduced", "unpublished",
    )  # fmt: skip
    return Finding(
        standing=next(one for one in order if one in standings),
        claimed=f"{plural(published, 'published score')}; a mean over all of them would mix verifiers.",
        holds=holds if pairs else "Nothing was published that could be compared.",
        why=f"{'; '.join(told)}.".capitalize() if told else "",
    )


def _between(comparisons: Sequence[Comparison], first: str, second: str) -> Comparison | None:
    return next((one for one in comparisons if (one.first, one.second) == (first, second)), None)


def _claimed(published: Column | None, what: str) -> str:
    of = f" for {what}" if what else ""
    if published is None or published.score is None:
        return f"The files hold no score{of} that could be compared."
    score = published.score
    answers = plural(score.rows, "answer")
    if score.items != score.rows:
        answers += f" to {plural(score.items, 'question')}"
    return f"{shown_score(score.value)}{of}, the mean of the published scores of {answers}."


def _holds(standing: Standing, published: Column | None, main: Column | None, pair: Comparison | None) -> str:
    if main is None or main.score is None:
        return "Nothing was scored again."
    score = f"{main.label} gives {shown_score(main.score.value)}"
    own = f"{score} ({interval(main.score)}, {plural(main.score.rows, 'answer')})"
    if standing == "unpublished" or published is None or pair is None or pair.difference is None:
        return f"{own}."
    if standing == "reproduced":
        same = "its verdict is" if pair.rows == 1 else f"each of the {shown_count(pair.rows)} verdicts is"
        told = f"{score}, and {same} the published one."
        if _reach(pair.difference) > MARGIN:
            told += (
                " Of other answers so few say little: the difference there has the "
                f"{interval(pair.difference, points=True)} points."
            )
        return told
    over = (
        f"Over the {plural(pair.rows, 'answer that has', 'answers that have')} both scores, the difference is "
        f"{shown_points(pair.difference.value)} points ({interval(pair.difference, points=True)}). "
        f"{_flips(pair)}"
    )
    lost = ""
    if unscored := _unscored(main, pair):
        lost = (
            f" {plural(unscored, 'answer has', 'answers have')} no recomputed score; they are left out, not "
            "counted as wrong."
        )
    return f"{own}. {over}{lost}"


def _flips(pair: Comparison) -> str:
    if not pair.flips:
        return "No verdict changes between right and wrong."
    return (
        f"{plural(pair.flips, 'verdict changes', 'verdicts change')}: {shown_count(pair.first_only)} from right to "
        f"wrong and {shown_count(pair.second_only)} from wrong to right."
    )


def _why(
    standing: Standing,
    verifiers: Sequence[Column],
    comparisons: Sequence[Comparison],
    pair: Comparison | None,
) -> str:
    sentences = []
    if standing == "undecided" and pair is not None:
        sentences.append(
            f"The {plural(_unscored(verifiers[0], pair), 'answer')} without a recomputed score could move the mean "
            "further than what was found, so nothing can be said either way until they are scored."
        )
    if standing == "too_few" and pair is not None and pair.difference is not None:
        sentences.append(_too_few(pair, pair.difference))
    if pair is not None and standing != "unscored":
        sentences += _kinds(pair, _labels(verifiers))
    nearest = _nearest(verifiers, comparisons)
    if nearest and standing != "reproduced":
        sentences.append(nearest)
    if standing == "unpublished":
        sentences += _between_verifiers(verifiers, comparisons)
    if not sentences and standing == "reproduced":
        sentences.append(_others(verifiers, comparisons))
    return " ".join(filter(None, sentences))


def _too_few(pair: Comparison, difference: Estimate) -> str:
    """Say why neither that a score holds nor that it does not is shown."""
    if not _holds_zero(difference):
        return (
            f"The interval leaves out zero, but the exact test does not find so few changes to be more than chance "
            f"(p = {_exact_p(pair):.2g})."
        )
    return (
        f"On other answers of this kind the difference might be {shown_points(difference.low)} or "
        f"{shown_points(difference.high)} points, so these show neither that the score holds nor that it does not."
    )


def _kinds(pair: Comparison, labels: Mapping[str, str], *, counted: bool = False) -> list[str]:
    """Say of what kinds the disagreements of a pair are; how many there are too, unless that was told (`counted`)."""
    if not pair.disagreements or not pair.kinds:
        return []
    ordered = sorted(pair.kinds.items(), key=lambda one: -one[1])
    sentences = [] if len(ordered) == 1 or counted else [f"{plural(pair.disagreements, 'disagreement')}."]
    for kind, count in ordered:
        clause = mark_clause(pair.marks[kind]) if kind in pair.marks else ""
        times = "once" if count == 1 else f"{shown_count(count)} times"
        if len(ordered) == 1:
            times = "in the one disagreement" if count == 1 else f"in all {shown_count(count)} disagreements"
        reason = _reason(pair, kind, labels)
        sentences.append(f"{times[0].upper()}{times[1:]} {reason}{f' ({clause})' if clause else ''}.")
    return sentences


def _reason(pair: Comparison, kind: FlipKind, labels: Mapping[str, str]) -> str:
    """Say why disagreements of a kind came, and about which column they are: both, with numbers, where not one."""
    of_first = pair.about_first.get(kind, 0)
    of_second = pair.kinds[kind] - of_first
    if not of_first or not of_second:
        return _REASONS[kind].format(about=labels[pair.first if of_first else pair.second])
    each = [
        f"{'once' if count == 1 else f'{shown_count(count)} times'} {labels[name]}"
        for name, count in ((pair.first, of_first), (pair.second, of_second))
    ]
    return f"{_REASONS[kind].format(about='one')}: {', '.join(each)}"


def _labels(columns: Sequence[Column]) -> dict[str, str]:
    return {PUBLISHED: "the publisher", **{one.id: one.label for one in columns if one.id != PUBLISHED}}


def mark_clause(mark: Mark) -> str:
    """Say what most of some answers have in common."""
    if mark.of == 1:
        head = "that answer has"
    elif mark.rows == mark.of:
        head = f"all {shown_count(mark.of)} such answers have"
    else:
        head = f"{shown_count(mark.rows)} of {shown_count(mark.of)} such answers have"
    usual = (
        "no other answer in a sample does"
        if mark.usual == 0
        else f"{shown_share(mark.usual)} of all answers do"
    )
    return f"{head} {mark.name}; {usual}"


def _nearest(verifiers: Sequence[Column], comparisons: Sequence[Comparison]) -> str:
    """Name the verifier whose verdicts are nearest the published ones, where that is not the first."""
    pairs = [
        (column, one)
        for column in verifiers
        if (one := _between(comparisons, PUBLISHED, column.id)) is not None and one.rows
    ]
    if len(pairs) < 2:
        return ""
    best, pair = min(pairs, key=lambda one: one[1].disagreements)
    first = pairs[0][1]
    if best is pairs[0][0] or pair.disagreements == first.disagreements:
        return ""
    agreed = pair.rows - pair.flips
    if pair.disagreements == 0:
        return (
            f"The published verdicts are those of {best.label}: all {shown_count(pair.rows)} agree with it."
        )
    return (
        f"Of the verifiers tried, {best.label} is nearest to what was published: "
        f"{shown_count(agreed)} of {shown_count(pair.rows)} verdicts are the same."
    )


def _others(verifiers: Sequence[Column], comparisons: Sequence[Comparison]) -> str:
    """Say whether the other verifiers would have told the same, where the first one does."""
    main = verifiers[0]
    found = []
    for column in verifiers[1:]:
        pair = _between(comparisons, main.id, column.id)
        if pair is not None and pair.difference is not None and pair.disagreements:
            found.append(
                f"{column.label} disagrees on {shown_count(pair.disagreements)} of them "
                f"({shown_points(pair.difference.value)} points)"
            )
    if found:
        return f"Under another verifier it would be another number: {'; '.join(found)}."
    if len(verifiers) > 1:
        return "The other verifiers agree as well."
    return ""


def _between_verifiers(verifiers: Sequence[Column], comparisons: Sequence[Comparison]) -> list[str]:
    if len(verifiers) < 2:
        return []
    pairs = [one for one in comparisons if one.first != PUBLISHED and one.rows]
    if not pairs:
        return []
    labels = {column.id: column.label for column in verifiers}
    worst = max(pairs, key=lambda one: one.disagreements)
    if not worst.disagreements:
        return [f"All {len(verifiers)} verifiers agree on every answer that they scored."]
    answers = plural(worst.rows + worst.first_alone + worst.second_alone, "answer")
    sentence = (
        f"The verifiers do not agree: {labels[worst.first]} and {labels[worst.second]} differ on "
        f"{shown_count(worst.disagreements)} of {answers}."
    )
    return [sentence, *_kinds(worst, _labels(verifiers), counted=True)]


def headline_of(overall: Slice, parts: Sequence[Slice], complete: bool, unmet: str = "") -> str:
    """Say the whole audit in a line, and which results of a release card do not hold (`unmet`)."""
    head = " ".join(filter(None, [_headline(overall, parts), unmet]))
    return head if complete else f"Not finished: rows still wait for their score. So far: {head}"


def _headline(overall: Slice, parts: Sequence[Slice]) -> str:
    if len(parts) == 1:
        return _one(overall)
    counts: dict[Standing, int] = {}
    for part in parts:
        counts[part.finding.standing] = counts.get(part.finding.standing, 0) + 1
    published = len(parts) - counts.get("unpublished", 0)
    if not published:
        return _one(overall)
    told = []
    outcomes: tuple[tuple[Standing, str], ...] = (
        ("reproduced", "reproduced verdict for verdict"),
        ("agrees", "hold up though single verdicts change"),
        ("differs", "do not hold"),
        ("too_few", "have too few answers to tell"),
        ("undecided", "cannot be decided"),
        ("unscored", "were not scored again"),
    )
    for standing, words in outcomes:
        count = counts.get(standing, 0)
        if count == published:
            return _every(standing, published, overall, parts)
        if count:
            told.append(f"{count} {_agree(words, count, standing)}")
    return f"Of {published} published scores, {', '.join(told[:-1])}{' and ' if told[:-1] else ''}{told[-1]}."


def _every(standing: Standing, count: int, overall: Slice, parts: Sequence[Slice]) -> str:
    """Say that all published scores stand alike."""
    if standing == "reproduced":
        return f"All {count} published scores are reproduced, verdict for verdict."
    if standing == "too_few":
        return f"None of the {count} published scores has enough answers to tell whether it holds."
    if standing == "undecided":
        return f"None of the {count} published scores can be decided: too many answers got no score again."
    if standing == "unscored":
        return f"None of the {count} sets of outputs was scored again."
    mains = {part.columns[1].label for part in parts if len(part.columns) > 1}
    under = f" under {next(iter(mains))}" if len(mains) == 1 else ""
    moved = [
        pair.difference.value
        for part in parts
        for pair in part.comparisons[:1]
        if pair.first == PUBLISHED and pair.difference is not None
    ]
    low, high = shown_points(min(moved)), shown_points(max(moved))
    amount = f"{low} points" if low == high else f"{low} to {high} points"
    if standing == "agrees":
        return f"All {count} published scores hold up{under} ({amount}), though single verdicts do not."
    none = "Neither published score holds" if count == 2 else f"None of the {count} published scores holds"
    return f"{none}{under}: {amount}{' each' if low == high else ''}."


def _agree(words: str, count: int, standing: str) -> str:
    if standing == "reproduced":
        return f"{'is' if count == 1 else 'are'} {words}"
    if count > 1:
        return words
    return {
        "agrees": "holds up though single verdicts change",
        "differs": "does not hold",
        "too_few": "has too few answers to tell",
        "unscored": "was not scored again",
    }.get(standing, words)


def _one(overall: Slice) -> str:
    standing = overall.finding.standing
    verifiers = [column for column in overall.columns if column.id != PUBLISHED]
    published = overall.column(PUBLISHED)
    main = verifiers[0] if verifiers else None
    if main is None or main.score is None:
        return "Nothing was scored again."
    pair = overall.comparison(PUBLISHED, main.id)
    if standing == "unpublished" or published is None or pair is None or pair.difference is None:
        if len(verifiers) == 1 or not overall.comparisons:
            return f"{main.label} gives {shown_score(main.score.value)}; there is no published score to compare with."
        worst = max(
            (one for one in overall.comparisons if one.first != PUBLISHED), key=lambda one: one.disagreements
        )
        if not worst.disagreements:
            return f"{len(verifiers)} verifiers agree on every answer; there is no published score."
        labels = {column.id: column.label for column in verifiers}
        answers = shown_count(worst.rows + worst.first_alone + worst.second_alone)
        return (
            f"{labels[worst.first]} and {labels[worst.second]} disagree on {shown_count(worst.disagreements)} of "
            f"{answers} answers; there is no published score."
        )
    difference = shown_points(pair.difference.value)
    if standing == "reproduced":
        if pair.rows == 1:
            return "The published score holds for its one answer: the verdict is reproduced."
        return "The published score holds: every verdict is reproduced."
    if standing == "too_few":
        return _untold(pair, pair.difference)
    if standing == "agrees":
        if not pair.disagreements:
            return f"The published score holds on the {plural(pair.rows, 'answer')} that could be compared."
        return (
            f"The published score holds up ({difference} points), though "
            f"{plural(pair.disagreements, 'verdict does', 'verdicts do')} not."
        )
    if standing == "undecided":
        return f"Cannot be decided: {plural(_unscored(main, pair), 'answer')} got no score again."
    return f"The published score does not hold: {difference} points under {main.label}."


def _untold(pair: Comparison, difference: Estimate) -> str:
    """Say how far so few answers moved, and that they cannot tell whether the published score holds."""
    moved = f"{shown_points(difference.value)} points"
    if pair.rows == 1:
        return f"One answer cannot tell whether a published score holds: its own moves by {moved}."
    answers = f"{plural(pair.rows, 'answer')}"
    if difference.items != pair.rows:
        answers += f" to {plural(difference.items, 'question')}"
    shown = interval(difference, points=True)
    if not _holds_zero(difference):
        shown = f"exact test p = {_exact_p(pair):.2g}"
    return f"{answers} are too few to tell whether the published score holds: {moved} on them ({shown})."
