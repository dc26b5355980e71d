"""The program in a response: which of its fenced blocks, or all of it.

A fence is three or more backticks or tildes at the start of a line, however far indented. It is closed by a line
of at least as many of the same sign and nothing else, or only what is no word (a full stop, a tag, a token that ends
a text), indented by three more at most (a fence inside an indented docstring is part of the program); by another
block's opening fence; or by the end of the text. The word after the opening fence names the language. Blocks of
another language, and empty ones, do not count. Where some blocks name the wanted language and others name none,
only the former count, since the latter are mostly sample output. Where none of
either is there, one counts that names no language but itself (`text`, `code`).

A fence within a long string or comment of the program closes nothing, if one behind that does (see `_TEXTS`). A quote
(lines that begin with `>`) is read as a text of its own, whose blocks give way to those outside of it.

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
_QUOTE = re.compile(r"[ \t]*+(?:>[ \t]?+)++[ \t]*+")
"""What stands before a fence in a quote."""
_DEEPEST_QUOTE = 8
_SHORT = r"""|"(?:\\.|[^"\\\n])*+"?|'(?:\\.|[^'\\\n])*+'?"""
_TEXTS = {
    "python": re.compile(
        r"""\"{3}(?:[^"\\]++|\\.|"(?!""))*+\"{3}|'{3}(?:[^'\\]++|\\.|'(?!''))*+'{3}|(?P<open>\"{3}|'{3})|\#[^\n]*+"""
        rf"{_SHORT}",
        re.DOTALL,
    ),
    "cpp": re.compile(
        r"/\*(?:[^*]++|\*(?!/))*+\*/|//[^\n]*+|"
        r"""R"(?P<mark>[^()\\\s]{0,16})\((?:[^)]++|\)(?!(?P=mark)"))*+\)(?P=mark)"|"""
        r"""(?P<open>/\*|R"[^()\\\s]{0,16}\()"""
        rf"{_SHORT}",
        re.DOTALL,
    ),
    "javascript": re.compile(
        r"(?<![^\s;,(){}])(?:/\*(?:[^*]++|\*(?!/))*+\*/|//[^\n]*+|(?P<open>/\*))|`(?:\\.|[^`\\])*+`?"
        rf"{_SHORT}",
        re.DOTALL,
    ),
}
"""Strings and comments of a program; of one over many lines that is not closed, the beginning."""
_MOST_SOUGHT = 8
"""Blocks of a response that end in a long string: for so many it is looked whether they end further on."""
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
    blocks = [block for block in blocks if block.code.strip()]
    found = [block for block in blocks if TAGS[language].fullmatch(block.tag)]
    found = found or [_told_within(block, language) for block in blocks if not block.tag]
    found = found or [block for block in blocks if block.tag in _NO_LANGUAGE]
    if not found:
        return None
    codes = [block.code for block in found if not block.quoted] or [block.code for block in found]
    chosen = max(codes, key=len) if how == "longest_fenced" else codes[0 if how == "first_fenced" else -1]
    return Program(chosen.removeprefix(_MARK), True)


def at_the_margin(code: str) -> str:
    """Return a program without the indentation that all of its lines have, as where only the fence is at the margin."""
    lines = code.split("\n")
    held = [line for line in lines if line.strip()] or [""]
    margin = held[0][: len(held[0]) - len(held[0].lstrip(" \t"))]
    if not margin or not all(line.startswith(margin) for line in held):
        return code
    return "\n".join(line.removeprefix(margin) for line in lines)


class Block(NamedTuple):
    """What stands in a fence."""

    tag: str
    """The word that names the language, in lower case; maybe empty."""
    code: str
    quoted: bool


class _Open(NamedTuple):
    """A block whose end is not found yet."""

    tag: str
    sign: str
    start: int
    """Where its content begins."""
    indent: int


def fenced_blocks(text: str, language: str) -> list[Block]:
    """Return each block, in order."""
    blocks: list[Block] = []
    for block in _blocks(text, language):
        inner = _blocks(block.code, language) if block.tag in _MARKDOWN else [block]
        blocks += [one._replace(quoted=one.quoted or block.quoted) for one in inner]
    return blocks


def _told_within(block: Block, language: str) -> Block:
    """Return a block without its first line, where that names the language and nothing else."""
    first, _, rest = block.code.lstrip().partition("\n")
    return block._replace(code=rest) if TAGS[language].fullmatch(first.strip().lower()) else block


def _marked(text: str) -> str:
    """Return what stands between marks in a text without fences; all of it where there are none."""
    for begin, end in _MARKS:
        at = f"\n{text}".rfind(f"\n{begin}")
        if at >= 0:
            return text[at + len(begin) :].partition(end)[0]
    return text


def _blocks(text: str, language: str, *, quoted: bool = False) -> list[Block]:
    blocks: list[Block] = []
    fences = list(_FENCE.finditer(text))
    opened: _Open | None = None
    read, closing, sought = 0, 0, 0
    for number, line in enumerate(fences):
        if line.start() < read or (opened is not None and number < closing):
            continue
        before, sign, words = line[1], line[2], line[3].strip()
        at_start = not before.strip()
        if opened is not None:
            end = _end(opened, line)
            if end is None:
                continue
            if (
                number > closing
                and sought < _MOST_SOUGHT
                and (begin := _open_text(text, opened, end, language))
            ):
                further = _outside(text, fences, number, opened, language, begin)
                sought += further is None
                if further is not None and further > number:
                    closing = further
                    continue
            blocks.append(Block(opened.tag, _dedent(text[opened.start : end], opened.indent), quoted))
            opened = None
            if not _names(words):
                continue
        if at_start:
            indent = len(before)
        elif not quoted and (inner := _unquoted(text, line)):
            blocks += _blocks(inner[0], language, quoted=True)
            read = inner[1]
            continue
        elif _opens_behind(before, words, language):
            indent = len(before) if _ITEM.fullmatch(before) else 0
        else:
            continue
        opened, closing = _Open(_tag(words), sign, line.end() + 1, indent), number
    if opened is not None:
        rest = _dedent(_STUMP.sub("\n", text[opened.start :]), opened.indent)
        blocks.append(Block(opened.tag, rest, quoted))
    return blocks


def _unquoted(text: str, line: re.Match[str]) -> tuple[str, int] | None:
    """Return the quote that goes on from the line of a fence, without its signs, and where it ends."""
    depth = line[1].count(">")
    if not _QUOTE.fullmatch(line[1]) or depth > _DEEPEST_QUOTE:
        return None
    signs = re.compile(rf"[ \t]*+(?:>[ \t]?+){{1,{depth}}}+")
    found: list[str] = []
    start = line.start()
    while start < len(text) and (quote := signs.match(text, start)):
        end = text.find("\n", start) + 1 or len(text)
        found.append(text[quote.end() : end])
        start = end
    return ("".join(found), start) if len(found) > 1 else None


def _open_text(text: str, opened: _Open, end: int, language: str) -> int | None:
    """Return where a string or comment begins that a block, if it ends there, does not close."""
    if opened.tag not in ("", *_NO_LANGUAGE) and not TAGS[language].fullmatch(opened.tag):
        return None
    found = _TEXTS[language].finditer(text, opened.start, end)
    return next((one.start() for one in found if one["open"]), None)


def _outside(
    text: str, fences: list[re.Match[str]], number: int, opened: _Open, language: str, begin: int
) -> int | None:
    """Return which fence behind the one with this number closes a block outside of any string or comment.

    None where none does: then the program is broken, and so it is where the first is that of an end and one of
    those behind it that of a beginning.

    Args:
        text: The response.
        fences: All of them.
        number: Of the fence that closes the block within a string or comment.
        opened: The block.
        language: What strings and comments look like.
        begin: Where that string or comment begins.
    """
    ends = not _names(fences[number][3].strip())
    found = _TEXTS[language].finditer(text, begin)
    start, stop = begin, begin
    for further in range(number, len(fences)):
        line = fences[further]
        end = _end(opened, line)
        if end is None:
            continue
        while stop <= end and (one := next(found, None)) is not None:
            if one["open"]:
                return None
            start, stop = one.span()
        if not start < end < stop:
            return further
        if ends and further > number and TAGS[language].fullmatch(_tag(line[3].strip())):
            return None
    return None


def _end(opened: _Open, line: re.Match[str]) -> int | None:
    """Return where a block ends, if it does at this fence."""
    before, sign, words = line[1], line[2], line[3].strip()
    if sign[0] != opened.sign[0] or len(sign) < len(opened.sign):
        return None
    if not before.strip():
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
