"""What of a response a judge sees, and what is decided before it is asked.

A judge passes far too much: a colon, "Let's solve this step by step", a claim that the
answer is right. What holds no answer needs no model to say so. What the rules of one
number of `[judge]` do never changes; other rules get another number. Rules 2 see through
more: other signs for the same punctuation, marks on letters, spaces where none belong.
"""

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, NamedTuple

from countermark_service.bundles.characters import as_known
from countermark_service.bundles.judge_table import Before, Show

Decided = Literal["no_answer", "abstain"]

_OPENING = re.compile(r"<(think|thinking|reasoning|thought)>", re.IGNORECASE)
_CLOSING = re.compile(r"</(?:think|thinking|reasoning|thought)>", re.IGNORECASE)
_ANSWER_OPENING = re.compile(r"<answer>", re.IGNORECASE)
_ANSWER_CLOSING = re.compile(r"</answer>", re.IGNORECASE)
_MARKED = re.compile(r"(?:####|\banswer\s*(?:is|:|=))[ \t:]*(?=\S)", re.IGNORECASE)
_BRACE = re.compile(r"[{}]")
_ASCII_WORDS = {point: " " for point in range(128) if not chr(point).isalnum()}
_SHORT_CHARS = 200
"""A text of one line up to here may be an answer as it stands."""
_LONGEST_BOX = 20_000
_MIDDLE = " [... %d characters left out here ...] "
_BLANKS = frozenset("\u2800\u3164\u115f\u1160\uffa0")
_LOOKALIKES = "\u00a6\u02d0\u0640\u2212\u2223\u2236\u22ef\u30fc\uff70\ufffc\ufffd"
_LINES_AND_BOXES = map(chr, range(0x2500, 0x25A0))


class _Rules(NamedTuple):
    """What does not count in a text, by rules of one number."""

    blanks: frozenset[str]
    """Characters that are drawn as nothing, and are letters or symbols by category."""
    silent: frozenset[str]
    """Letters and symbols that say no more than the punctuation they look like."""
    dropped: frozenset[str]
    """Categories that part no words."""
    folds_words: bool
    """Punctuation counts nowhere in an opener or a claim; else at its ends only."""


_BY_NUMBER = {
    1: _Rules(_BLANKS, frozenset(), frozenset({"Cf"}), folds_words=False),
    2: _Rules(
        _BLANKS | {"\U0001d159"},
        frozenset({*_LOOKALIKES, *_LINES_AND_BOXES}),
        frozenset({"Cf", "Mn", "Me"}),
        folds_words=True,
    ),
}


@dataclass(frozen=True, slots=True)
class Shown:
    """What the judge sees of a response, or why it is not asked."""

    text: str
    decided: Decided | None = None
    reason: str = ""
    """Code of what was decided: ``blank``, ``opener``, ``no_final_answer`` and so on."""


def shown_part(response: str, show: Show, rules: int) -> Shown:
    """Return the part of a response that is shown, by the rules of a number."""
    text = response
    if show.part != "whole":
        after = after_reasoning(response)
        if after is None:
            return Shown("", "no_answer", "reasoning_not_closed")
        text = after
    if show.part == "final_answer":
        answer = final_answer(text)
        if answer is None:
            return Shown("", "no_answer", "blank" if not visible(text, rules) else "no_final_answer")
        text = answer
    text = text.strip()
    if len(text) <= show.most_chars:
        return Shown(text)
    if show.longer != "middle":
        return Shown("", show.longer, "response_too_long")
    half = show.most_chars // 2
    return Shown(text[:half] + _MIDDLE % (len(text) - 2 * half) + text[-half:])


def after_reasoning(response: str) -> str | None:
    """Return what follows the last closing tag of a reasoning; None where one was opened and never closed."""
    end = 0
    for match in _CLOSING.finditer(response):
        end = match.end()
    rest = response[end:]
    return None if _OPENING.search(rest) else rest


def final_answer(text: str) -> str | None:
    r"""Return the final answer that a text states, or None.

    It is the last `\boxed{…}` or `\fbox{…}`; else the last `<answer>…</answer>`; else what stands
    after the last `####`, `answer is`, `answer:` or `answer =` up to the end of that line; else the
    text itself where it is one line of 200 characters at most.
    """
    boxed = _last_box(text)
    if boxed is not None:
        return boxed.strip() or None
    tagged = _last_tag(text)
    if tagged is not None:
        return tagged.strip() or None
    marked = _last(_MARKED, as_known(text))
    if marked is not None:
        return text[marked.end() :].split("\n", 1)[0].strip(" \t\r*_") or None
    short = text.strip()
    return short if short and len(short) <= _SHORT_CHARS and len(short.splitlines()) == 1 else None


def _last_box(text: str) -> str | None:
    """Return the content of the last complete box."""
    end = len(text)
    for _ in range(8):  # boxes that were left open at the end
        start = max(text.rfind("\\boxed{", 0, end), text.rfind("\\fbox{", 0, end))
        if start < 0:
            return None
        content = text.index("{", start) + 1
        depth = 1
        for brace in _BRACE.finditer(text, content, content + _LONGEST_BOX):
            depth += 1 if brace.group() == "{" else -1
            if depth == 0:
                return text[content : brace.start()]
        end = start
    return None


def _last_tag(text: str) -> str | None:
    """Return the content of the last complete answer tag."""
    closing = _last(_ANSWER_CLOSING, text)
    opening = None if closing is None else _last(_ANSWER_OPENING, text[: closing.start()])
    return None if closing is None or opening is None else text[opening.end() : closing.start()]


def _last(pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
    found = None
    for match in pattern.finditer(text):
        found = match
    return found


def decide(text: str, reference: object, before: Before, rules: int) -> tuple[Decided, str] | None:
    """Return the outcome and the reason of a shown part that needs no judge, or None; by the rules of a number."""
    own, text = _BY_NUMBER[rules], as_known(text)
    if not visible(text, rules):
        return "no_answer", "blank"
    if not any(one.isalnum() and _counts(one, own) for one in text) and not _has_symbol(text, own):
        return "no_answer", "punctuation"
    folded = _fold(text, own)
    openers, claims = _set(before.openers, own), _set(before.claims, own)
    meant = (
        isinstance(reference, str)
        and (answer := _fold(reference, own))
        and (answer in openers or answer in claims)
    )
    if not meant and folded in openers:
        return "no_answer", "opener"
    if not meant and folded in claims:
        return "no_answer", "claim"
    if before.instructions and _is_addressed(text, before.instructions, own):
        return before.addressed, "instruction"
    return None


def visible(text: str, rules: int) -> bool:
    """Whether a text has any character that can be seen."""
    blanks = _BY_NUMBER[rules].blanks
    return any(
        not one.isspace() and unicodedata.category(one)[0] not in "CZM" and one not in blanks
        for one in as_known(text)
    )


def _counts(character: str, rules: _Rules) -> bool:
    return character not in rules.blanks and character not in rules.silent


def _has_symbol(text: str, rules: _Rules) -> bool:
    """Whether it holds a symbol that can be an answer, such as ∞, ∅ or an emoji."""
    if rules.folds_words:
        text = unicodedata.normalize("NFKC", text)  # a wide bar is no more of an answer than a narrow one
    return any(
        ord(one) > 126 and unicodedata.category(one) in ("Sm", "So", "Sc") and _counts(one, rules)
        for one in text
    )


def _fold(text: str, rules: _Rules) -> str:
    """Return a text without what does not count: case, width, white space, punctuation."""
    if rules.folds_words:
        return _words(text[:2000], rules)
    plain = unicodedata.normalize("NFKC", as_known(text[:2000])).casefold()
    if not plain.isascii():  # ASCII has no format characters
        plain = "".join(one for one in plain if unicodedata.category(one) not in rules.dropped)
    words = " ".join(plain.split())
    start, end = 0, len(words)
    while start < end and _is_trim(words[start]):
        start += 1
    while start < end and _is_trim(words[end - 1]):
        end -= 1
    return words[start:end]


def _is_trim(character: str) -> bool:
    """Whether a character at an end does not count: punctuation, a space, a mark of Markdown."""
    return unicodedata.category(character)[0] in "PZ" or character in "`~^"


def _words(text: str, rules: _Rules) -> str:
    """Return a text folded, with everything but letters and digits made spaces."""
    plain = unicodedata.normalize("NFKC", as_known(text)).casefold()
    if plain.isascii():  # the same in a fraction of the time, and a response can be long
        return " ".join(plain.translate(_ASCII_WORDS).split())
    kept = (
        "" if unicodedata.category(one) in rules.dropped else one if one.isalnum() else " " for one in plain
    )
    return " ".join("".join(kept).split())


@lru_cache(maxsize=256)
def _set(words: tuple[str, ...], rules: _Rules) -> frozenset[str]:
    return frozenset(_fold(word, rules) for word in words) - {""}


def _is_addressed(text: str, phrases: tuple[str, ...], rules: _Rules) -> bool:
    """Whether one of the phrases stands in a text: between spaces, save in scripts that do not part words."""
    words = _words(text, rules)
    parted, run_on = f" {words} ", words.replace(" ", "") if rules.folds_words else words
    return any(one in parted if one.startswith(" ") else one in run_on for one in _inner(phrases, rules))


@lru_cache(maxsize=256)
def _inner(phrases: tuple[str, ...], rules: _Rules) -> tuple[str, ...]:
    """Return phrases as they are looked for: those that are parted from others, with a space at each end."""
    found = []
    for phrase in phrases:
        words = _words(phrase, rules)
        run_on = words.replace(" ", "") if rules.folds_words else words
        found.append(run_on if _unspaced(words) else f" {words} ")
    return tuple(found)


def _unspaced(text: str) -> bool:
    return any("぀" <= one <= "鿿" or "가" <= one <= "힯" for one in text)
