"""Exact text match, with every normalisation declared as a parameter.

What counts as equal: the answer taken from the response and one accepted text are the same characters after
both went through the same normalisations. Without parameters these are Unicode form NFC and white space
removed at both ends. What is ignored: whatever stands outside the extracted part. What is not attempted:
numbers, synonyms, spelling, LaTeX, several answers at once.

Sources: Unicode Standard Annex 15 (forms), the Unicode case folding of `str.casefold`, and for `punctuation =
ascii` and `remove_articles` the answer normalisation that SQuAD's evaluation describes (lower case, no
punctuation, no articles, single spaces). All SQuAD steps together: case_fold, punctuation = ascii,
remove_articles.

There is no `reduce`: extraction is most of the work, and what would remain is one string comparison.
Standard library only. Every step is linear in the length of the response.
"""

from __future__ import annotations

import re
import string
import sys
import unicodedata
from functools import cache
from typing import Any

MAX_SHOWN = 200
"""Characters of an answer that a verdict's detail repeats."""
MAX_MARKS = 256
"""Combining marks in a row. Real text has under 30; normalisation sorts each run, in quadratic time."""

_BOX_TOKEN = re.compile(r"\\(?:boxed|fbox)[ \t]{0,8}\{|\\.|[{}]", re.DOTALL)
_ARTICLE = re.compile(r"\b(?:a|an|the)\b", re.IGNORECASE)
_WHITE_SPACE = re.compile(r"\s+")
_ASCII_PUNCTUATION = str.maketrans("", "", string.punctuation)


def verify(item: dict[str, Any]) -> dict[str, Any]:
    """Score 1 when the extracted answer is one of the accepted texts, else 0.

    Args:
        item: `response` (str), `reference` (str or list of str), `params` as the manifest declares them.

    Returns:
        The verdict; `detail` has the normalised answer, cut to `MAX_SHOWN` characters.
    """
    params = item.get("params") or {}
    accepted, problem = _accepted_texts(item["reference"], params)
    if problem:
        return _bad_reference(*problem)
    raw = _extract(item["response"], params)
    if raw is None:
        return _no_answer("not_found", f"the response has no {params.get('extract', 'whole')} answer")
    if _piles_marks(raw):
        return _no_answer("too_many_marks", f"more than {MAX_MARKS} combining marks in a row are not text")
    answer = _normalise(raw, params)
    if not answer.strip():
        return _no_answer("blank", "nothing is left of the answer")
    score = 1.0 if answer in accepted else 0.0
    return {"outcome": "scored", "score": score, "detail": {"answer": _shown(answer)}}


def _accepted_texts(reference: Any, params: dict[str, Any]) -> tuple[set[str], tuple[str, str] | None]:
    """Return the normalised accepted texts, or why the reference cannot be read."""
    texts = reference if isinstance(reference, list) else [reference]
    if not texts:
        return set(), ("empty_reference", "the list of accepted texts is empty")
    accepted = set()
    for text in texts:
        if not isinstance(text, str):
            kind = type(text).__name__
            return set(), ("not_text", f"an accepted text must be a string, not {kind}; write it as text")
        if _piles_marks(text):
            return set(), (
                "too_many_marks",
                f"an accepted text has over {MAX_MARKS} combining marks in a row",
            )
        normal = _normalise(text, params)
        if not normal.strip():
            return set(), ("empty_reference", "an accepted text is empty after the declared normalisations")
        accepted.add(normal)
    return accepted, None


def _extract(response: str, params: dict[str, Any]) -> str | None:
    """Return the part of the response that is the answer, or None when it is missing."""
    how = params.get("extract", "whole")
    if how == "last_line":
        return next((line for line in reversed(response.splitlines()) if line.strip()), None)
    if how == "after_marker":
        return _after_marker(response, params.get("marker", "Answer:"))
    if how == "boxed":
        return _last_box(response)
    if how == "tag":
        return _last_tag(response, params.get("tag", "answer"))
    return response


def _after_marker(response: str, marker: str) -> str | None:
    _, found, rest = response.rpartition(marker)
    if not found:
        return None
    lines = rest.splitlines()
    return lines[0] if lines else ""


def _last_box(response: str) -> str | None:
    """Return the content of the complete box that begins last.

    One pass with a stack of open braces, so that a million unclosed boxes cost no more than a million
    letters. An escaped brace does not count, and a stray closing brace is passed over.
    """
    open_braces: list[int] = []
    start, end = -1, -1
    for token in _BOX_TOKEN.finditer(response):
        text = token.group()
        if text == "}":
            if open_braces and (begin := open_braces.pop()) > start:
                start, end = begin, token.start()
        elif text == "{":
            open_braces.append(-1)
        elif text.endswith("{") and text != "\\{":
            open_braces.append(token.end())
    return response[start:end] if start >= 0 else None


def _last_tag(response: str, tag: str) -> str | None:
    end = response.rfind(f"</{tag}>")
    start = response.rfind(f"<{tag}>", 0, end) if end >= 0 else -1
    return response[start + len(tag) + 2 : end] if start >= 0 else None


def _normalise(text: str, params: dict[str, Any]) -> str:
    """Apply the declared normalisations in their fixed order."""
    text = _unicode_form(text, params)
    if params.get("case_fold", False):
        text = _unicode_form(text.casefold(), params)
    punctuation = params.get("punctuation", "keep")
    if punctuation != "keep":
        text = text.translate(_ASCII_PUNCTUATION)
    if punctuation == "unicode":
        text = text.translate(_unicode_punctuation())
    articles = params.get("remove_articles", False)
    if articles:
        text = _ARTICLE.sub(" ", text)
    if articles or params.get("collapse_whitespace", False):
        text = _WHITE_SPACE.sub(" ", text)
    return text.strip() if params.get("strip", True) else text


@cache
def _unicode_punctuation() -> dict[int, None]:
    """Return a table that removes all of Unicode category P; made once, as it looks at every code point."""
    points = range(sys.maxunicode + 1)
    return dict.fromkeys(point for point in points if unicodedata.category(chr(point)).startswith("P"))


def _piles_marks(text: str) -> bool:
    """Tell whether more than `MAX_MARKS` combining marks stand in a row."""
    if text.isascii():
        return False
    run = 0
    for char in text:
        run = run + 1 if unicodedata.combining(char) else 0
        if run > MAX_MARKS:
            return True
    return False


def _unicode_form(text: str, params: dict[str, Any]) -> str:
    form = params.get("unicode", "NFC")
    if form == "NFC":
        return unicodedata.normalize("NFC", text)
    if form == "NFKC":
        return unicodedata.normalize("NFKC", text)
    return text


def _shown(text: str) -> str:
    """Cut a text for the detail and replace lone surrogates, which no JSON reader is bound to accept."""
    return text[:MAX_SHOWN].encode("utf-8", "replace").decode("utf-8")


def _no_answer(code: str, message: str) -> dict[str, Any]:
    return {"outcome": "no_answer", "score": 0.0, "detail": {"code": code, "message": message}}


def _bad_reference(code: str, message: str) -> dict[str, Any]:
    return {"outcome": "bad_reference", "score": None, "detail": {"code": code, "message": message}}
