"""What of a response a judge sees, and what is decided before it is asked.

A judge passes far too much: a colon, "Let's solve this step by step", a claim that the
answer is right. What holds no answer needs no model to say so. What the rules of one
number of `[judge]` do never changes; other rules get another number. Rules 2 see through
more: other signs for the same punctuation, marks on letters, spaces where none belong.
Rules 3 see through what draws nothing in TeX and HTML, openers and claims in a row,
letters of other scripts that look Latin, and spaces inside words or missing between them.
Rules 4 refuse nothing that the reference says as well, find answers on the line after their mark and behind marks
in Markdown and other languages, and take a tag of reasoning inside a line for a word about it.
Rules 5 and 6 show and decide what rules 4 do.
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
_OPENING_A_LINE = re.compile(
    r"^[^\w\"'`<\n]*<(?:think|thinking|reasoning|thought)>", re.IGNORECASE | re.MULTILINE
)
_CLOSING = re.compile(r"</(?:think|thinking|reasoning|thought)>", re.IGNORECASE)
_ANSWER_OPENING = re.compile(r"<answer>", re.IGNORECASE)
_ANSWER_CLOSING = re.compile(r"</answer>", re.IGNORECASE)
_MARKED = re.compile(r"(?:#{4,}|\banswer\s*(?:is|:|=))[ \t:]*(?=\S)", re.IGNORECASE)
_MARKED_MORE = re.compile(
    r"(?:#{4,}|\b(?:answer|antwort|réponse|respuesta|resposta|risposta|ответ)[*_]*\s*"
    r"(?:(?:is|ist|lautet|est|es|é|è)\b|[:=\uff1a])|(?:答案|答え|정답)[*_]*\s*(?:是|为|為|は|[:=\uff1a]))"
    r"[ \t:\uff1a*_]*",
    re.IGNORECASE,
)
_LABEL = re.compile(r"[^:\uff1a.,\uff0c\u3002\n]*(?=[:\uff1a.,\uff0c\u3002\n])")
_SEEN = re.compile(r"\S")
_OPENS_A_BLOCK = re.compile(r"(?:\$\$|\\\[|```\w*)[ \t]*\n\s*")
"""A line that only begins a formula or a block of code."""
_BRACE = re.compile(r"[{}]")
_ASCII_WORDS = {point: " " for point in range(128) if not chr(point).isalnum()}
_SHORT_CHARS = 200
"""A text of one line up to here may be an answer as it stands."""
_LONGEST_BOX = 20_000
_MIDDLE = " [... %d characters left out here ...] "
_BLANKS = frozenset("\u2800\u3164\u115f\u1160\uffa0")
_LOOKALIKES = "\u00a6\u02d0\u0640\u2212\u2223\u2236\u22ef\u30fc\uff70\ufffc\ufffd"
_LINES_AND_BOXES = map(chr, range(0x2500, 0x25A0))
_MORE_LOOKALIKES = "".join(
    map(chr, (*range(0x2B9, 0x2BE), 0x2C8, 0x2CC, 0x2D1, 0x2044, *range(0x2215, 0x2218), 0x2219, 0x22C5))
) + "".join(map(chr, range(0xA4F8, 0xA4FE)))
_DRAWS_NOTHING = re.compile(
    r"\\(?:text(?:bf|it|rm|tt|sf)?|math(?:rm|bf|it|sf|tt)|mbox|operatorname|q?quad|displaystyle)(?![A-Za-z])"
    r"|\\[,;:! ]|&(?:nbsp|#160|#xa0);|</?(?:br|p|b|i|em|strong|span|div)\s*/?>",
    re.IGNORECASE,
)
"""Of TeX what sets its argument as text, or space; of HTML a space and plain marks."""
_LATIN_LOOKALIKES = str.maketrans(
    "\u0430\u0435\u043e\u0440\u0441\u0443\u0445\u0456\u0458\u0455\u0501\u04bb\u051b\u051d\u043a\u03bf\u03b1\u03bd\u03b9\u03c1\u03ba\u03c5\u0131\u0261"
    "\u1d00\u0299\u1d04\u1d05\u1d07\ua730\u0262\u029c\u026a\u1d0a\u1d0b\u029f\u1d0d\u0274\u1d0f\u1d18\u0280\ua731\u1d1b\u1d1c\u1d20\u1d21\u028f\u1d22",
    "aeopcyxijsdhqwkoavipkuigabcdefghijklmnoprstuvwyz",
)
"""Small letters of Cyrillic and Greek, and small capitals, to the letters that they are read as."""
_SIGN_WORDS = re.compile(
    r"\\(?:[lg]t|[lg]eq?|[lg]eqslant|neq?|emptyset|varnothing|approx|equiv|sim|cdot|times|div|pm|mp|cup|cap|in|notin"
    r"|subset|supset|subseteq|supseteq|parallel|perp)(?![A-Za-z])|&(?:lt|gt|le|ge|ne);"
)
"""TeX's and HTML's words for signs of which punctuation may be another form."""
_AFFIRMED = frozenset("TtYyOo√✓✔○\u3007")
"""References of one sign that say yes."""
_LONG_PHRASE, _OPENER_WORDS, _ROW_WORDS = 20, 3, 60
"""Letters of a phrase that is found without its spaces; words of a phrase that shows a row of several to be
openers and claims, where short ones could be an answer; most words of such a row."""


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
    reads_through: bool
    """What draws nothing does not count, nor how phrases are put together and written."""
    heeds_reference: bool = False
    """What the reference says is an answer."""


_SECOND = _Rules(
    _BLANKS | {"\U0001d159"},
    frozenset({*_LOOKALIKES, *_LINES_AND_BOXES}),
    frozenset({"Cf", "Mn", "Me"}),
    folds_words=True,
    reads_through=False,
)
_THIRD = _SECOND._replace(silent=_SECOND.silent | {*_MORE_LOOKALIKES}, reads_through=True)
_BY_NUMBER = {
    1: _Rules(_BLANKS, frozenset(), frozenset({"Cf"}), folds_words=False, reads_through=False),
    2: _SECOND,
    3: _THIRD,
    **dict.fromkeys((4, 5, 6), _THIRD._replace(heeds_reference=True)),
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
        after = after_reasoning(response, rules)
        if after is None:
            return Shown("", "no_answer", "reasoning_not_closed")
        text = after
    if show.part == "final_answer":
        answer = final_answer(text, rules)
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


def after_reasoning(response: str, rules: int) -> str | None:
    """Return what follows the last closing tag of a reasoning; None where one was opened and never closed.

    By rules 4 a tag opens one where no word, quotation or other tag stands before it in its line.
    """
    end = 0
    for match in _CLOSING.finditer(response):
        end = match.end()
    rest = response[end:]
    opening = _OPENING if rules < 4 else _OPENING_A_LINE
    return None if opening.search(rest) else rest


def final_answer(text: str, rules: int) -> str | None:
    r"""Return the final answer that a text states, or None.

    It is the last `\boxed{…}` or `\fbox{…}`; else the last `<answer>…</answer>`; else what stands
    after the last `####`, `answer is`, `answer:` or `answer =` up to the end of that line; else the
    text itself where it is one line of 200 characters at most. By rules 4 the mark in a longer text may be in
    Markdown or another language, and what it marks may stand on the next line that is not blank.
    """
    boxed = _last_box(text)
    if boxed is not None:
        return boxed.strip() or None
    tagged = _last_tag(text)
    if tagged is not None:
        return tagged.strip() or None
    short = text.strip()
    is_short = 0 < len(short) <= _SHORT_CHARS and len(short.splitlines()) == 1
    if rules >= 4 and not is_short:
        return _behind_last_mark(text)
    marked = _last(_MARKED, as_known(text))
    if marked is not None:
        return text[marked.end() :].split("\n", 1)[0].strip(" \t\r*_") or None
    return short if is_short else None


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


def _behind_last_mark(text: str) -> str | None:
    """Return what the last mark with anything behind it marks, on its line or else on the next that is not blank."""
    for mark in reversed([*_MARKED_MORE.finditer(as_known(text))]):
        seen = _SEEN.search(text, mark.end())
        if seen is None:
            continue
        block = _OPENS_A_BLOCK.match(text, seen.start())
        start = block.end() if block else seen.start()
        end = text.find("\n", start)
        line = text[start : len(text) if end < 0 else end].strip(" \t\r*_")
        if line:
            return line
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
    expected = reference if own.heeds_reference and isinstance(reference, str) else None
    if expected is not None and text.strip() == as_known(expected).strip():
        return None
    if own.reads_through:
        text = _DRAWS_NOTHING.sub(" ", text)
    if not visible(text, rules):
        return "no_answer", "blank"
    if not any(one.isalnum() and _counts(one, own) for one in text) and not _has_symbol(text, own):
        return None if expected is not None and _is_sign(expected) else ("no_answer", "punctuation")
    openers, claims, either = _sets(before.openers, before.claims, own)
    if not isinstance(reference, str) or not _says(_fold(reference, own), either, own):
        folded = _fold(text, own)
        if _says(folded, either, own) and not (
            expected is not None and _answers(folded, expected, openers, claims, own)
        ):
            return "no_answer", "opener" if _says(folded, openers, own) else "claim"
    if before.instructions and _is_addressed(text, before.instructions, own):
        speaks_so = expected is not None and _is_addressed(as_known(expected), before.instructions, own)
        return None if speaks_so else (before.addressed, "instruction")
    return None


def _is_sign(reference: str) -> bool:
    """Whether a reference is signs only, so that punctuation may answer it."""
    return not any(
        one.isalnum() for one in _SIGN_WORDS.sub(" ", _DRAWS_NOTHING.sub(" ", as_known(reference)))
    )


def _answers(
    folded: str, reference: str, openers: frozenset[str], claims: frozenset[str], rules: _Rules
) -> bool:
    """Whether an opener or claim is an answer all the same.

    It is where it is an opener of one word, or a claim of two at most, and the reference has these words too (not
    as a label before the answer, such as "Solution: 5"); or where both the reference begins with, and the text is, a
    claim of one word, such as yes and true.
    """
    count = folded.count(" ") + 1
    if not ((count == 1 and folded in openers) or (count <= 2 and folded in claims)):
        return False
    expected = _fold(reference, rules)
    within = folded in expected if _unspaced(folded, rules) else f" {folded} " in f" {expected} "
    if within and not (folded in openers and _is_label(folded, reference, rules)):
        return True
    says_yes = reference.strip() in _AFFIRMED or any(
        expected.startswith(one) if _unspaced(one, rules) else expected.split(" ", 1)[0] == one
        for one in claims
        if " " not in one
    )
    return folded in claims and count == 1 and says_yes


def _is_label(folded: str, reference: str, rules: _Rules) -> bool:
    """Whether a reference begins with a word and a sign that parts it from what follows."""
    label = _LABEL.match(reference.strip())
    return label is not None and _fold(label.group(), rules) == folded


def _says(folded: str, phrases: frozenset[str], rules: _Rules) -> bool:
    """Whether a folded text is one of the phrases, or several in a row of which one is no mere word."""
    if folded in phrases:
        return True
    words = folded.split(" ")
    if not rules.reads_through or len(words) > _ROW_WORDS:
        return False
    reached = {0: False}  # number of words that are a row from the start: whether a phrase of it is long
    for start in range(len(words)):
        if start in reached:
            for end in range(start + 1, len(words) + 1):
                if " ".join(words[start:end]) in phrases:
                    reached[end] = reached.get(end, False) or reached[start] or end - start >= _OPENER_WORDS
    return reached.get(len(words), False)


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
    if rules.reads_through:
        text = _DRAWS_NOTHING.sub(" ", text)
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
def _sets(
    openers: tuple[str, ...], claims: tuple[str, ...], rules: _Rules
) -> tuple[frozenset[str], frozenset[str], frozenset[str]]:
    """Return openers and claims as texts are folded, and both together."""
    found = [frozenset(_fold(word, rules) for word in words) - {""} for words in (openers, claims)]
    return found[0], found[1], found[0] | found[1]


def _is_addressed(text: str, phrases: tuple[str, ...], rules: _Rules) -> bool:
    """Whether one of the phrases stands in a text: between spaces, save in scripts that do not part words."""
    words = _words(text, rules)
    parted, run_on = f" {words} ", words.replace(" ", "") if rules.folds_words else words
    spaced, unspaced = _inner(phrases, rules)
    # `map` looks for some hundred phrases in a third of the time of a loop of our own.
    if any(map(parted.__contains__, spaced)) or any(map(run_on.__contains__, unspaced)):
        return True
    if not rules.reads_through:
        return False
    plain = words.translate(_LATIN_LOOKALIKES)
    if plain != words and any(map(f" {plain} ".__contains__, spaced + unspaced)):
        return True
    return any(map(plain.replace(" ", "").__contains__, _long(phrases, rules)))


@lru_cache(maxsize=256)
def _inner(phrases: tuple[str, ...], rules: _Rules) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return phrases as they are looked for: those that are parted from others, with a space at each end, and
    those of scripts that part no words, without any."""
    spaced, unspaced = [], []
    for phrase in phrases:
        words = _words(phrase, rules)
        if _unspaced(words, rules):
            unspaced.append(words.replace(" ", "") if rules.folds_words else words)
        else:
            spaced.append(f" {words} ")
    return tuple(spaced), tuple(unspaced)


@lru_cache(maxsize=256)
def _long(phrases: tuple[str, ...], rules: _Rules) -> tuple[str, ...]:
    """Return the phrases that are long enough to be found without their spaces, without them."""
    found = [one.replace(" ", "") for kind in _inner(phrases, rules) for one in kind]
    return tuple(one for one in found if len(one) >= _LONG_PHRASE)


def _unspaced(text: str, rules: _Rules) -> bool:
    """Whether a text is of a script that does not part words; rules 3 know those from Thai to Khmer, too."""
    found = any("\u3040" <= one <= "\u9fff" or "\uac00" <= one <= "\ud7af" for one in text)
    return found or (
        rules.reads_through
        and any(
            "\u0e00" <= one <= "\u0eff" or "\u1000" <= one <= "\u109f" or "\u1780" <= one <= "\u17ff"
            for one in text
        )
    )
