"""The program in a response: which of its fenced blocks, or all of it.

A fence is three or more backticks or tildes at the start of a line, however far indented. It is closed by a line
of at least as many of the same sign and nothing else, or only what is no word (a full stop, a tag, a token that ends
a text), indented by three more at most (a fence inside an indented docstring is part of the program); by another
block's opening fence; or by the end of the text. The word after the opening fence names the language. Blocks of
another language, and empty ones, do not count. Where some blocks name the wanted language and others name none,
only the former count, since the latter are mostly sample output. Where none of
either is there, one counts that names no language but itself (`text`, `code`).

Models forget line ends, so two more are fences: one behind other text that names the wanted language and nothing
else, or stands directly behind a tag; and one that ends the last line of a block, without a space before it
and without a quote or bracket behind it, as in a program that splits a text at fences. The stump of a last fence
is no part of a program, and the blocks inside a block of Markdown count as if they stood outside. A text without any
fence may mark its program by a tag at the start of a line: see `_MARKS`.
"""

import re
from typing import NamedTuple

TAGS = {
    "python": re.compile(r"(?:[ic]?python|pypy|py)(?:[-_.]?3(?:\.\d+)*)?"),
    "cpp": re.compile(r"(?:c|cc|cxx|cpp|c\+\+|g\+\+|gnu\+\+)(?:[-_.]?\d[\da-z])?"),
    "javascript": re.compile(
        r"(?:javascript|js|node|nodejs|node\.js)(?:[-_.]?\d[\d.]*)?|mjs|cjs|ecmascript|es\d+"
    ),
}
"""Words after a fence that name a language, with the version that some write."""
_NO_LANGUAGE = ("code", "plain", "plaintext", "text", "tool_code", "txt")
_MARKDOWN = ("markdown", "md")
_MARKS = (
    ("<answer>", "</answer>"), ("<solution>", "</solution>"), ("<code>", "</code>"), ("<python>", "</python>"),
    ("[PYTHON]", "[/PYTHON]"), ("[BEGIN]", "[DONE]"),
)  # fmt: skip
"""What prompts ask for in the place of a fence; the last of a kind counts."""

_FENCE = re.compile(r"^([^`~\r\n]*+)(`{3,}+|~{3,}+)[ \t]*+([^`\r\n]*+)\r?$", re.MULTILINE)
_MORE_INDENT = 3
_GOES_ON = ("'", '"', ")", "]", "}")
"""What shows behind a fence at the end of a line that it stands inside a text of the program."""
_ITEM = re.compile(r"[ \t]*(?:[-*+]|\d{1,9}[.)])[ \t]+")
"""What stands before a fence that is the first thing in an item of a list."""
_STUMP = re.compile(r"\n[ \t]*(?:`{1,2}|~{1,2})\s*\Z")
_MARK = "\ufeff"
"""A mark of the encoding, and no part of a text."""


class Program(NamedTuple):
    """A program, and where it is from."""

    code: str
    fenced: bool
    """False for a text without any fence, which may be no program at all."""


def program(
    response: str, language: str, how: str = "last_fenced", strip_reasoning: bool = False
) -> Program | None:
    """Return the program in `response`; None where there is none.

    Args:
        response: The text.
        language: A key of `TAGS`.
        how: ``last_fenced``, ``first_fenced``, ``longest_fenced``, or ``whole`` for the text as it is.
        strip_reasoning: Leave out everything up to the last ``</think>``.
    """
    response = response.removeprefix(_MARK)
    if strip_reasoning:
        response = response.rpartition("</think>")[2]
    if how == "whole":
        return Program(response, False) if response.strip() else None
    blocks = fenced_blocks(response, language)
    if not blocks:
        response = _marked(response)
        return Program(response, False) if response.strip() else None
    named = [code for tag, code in blocks if TAGS[language].fullmatch(tag) and code.strip()]
    found = named or [code for tag, code in blocks if not tag and code.strip()]
    found = found or [code for tag, code in blocks if tag in _NO_LANGUAGE and code.strip()]
    if not found:
        return None
    chosen = max(found, key=len) if how == "longest_fenced" else found[0 if how == "first_fenced" else -1]
    return Program(chosen.removeprefix(_MARK), True)


def at_the_margin(code: str) -> str:
    """Return a program without the indentation that all of its lines have, as where only the fence is at the margin."""
    lines = code.split("\n")
    held = [line for line in lines if line.strip()] or [""]
    margin = held[0][: len(held[0]) - len(held[0].lstrip(" \t"))]
    if not margin or not all(line.startswith(margin) for line in held):
        return code
    return "\n".join(line.removeprefix(margin) for line in lines)


class _Open(NamedTuple):
    """A block whose end is not found yet."""

    tag: str
    sign: str
    start: int
    """Where its content begins."""
    indent: int


def fenced_blocks(text: str, language: str) -> list[tuple[str, str]]:
    """Return language word (lower case, maybe empty) and content of each block, in order."""
    blocks: list[tuple[str, str]] = []
    for tag, content in _blocks(text, language):
        blocks += _blocks(content, language) if tag in _MARKDOWN else [(tag, content)]
    return blocks


def _marked(text: str) -> str:
    """Return what stands between marks in a text without fences; all of it where there are none."""
    for begin, end in _MARKS:
        at = f"\n{text}".rfind(f"\n{begin}")
        if at >= 0:
            return text[at + len(begin) :].partition(end)[0]
    return text


def _blocks(text: str, language: str) -> list[tuple[str, str]]:
    blocks: list[tuple[str, str]] = []
    opened: _Open | None = None
    for line in _FENCE.finditer(text):
        before, sign, words = line[1], line[2], line[3].strip()
        at_start = not before.strip()
        if opened is not None:
            end = _end(opened, line, at_start)
            if end is None:
                continue
            blocks.append((opened.tag, _dedent(text[opened.start : end], opened.indent)))
            opened = None
            if not _names(words):
                continue
        if at_start:
            indent = len(before)
        elif _opens_behind(before, words, language):
            indent = len(before) if _ITEM.fullmatch(before) else 0
        else:
            continue
        opened = _Open(_tag(words), sign, line.end() + 1, indent)
    if opened is not None:
        blocks.append((opened.tag, _dedent(_STUMP.sub("\n", text[opened.start :]), opened.indent)))
    return blocks


def _end(opened: _Open, line: re.Match[str], at_start: bool) -> int | None:
    """Return where a block ends, if it does at this fence."""
    before, sign, words = line[1], line[2], line[3].strip()
    if sign[0] != opened.sign[0] or len(sign) < len(opened.sign):
        return None
    if at_start:
        return line.start() if len(before) <= opened.indent + _MORE_INDENT else None
    if _names(words):  # behind text, it opens a block only where a tag has ended what came before
        return line.start() if before.endswith(">") else None
    return line.start(2) if not before[-1].isspace() and words[:1] not in _GOES_ON else None


def _opens_behind(before: str, words: str, language: str) -> bool:
    """Return whether a fence behind other text opens a block."""
    named = TAGS[language].fullmatch(_tag(words)) is not None and len(words.split()) == 1
    return named or (not words and before.endswith(">"))


def _names(words: str) -> bool:
    """Return whether what follows a fence may name a language."""
    return bool(words) and (words[0].isalnum() or words[0] in "{[")


def _tag(words: str) -> str:
    first = words.split(maxsplit=1)[0] if words else ""
    word = re.split(r"[:,;={(]", first.strip("{}[].").lower(), maxsplit=1)[0]
    return word.removeprefix("language-").removeprefix("lang-")


def _dedent(block: str, width: int) -> str:
    """Take the fence's own indentation from each line, as Markdown does in a list."""
    if not width:
        return block
    lines = block.split("\n")
    return "\n".join(line[len(line) - len(line[:width].lstrip(" \t") + line[width:]) :] for line in lines)
