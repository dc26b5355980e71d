"""How numbers are written for people: scores as fractions, differences in points, counts with their nouns.

One way for sentences, tables and the command line, so that the same number looks the same everywhere.
"""

from countermark_service.audit.document import Estimate

MINUS = "\u2212"
_SPACE = "\u00a0"
"""Keeps a number and its sign on one line."""


def shown_score(value: float, digits: int = 3) -> str:
    """Write a score; never as 0 or 1 where it is not."""
    text = f"{value:.{digits}f}"
    if (value > 0 and float(text) == 0) or (value < 1 and float(text) == 1):
        text = f"{value:.6f}".rstrip("0")
    return text.replace("-", MINUS)


def shown_points(value: float) -> str:
    """Write a difference of scores in points, with its sign."""
    points = abs(100 * value)
    return _signed(100 * value, 1 if points >= 0.1 or points == 0 else 2 if points >= 0.01 else 3)


def shown_count(count: int) -> str:
    """Write a number with its thousands apart."""
    return f"{count:,}"


def shown_share(share: float) -> str:
    """Write a share as percent."""
    percent = 100 * share
    if 0 < percent < 0.1:
        return f"under 0.1{_SPACE}%"
    if 99.9 < percent < 100:
        return f"over 99.9{_SPACE}%"
    return f"{round(percent, 1):g}{_SPACE}%"


def plural(count: int, one: str, many: str | None = None) -> str:
    """Write a number with its noun."""
    return f"{shown_count(count)} {one if count == 1 else many or one + 's'}"


def points_range(low: float, high: float) -> str:
    """Write two differences in points, with as many decimals as tell them apart."""
    digits = 1 if 100 * (high - low) >= 0.5 else 2
    return f"{_signed(100 * low, digits)} to {_signed(100 * high, digits)}"


def _signed(points: float, digits: int) -> str:
    text = f"{abs(points):.{digits}f}"
    return text if float(text) == 0 else ("+" if points > 0 else MINUS) + text


def interval(estimate: Estimate, *, points: bool = False) -> str:
    """Write the interval of an estimate."""
    level = f"{100 * estimate.level:.0f}{_SPACE}% interval"
    if points:
        return f"{level} {points_range(estimate.low, estimate.high)}"
    return f"{level} {shown_score(estimate.low)} to {shown_score(estimate.high)}"
