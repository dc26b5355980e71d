"""A regular expression from the reference against the response, with an engine that is linear for every
pattern.

What counts as right: the pattern matches, its group (if one is named) holds something, and that is an
expected text (if any are given). What is ignored: whatever the pattern does not mention. What is not
attempted: look-around, backreferences, any dialect but RE2's. The manifest's description has the rules in
full.

Why RE2: a reference is data and a response is hostile, and under a backtracking engine the two together can
hang a worker. RE2 refuses what it cannot match in linear time, and its refusal is the detail of the bad
reference.

Source: google-re2, the RE2 library's own binding, pinned in the lock. There is no `reduce`: one match is the
work.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, NamedTuple

import re2  # type: ignore[import-not-found]  # pinned in requirements.lock, not in the service's environment

MAX_PATTERN = 10_000
"""Characters of a pattern."""

MAX_PROGRAM = 10_000
"""Instructions that a pattern may compile to."""

MAX_MEMORY = 16 << 20
"""Bytes that RE2 may use for one pattern; below it, patterns with large repetitions fall back to a slower
matcher."""

MAX_SHOWN = 200
"""Characters of a match that a verdict's detail repeats."""

KEYS = {"pattern", "match", "flags", "group", "expected"}

_SURROGATE = re.compile("[\ud800-\udfff]")


class BadReferenceError(Exception):
    """The reference cannot be used; `code` is stable, the message for people."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Test(NamedTuple):
    """A reference, read."""

    pattern: Any
    """The compiled RE2 pattern."""
    full: bool
    """Match the whole response."""
    group: int | str | None
    """The group to look at; None when the reference names none and expects no text."""
    expected: frozenset[str] | None
    """The accepted texts of the group; None accepts any that is not blank."""


def verify(item: dict[str, Any]) -> dict[str, Any]:
    """Score 1 when the response passes the reference's pattern, else 0.

    Args:
        item: `response` (str), `reference` (pattern, or object as the manifest says), `params`.

    Returns:
        The verdict; `detail` has the match, or the group, cut to `MAX_SHOWN` characters.
    """
    try:
        test = _test(item["reference"], item.get("params") or {})
    except BadReferenceError as problem:
        detail = {"code": problem.code, "message": str(problem)}
        return {"outcome": "bad_reference", "score": None, "detail": detail}
    response = _SURROGATE.sub("\ufffd", item["response"])
    if not response.strip():
        return _no_answer("blank", "the response is blank")
    match = test.pattern.fullmatch(response) if test.full else test.pattern.search(response)
    if test.group is None:
        return _scored(
            match is not None, {"matched": match.group()[:MAX_SHOWN]} if match else {"code": "no_match"}
        )
    text = ((match.group(test.group) if match else None) or "").strip()
    if test.expected is None:
        return _scored(bool(text), {"group": text[:MAX_SHOWN]} if text else {"code": "no_match"})
    if not text:
        return _no_answer("no_match", "the pattern finds no text to compare with the expected one")
    return _scored(text in test.expected, {"group": text[:MAX_SHOWN]})


def _scored(right: bool, detail: dict[str, Any]) -> dict[str, Any]:
    return {"outcome": "scored", "score": 1.0 if right else 0.0, "detail": detail}


def _no_answer(code: str, message: str) -> dict[str, Any]:
    return {"outcome": "no_answer", "score": 0.0, "detail": {"code": code, "message": message}}


def _test(reference: Any, params: dict[str, Any]) -> Test:
    """Read a reference; what it says itself wins over the parameters."""
    given: dict[str, Any] = reference if isinstance(reference, dict) else {"pattern": reference}
    if not given.keys() <= KEYS:
        raise BadReferenceError("unknown_key", f"a reference object may have only {', '.join(sorted(KEYS))}")
    wanted = {"match": "search", "flags": "", **params, **given}
    if wanted["match"] not in ("search", "full"):
        raise BadReferenceError("bad_match", "match must be 'search' or 'full'")
    flags = wanted["flags"]
    if not isinstance(flags, str) or not re.fullmatch(r"[ims]{0,3}", flags):
        raise BadReferenceError("bad_flags", "flags must be at most three letters of i, m and s")
    pattern = _pattern(wanted.get("pattern"), flags)
    expected = _expected(given)
    group = _group(given.get("group"), pattern, needed=expected is not None)
    if group is None and pattern.search("") is not None:
        message = "the pattern accepts the empty text; anchor it, or ask for at least one character"
        raise BadReferenceError("accepts_nothing", message)
    return Test(pattern, wanted["match"] == "full", group, expected)


def _pattern(text: Any, flags: str) -> Any:
    if not isinstance(text, str) or not text:
        raise BadReferenceError(
            "no_pattern", "the reference must be a pattern, or an object with a pattern; not empty"
        )
    if len(text) > MAX_PATTERN:
        raise BadReferenceError("pattern_too_long", f"the pattern has more than {MAX_PATTERN} characters")
    if _SURROGATE.search(text):
        raise BadReferenceError("bad_pattern", "the pattern has a lone surrogate")
    pattern, problem = _compile(f"(?{flags}){text}" if flags else text)
    if pattern is None:
        raise BadReferenceError("bad_pattern", f"RE2 refuses the pattern: {problem}")
    if pattern.programsize > MAX_PROGRAM:
        size = pattern.programsize
        raise BadReferenceError(
            "pattern_too_large", f"the pattern compiles to {size} instructions, over {MAX_PROGRAM}"
        )
    return pattern


@lru_cache(maxsize=64)
def _compile(text: str) -> tuple[Any, str]:
    """Return the compiled pattern and nothing, or None and RE2's message."""
    options = re2.Options()
    options.log_errors = False
    options.max_mem = MAX_MEMORY
    try:
        return re2.compile(text, options), ""
    except re2.error as error:
        message = error.args[0]
        return None, (message.decode("utf-8", "replace") if isinstance(message, bytes) else str(message))[
            :MAX_SHOWN
        ]


def _expected(given: dict[str, Any]) -> frozenset[str] | None:
    if "expected" not in given:
        return None
    texts = given["expected"] if isinstance(given["expected"], list) else [given["expected"]]
    if not texts or not all(isinstance(text, str) and text.strip() for text in texts):
        raise BadReferenceError(
            "bad_expected", "expected must be a text that is not blank, or a list of such texts"
        )
    return frozenset(_SURROGATE.sub("\ufffd", text).strip() for text in texts)


def _group(group: Any, pattern: Any, *, needed: bool) -> int | str | None:
    if group is None:
        return 0 if needed else None
    if isinstance(group, int) and not isinstance(group, bool) and 0 <= group <= pattern.groups:
        return group
    if isinstance(group, str) and group in pattern.groupindex:
        return group
    raise BadReferenceError("unknown_group", f"the pattern has no group {str(group)[:40]!r}")
