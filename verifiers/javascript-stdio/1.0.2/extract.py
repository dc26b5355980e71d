"""The program in a response: which of its fenced blocks, or all of it.

A fence is a line of three or more backticks or tildes, however far indented; it is
closed by a line of at least as many of the same sign and nothing else, indented by
three more at most (a fence inside an indented docstring is part of the program), or by
the end of the text. The word after the opening fence names the language. Blocks of another
language, and empty ones, do not count. Where some blocks name the wanted language and
others name none, only the former count, since the latter are mostly sample output.
"""

import re
from typing import NamedTuple

TAGS = {
    "python": frozenset({"python", "py", "python3", "py3"}),
    "cpp": frozenset({"cpp", "c++", "cc", "cxx", "c"}),
    "javascript": frozenset({"javascript", "js", "node", "nodejs", "mjs"}),
}
"""Words after a fence that name a language."""

_FENCE = re.compile(r"^[ \t]*+(`{3,}+|~{3,}+)[ \t]*+([^`\r\n]*+)\r?$", re.MULTILINE)
_MORE_INDENT = 3


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
    blocks = fenced_blocks(response)
    if not blocks:
        return Program(response, False) if response.strip() else None
    named = [code for tag, code in blocks if tag in TAGS[language] and code.strip()]
    found = named or [code for tag, code in blocks if not tag and code.strip()]
    if not found:
        return None
    if how == "longest_fenced":
        return Program(max(found, key=len).removeprefix(_MARK), True)
    return Program(found[0 if how == "first_fenced" else -1].removeprefix(_MARK), True)


def fenced_blocks(text: str) -> list[tuple[str, str]]:
    """Return language word (lower case, maybe empty) and content of each block, in order."""
    blocks: list[tuple[str, str]] = []
    opened: tuple[str, str, int, int] | None = None
    for line in _FENCE.finditer(text):
        sign, words = line[1], line[2].strip()
        indent = line.start(1) - line.start()
        if opened is None:
            opened = (sign, _tag(words), line.end() + 1, indent)
        elif (
            sign[0] == opened[0][0]
            and len(sign) >= len(opened[0])
            and not words
            and indent <= opened[3] + _MORE_INDENT
        ):
            blocks.append((opened[1], _dedent(text[opened[2] : line.start()], opened[3])))
            opened = None
    if opened is not None:
        blocks.append((opened[1], _dedent(text[opened[2] :], opened[3])))
    return blocks


def _tag(words: str) -> str:
    first = words.split(maxsplit=1)[0] if words else ""
    return first.strip("{}.").partition(":")[0].partition(",")[0].lower()


def _dedent(block: str, width: int) -> str:
    """Take the fence's own indentation from each line, as Markdown does in a list."""
    if not width:
        return block
    lines = block.split("\n")
    return "\n".join(line[len(line) - len(line[:width].lstrip(" \t") + line[width:]) :] for line in lines)
