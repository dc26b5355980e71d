"""When a program's output is the expected one.

tokens  the words between ASCII white space are the same; numbers are no special words
exact   the bytes are the same, but for one newline at the end of either
lines   the lines are the same, white space at their ends and empty lines at the end aside
floats  as tokens, but two words that are decimal numbers may differ by the tolerance:
        |a - b| <= max(absolute, relative * max(|a|, |b|)). Only plain ASCII numbers count
        (sign, digits, point, exponent), of at most 400 characters and finite.
"""

import math
import re

RULES = ("tokens", "exact", "lines", "floats")
_NUMBER = re.compile(rb"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,5})?")
_LONGEST_NUMBER = 400


def matches(
    output: bytes, expected: bytes, rule: str, absolute: float = 1e-6, relative: float = 1e-6
) -> bool:
    """Return whether `output` is `expected` by `rule`."""
    if rule == "exact":
        return output.removesuffix(b"\n") == expected.removesuffix(b"\n")
    if rule == "lines":
        return _lines(output) == _lines(expected)
    ours, theirs = output.split(), expected.split()
    if rule == "tokens" or len(ours) != len(theirs):
        return ours == theirs
    return all(
        one == other or _close(one, other, absolute, relative)
        for one, other in zip(ours, theirs, strict=True)
    )


def difference(output: bytes, expected: bytes) -> str:
    """Say where the two part, in words that hold nothing of either."""
    ours, theirs = output.split(), expected.split()
    for number, (one, other) in enumerate(zip(ours, theirs, strict=False), start=1):
        if one != other:
            return f"word {number} of {len(theirs)} differs"
    if len(ours) != len(theirs):
        return f"{len(ours)} words where {len(theirs)} are expected"
    return "white space differs"


def _lines(text: bytes) -> list[bytes]:
    lines = [line.rstrip() for line in text.split(b"\n")]
    while lines and not lines[-1]:
        lines.pop()
    return lines


def _close(one: bytes, other: bytes, absolute: float, relative: float) -> bool:
    if max(len(one), len(other)) > _LONGEST_NUMBER or not (
        _NUMBER.fullmatch(one) and _NUMBER.fullmatch(other)
    ):
        return False
    left, right = float(one), float(other)
    return (
        math.isfinite(left)
        and math.isfinite(right)
        and math.isclose(left, right, rel_tol=relative, abs_tol=absolute)
    )
