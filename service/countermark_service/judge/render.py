"""Writes data into a judge's messages so that it stays data.

What a model said is hostile. It may close a quotation and go on as the operator, hold
the control words by which chat templates part messages (`<|im_start|>`, `[INST]`), or
hide text in characters that nobody sees. So every value goes into a message as one
line of JSON: quotes, line ends and backslashes are escaped by the format itself, and
so are, as ``\\uXXXX``, all that is invisible and the first character of whatever could
be a control word. Nothing is lost: reading the line as JSON gives the value back.
A value that was written in is never looked at again, so `{{response}}` in a response
is eleven characters.
"""

import re
import unicodedata
from collections.abc import Mapping
from typing import Any

import msgspec

from countermark_service.bundles.characters import as_known
from countermark_service.bundles.judge_table import MARK, JudgeTable, Message

_encode = msgspec.json.Encoder(order="deterministic").encode

_HIDDEN = {"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"}
"""Unicode categories without a shape of their own: controls, direction marks, tags, private, unassigned."""
_SELECTORS = {
    *range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0), *range(0x180B, 0x1810), 0x034F, 0x115F, 0x1160, 0x17B4,
    0x17B5, 0x2800, 0x3164, 0xFFA0,
}  # fmt: skip
"""Variation selectors and blank letters: invisible, and of other categories."""
_BRACKETS = {0xFE64, 0xFF1C, 0xFF3B, 0xFE47, 0x25C1}
"""What becomes `<` or `[` when a tokenizer normalises, and the sign that opens some control words itself."""
_FIRST_WORDS = (
    r"<(?![\s\d=])|<(?=0x[0-9A-Fa-f]{2}>)"
    r"|\[(?=/?(?:[A-Z_][A-Z0-9_]+|[gs]MASK|@?[A-Z]+@|\|[^\[\]\s]{0,60}\||(?:control|unused|extra)_?[a-z_]*\d+)\])"
)
"""Among others `<|im_start|>`, `<0x0A>`, `[INST]`, `[UNUSED_TOKEN_1]`, `[gMASK]`, `[|user|]`, `[control_8]`."""
_MORE_WORDS = r"|\](?=~!?b[\[\]])|\[(?=e~\[)|\|(?=ENDOFTEXT\|)"
"""Such as `]~b]`, `[e~[`, `|ENDOFTEXT|`."""
_ALL_WORDS = re.compile(_FIRST_WORDS + _MORE_WORDS)
_CONTROL_WORD = {1: re.compile(_FIRST_WORDS), **dict.fromkeys((2, 3, 4, 5, 6), _ALL_WORDS)}
"""By the number of the rules."""
_OTHER = re.compile(r"[^\x20-\x7e]")


def as_line(value: Any, rules: int) -> str:
    """Return a JSON value as one line of JSON that no reader can take for anything else, by the rules of a number."""
    return _guarded(_encode(value).decode(), rules)


def as_line_within(value: Any, most: int, rules: int) -> str | None:
    """Return what `as_line` does, or None where that has more than `most` characters; a long value costs little."""
    text = _encode(value).decode()
    if len(text) > most:
        return None
    line = _guarded(text, rules)
    return line if len(line) <= most else None


def _guarded(text: str, rules: int) -> str:
    """Return a line of JSON with all escaped that may not stand in a message as it is."""
    if "<" in text or "[" in text or "]~" in text or "|E" in text:  # to look costs next to nothing
        text = _CONTROL_WORD[rules].sub(_escaped, text)
    if text.isascii() and "\x7f" not in text:  # the other hidden ones of ASCII are escaped in JSON
        return text
    return _OTHER.sub(_escaped_if_hidden, text)


def _escaped(match: re.Match[str]) -> str:
    return _escape(match.group())


def _escaped_if_hidden(match: re.Match[str]) -> str:
    character = as_known(match.group())
    point = ord(character)
    hidden = (
        point in _SELECTORS
        or point in _BRACKETS
        or unicodedata.category(character) in _HIDDEN
        or (unicodedata.category(character) == "Zs")
    )
    return _escape(match.group()) if hidden else character


def _escape(character: str) -> str:
    units = character.encode("utf-16-be")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))


def fill(content: str, lines: Mapping[str, str]) -> str:
    """Return a message's content with every place filled, in one pass.

    Args:
        content: Of a `Message`.
        lines: What each place is filled with, by `as_line`.
    """
    return MARK.sub(lambda mark: lines[mark.group(1)], content)


def messages(table: JudgeTable, lines: Mapping[str, str]) -> list[dict[str, str]]:
    """Return the messages of one question: as many as the bundle declares, with the roles that it declares."""
    return [_message(message, lines) for message in table.messages]


def _message(message: Message, lines: Mapping[str, str]) -> dict[str, str]:
    return {"role": message.role, "content": fill(message.content, lines)}
