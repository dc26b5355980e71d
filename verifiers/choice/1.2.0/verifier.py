"""The letter of a multiple-choice answer, in all the ways that models write it.

What counts as equal: the response's final answer names one option, and it is the reference's. What is
ignored: case (unless declared), brackets, Markdown, LaTeX styling, full-width and circled forms, the text
behind the letter. What is not attempted: options that are not single letters, several right options,
arguments without a named result. The manifest's description has the rules in full.

What differs from 1.1.0: boxes joined by "or" or a comma, and letters joined by a Chinese word without spaces
(答案是A或B), are hedges; options listed in one line name no answer; "A would be right if ..." contradicts nothing; "I
don't think it is B" declares nothing; "C because (A) or (B) ..." is C; "that's B" and "I think B" at the end of a line,
"12 (Option B)", an arrow before a lone letter, and more languages count.

How it works: the response is rewritten into one plain notation (`_plain`), in which a LaTeX box is a pair of
control characters. Then four readings are tried, and the first that finds anything decides:

1. declarations ("the answer is ...", a box, a tag, a JSON key, "B is correct", "故选 B"): the last one in the
   text;
2. a line that is nothing but a letter: the last line, else the first;
3. the only line that opens with a label ("B) 12"), if it is the first or the last; or a first line "B,
   because ...";
4. the only letter that the last line marks ("so it must be (B).").

With option texts declared, the full text of an option answers wherever a letter would.

There is no `reduce`: reading the letter is all the work. Standard library only. Linear in the length of the
response: phrases are found by plain string search, the last `MAX_HITS` of each, and patterns see a bounded
window around them.
"""

# ruff: noqa: RUF001 - the phrases and the tables name the very characters that they read

from __future__ import annotations

import itertools
import re
from typing import Any, NamedTuple

DEFAULT_LETTERS = "ABCDEFGHIJ"
MAX_HITS = 200
"""Occurrences of each phrase that are looked at, counted from the end of the response."""

WINDOW = 160
"""Characters behind a phrase in which its letter must stand."""

MAX_SHOWN = 80
"""Characters of a text that a verdict's detail repeats."""


class Options(NamedTuple):
    """What may be answered."""

    letters: str
    """The letters, upper case."""
    texts: dict[str, str]
    """Option text, normalised, to its letters; two letters where two options read the same."""
    lower: bool
    """Lower-case letters count."""


class Found(NamedTuple):
    """One reading of the response."""

    letters: str
    """The letters named: one for an answer, more for a hedge."""
    how: str
    """Which rule found them."""


# ---- the verdict


def verify(item: dict[str, Any]) -> dict[str, Any]:
    """Score 1 when the response's final answer is the reference's option, else 0.

    Args:
        item: `response` (str), `reference` (a letter or an option's text), `params` as the manifest declares
        them.

    Returns:
        The verdict; `detail` has the letter and the rule that found it.
    """
    params = item.get("params") or {}
    options, problem = _options(params)
    if options is None:
        return _bad_reference("bad_choices", problem)
    expected = _reference_letter(item["reference"], options)
    if expected is None:
        shown = f"one of {options.letters}" + (" or the text of an option" if options.texts else "")
        return _bad_reference("not_an_option", f"the reference must be {shown}")
    found = _find(_plain(_final(item["response"], params)), options)
    if found is None:
        return _no_answer({"code": "no_letter", "message": "the response names no option as its answer"})
    if len(found.letters) > 1:
        message = "the response names several options as its answer"
        return _no_answer({"code": "several_letters", "message": message, "letters": found.letters})
    detail = {"answer": found.letters, "how": found.how}
    return {"outcome": "scored", "score": 1.0 if found.letters == expected else 0.0, "detail": detail}


def _final(response: str, params: dict[str, Any]) -> str:
    """Return the response without the reasoning that closes with a tag, and without end-of-turn tokens.

    Reasoning that is opened and never closed was cut off: what stands in it is no final answer.
    """
    if params.get("reasoning", "skip") == "skip":
        _, closed, rest = response.rpartition("</think>")
        response = rest if closed else response
        if response.lstrip().startswith("<think>"):
            return ""
    return response[:-MAX_END] + _END_TOKENS.sub("", response[-MAX_END:])


MAX_END = 400
"""Characters at the end of a response that are searched for end-of-turn tokens."""

_END_TOKENS = re.compile(
    r"(?:\s{0,8}(?:<\|[a-zA-Z_]{1,30}\|>|</s>|<eos>|<end_of_turn>|<｜[^<>｜]{1,40}｜>))+\s*\Z"
)


def _no_answer(detail: dict[str, Any]) -> dict[str, Any]:
    return {"outcome": "no_answer", "score": 0.0, "detail": detail}


def _bad_reference(code: str, message: str) -> dict[str, Any]:
    return {"outcome": "bad_reference", "score": None, "detail": {"code": code, "message": message}}


def _options(params: dict[str, Any]) -> tuple[Options | None, str]:
    """Return the declared options, or None and what is wrong with them."""
    choices = params.get("choices")
    letters = params.get("letters") or (
        DEFAULT_LETTERS if choices is None else "ABCDEFGHIJKLMNOPQRSTUVWXYZ"[: len(choices)]
    )
    if len(set(letters)) != len(letters) or (choices is not None and len(choices) != len(letters)):
        return None, "letters must be distinct, and as many as choices"
    texts: dict[str, str] = {}
    for letter, choice in zip(letters, choices or (), strict=False):
        text = _text_key(_plain(choice))
        texts[text] = texts.get(text, "") + letter
    texts.pop("", None)
    return Options(letters, texts, params.get("case", "any") == "any"), ""


def _reference_letter(reference: Any, options: Options) -> str | None:
    """Return the letter that a reference names, or None."""
    if not isinstance(reference, str) or len(reference) > 10_000:
        return None
    plain = _plain(reference)
    found = _REFERENCE.fullmatch(plain.strip())
    if found and found[1].upper() in options.letters:
        return found[1].upper()
    letters = options.texts.get(_text_key(plain), "")
    return letters if len(letters) == 1 else None


_REFERENCE = re.compile(r"\x02?[(\[]?([A-Za-z])[)\]]?[.:)]?\x03?")


# ---- one plain notation

BOX, END = "\x02", "\x03"  # around the content of a LaTeX box

_CHARACTERS: dict[int, str] = {
    **{0xFF01 + offset: chr(0x21 + offset) for offset in range(94)},  # full-width
    **{0x24B6 + n: f"({chr(65 + n)})" for n in range(26)},  # circled
    **{0x24D0 + n: f"({chr(97 + n)})" for n in range(26)},
    **{0x249C + n: f"({chr(97 + n)})" for n in range(26)},  # parenthesised
    **{start + n: f"({chr(65 + n)})" for start in (0x1F110, 0x1F130, 0x1F150, 0x1F170) for n in range(26)},
    **{0x1D400 + n: chr((65 if n % 52 < 26 else 71) + n % 52) for n in range(13 * 52)},  # mathematical
    0xFF08: " (",
    **dict.fromkeys(map(ord, "“”„«»「」『』"), '"'),
    **dict.fromkeys(map(ord, "‘’"), "'"),
    **dict.fromkeys(map(ord, "【〔〖"), "["),
    **dict.fromkeys(map(ord, "】〕〗"), "]"),
    **dict.fromkeys(map(ord, "\u200b\u200c\u200d\u2060\ufeff\u00ad\ufe0f"), ""),
    **dict.fromkeys([*range(9), 11, 12, *range(14, 32), 127], " "),
    ord("、"): ",", ord("。"): ".", ord("｡"): ".", 0x0130: "I",
}  # fmt: skip
_BOX_TOKEN = re.compile(r"\\(?:boxed|fbox)[ \t]{0,8}\{|\\.|[{}]", re.DOTALL)
_BARE_BOX = re.compile(r"\\(?:boxed|fbox) ?([A-Za-z])(?![A-Za-z])")
_DOUBLE = re.compile(r"\[\[ ?([A-Za-z]) ?\]\]")
_STYLE = (
    r"\\(?:text|textbf|textit|textrm|textsf|mathrm|mathbf|mathit|mathsf|mathbb|mathcal|boldsymbol|bm|"
    r"operatorname)"
)
_STYLED_LETTER = re.compile(_STYLE + r" ?\{ ?\(?([A-Za-z])(?:\)|\.|:)?\)? ?\}")
_BOLD_LETTER = re.compile(r"(?<![*_\w])(?:\*{1,3}|__)[(\[]?([A-Za-z])[)\].:]{0,2}(?:\*{1,3}|__)(?![*\w])")
_STRUCK = re.compile(r"~~[^~\n]{1,200}~~")
_DROPPED = re.compile(_STYLE + r"|\\(?:left|right|[()\[\]$ ,;:!]|quad|qquad|displaystyle)|[{}$*`]")
_SPACES = re.compile(r"[^\S\n]{2,}|[^\S\n ]")
_LINES = re.compile(r" ?\n[\n ]*")


def _plain(text: str) -> str:
    """Rewrite brackets, Markdown, LaTeX and Unicode letter forms; marked letters become ``(B)``."""
    text = text.replace("\r", "\n").translate(_CHARACTERS)
    text = _mark_boxes(_DOUBLE.sub(r"[\1]", _BARE_BOX.sub(r"\\boxed{\1}", text)))
    text = _BOLD_LETTER.sub(r"(\1)", _STYLED_LETTER.sub(r"(\1)", text))
    text = _DROPPED.sub("", _STRUCK.sub("", text))
    return _LINES.sub("\n", _SPACES.sub(" ", text)).strip()


def _mark_boxes(text: str) -> str:
    """Put `BOX` and `END` in the place of every complete box's braces, in one pass with a stack."""
    open_braces: list[tuple[int, int] | None] = []
    cuts: list[tuple[int, int, str]] = []
    for token in _BOX_TOKEN.finditer(text):
        brace = token.group()
        if brace == "}":
            if open_braces and (box := open_braces.pop()):
                cuts += [(*box, BOX), (*token.span(), END)]
        elif brace == "{":
            open_braces.append(None)
        elif brace.endswith("{") and brace != "\\{":
            open_braces.append(token.span())
    pieces, done = [], 0
    for start, end, mark in sorted(cuts):
        pieces += [text[done:start], mark]
        done = end
    return "".join([*pieces, text[done:]])


def _text_key(text: str) -> str:
    """Return a text as it is compared: case and white space folded, no punctuation at the ends."""
    return " ".join(text.casefold().split()).strip(" .,;:!?\"'()[]\x02\x03")


# ---- one letter, and what stands behind it

_LATIN = "A-Za-z\u00c0-\u024f"
_UNIT = re.compile(r"\( ?([A-Za-z]) ?\)|\[ ?\"?([A-Za-z])\"? ?\]|([A-Za-z])")
_PART_OF_SOMETHING = re.compile(
    rf"[{_LATIN}0-9_]|'[{_LATIN}]|-[{_LATIN}]|\.[A-Za-z]\.|\(| ?[=^+#]|[)\].\"' ]{{0,3}}\?"
)
_WORD = re.compile(rf" [{_LATIN}]")
_GOES_ON = re.compile(
    r" (?:is|because|since|as|with|or|and|not|but|for|which|due|from|by|given|rather|instead|seems|"
    r"ist|weil|da|oder|und|nicht|est|car|parce|ou|et|puisque|es|porque|ya|pues|o|y|perché|perche)\b",
    re.IGNORECASE,
)
_CLOSING = re.compile(r"[)\]\"'.:\x03]{0,4}")
_RUN_OF_LETTERS = re.compile(r"([A-Z]{2,6})(?![A-Za-z0-9_'-])")
_HEDGE = re.compile(
    r" ?(?:,? ?(?:(?:and/or|or|and|oder|und|ou|et|o|u|y|e|hoặc|và)(?![A-Za-z])|或者|或是|或|和|与|及|또는|と|か)"
    r"|[,/&|])"
    r"(?: (?:maybe|possibly|perhaps|also|option|choice|even|letter|eventually))? ?\"?",
    re.IGNORECASE,
)
_ASIDE = re.compile(r"\b(?:since|because|unlike|not|than|whereas|while|neither|instead of)\b", re.IGNORECASE)
_LATER_HEDGE = re.compile(r"(?:\b(?:or|oder|ou)|或) ?(?:option )?(?:\(([A-Z])\)|([A-Z])\))")


def _unit(text: str, at: int, options: Options) -> tuple[str, int] | None:
    """Return the letter that stands at `at` and the place behind it, or None.

    A bare letter must stand alone; a bare A, I or lower-case letter before a word is taken for a word itself,
    unless that word continues an answer ("A because"): this is what keeps the article and the pronoun out.
    """
    found = _UNIT.match(text, at)
    if not found:
        return None
    letter = found[1] or found[2] or found[3]
    if letter.upper() not in options.letters or (letter.islower() and not options.lower):
        return None
    end = found.end()
    if found[3]:
        before = text[at - 1 : at]
        if before.isascii() and (before.isalnum() or before == "_"):
            return None
        if _PART_OF_SOMETHING.match(text, end):
            return None
        if (letter.islower() or letter in "AI") and _WORD.match(text, end) and not _GOES_ON.match(text, end):
            return None
    elif re.match(r"[A-Za-z0-9_]| ?\?", text[end : end + 2]):
        return None
    return letter.upper(), end


def _named(text: str, at: int, options: Options) -> str:
    """Return the letters that the text names from `at` on: one, several for a hedge, none."""
    run = _RUN_OF_LETTERS.match(text, at)
    if run and set(run[1]) <= set(options.letters) and list(run[1]) == sorted(set(run[1])):
        return run[1]
    first = _unit(text, at, options)
    if first is None:
        return ""
    letters, end = first
    while True:
        behind = _CLOSING.match(text, end)
        joint = _HEDGE.match(text, behind.end() if behind else end)
        more = _unit(text, joint.end(), options) if joint else None
        if more is None:
            break
        letters, end = letters + more[0], more[1]
    line = _ASIDE.split(text[end : end + 100].partition("\n")[0], maxsplit=1)[0]
    letters += "".join(a or b for a, b in _LATER_HEDGE.findall(line) if (a or b) in options.letters)
    return "".join(sorted(set(letters)))


# ---- 1: declarations

_NOUNS = (
    "answer", "ans", "letter", "choice", "option", "selection", "solution", "guess", "antwort", "lösung",
    "réponse", "reponse", "choix", "ответ",
    "respuesta", "opción", "opcion", "resposta", "risposta", "alternativa", "opção", "đáp án", "câu trả lời",
    "antwoord", "odpowiedź", "cevap", "svar", "svaret", "jawaban", "उत्तर", "الإجابة", "الجواب",
)  # fmt: skip
_NOUN = re.compile(
    rf"(?:{'|'.join(_NOUNS)})s?(?:_[a-z]{{2,10}})?[\"']?"
    r"(?: (?:choice|option|letter|key|here|then|(?:to|for) (?:this|the|that)(?: (?:question|problem))?"
    r"(?: [0-9]{1,4})?|(?:to|for) (?:question|problem) [0-9]{1,4}|i (?:choose|chose|"
    r"pick|select)|"
    r"i would (?:choose|pick|select)|that (?:best )?(?:fits|matches)(?: best)?|correcte|finale|exacte|correcta|final|"
    r"correta|"
    r"corretta|esatta|đúng|đúng nhất|chính xác|yang benar|الصحيحة|الصحيح|poprawna)| \([^()\n]{0,30}\)){0,3}"
    r"(?: ?[:=]| ?-{1,2}>| [-–—] | ?[→⇒]| (?:is|was|would be|should be|must be|has to be|will be|ist|"
    r"lautet|wäre|est|serait|"
    r"es|sería|é|è|là|adalah|är|er|है|هي|هو)(?![\w'])|(?<=\bans)\.)",
    re.IGNORECASE,
)
_BEST = re.compile(
    r"(?:correct|right|best|final|true|appropriate|richtige|korrekte|bonne|correcta|正确|正確|最终|最佳) ?"
    r"(?:answer|choice|option|one|letter|statement|response|alternative|antwort|réponse|选项|選項|答案)"
    r"(?: (?:is|would be|should be|must be)\b)? ?[:是为為]?"
    r"|(?:correct|richtig) ?:|richtig ist\b",
    re.IGNORECASE,
)
_CHINESE = re.compile(
    r"(?:答案|正解|答え)\]?(?:应该|應該|应|应当|就)?[是为為选選:は ]{0,4}|(?:选|選)(?![项項])[择擇]? ?:?|答 ?:"
    r"|(?:정답|답)(?:은|는|이)? ?:? ?"
)
_TAKE = re.compile(
    r"(?:choose|chose|pick|select|go(?:ing)? with|go(?:ing)? for|opt for|settle on) ?:?", re.IGNORECASE
)
_TAGS = ("answer", "ans", "final_answer", "final", "choice", "option", "letter")
_SIGNS = re.compile(rf"####|<(?:{'|'.join(_TAGS)})>|\[answer\]|\x02", re.IGNORECASE)
_IT = re.compile(
    r"(?:it's|it is|it must be|it has to be|it should be|it would be|that's|that is|that would be|that must be"
    r"|looks like|i think|i believe|i'd say|definitely|clearly)(?: (?:clearly|definitely|probably|likely))?"
    r"(?: (?:option|choice|letter))? ",
    re.IGNORECASE,
)
_SO = re.compile(
    r"(?:therefore|thus|hence|so)[,:]? (?:it is |it's |it must be |it has to be |option |choice )?",
    re.IGNORECASE,
)
_DECLARATIONS = (
    *((noun, _NOUN) for noun in _NOUNS),
    *(
        (word, _BEST)
        for word in ("correct", "right", "best", "final", "true", "appropriate", "richtige", "korrekte")
    ),
    ("richtig", _BEST),
    *((word, _BEST) for word in ("bonne", "正确", "正確", "最终", "最佳")),
    *((word, _CHINESE) for word in ("答案", "正解", "答え", "选", "選", "答", "정답", "답")),
    *(
        (word, _TAKE)
        for word in ("choose", "chose", "pick", "select", "go with", "going with", "go for", "going for")
    ),
    *((word, _TAKE) for word in ("opt for", "settle on")),
    *((sign, _SIGNS) for sign in ("####", "[answer]", BOX, *(f"<{tag}>" for tag in _TAGS))),
    *((word, _IT) for word in ("it's", "it is", "it must be", "it has to be", "it should be", "it would be")),
    *(
        (word, _IT)
        for word in ("that's", "that is", "that would be", "that must be", "looks like", "i think")
    ),
    *((word, _IT) for word in ("i believe", "i'd say", "definitely", "clearly")),
    *((word, _SO) for word in ("therefore", "thus", "hence", "so")),
)
_SUPPOSED = re.compile(
    r"\b(?:if|whether|suppose|assume|assuming|unless|neither|nor|not|why|wenn|si)(?: (?:that|the|my|"
    r"correct|right|la))*"
    r"(?: final)? ?\Z"
    r"|(?:n't|not|never|hardly) (?:think|believe|say|know|agree|suppose)(?: that)?"
    r"(?: (?:the|my|correct|right|best|final))* ?\Z|不应?该?能?可?要?\Z|未\Z",
    re.IGNORECASE,
)
_SPEAKER = re.compile(
    r"\b(?:I|we|let's|let us)(?:'d|'ll|'m)?(?: (?:would|will|should|must|therefore|thus|have to|am|are|can|"
    r"so)){0,3} \Z",
    re.IGNORECASE,
)
_FILLER = re.compile(
    r"(?:[ \n\"':=>,\x02\x03\-–—→]|\[(?=[\"'])|<(?=[A-Za-z]>)|(?:option|choice|letter|answer|response|the|it is|it's|"
    r"likely|probably|"
    r"most|definitely|clearly|certainly|therefore|thus|hence|simply|indeed|actually|obviously|either|both|"
    r"between|"
    r"i think|i believe|is|die|der|das|buchstabe|antwort|also|la|le|el|lettre|letra|lettera|opción|opcion|"
    r"réponse|"
    r"a letra|a opção|a alternativa|a opción|alternativa|opção|lettera|l'opzione|"
    r"respuesta|donc|l'option|选项|選項|选|選|是|为|為)(?![A-Za-z])){0,12}",
    re.IGNORECASE,
)
_NOT = re.compile(r"(?:not|nicht|pas|no es|no|不是|不)(?![A-Za-z]) ?", re.IGNORECASE)
_NOT_BEHIND = re.compile(r"[^\n.A-Za-z]{0,4}(?:아니|아닌|아닙|ではな|ではあ|でない|じゃな|नहीं|değil)")
_BUT = re.compile(
    r"[,;]? ?(?:but|sondern|mais|sino|而是|rather|it is|it's)(?![A-Za-z]) ?(?:rather |option )?",
    re.IGNORECASE,
)

_VERDICT_WORDS = (
    "correct",
    "right",
    "best",
    "the answer",
    "richtig",
    "korrekt",
    "正确",
    "正確",
    "the only",
    "juste",
)
_VERDICT = re.compile(
    r"(?P<unit>\([A-Z]\)|(?<![A-Za-z0-9_'])[A-Z])(?:[)\"']{0,2}(?: (?:option|choice))?"
    r" (?:is|must be|has to be|would be|ist|wäre|est|es) (?:clearly |therefore |also |indeed |donc )?"
    r"(?:the |an? |die |der |la |le )?(?:most |only |one )?)\Z"
)
_CHINESE_VERDICT = re.compile(r"(?P<unit>\([A-Z]\)|(?<![A-Za-z0-9_'])[A-Z]) ?(?:项|項|选项|選項)?是?\Z")
_JOINED = re.compile(r"\(?([A-Z])\)? ?(?:or|and|,|/|oder|und|ou|et|或|和) ?\Z")
_JOINED_BOX = re.compile(
    r"\x02([^\x02\x03]{1,30})\x03[ \n]{0,2}"
    r"(?:,? ?(?:and/or|or|and|oder|und|ou|et|o|y|或者|或|和|与|及)|[,;/&|])[ \n]{0,2}\Z",
    re.IGNORECASE,
)
_LINE_END = re.compile(
    r"[).!\"'\]\x03]{0,3}(?:,? (?:and )?not (?:option )?(?:\([A-Z]\)|[A-Z])[).!]{0,2})? ?(?:\n|\Z)"
)


def _find(text: str, options: Options) -> Found | None:
    """Try the readings in their order."""
    return (
        _declared(text, options)
        or _whole_text(text, options)
        or _lone_letter(text, options)
        or _label(text, options)
        or _marked_in_last_line(text, options)
    )


def _declared(text: str, options: Options) -> Found | None:
    """Return what the last declaration names, or what a later judgement ("B is correct") puts against it."""
    lower = text.lower()
    phrases = sorted(
        {(at, pattern) for word, pattern in _DECLARATIONS for at in _last_places(lower, word)},
        key=lambda hit: hit[0],
        reverse=True,
    )
    declared, declared_at = "", -1
    for at, pattern in phrases:
        if declared := _declared_at(text, at, pattern, options):
            declared_at = at
            break
    verdicts = (at for word in _VERDICT_WORDS for at in _last_places(lower, word) if at > declared_at)
    judged = {letter for at in verdicts for letter in _judged(text, at, options, contradicts=bool(declared))}
    if declared and (len(judged) != 1 or set(declared) <= judged):  # several judged right: all of the above
        return Found(declared, "declared")
    return Found("".join(sorted(judged)), "judged correct") if judged else None


def _last_places(text: str, word: str) -> list[int]:
    """Return where `word` begins, the last `MAX_HITS` places."""
    places: list[int] = []
    at = text.rfind(word)
    while at >= 0 and len(places) < MAX_HITS:
        places.append(at)
        at = text.rfind(word, 0, at)
    return places


def _declared_at(text: str, at: int, pattern: re.Pattern[str], options: Options) -> str:
    """Return the letters that the phrase at `at` declares, or nothing."""
    phrase = pattern.match(text, at)
    before = text[max(0, at - 40) : at]
    if not phrase or _SUPPOSED.search(before) or (pattern is _TAKE and not _SPEAKER.search(before)):
        return ""
    if pattern in (_NOUN, _BEST, _TAKE, _SO, _IT) and before[-1:].isascii() and before[-1:].isalpha():
        return ""
    behind = text[phrase.end() : phrase.end() + WINDOW]
    if options.texts and (letters := _option_text(behind, options)):
        return letters
    filler = _FILLER.match(behind)
    start = filler.end() if filler else 0
    denied = _NOT.match(behind, start)
    if denied:
        wrong = _unit(behind, denied.end(), options)
        instead = _BUT.match(behind, wrong[1]) if wrong else None
        if not instead:
            return ""
        start = instead.end()
    if pattern in (_SO, _IT):
        one = _unit(behind, start, options)
        return one[0] if one and _LINE_END.match(behind, one[1]) else ""
    letters = "" if _denied_behind(behind, start, options) else _named(behind, start, options)
    other = _JOINED_BOX.search(before) if letters and phrase[0] == BOX else None
    return "".join(sorted({*letters, *_named(other[1].lstrip(), 0, options)})) if other else letters


def _denied_behind(behind: str, start: int, options: Options) -> bool:
    """Tell whether the letter at `start` is denied by a word behind it, as some languages do."""
    one = _unit(behind, start, options)
    return one is not None and _NOT_BEHIND.match(behind, one[1]) is not None


def _option_text(behind: str, options: Options) -> str:
    """Return the letters of the option whose full text stands behind a phrase, as its line or field."""
    line = re.split(r"[\n\x03]|</answer>", behind.lstrip(" \n:\"'\x02"), maxsplit=1)[0]
    for candidate in (line, line.partition('"')[0], line.partition(". ")[0]):
        letters = options.texts.get(_text_key(candidate), "")
        if letters:
            return letters
    return ""


def _judged(text: str, at: int, options: Options, *, contradicts: bool) -> str:
    """Return the letters that the text judges right at `at` ("B is correct"), or nothing.

    What would be right is no judgement where it `contradicts` a declaration.
    """
    window = text[max(0, at - 60) : at]
    found = (_VERDICT if text[at].isascii() else _CHINESE_VERDICT).search(window)
    if not found or _SUPPOSED.search(window[: found.start()]):
        return ""
    if contradicts and re.search("would be|wäre", found[0]):
        return ""
    letter = found["unit"].strip("()")
    if letter not in options.letters or "?" in text[at : at + 30].partition(".")[0]:
        return ""
    joined = _JOINED.search(window[: found.start()])
    return letter + (joined[1] if joined and joined[1] in options.letters else "")


# ---- 2 to 4: lines


_PREFIX = (
    r"(?:(?:=>|[-•>#→⇒]{1,4}) ?)?"
    r"(?:(?:option|choice|answer|letter|choix|opción|antwort|réponse|选项|選項|选|選) ?)?"
)
_LONE = re.compile(
    _PREFIX + r"[\"'</|\x02]?(?:\( ?([A-Za-z]) ?\)|\[ ?([A-Za-z]) ?\]|(?<![A-Za-z])([A-Za-z]))"
    r"[)\]>.:,;!/|\"'\x03]{0,3}",
    re.IGNORECASE,
)
_PREFIXED = re.compile(_PREFIX, re.IGNORECASE)
_LABEL = re.compile(
    _PREFIX + r"(?:\(([A-Za-z])\)|\[([A-Za-z])\]|([A-Za-z])(?:[).:]| [-–—])) ?\S", re.IGNORECASE
)
_REASON = re.compile(r"(?:\(([A-Z])\)|()([A-Z])),? (?:because|since|weil|parce|porque|因为)")
MAX_LABELLED_LINES = 1_000
"""Lines among which the only label is looked for."""


def _letter_of(found: re.Match[str] | None, options: Options) -> str:
    letter = (found[1] or found[2] or found[3]) if found else ""
    return letter.upper() if letter.upper() in options.letters and (options.lower or letter.isupper()) else ""


def _edges(text: str) -> tuple[str, str]:
    """Return the first and the last line, each cut to its first 1000 characters."""
    first, last = text.partition("\n")[0], text.rpartition("\n")[2]
    return first[:1000], last[:1000]


def _whole_text(text: str, options: Options) -> Found | None:
    """Read an option's full text as the whole response, or as its last line."""
    for candidate in (text, _edges(text)[1]):
        letters = (
            options.texts.get(_text_key(candidate), "") if options.texts and len(candidate) < 10_000 else ""
        )
        if letters:
            return Found(letters, "option text")
    return None


def _lone_letter(text: str, options: Options) -> Found | None:
    """Read a last or first line that is nothing but a letter; nothing but lines of different letters is a hedge."""
    first, last = _edges(text)
    lines = text.split("\n", MAX_LABELLED_LINES)
    if 1 < len(lines) <= MAX_LABELLED_LINES:
        listed = [_letter_of(_LONE.fullmatch(line[:1000]), options) for line in lines]
        if all(listed) and len(set(listed)) > 1:
            return Found("".join(sorted(set(listed))), "listed letters")
    letter = _letter_of(_LONE.fullmatch(last), options) or _letter_of(_LONE.fullmatch(first), options)
    return Found(letter, "lone letter") if letter else None


def _label(text: str, options: Options) -> Found | None:
    """Read the only label of the response, at its first or last line; or the reason that opens it."""
    first, last = _edges(text)
    labelled = {_letter_of(_LABEL.match(line), options) for line in text.split("\n", MAX_LABELLED_LINES)} - {
        ""
    }
    letter = _letter_of(_LABEL.match(last), options) or _letter_of(_LABEL.match(first), options)
    if letter and labelled == {letter}:
        line = first if _LABEL.match(first) else last
        if _LATER_HEDGE.search(line) or _lists_options(line):
            return None
        prefix = _PREFIXED.match(line)
        named = _named(line[:WINDOW], prefix.end() if prefix else 0, options)
        return Found(named if len(named) > 1 else letter, "label")
    letter = _letter_of(_REASON.match(first), options)
    return Found(letter, "reason") if letter else None


_LISTED = re.compile(r"(?<![A-Za-z0-9.])\(?([A-Z])[).:](?= ?\S)")


def _lists_options(line: str) -> bool:
    """Tell whether a line lists options ("(A) 1 (B) 2") rather than answering with the one it begins with."""
    listed = [found[1] for found in _LISTED.finditer(line)]
    follow = all(ord(after) == ord(before) + 1 for before, after in itertools.pairwise(listed))
    return (
        len(listed) > 1 and follow and (len(listed) > 2 or not (_ASIDE.search(line) or _DOUBT.search(line)))
    )


_MENTION = re.compile(
    r"\((?:(?:Option|Choice|Answer|option|choice|answer):? )?([A-Z])\)"
    r"|\b(?:option|choice) ([A-Z])\b|选项 ?([A-Z])(?![A-Za-z])"
)
_DOUBT = re.compile(
    r"\b(?:not|isn't|cannot|can't|wrong|incorrect|false|neither|nor|except|eliminated?|exclude[sd]?|"
    r"rul(?:e|ed|ing) out|reject(?:ed)?|discard(?:ed)?|dismiss(?:ed)?|"
    r"unlikely|nicht|falsch|"
    r"pas|incorrecta?)\b|n't\b|[错錯误誤不非]|\?",
    re.IGNORECASE,
)


def _marked_in_last_line(text: str, options: Options) -> Found | None:
    """Read the only letter that the last line marks, when nothing in that line denies it."""
    last = _edges(text)[1]
    letters = {letter for found in _MENTION.finditer(last) if (letter := found[1] or found[2] or found[3])}
    if not letters <= set(options.letters) or not letters or _DOUBT.search(last):
        return None
    return Found("".join(sorted(letters)), "marked in the last line")
