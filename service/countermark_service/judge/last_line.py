"""The last line of a judge's reply, without what models put around the one word that it must hold (rules 6).

Models write the word that they are asked for in Markdown, in a box, in a tag, in quotation marks, behind a
name ("Final verdict:") or before the mark that ends a turn. All of that is notation, and counts for nothing. Whatever
says something else stays, so that the line is no label any more: a second word, a negation before the
word (``not``, ``!``, ``≠``, a cross), a question mark, text struck out, and a block quotation that only the last
line is: it is what the judge quotes. What a judge is shown begins its lines with other names ("candidate answer:"),
so a judge that ends in an echo of that has given no verdict either.
"""

# ruff: noqa: RUF001 - the patterns name the very signs that they look for

import re

_TAIL = 20_000
"""Characters of a reply, from its end, that its last line is looked for in."""
_LONGEST = 400
"""Characters of a line that may hold a word and what stands around it; a longer one is prose."""
_LAYERS = 12
"""Layers of notation that are taken off."""

_END_OF_TURN = re.compile(r"(?:<\|[^<>|\n]{1,40}\|>|</s>|<eos>|<end_of_turn>)\Z")
_RULE = re.compile(r"\s*(?:-{3,}|\*{3,}|_{3,}|={3,})\s*")
"""A line that Markdown draws."""
_QUOTED = re.compile(r"[ \t]{0,3}>[ \t]?")
_FENCES = ("```", "```text", "```plaintext")
_AS_READ = {
    **{code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)},  # full width
    **dict.fromkeys(
        [0xAD, 0x200B, 0x200C, 0x200D, 0x200E, 0x200F, 0x2060, 0xFE0F, 0xFEFF]
    ),  # drawn as nothing
}

_MARKS = r"\s*_`\"'“”„‘’«»「」『』【】\[\]()$"
_BEFORE = re.compile(rf"\A(?:[{_MARKS}.{{]|#{{1,6}}\s|[-+•–—]\s|→|⇒|∴|[-=]{{1,2}}>|[✅✔☑]|\\[(\[])+")
_BEFORE_NUMBER = re.compile(rf"\A(?:[{_MARKS}{{]|#{{1,6}}\s|→|⇒|∴|[-=]{{1,2}}>|[✅✔☑]|\\[(\[])+")
"""Before a number a hyphen is its sign, and a point its own."""
_BEHIND = re.compile(rf"(?:[{_MARKS}.。]|\\[)\]])+\Z")
_BEHIND_WORD = re.compile(rf"(?:[{_MARKS}.。!]|\\[)\]])+\Z")
"""Behind a number, an exclamation mark is a factorial."""

_NOUNS = (
    "verdict|answer|label|judge?ment|result|conclusion|decision|classification|veredicto|veredito|respuesta|resposta"
    "|conclusión|conclusão|réponse|résultat|urteil|antwort|ergebnis|fazit|вердикт|ответ|вывод|итог|判定|判断|結論|结论"
    "|結果|结果|答案|판결|판정|결론|정답"
)
_SCORES = "score|rating|grade|puntuación|pontuação|bewertung|оценка|评分|分数|得分|점수"
_IN_TEX = re.compile(
    r"\A\\(?:boxed|fbox|emph|text(?:bf|it|rm|sf|tt)?|math(?:rm|bf|sf|tt)|underline)\s*\{(?P<inner>.*)\}\Z"
)


class _Names:
    """How what is looked for is introduced."""

    def __init__(self, nouns: str) -> None:
        self.introduced = re.compile(
            r"\A(?:(?:so|thus|therefore|hence|overall|finally|in conclusion),?\s+)?(?:(?:the|my)\s+)?"
            rf"(?:(?:final|overall|最终|最終|최종)\s*)?(?:{nouns}|(?<=final))"
            r"[\s*_\"'`]*(?:[:=]|\s[-–—]\s|(?<=\s)(?P<verb>is)\b:?)",
            re.IGNORECASE,
        )
        name = rf"(?P<name>(?:final_?)?(?:{nouns}))"
        self.tagged = re.compile(rf"\A<{name}>(?P<inner>.*)</(?P=name)>\Z", re.IGNORECASE)
        self.closing = re.compile(rf"\A</{name}>\Z", re.IGNORECASE)


_OF_LABELS, _OF_NUMBERS = _Names(_NOUNS), _Names(_SCORES)


def bare_label(reply: str) -> tuple[str, bool]:
    """Return the word of the last line, and whether a sentence says it ("the verdict is SAME").

    There the word must be written as the bundle writes it: "different" is a word of the language too.
    """
    return _bare(reply, _OF_LABELS, _BEFORE, _BEHIND_WORD)


def bare_number(reply: str) -> str:
    """Return the number of the last line as it is written, with its sign."""
    return _bare(reply, _OF_NUMBERS, _BEFORE_NUMBER, _BEHIND)[0]


def _bare(reply: str, names: _Names, before: re.Pattern[str], behind: re.Pattern[str]) -> tuple[str, bool]:
    line = _last(reply[-_TAIL:].translate(_AS_READ), names)
    told = False
    if len(line) > _LONGEST:
        return line, told
    for _ in range(_LAYERS):
        start, line = line, behind.sub("", before.sub("", line))
        framed = _IN_TEX.match(line) or names.tagged.match(line)
        if framed:
            line = framed["inner"]
        elif introduced := names.introduced.match(line):
            told, line = told or introduced["verb"] is not None, line[introduced.end() :]
        else:
            line = line.removesuffix("}")
        if line == start:
            break
    return line, told


def _last(text: str, names: _Names) -> str:
    """Return the last line that is more than drawn; of a fence or a tag over three lines, what stands inside."""
    for _ in range(_LAYERS):
        text = _END_OF_TURN.sub("", text.rstrip())
    lines = [line for line in text.replace("\r", "\n").split("\n") if line.strip()]
    while len(lines) > 1 and _RULE.fullmatch(lines[-1]):
        lines.pop()
    if all(_QUOTED.match(line) for line in lines):
        lines = [_QUOTED.sub("", line, count=1) for line in lines]
    if len(lines) == 3 and lines[0].strip().lower() in _FENCES and lines[2].strip() == _FENCES[0]:
        return lines[1]
    closing = names.closing.match(lines[-1].strip()) if len(lines) > 2 else None
    if closing and lines[-3].strip().lower() == f"<{closing['name']}>".lower():
        return lines[-2]
    return lines[-1] if lines else ""
