"""Text of strangers, made safe to show.

Responses come from models, and the models may have been asked to attack the reader. Markup is
escaped like everywhere; beyond that, what cannot be seen is made visible: control
characters, marks that turn the reading direction, zero-width and private characters, and piles of
combining marks each become a label such as ``U+202E``. So what a person reads is what a
verifier read. The length of what comes out is bounded too, whatever goes in.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator
from itertools import groupby

from markupsafe import Markup, escape

MOST_BYTES = 6000
"""Length of one text as HTML at which it is cut off."""

_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_BLANK = "\u00ad\u034f\u115f\u1160\u17b4\u17b5\u180e\u2800\u3164\uffa0"
"""Characters that are drawn as nothing though their category does not say so."""
_KEPT = frozenset("\n\t")
_MOST_MARKS = 3
"""Combining marks on one character; more are no writing system's."""


def shown(text: str, most_bytes: int = MOST_BYTES) -> Markup:
    """Return text as HTML in which everything can be seen, of at most about `most_bytes`."""
    parts: list[str] = []
    size = 0
    for part in _parts(text.replace("\r\n", "\n")):
        size += len(part.encode("utf-8", "replace"))
        if size > most_bytes:
            parts.append('<span class="cut">\u2026 cut off here</span>')
            break
        parts.append(part)
    return Markup("".join(parts))  # noqa: S704 - each part is escaped or written here


def shown_with(text: str, marked: Iterable[str]) -> Markup:
    """Return `shown` with the last place of each of `marked` set off, where they are in the text."""
    places: list[tuple[int, int]] = []
    for wanted in sorted(marked, key=lambda one: (-len(one), one)):
        found = _last(text, wanted)
        if found and not any(begin < found[1] and found[0] < end for begin, end in places):
            places.append(found)
    parts, done = Markup(""), 0
    for begin, end in sorted(places):
        parts += shown(text[done:begin]) + Markup("<mark>{}</mark>").format(shown(text[begin:end]))
        done = end
    return parts + shown(text[done:])


def _last(text: str, wanted: str) -> tuple[int, int] | None:
    """Return where `wanted` stands last: as a number or word of its own if it does anywhere."""
    if not wanted.strip():
        return None
    alone = [found.span() for found in re.finditer(rf"(?<!\w){re.escape(wanted)}(?!\w)", text)]
    if alone:
        return alone[-1]
    place = text.rfind(wanted)
    return None if place < 0 else (place, place + len(wanted))


def attribute(text: str) -> Markup:
    """Return text for an attribute: escaped, what cannot be seen in angle brackets, at most 300 characters."""
    return escape("".join(c if _seen(c) else f"\u27e8U+{ord(c):04X}\u27e9" for c in text[:300]))


def _parts(text: str) -> Iterator[str]:
    marks = 0
    for seen, run in groupby(text, key=_seen):
        if seen:
            for character in run:
                marks = marks + 1 if unicodedata.combining(character) else 0
                if marks <= _MOST_MARKS:
                    yield str(escape(character))
                elif marks == _MOST_MARKS + 1:
                    yield '<span class="ctl">more marks</span>'
            continue
        for character, same in groupby(run):
            count = sum(1 for _ in same)
            times = f" \u00d7{count}" if count > 1 else ""
            yield f'<span class="ctl">U+{ord(character):04X}{times}</span>'


def _seen(character: str) -> bool:
    if character in _KEPT or character.isascii():
        return character in _KEPT or character.isprintable()
    return character not in _BLANK and unicodedata.category(character) not in _HIDDEN
