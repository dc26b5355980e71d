"""The letter of a multiple-choice answer, in all the ways that models write it.

What counts as equal: the response's final answer names one option, and it is the reference's. What is
ignored: case (unless declared), brackets, Markdown, LaTeX styling, full-width and circled forms, the text
behind the letter. What is not attempted: options that are not single letters, several right options,
arguments without a named result. The manifest's description has the rules in full.

What differs from 1.2.0: two boxes, tags, JSON keys or sentences in the same words that stand side by side and
name different letters are a hedge. So are letters side by side ("(B)(C)", "B C", "B; C"), letters joined by a
word of more languages, and what is also right ("C is also correct", "could also be C"). "(B) is incorrect" names
nothing, nor does an answer that is taken back ("no, that is wrong"). "no wait, B", "Correction: B" and their like
count. "B would be right if" judges nothing. A space command behind a letter is a space: `\\boxed{\\textbf{(B)}\\
12}` counts wherever it stands. A letter before its own option text or behind it ("A. B" where A reads B) is that
letter. More languages, more signs before a lone letter and more words before one at the end of a line count.

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
_DROPPED = re.compile(_STYLE + r"|\\(?:left|right|[()\[\]$!]|displaystyle)|[{}$*`]")
_SPACING = re.compile(r"\\(?:[ ,;:]|q?quad(?![A-Za-z]))")
_SPACES = re.compile(r"[^\S\n]{2,}|[^\S\n ]")
_LINES = re.compile(r" ?\n[\n ]*")


def _plain(text: str) -> str:
    """Rewrite brackets, Markdown, LaTeX and Unicode letter forms; marked letters become ``(B)``."""
    text = text.replace("\r", "\n").translate(_CHARACTERS)
    text = _mark_boxes(_DOUBLE.sub(r"[\1]", _BARE_BOX.sub(r"\\boxed{\1}", text)))
    text = _BOLD_LETTER.sub(r"(\1)", _STYLED_LETTER.sub(r"(\1)", text))
    text = _DROPPED.sub("", _SPACING.sub(" ", _STRUCK.sub("", text)))
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
_JOINT = (
    r"(?:and/or|or|and|as well as|along with|plus|oder|und|ou|et|o|u|y|e|of|en|hoặc|và|atau|dan|lub|albo|oraz|"
    r"veya|ya da|ve|eller|och|tai|ja|nebo|sau|vagy|és)(?![A-Za-z])"
    r"|(?:или|либо|и|або|ή|και|या|अथवा|और|বা|এবং|أو|او|یا|و|או)(?!\w)|หรือ|และ"
    r"|或者|或是|或|和|与|與|及|와|과|이나|또는|혹은|または|もしくは|あるいは|と|か|や"
)
"""Words that join two letters to a hedge."""
_HEDGE = re.compile(
    rf" ?(?:,? ?(?:{_JOINT})|[,;/&|])(?: (?:maybe|possibly|perhaps|also|option|choice|even|letter|eventually))? ?\"?",
    re.IGNORECASE,
)
_ASIDE = re.compile(r"\b(?:since|because|unlike|not|than|whereas|while|neither|instead of)\b", re.IGNORECASE)
_CLAUSE = re.compile(r"[)\]\"']{0,2} (?:is|was|would|could|can|has|ist|est|es|does)\b")
"""Behind a letter: a new sentence about it begins."""
_LATER_HEDGE = re.compile(
    r"(?:\b(?:or|oder|ou)|或) ?(?:option )?(?:\(([A-Z])\)|([A-Z])\))"
    r"|\b(?:(?:could|might|may|can) (?:also|as well) be|alternatively|or (?:maybe|possibly|perhaps)),? "
    r"(?:option )?\(?([A-Z])(?=[).,;!\"']{0,3}(?: ?$| [(]| and\b| or\b))",
    re.IGNORECASE,
)
_SIDE_BY_SIDE = re.compile(
    r"(?:(?<=[)\]])(?: ?(?:\([A-Z]\)|\[[A-Z]\]))+|(?<=[A-Z])(?: [A-Z])+)(?=[.!\"'\x03]{0,3} ?(?:\n|\Z|<))"
    r"|(?:\n\(?[A-Z]\)?){1,26}(?=\n?(?:</|\x03))"
)
"""Letters in the same form right behind a letter, up to the end of the line or field."""


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
        if more is None or (joint and joint[0].strip() in (",", ";") and _CLAUSE.match(text, more[1])):
            break
        letters, end = letters + more[0], more[1]
    line = _ASIDE.split(text[end : end + 100].partition("\n")[0], maxsplit=1)[0]
    later = ["".join(found) for found in _LATER_HEDGE.findall(line)]
    if beside := _SIDE_BY_SIDE.match(text, end):
        later += re.findall("[A-Z]", beside[0])
    letters += "".join(letter for letter in later if letter in options.letters)
    return "".join(sorted(set(letters)))


# ---- 1: declarations

_NOUNS = (
    "answer", "ans", "letter", "choice", "option", "selection", "solution", "guess", "antwort", "lösung",
    "réponse", "reponse", "choix", "ответ",
    "respuesta", "opción", "opcion", "resposta", "risposta", "alternativa", "opção", "đáp án", "câu trả lời",
    "antwoord", "odpowiedź", "cevap", "svar", "svaret", "jawaban", "jawabannya", "उत्तर",
    "सही विकल्प", "الإجابة", "الجواب",
    "gabarito", "letra", "lettera",
    "opzione", "optie", "opcja", "pilihan", "вариант", "відповідь", "απάντηση", "vastaus", "vaihtoehto", "odpověď",
    "răspuns", "răspunsul", "válasz", "jibu", "উত্তর", "پاسخ", "התשובה",
)  # fmt: skip
_NOUN = re.compile(
    rf"(?:{'|'.join(_NOUNS)})s?(?:_[a-z]{{2,10}})?[\"']?"
    r"(?: (?:choice|option|letter|key|here|then|(?:to|for) (?:this|the|that)(?: (?:question|problem))?"
    r"(?: [0-9]{1,4})?|(?:to|for) (?:question|problem) [0-9]{1,4}|i (?:choose|chose|"
    r"pick|select)|"
    r"i would (?:choose|pick|select)|that (?:best )?(?:fits|matches)(?: best)?|correcte|finale|exacte|correcta|final|"
    r"correta|"
    r"corretta|esatta|đúng|đúng nhất|chính xác|yang benar|yang tepat|الصحيحة|الصحيح|poprawna|corect|הנכונה|"
    r"i would give|(?:you|we) are looking for)| \([^()\n]{0,30}\)){0,3}"
    r"(?:, (?:of course|in my opinion|in this case|then),)?(?: ?[✅✔])?"
    r"(?: ?[:=]| ?-{1,2}>| [-–—] | ?[→⇒]| (?:is|was|would be|should be|must be|has to be|will be|ist|"
    r"lautet|wäre|est|serait|"
    r"es|sería|é(?: (?-i:a(?= \(?[A-Z]\b)))?|è|là|adalah|är|er|है|هي|هو|είναι|היא|הוא)(?![\w'])"
    r"|(?<=\bans)\.|(?<=\bcevap)(?= \(?[A-Z]\b)|(?:(?<=उत्तर)|(?<=सही विकल्प))(?= \(?[A-Z]\b))",
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
    r"(?:答案|正解|答え|正しい(?:選択肢|もの)|正确的?(?:选项|答案)|正確的?(?:選項|答案))\]?"
    r"(?:应该|應該|應该|应当|應當|应|應|就)?[是为為选選:は「 ]{0,4}|(?:选|選)(?![项項])[择擇]? ?:?|答 ?:"
    r"|(?:คำตอบ(?:ที่ถูกต้อง)?(?:คือ)?|ตอบ) ?(?:ข้อ)? ?:? ?|chọn(?: đáp án)? ?:? "
    r"|(?:정답|답)(?:은|는|이)? ?:? ?",
    re.IGNORECASE,
)
_TAKE = re.compile(
    r"(?:choose|chose|pick|select|go(?:ing)? with|go(?:ing)? for|opt for|settle on) ?:?", re.IGNORECASE
)
_TAGS = (
    "answer", "ans", "final_answer", "correct_answer", "final", "choice", "option", "letter", "response", "result",
)  # fmt: skip
_SIGNS = re.compile(rf"####|<(?:{'|'.join(_TAGS)})>|\[answer\]|\x02", re.IGNORECASE)
_IT = re.compile(
    r"(?:it's|it is|it must be|it has to be|it should be|it would be|that's|that is|that would be|that must be"
    r"|looks like|i think|i believe|i'd say|definitely|clearly)(?: (?:clearly|definitely|probably|likely))?"
    r"(?: (?:option|choice|letter))? ",
    re.IGNORECASE,
)
_SO_WORDS = (
    "therefore", "thus", "hence", "so", "ergo", "probably", "most likely", "elimination", "this leaves", "that leaves",
    "result is", "result:", "conclusion is", "conclusion:", "verdict is", "verdict:", "diagnosis is", "diagnosis:",
    "match is", "exception is", "odd one out is", "final:",
    "leaving", "left with", "leaves us with", "i would answer", "i'd answer", "i answer", "somit", "folglich",
    "ich wähle", "donc", "je choisis", "s'agit de la réponse", "s'agit de", "elijo", "escolho", "portanto", "scelgo",
    "quindi",
    "выбираю", "wybieram", "odpowiedź to", "odpowiedzią jest", "opcja to", "vastaus on", "vaihtoehto on",
    "odpověď je", "corect este", "răspunsul este", "jag väljer", "saya memilih",
)  # fmt: skip
_SO = re.compile(
    rf"(?:{'|'.join(_SO_WORDS)})[,:]? (?:only )?"
    r"(?:it is |it's |it must be |it has to be |option |choice |answer |la |l'option )?",
    re.IGNORECASE,
)
_INSTEAD_WORDS = (
    "no wait", "no, wait", "wait, no", "wait no", "correction", "scratch that", "i meant", "i mean", "or rather",
    "make that",
)  # fmt: skip
_INSTEAD = re.compile(
    rf"(?:{'|'.join(_INSTEAD_WORDS)})[,:;.… -]{{0,4}}(?:it's |it is |the answer is |option |choice )?",
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
    *(
        (word, _CHINESE)
        for word in ("答案", "正解", "答え", "选", "選", "答", "정답", "답", "正しい", "正确的", "正確的")
    ),
    *((word, _CHINESE) for word in ("คำตอบ", "ตอบ", "chọn")),
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
    *((word, _SO) for word in _SO_WORDS),
    *((word, _INSTEAD) for word in _INSTEAD_WORDS),
)
_SUPPOSED = re.compile(
    r"\b(?:if|whether|suppose|assume|assuming|unless|neither|nor|not|why|wenn|si)(?: (?:that|the|my|"
    r"correct|right|la))*"
    r"(?: final)? ?\Z"
    r"|(?:(?:n't|not|never|hardly) (?:think|believe|say|know|agree|suppose)|doubt|(?:false|untrue|unlikely|not true)"
    r"|(?:wrong|mistake(?: is| would be)?|error(?: is| would be)?|tempting|incorrect)"
    r" to (?:say|think|assume|believe|conclude|choose)"
    r"|(?:some|one|you|many|people|others|they) (?:might|may|could|would)"
    r" (?:say|think|assume|believe|argue|guess|claim))(?: that)?"
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
_NOT = re.compile(r"(?:(?:not|nicht|pas|no es|no)(?![A-Za-z])|不是|不) ?", re.IGNORECASE)
_NOT_BEHIND = re.compile(
    r"[^\n.A-Za-z]{0,4}(?:아니|아닌|아닙|ではな|ではあ|でない|じゃな|नहीं|गलत|değil|yanlış)"
)
_TAKEN_BACK = re.compile(
    r"[)\]\"'.\x03]{0,3},? ?[—–-]{0,2} ?(?:(?:but )?(?:wait|hmm|actually|oh)[,.]? )?no[,.]? (?:wait[,.]? )?"
    r"(?:that's|that is|this is|that was) (?:clearly |obviously |just )?"
    r"(?:wrong|incorrect|not (?:right|correct|it)|a mistake|an error)\b",
    re.IGNORECASE,
)
_BUT = re.compile(
    r"[,;]? ?(?:(?:but|sondern|mais|sino|rather|it is|it's)(?![A-Za-z])|而是) ?(?:rather |option )?",
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
    "正解",
    "정답",
)
_VERDICT = re.compile(
    r"(?P<unit>\([A-Z]\)|(?<![A-Za-z0-9_'])[A-Z])(?:[)\"']{0,2}(?: (?:option|choice))?"
    r" (?:is|must be|has to be|would be|ist|wäre|est|es) (?:clearly |therefore |also |indeed |donc )?"
    r"(?:the |an? |die |der |la |le )?(?:most |only |one )?)\Z"
)
_CHINESE_VERDICT = re.compile(
    r"(?P<unit>\([A-Z]\)|(?<![A-Za-z0-9_'])[A-Z]) ?(?:项|項|选项|選項)?(?:是|[が가이] ?)?(?:唯一)?\Z"
)
_NO_VERDICT = re.compile(r"[^\n.]{0,8}(?:では|じゃ|아니|아닙|아닌)|くな|とは")
"""Behind a word for right in Japanese or Korean: it is denied."""
_CONDITION = re.compile(r"[^\n.]{0,60}\b(?:if|were|had|when|unless|provided|wenn)\b", re.IGNORECASE)
_ALSO = re.compile(r"\b(?:is|are|be|would be|ist|est|es) (?:also|auch|aussi|también)\b", re.IGNORECASE)
_JOINED = re.compile(r"\(?([A-Z])\)? ?(?:or|and|,|/|oder|und|ou|et|或|和) ?\Z")
_BETWEEN = re.compile(
    rf"(?:[\s.,;:!)\]\"'\x03/&|-]|</\w{{1,15}}>|\[/answer\]|(?<![A-Za-z])(?:{_JOINT}"
    r"|(?:the|my|a|an|another|also|other|correct|right|best|possible|final)(?![A-Za-z]))){0,12}",
    re.IGNORECASE,
)
"""What may stand between two declarations that stand side by side."""
MAX_BETWEEN = 60
"""Characters from the beginning of one declaration to the next that may stand side by side."""
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
            declared += _declared_beside(text, at, pattern, options)
            declared, declared_at = "".join(sorted(set(declared))), at
            break
    verdicts = (at for word in _VERDICT_WORDS for at in _last_places(lower, word) if at > declared_at)
    found = [_judged(text, at, options, contradicts=bool(declared)) for at in verdicts]
    judged = {letter for letters, _ in found for letter in letters}
    if declared and (len(judged) != 1 or set(declared) <= judged):  # several judged right: all of the above
        return Found(declared, "declared")
    if declared and any(also for _, also in found):
        judged |= set(declared)
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
    if (
        pattern in (_NOUN, _BEST, _TAKE, _SO, _IT, _INSTEAD)
        and before[-1:].isascii()
        and before[-1:].isalpha()
    ):
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
    one = _unit(behind, start, options)
    if pattern in (_SO, _IT, _INSTEAD):
        return one[0] if one and _LINE_END.match(behind, one[1]) else ""
    if one and _TAKEN_BACK.match(behind, one[1]):
        return ""
    return "" if _denied_behind(behind, start, options) else _named(behind, start, options)


def _declared_beside(text: str, at: int, pattern: re.Pattern[str], options: Options) -> str:
    """Return the letters of the declarations in the same words that stand right before the one at `at`, or nothing."""
    words = pattern.match(text, at)
    letters = ""
    for _ in options.letters:  # as many declarations as there are options say it all
        before = _beside(text, at, pattern, words[0] if words else "", options)
        if before is None:
            break
        letters, at = letters + before[0], before[1]
    return letters


def _beside(
    text: str, at: int, pattern: re.Pattern[str], words: str, options: Options
) -> tuple[str, int] | None:
    """Return the letter of a declaration in these words that ends where the one at `at` begins, and its place."""
    for before in pattern.finditer(text, max(0, at - MAX_BETWEEN), at):
        filler = _FILLER.match(text, before.end()) if before[0].lower() == words.lower() else None
        other = _unit(text, filler.end(), options) if filler else None
        if other and other[1] <= at and _BETWEEN.fullmatch(text, other[1], at):
            return other[0], before.start()
    return None


def _denied_behind(behind: str, start: int, options: Options) -> bool:
    """Tell whether the letter at `start` is denied by a word behind it, as some languages do."""
    one = _unit(behind, start, options)
    return one is not None and _NOT_BEHIND.match(behind, one[1]) is not None


_LABELLED = re.compile(r"[(\[]?([A-Z])[)\].:,]{1,3} ?(.+)")
"""A letter and the text behind it."""
_LETTER_BEHIND = re.compile(r"(.+?),? ?[(\[](?:(?i:option|choice|answer) )?([A-Z])[)\]][.!]?")
"""A text and the letter behind it."""


def _option_text(behind: str, options: Options) -> str:
    """Return the letters of the option whose full text stands behind a phrase, as its line or field."""
    line = re.split(r"[\n\x03]|</answer>", behind.lstrip(" \n:\"'\x02"), maxsplit=1)[0]
    if (labelled := _LABELLED.match(line)) and labelled[1] in options.texts.get(_text_key(labelled[2]), ""):
        return labelled[1]
    for candidate in (line, line.partition('"')[0], line.partition(". ")[0]):
        letters = options.texts.get(_text_key(candidate), "")
        if letters:
            return letters
    return _text_and_letter(line, options)


def _text_and_letter(line: str, options: Options) -> str:
    """Return the letters that a line names that is an option's full text with a letter in brackets behind it."""
    named = _LETTER_BEHIND.fullmatch(line)
    letters = options.texts.get(_text_key(named[1]), "") if named else ""
    return "".join(sorted({*letters, named[2]})) if letters and named and named[2] in options.letters else ""


def _judged(text: str, at: int, options: Options, *, contradicts: bool) -> tuple[str, bool]:
    """Return the letters that the text judges right at `at` ("B is correct"), or nothing; and whether also they are.

    What would be right is no judgement where it `contradicts` a declaration, or under a condition.
    """
    window = text[max(0, at - 60) : at]
    found = (_VERDICT if text[at].isascii() else _CHINESE_VERDICT).search(window)
    if not found or _SUPPOSED.search(window[: found.start()]):
        return "", False
    if re.search("would be|wäre", found[0]) and (contradicts or _CONDITION.match(text, at)):
        return "", False
    letter = found["unit"].strip("()")
    if letter not in options.letters or "?" in text[at : at + 30].partition(".")[0]:
        return "", False
    if text.startswith(("正解", "정답"), at) and _NO_VERDICT.match(text, at + 2):
        return "", False
    joined = _JOINED.search(window[: found.start()])
    also = _ALSO.search(found[0]) is not None
    return letter + (joined[1] if joined and joined[1] in options.letters else ""), also


# ---- 2 to 4: lines


_PREFIX = (
    r"(?:(?:=>|[-•>#→⇒∴➜➔➤►▶✓✔☑✅👉🔹🔸➡⭐]{1,4}) ?)?"
    r"(?:assistant: ?)?"
    r"(?:(?:option|choice|answer|letter|choix|opción|antwort|réponse|letra|lettre|lettera|buchstabe|alternativa|opção|opzione|"
    r"选项|選項|选|選) ?)?"
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
_DENIED_LABEL = re.compile(
    _PREFIX + r"[(\[]?[A-Za-z][)\].:]{1,2} ?(?:(?:is|was|ist|est|es|é|è) (?:\w+ly |also )?"
    r"(?:not (?:the )?(?:correct|right|possible|true|answer)|wrong|incorrect|false|eliminated|excluded|ruled out|"
    r"nicht richtig|falsch|pas correcte?|fausse?|incorrecta?|errata|sbagliata)\b"
    r"|isn't (?:the )?(?:correct|right|answer|possible|true)\b|(?:不|错|錯))",
    re.IGNORECASE,
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
        if not options.texts or len(candidate) >= 10_000:
            continue
        letters = options.texts.get(_text_key(candidate), "") or _text_and_letter(candidate, options)
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
        if _LATER_HEDGE.search(line) or _lists_options(line) or _DENIED_LABEL.match(line):
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
