"""The letter of a multiple-choice answer, in the ways that models write it.

What counts as equal: the response's final answer names one option, and it is the reference's. What is
ignored: case (unless declared), brackets, Markdown, HTML and LaTeX styling, full-width and circled forms, the
text behind the letter. What is not attempted: options that are not single letters, several right options,
arguments without a named result. The manifest's description has the rules in full.

What differs from 1.4.0: labels that a verdict follows are read ("A) Incorrect. ... C) Correct.", a tick, a cell of
a table); 1.4.0 could take the first of them for the answer, behind "each option:". So are superlatives ("B is the
most accurate"), "you should choose B", what fits in the last sentence ("C matches.", where no other letter is said
to), relative clauses that say what is sought ("the statement that is not supported is D"), "B, not A" and more
words. "According to some" is what others think; "according to the textbook" is a reason, as before.

A truth value beside a letter stays no answer ("statement B is true"): where the false statement is asked for, that
is a step on the way.

How it works: the response is rewritten into one plain notation (`_plain`), in which a LaTeX box is a pair of
control characters, and read into tokens (`_read`). `_claims` goes from letter to letter: letters that are joined
("A or B") are one; a form before them ("the answer is") or behind them ("is correct") makes them a claim; a not, a
supposition, a doubt, a question or a taking back makes it none. `_finally` takes the last claim, and what is said
beside it. Where nothing is claimed, an option's full text, a line that is nothing but a letter, the only label, and
a marked letter that is the last word, and what fits by the last sentence count, in this order.

There is no `reduce`: reading the letter is all the work. Standard library only. Linear in the length of the
response: the last `MAX_READ` characters are read, and forms see a bounded number of tokens.
"""

# ruff: noqa: RUF001 - the phrases and the tables name the very characters that they read

from __future__ import annotations

import itertools
import re
from typing import Any, NamedTuple

DEFAULT_LETTERS = "ABCDEFGHIJ"
MAX_READ = 50_000
"""Characters at the end of a response that are read."""

MAX_TEXT = 10_000
"""Characters that a reference, or a response that is an option's text, may have."""


class Options(NamedTuple):
    """What may be answered."""

    letters: str
    """The letters, upper case."""
    texts: dict[str, str]
    """Option text, normalised, to its letters; two letters where two options read the same."""
    longest: int
    """Characters behind a phrase among which an option's text is looked for."""
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
    response = response[-MAX_READ:]
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
    longest = max(map(len, choices or ("",))) + 40
    return Options(letters, texts, longest, params.get("case", "any") == "any"), ""


def _reference_letter(reference: Any, options: Options) -> str | None:
    """Return the letter that a reference names, or None."""
    if not isinstance(reference, str) or len(reference) > MAX_TEXT:
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
_HTML = re.compile(r"</?(?:b|i|u|em|strong|p|span|div|h[1-6]|code|center|mark|font)(?: [^<>\n]{0,60})?>")
_COPULA = re.compile(r"(?<=\b[A-Z])'d[iıuü]r\b")
"""Turkish: B'dir is "is B"."""
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
    """Rewrite brackets, Markdown, HTML, LaTeX and Unicode letter forms; marked letters become ``(B)``."""
    text = _HTML.sub("", text.replace("\r", "\n").translate(_CHARACTERS))
    text = _COPULA.sub("", text.replace("[ ]", "☐").replace("[x]", "☑"))
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


# ---- words, by what they do in a sentence

_WORDS = {
    "A":  # an answer
        "incorrect_statement false_statement untrue_statement answer answers ans guess solution response "
        "answer_choice correct_one right_one best_one the_one "
        "antwort lösung réponse reponse ответ відповідь respuesta resposta risposta gabarito antwoord "
        "odpowiedź odpowiedzią cevap svar svaret jawaban jawabannya उत्तर الإجابة الجواب απάντηση vastaus "
        "odpověď răspuns răspunsul válasz jibu উত্তর پاسخ התשובה đáp_án câu_trả_lời",
    "a": "verdict conclusion diagnosis match exception odd_one_out result final conclude",  # "result: B."
    "U":  # an option
        "option choice letter selection statement alternative lettre choix opción opcion letra lettera "
        "alternativa opção opzione optie opcja pilihan вариант vaihtoehto buchstabe l'option l'opzione "
        "विकल्प 選択肢 选项 選項 项 項 ข้อ",
    "V":  # all of "the answer is"
        "ans. 選 选 选择 選擇 答案 答え 答 정답 답 คำตอบ คำตอบที่ถูกต้อง ตอบ chọn elijo escolho scelgo выбираю wybieram "
        "i_answer i'd_answer i_would_answer ich_wähle je_choisis odpowiedź_to opcja_to jag_väljer "
        "saya_memilih doğru_cevap doğru_yanıt सही_उत्तर सही_विकल्प corect_este vastaus_on vaihtoehto_on odpověď_je "
        "правильный_ответ opt_for settle_on richtig_ist jibu_sahihi_ni i'm_choosing i'm_picking i'm_selecting",
    "Q":  # right, behind a verb
        "correct right best better_answer better_choice better_option richtige richtig korrekte korrekt "
        "bonne correcte juste correcta correcto correta correto corretta esatta верный juiste poprawna "
        "corect doğru सही most_accurate most_appropriate most_suitable most_reasonable most_plausible "
        "most_consistent closest_option closest_choice "
        "closest_answer closest_match nearest_option nearest_choice nearest_answer",
    "q": "正确 正確 正解 正しい 最佳 맞습니다 맞다 だと思います だと思う",  # right, without a verb
    "+": "✓ ✔ ✅ ☑",  # a tick
    "~": "✗ ✘ ❌ ✖ ☐ ⬜",  # a cross
    "v": "valid acceptable possible plausible fine defensible",  # possible
    "o": "only",  # only
    "W":  # wrong, or what makes an answer none
        "wrong incorrect false eliminated excluded impossible mistaken invalid partly partially other "
        "common tempting naive trap previous popular falsch fausse faux incorrecta incorrecto incorreta "
        "errata sbagliata неверно неверный ruled_out in_part 错误 錯誤 错 錯 不正确 不正確 不对 不對 間違 incorrectly "
        "wrongly",
    "N":  # not
        "not isn't aren't wasn't weren't can't cannot won't doesn't don't didn't wouldn't shouldn't "
        "couldn't never none neither nor no hardly nicht keine pas n'est non não ni niet inte ikke nie ei "
        "není nem nu bukan ليس ليست לא δεν tidak không không_phải не ¬ anything_but "
        "all_but everything_but every_option_but other_than except far_from less almost "
        "nearly 不是 不 非 未 ไม่ใช่ ไม่",
    "Z": "değil yanlış نیست নয় नहीं गलत 아니 아닙 아닌 ではな ではあ でない では じゃ くな とは",  # not, behind it
    "C":  # is
        "makes make making is are was be been being must should will has_to had seems seem looks appears "
        "remains equals lautet ist sind est es é è sia là adalah är er है هي هو είναι היא הוא jest это "
        "este would were wäre serait sería turns_out_to 是 为 為 は が 은 는 이 가 คือ 应该 應該 应 應 应当 應當 なの",
    "P":  # perhaps
        "could may might can maybe perhaps possibly alternatively könnte vielleicht peut-être quizás else "
        "可能 也许",
    "O": "also equally too likewise auch aussi también as_well so_is as_is 也",  # also
    "J":  # or
        "or oder ou o u hoặc atau lub albo veya ya_da eller tai nebo sau vagy through xor или либо або ή या "
        "अथवा বা "
        "lor ∨ أو او یا 或者 或是 或 หรือ 또는 혹은 이나 または もしくは あるいは か / | +",
    "j":  # and
        "and und et y e en và dan oraz ve och ja și és plus и और এবং و & 和 与 與 及 และ 와 과 と や as_well_as "
        "along_with together_with als_auch",
    "T": "choose chose pick select selected mark go_with going_with go_for going_for vote vote_for",  # we choose
    "k": "think thought say believe claim argue feel considered know agree sure",  # they think
    "K":  # I think; this leaves
        "matches agrees_with consistent_with creo_que_es creo_que_la_respuesta_es leaves leaving elimination "
        "corresponds_to left_with leaves_us_with i_say i'd_say "
        "i_would_say i_think i_believe s'agit_de c'est",
    "S":  # so
        "so therefore thus hence ergo consequently somit folglich donc portanto quindi vậy ∴ ⇒ 所以 因此 故 "
        "したがって 따라서",
    "H":  # no, wait
        "wait actually correction sorry hmm no_wait scratch_that i_meant i_mean or_rather make_that "
        "on_second_thought on_reflection",
    "B": "but however rather instead sondern sino mais pero aber ma mas yet 而是 但是 但",  # but
    "R": "probably likely definitely clearly certainly obviously surely most_likely",  # probably
    "I":  # if
        "if whether suppose supposing assume assuming consider imagine unless provided as_long_as "
        "prove let_the say_the by_contradiction told depends depending "
        "wenn falls si если 如果 若 假设 もし なら 만약",
    "D":  # a doubt
        "doubt unlikely claims tempting_to mistake error first_thought why how initially originally "
        "false_that not_true doubtful no_way according_to_some according_to_others according_to_many "
        "according_to_most a_chance used_to claimed says at_first not_the_case it_is_false the_claim",
    "E": "although though while whereas despite",  # although
    "r": "because since as than weil da parce puisque porque car pues perché due given 因为 因為",  # because
    "G": "it this that",  # it
    "g": "which",  # which
    "p": "some one many people others they students you someone everyone",  # some, they
    "y": "we let's let_us i'd i'll we'll we'd i'm you_should you_must one_should one_must the_student_should",  # we
    "F":  # what changes nothing
        "please here even the a an my your our most very more indeed simply then both either all between of to "
        "for in alternate among_the_given i.e. i.e namely η ο το not_only question options first second third "
        "best_fits fits true "
        "accurate appropriate suitable der die das la le el los lo il l'il de finale exacte đúng "
        "chính_xác yang benar tepat الصحيحة الصحيح הנכונה σωστή seguinte in_fact of_course in_my_opinion "
        "in_this_case if_i_had_to_guess 就 题 題 本 です 的",
}  # fmt: skip
"""Kinds of tokens to the words and phrases (with _ for a space) that are of them."""

_PHRASES: dict[str, list[tuple[str, str]]] = {}
"""The first word, or the first character where words are not parted, to the phrases that begin so, longest first."""
_UNPARTED = "\u0e00-\u0e7f\u1100-\u11ff\u2e80-\u9fff\uac00-\ud7af"
_WORD = "[A-Za-z\u00aa-\u0dff\u0e80-\u10ff\u1200-\u1fff]+(?:['-][A-Za-z\u00c0-\u1fff]+)*"
for _kind, _entries in _WORDS.items():
    for _entry in _entries.split():
        _first = re.match(f"{_WORD}|.", _entry.replace("_", " "))
        _PHRASES.setdefault(_first[0] if _first else "", []).append((_entry.replace("_", " "), _kind))
for _begun in _PHRASES.values():
    _begun.sort(key=lambda entry: -len(entry[0]))
_TAG = "answer|ans|final_answer|correct_answer|final|choice|option|letter|response|result"
_TOKEN = re.compile(
    rf"(?P<X>\x02|####|<(?:{_TAG})>|\[answer\])|(?P<Y>\x03|</\w{{1,15}}>|\[/answer\])"
    r"|(?P<marked>\( ?[A-Za-z] ?\)|\[ ?\"?[A-Za-z]\"? ?\])(?! ?\?|[A-Za-z0-9_])"
    rf"|(?P<word>{_WORD}|[{_UNPARTED}])|(?P<n>[0-9](?:[\w.,%]*[\w%])?)|(?P<sign>\.\.+|-{{1,3}}>|'s\b|\n|[^\s\w\"'\\])",
    re.IGNORECASE,
)
_SIGNS = {
    **dict.fromkeys(("->", "-->", "-", "–", "—", "→", "...", "..", "…"), "-"),
    **dict.fromkeys(".!।", "."), ":": ":", "=": "=", **dict.fromkeys("([{<", "("),
    **dict.fromkeys(")]}>", ")"), **{sign: sign for sign in "?;,\n"}, "'s": "C",
}  # fmt: skip


class Said(NamedTuple):
    """The response as tokens."""

    text: str
    kinds: str
    """One character for each token: a key of `_WORDS`; L for a letter, l for one that may be a word; X and Y around a
    field such as a box; n for a number, x for any other word; else the sign itself."""
    starts: list[int]
    ends: list[int]
    letters: list[str]
    """What the token names: a letter, several ("AB"), or nothing."""

    def words(self, first: int, last: int) -> str:
        """Return the text of some tokens, or a name for none."""
        return self.text[self.starts[first] : self.ends[last - 1]].lower() if last > first else "nothing"


def _read(text: str, options: Options) -> Said:
    """Return the tokens of a text."""
    lower, at = text.lower(), 0
    said = Said(text, "", [], [], [])
    kinds: list[str] = []
    while found := _TOKEN.search(text, at):
        start, at, letters = found.start(), found.end(), ""
        kind = found.lastgroup or ""
        if kind == "marked":
            letters = _option(found[0].strip('([ "])'), options)
            kind = "L" if letters else "("
        elif kind in ("word", "sign"):
            kind, at = _known(lower, start, at)
            if lower[start:at] in ("had", "were") and kinds[-1:] in ([], ["."], ["\n"]):
                kind = "I"  # had it been
            elif lower[start:at] in ("of", "to") and kinds[-1:] == ["L"] and _ONE_MORE.match(text, at):
                kind = "J"  # B to D; "of" in Dutch
            if found["word"] and (kind in "xF" or (len(found[0]) == 1 and at == found.end())):
                letters = _bare(text, start, found.end(), options, named=kinds[-1:] == ["U"])
                if letters:
                    at, kind = found.end(), "L" if found[0].isupper() and len(letters) == 1 else "l"
                elif found[0] == "I" and at == found.end():
                    kind = "y"
        if options.texts and kinds[-1:] and kinds[-1] in "C:XVT-" and kind not in ":-(":
            named, length = _option_text(text[start : start + options.longest], options)
            letters, kind, at = (named, "L", start + length) if named else (letters, kind, at)
        if kind == "x" and found["sign"] and found[0] not in "+^%@<>":
            continue  # an ornament
        kinds.append(kind)
        said.starts.append(start)
        said.ends.append(at)
        said.letters.append(letters)
    return said._replace(kinds="".join(kinds))


def _known(lower: str, start: int, end: int) -> tuple[str, int]:
    """Return the kind of the longest known phrase at `start` and its end; x where none is known."""
    word = lower[start:end]
    if word == "no" and re.match(r"[,.]|-| [-–—]", lower[end : end + 2]):
        return "H", end
    for phrase, kind in _PHRASES.get(word) or _PHRASES.get(word[0], []):
        last = start + len(phrase)
        whole = not (phrase[-1].isalpha() and phrase[-1] < "\u0e00" and lower[last : last + 1].isalpha())
        if whole and lower.startswith(phrase, start):
            return kind, last
    if word in ("it's", "that's", "this's"):
        return "G", start + word.index("'")
    return _SIGNS.get(word, "F" if word.endswith("ly") and len(word) > 4 else "x"), end


def _option(letter: str, options: Options) -> str:
    """Return the option that a letter is, or nothing."""
    return letter.upper() if letter.upper() in options.letters and (options.lower or letter.isupper()) else ""


def _bare(text: str, start: int, end: int, options: Options, *, named: bool) -> str:
    """Return the letters that a bare word names, or nothing.

    A letter must stand alone; a bare A, I or lower-case letter before a word is taken for a word itself, unless
    that word continues an answer ("A because"): this is what keeps the article and the pronoun out.
    """
    word = text[start:end]
    if _PART_BEFORE.search(text, max(0, start - 2), start) or _PART_OF_SOMETHING.match(text, end):
        return ""
    if len(word) > 1:
        run = sorted({*word} & {*options.letters})
        return word if len(word) < 7 and word == "".join(run) else ""
    if (
        (word.islower() or word in "AI")
        and _BEFORE_A_WORD.match(text, end)
        and not (word == "A" and (named or _MODAL.match(text, end)))
    ):
        return ""
    return _option(word, options)


_PART_BEFORE = re.compile(r"(?:[A-Za-z0-9^]|(?<!_)_)\Z")
_PART_OF_SOMETHING = re.compile(
    r"(?:[^\W_]|_(?!_))(?<![\u0e00-\uffff])|['-][A-Za-z\u00c0-\u024f]|\.[A-Za-z]\.|\(| ?[=^+#]| ?<(?!/)| >|/[0-9]"
    r"|[)\].\"' ]{0,3}\?"
)
_BEFORE_A_WORD = re.compile(
    r" (?!(?:is|isn't|because|since|as|with|or|and|not|but|for|which|due|from|by|given|rather|instead|seems|looks|"
    r"can't|cannot|though|if|nor|ist|weil|da|oder|und|nicht|est|car|parce|ou|et|puisque|es|no|porque|ya|pues|o|y|"
    r"perché|perche)\b)(?!(?-i:(?<=[AI] )[B-Z])\b)[A-Za-z\u00c0-\u024f]",
    re.IGNORECASE,
)
_ONE_MORE = re.compile(r" [(\[*]{0,3}[A-Z](?![A-Za-z])")
_MODAL = re.compile(r" (?:can|could|may|might|must|would|should)\b")


# ---- option texts

_LABEL_AND_TEXT = re.compile(r"[(\[]?([A-Z])[)\].:,]{1,3} ?(.+)")
_TEXT_AND_LABEL = re.compile(r"(.+?),? ?[(\[](?:(?i:option|choice|answer) )?([A-Z])[)\]][.!]?")


def _option_text(behind: str, options: Options) -> tuple[str, int]:
    """Return the letters of the option whose full text begins here and fills its line or sentence, and its length."""
    line = re.split(r"[\n\x03]|</answer>", behind, maxsplit=1)[0]
    if (labelled := _LABEL_AND_TEXT.match(line)) and labelled[1] in options.texts.get(
        _text_key(labelled[2]), ""
    ):
        return labelled[1], len(line)
    for text in (line, line.partition('"')[0], line.partition(". ")[0], line.partition(", not ")[0]):
        if letters := options.texts.get(_text_key(text), ""):
            return letters, len(text)
    return _text_and_letter(line, options), len(line)


def _text_and_letter(line: str, options: Options) -> str:
    """Return the letters that a line names that is an option's full text with a letter in brackets behind it."""
    named = _TEXT_AND_LABEL.fullmatch(line)
    letters = options.texts.get(_text_key(named[1]), "") if named else ""
    return "".join(sorted({*letters, named[2]})) if letters and named and named[2] in options.letters else ""


# ---- claims: forms of `kinds` before a letter and behind it

_NOUN = re.compile(
    r"(?<!W)(?<!W[FQ])(?:A|(?<!L)U|[Qq](?=F?[:C=])|(?<=F)p(?=[Gg]))(?P<not_so>[Gg][CPx]?(?:N(?=[^L])|D))?"
    r"(?:[ACFGQRTUaoknqvxy,(]|g[CP]){0,9}?(?P<link>[C:=|N-])"
    r"(?:[ACFKNQRUVaoqvy:|(\n-]|(?<=U),)*\Z"
)
"""The answer is B; the option that fits best is not B; the one that does not belong is B."""
_HEADING = re.compile(r"A(?P<link>\n)U?\Z")
_VALUE = re.compile(r"[AU][CFGQ]*[C:](?P<link>[nx-]{1,9})\(?U?\Z")
"""The answer is 12 m (B)."""
_FIELD = re.compile(r"(?P<link>[XV])[ACFGKQRSUaoy:|(),\n-]*N?[FU(]*\Z")
_TAKE = re.compile(r"(?:y[CFPRSx]{0,3}|(?:\A|(?<=[.\n;,:(BS-]))[FSRBH,]*y?)(?P<link>T)[AFU:|\n(]*\Z")
"""We should choose B. Mark B."""
_REASON = re.compile(r"(?:\A|(?<=\n))(?P<link>[FU]*)\Z")
_SAYS_WHY = re.compile(r" because (?!of\b)[a-z]")
_REASONED = re.compile(r"[,;)]?\(?r|[,;]F*p|(?P<other>[,;]N[FU]*L[.\n]*\Z)")
"""B, because; B; the others."""
_ONLY = re.compile(r"(?:\A|(?<=[.\n;,BS(-]))[FHS,]*(?P<link>o)[FU]*\Z")
_BRIEF = re.compile(
    r"(?P<link>[HKRS]|a[C:]|[Gg][FR]*[CP]+|S[^.\n;NIDLl]{1,12},(?=U))[,:.-]{0,3}[ACFGKQRSUHao:,]*\Z"
)
"""So it is B; wait, no, B: only where the clause ends with the letter."""
_END = re.compile(r"[)Y]*(?:\Z|[.\n;Y-]|,?[rE]|,?F?N[FU]*L|,?B)")
_INSTEAD = re.compile(r"[,;.)-]*B[ACFGQRUo]*")
"""Between a letter that is denied and the one that is right: not A but B."""

_SO_IS = re.compile(r"[,;][FU]*\Z")
"""Before "B is." in "A is not right; B is."."""

_JUDGED = re.compile(
    r"\)?U?(?:[CFNOPRo]*[CN][CFNOPRo]*(?:[QA]A?|o[Up]|W)(?!F?L|F?o)|[CFNO:.|-]*q|C[CFN]*V|[C:.|-]?F?W"
    r"|[:.|-]Q(?=[.\n]|\Z)|J[F(]*[QqW+~]\)?J|[):.]?[+~](?=[Fx])|[):.]?[^\nLl+~]{0,20}[+~](?=[.\n]|-?L|\Z))"
)
"""B is (not) the right answer; B: wrong; B. 12 ✓."""
_VERDICT = re.compile(r"[):.-]{0,2}F?(?P<says>[WQq])(?=[.,:;\n(-]|\Z)")
_WRONG_LABEL = re.compile(r"L[):.-]{0,2}F?W(?=[.,:;\n(-]|\Z)")
"""A) Incorrect. B) Correct. Only beside one that is wrong, as "B) Right" may be an option."""
_INVERTED = re.compile(r"F*(?:Q[AU]?|A)")
"""Behind "is B", as in "that makes B the right answer"."""
_TEXT = re.compile(r"[):.-]?([^):.])")
_NO_TEXT = "LlUCNPJj,;?!\nrBIHOYgqWQ(-"
_NOT_BEHIND = re.compile(r"[F)C.]{0,3}Z")
_NOT_RIGHT = re.compile(r"[CFO]{0,3}[NZ]")
_LISTING = re.compile(r"[^\n]*\n-?(?P<next>L)[).:]+")

_SCOPE = re.compile(r"[^.?\n;BSXY]*\Z")
_BLOCKED = re.compile(r"[ID]|p[CFPxy]{0,3}[kT]|N[^,:]{0,12}\Z")
"""Before a claim in its clause: if, a doubt, some say, not."""
_ASIDE = re.compile(r"[Er][^,]*\Z")
_UNSURE = re.compile(r"[^.?\n;rBEY]*I|[^.\n;rBEY,]*\?")
"""Behind a claim in its clause: a condition, or a question mark."""
_TAKEN_BACK = re.compile(r"[DF]*[)Y.,\n;-]*[BFHNS,.-]*G[FR]*(?:[CP]*N[CFP]*Q?|[CPFR]*W)(?=[.,\n-]|\Z)")
"""But no, that is wrong; but it is not."""

_JOINT = re.compile(
    r"\)?(?:\([^()\nL]{0,9}\))?(?:[,;\n(]*(?P<word>[Jj]|B?O)[ACFGJOPQURj,\n]*|[,;|-]U?(?=[Ll](?:[,;.!|)\nYJj?(-]|\Z))"
    r"|\n?U?(?=(?:[Ll]\)?\n?U?){1,26}[.!]?(?:[\nY]|\Z)))"
)
_CELL = re.compile(r"J[F(]*[QqW+~]\)?J")
"""A cell of a table that judges the letter before it: | B | correct |."""
_NEW_CLAUSE = re.compile(r"[CPN]+[^L.?\n;]*[WN]")
_TOO = re.compile(
    r"(?P<right>L)\)?(?:[CFPR]*O[CFR]*(?:[Qqv]|F(?=[.,;\n]|\Z))|[FR]*[CP][CFPR]*[Qqv]O)"
    r"|(?:[OP][ACFGJOPQUv,:]*|(?<!L)J[ACFJOPQRU,:\n]*)(?P<too>L)(?=[.,;!\n?)jJ(O]|\Z)|(?<!L)j[FU]*(?P<and>L)(?!\)?[CNPW])"
    r"|;U?(?P<listed>L)\Z"
)
"""Behind a claim: C is also right; or perhaps C."""
_TOO_LABELLED = re.compile(r"(?<![L)])[JjOP;][AFU]*(?P<too>L)(?P<label>\)|:|\.(?=[^\n]))?")
_BESIDE = r"(?:[ACFGJOPQUVTXYajnqy.,:;()|\n-]|x(?=A))*"
_SIDE_BY_SIDE = re.compile(_BESIDE)
_SAME_SENTENCE = re.compile(_BESIDE + r"|[^.?\nBHNS]*")

BACK, AHEAD = 40, 160
"""Tokens before and behind a letter that are looked at."""


class Claim(NamedTuple):
    """What one place of the response says about the answer."""

    letters: str
    start: int
    end: int
    how: str
    """The words that say it; empty where it is said behind the letter ("B is correct")."""
    also: bool = False
    """It is said of another letter, too."""


def _claims(said: Said) -> list[Claim]:
    """Return what the response claims, in order; what it denies, supposes, asks or takes back is no claim."""
    claims: list[Claim] = []
    kinds, denied, end = said.kinds, 0, 0
    while found := _LETTER.search(kinds, end):
        start = found.start()
        letters, end = _chain(said, start)
        left, right = kinds[max(0, start - BACK) : start], kinds[end : end + AHEAD]
        cue = _cue(said, left, start, end)
        judged = _judged(said, left, right, end, cue)
        clause = _found(_SCOPE, left[: cue.start()] if cue else left)
        sure = not _BLOCKED.search(clause) and (_opens_text(said, end) or not _UNSURE.match(right))
        instead = denied and (
            _INSTEAD.fullmatch(kinds, denied, start)
            or (kinds[denied:start] == "." and _END.match(right))
            or (_SO_IS.search(kinds[denied:start]) and re.match(r"C(?:[.\n]|\Z)", right))
        )
        behind = right[len(judged) :]
        if (
            re.search(r"N[CFU]*\Z", left) or re.search("[NPW~]", judged) or (judged and _NOT_RIGHT.match(behind))
            or (cue and "N" in _after_relative(cue)) or _NOT_BEHIND.match(right)
            or (denied and kinds[denied:start] == ",")
        ):  # fmt: skip
            denied = end
        elif _TAKEN_BACK.match(behind):
            pass
        elif judged and sure and not _ASIDE.search(clause):
            listed = "," in kinds[start:end] and not re.search("[Jj]", kinds[start:end])
            claims.append(
                Claim(letters[-1] if listed else letters, start, end, "", "O" in judged or behind[:1] == "O")
            )
        elif cue and not judged and (cue["link"] == "X" or (sure and not _lists(said, start, end))):
            claims.append(
                Claim(letters, start, end, said.words(*(start - len(left) + at for at in cue.span("link"))))
            )
        elif instead and not judged:
            claims.append(Claim(letters, start, end, "instead"))
    return claims


_LETTER = re.compile("[Ll]")


def _after_relative(cue: re.Match[str]) -> str:
    """Return a cue behind the clause that says which option is sought: "the one that is not prime is"."""
    sought = cue.groupdict().get("not_so")
    return cue[0][cue.end("not_so") - cue.start() :] if sought else cue[0]


def _found(pattern: re.Pattern[str], kinds: str) -> str:
    found = pattern.search(kinds)
    return found[0] if found else ""


def _cue(said: Said, left: str, start: int, end: int) -> re.Match[str] | None:
    """Return what stands before the letters at `start` and makes them a claim, or None."""
    kinds = said.kinds
    text = _opens_text(said, end)
    right = kinds[end : end + AHEAD]
    ends = (
        (text and right[0] != ":" and not said.text[said.starts[end]].islower())
        or _END.match(right)
        or _JUDGED.match(right)
    )
    marked = said.text[said.starts[start]] in "([" or left[-1:] == "U"
    holds = {
        _FIELD: True, _NOUN: True, _HEADING: ends, _TAKE: True, _VALUE: marked, _BRIEF: ends and kinds[start] == "L",
        _REASON: (why := _REASONED.match(right))
        and (said.letters[start] != "A" or why["other"] or _SAYS_WHY.match(said.text, said.ends[start])),
        _ONLY: left[-1:] == "U" or right[:1] in ("C", "P", ")", "x"),
    }  # fmt: skip
    return next((cue for form, allowed in holds.items() if allowed and (cue := form.search(left))), None)


def _judged(said: Said, left: str, right: str, end: int, cue: re.Match[str] | None) -> str:
    """Return the kinds that judge a letter from behind it, or nothing. Behind a cue, denials in fields do so only."""
    verdict = _VERDICT.match(right)
    if verdict and (verdict["says"] == "W" or _WRONG_LABEL.search(said.kinds)):
        return verdict[0]
    inverted = _INVERTED.match(right) if re.search(r"C[AU]?\Z", left) else None
    judged = inverted or _JUDGED.match(right)
    if not judged or (not inverted and _opens_text(said, end) and judged[0][-1] not in "+~"):
        return ""
    if cue and cue.re is not _BRIEF and not (cue["link"] == "X" and re.search("[NW~]", judged[0])):
        return ""
    return judged[0]


def _opens_text(said: Said, end: int) -> bool:
    """Tell whether the letter before token `end` is a label, behind which an option's text stands."""
    text = _TEXT.match(said.kinds, end)
    marked = said.text[said.ends[end - 1] - 1] in ")]"
    if not text or (said.kinds[end] == "." if marked else said.kinds[end] not in "):.-"):
        return False
    capital = said.kinds[end] != "." and said.text[said.starts[text.start(1)]].isupper()
    return text[1] not in _NO_TEXT or (capital and text[1] not in "JLOPQWql")


def _lists(said: Said, start: int, end: int) -> bool:
    """Tell whether a line with the next letter's label follows the labelled line at `start`: a list of options."""
    following = _LISTING.match(said.kinds[: end + AHEAD], end)
    return (
        following is not None
        and said.kinds[start - 1 : start] in ("", "\n", "-")
        and _opens_text(said, end)
        and ord(said.letters[following.start("next")][0]) == ord(said.letters[start][0]) + 1
    )


def _chain(said: Said, start: int) -> tuple[str, int]:
    """Return the letters that are joined from token `start` on ("A or B"), and the token behind them."""
    letters, end = said.letters[start], start + 1
    while not _CELL.match(said.kinds, end) and (joint := _JOINT.match(said.kinds, end)):
        more = joint.end()
        ahead = said.kinds[more : more + AHEAD]
        if ahead[:1] not in ("L", "l") or (joint["word"] == "j" and _NEW_CLAUSE.match(ahead, 1)):
            break
        letters, end = letters + said.letters[more], more + 1
    return "".join(sorted({*letters})), end


# ---- the last claim


def _finally(said: Said) -> Found | None:
    """Return what the response claims in the end, or None where it claims nothing.

    The last answer that is declared counts, with those declared right beside it in the same way. Behind it, one other
    letter that is judged right takes its place; several ("A is correct. B is correct. So all of them.") do not.
    """
    claims = _claims(said)
    declared = [claim for claim in claims if claim.how]
    last = declared[-1] if declared else Claim("", -1, -1, "")
    judged = [claim for claim in claims if claim.start > last.start]
    for n in range(len(judged) - 1, 0, -1):
        if not judged[n].also and re.search("[HBS]", said.kinds[judged[n - 1].end : judged[n].start]):
            judged = judged[n:]  # a change of mind
            break
    right = {*"".join(claim.letters for claim in judged)}
    if not declared:
        right = right.union(*(_too(said, claim) for claim in judged))
        return Found("".join(sorted(right)), "judged correct") if right else None
    named = {*last.letters} | _too(said, last)
    for following, claim in itertools.pairwise(reversed(declared)):
        if claim.how != following.how or not _SAME_SENTENCE.fullmatch(said.kinds, claim.end, following.start):
            break
        named |= {*claim.letters}
    if len(right) != 1 or right <= named:
        return Found("".join(sorted(named)), "declared")
    if any(claim.also for claim in judged) or _SIDE_BY_SIDE.fullmatch(said.kinds, last.end, judged[0].start):
        right |= named
    return Found("".join(sorted(right)), "judged correct")


def _too(said: Said, claim: Claim) -> set[str]:
    """Return the letters that are said, in the sentence of a claim and the next, to be possible too."""
    ahead = said.kinds[claim.end : claim.end + AHEAD]
    text = _opens_text(said, claim.end)  # which may name letters itself
    marked = said.text[said.ends[claim.end - 1] - 1] in ")]"
    line = _found(_LINE if text else _REST if marked else _LABELLED_REST, ahead)
    hits = [hit.start("too") for hit in _TOO_LABELLED.finditer(line) if _offers(said, claim.end, hit)]
    for sentence in () if text else itertools.islice(_SENTENCE.finditer(ahead), 2):
        if "I" not in sentence[0]:
            part = re.split("[rND]", sentence[0], maxsplit=1)[0]
            hits += [sentence.start() + hit.start(hit.lastgroup or 0) for hit in _TOO.finditer(part)]
    hits = [hit for hit in hits if not _CELL.match(said.kinds, claim.end + hit + 1)]
    return {*"".join(said.letters[claim.end + hit] for hit in hits)}


def _offers(said: Said, start: int, hit: re.Match[str]) -> bool:
    """Tell whether a letter behind a claim is a label, and not the subject of a clause ("and (C) is wrong")."""
    end = start + hit.end("too")
    labels = hit["label"] or said.text[said.ends[end - 1] - 1] in ")]"
    clause = said.kinds[end : end + 1] in tuple("CNPW,") or (
        hit[0][0] == ";" and said.text[said.ends[end - 1] :][1:2].islower()
    )
    return bool(labels) and ((_opens_text(said, end) and hit[0][0] != ";") or not clause)


_LINE, _REST, _LABELLED_REST = map(re.compile, (r"\A[^\nY]*", r"\A[^.\nYrD]*", r"\A\.?[^.\nYrD]*(?:\..)?"))
_SENTENCE = re.compile(r"[.\n]*[^.?\n]+")


# ---- readings without a claim

_NOTHING_ELSE = re.compile(r"(?:[FU]?[Ll][).,;:|\nJj?(-]*)+")
_OF_OTHERS = re.compile(r"\(?L[):.]+F?L(?:,L)*,?[Jj]L[.!\n]*")
"""D) Both A and B."""
_LONE = re.compile(r"[-+:=()|AS]*[AUV]?[:|]?(?P<letter>[Ll])[-+).,:;|R]*")
_LABEL = re.compile(r"[-+:()|]*(?P<option>[AUV]?)(?P<letter>[Ll])")
_LAST_WORD = re.compile(r"[ACFGKQRSUaenrvxy)=+](?:[.,;:\n-]|\((?=U))(?P<option>U?)(?P<letter>L)[).!\n]*\Z")
_SENTENCE_BEFORE = re.compile(r"[ACFGKQRSUaenrvxy)=+,-]*\Z")
_DENIED = re.compile(r"\)?(?:[^.\n]*\?|[CPR]*[NI])|[):.]{0,2}(?:C[^.\n]*[NW]|[WZ])")
"""Behind a label: it is denied, asked or supposed."""


def _find(text: str, options: Options) -> Found | None:
    """Try the readings in their order."""
    said = _read(text, options)
    return (
        _finally(said)
        or _whole_text(text, options)
        or _lone_letter(said)
        or _label(said)
        or _last_word(said)
        or _fitting(said)
    )


def _lines(said: Said) -> list[tuple[int, int]]:
    """Return where the lines begin and end, as tokens."""
    ends = [found.end() for found in re.finditer(r"[^\n]*\n|[^\n]+", said.kinds)]
    return list(itertools.pairwise([0, *ends]))


def _whole_text(text: str, options: Options) -> Found | None:
    """Read an option's full text as the whole response, or as its last line."""
    for candidate in (text, text.rpartition("\n")[2]):
        if options.texts and len(candidate) < MAX_TEXT:
            letters = options.texts.get(_text_key(candidate), "") or _text_and_letter(candidate, options)
            if letters:
                return Found(letters, "option text")
    return None


def _lone_letter(said: Said) -> Found | None:
    """Read the only letter that fills a line; of several, the last or first, unless its neighbour differs."""
    if _NOTHING_ELSE.fullmatch(said.kinds) and not _OF_OTHERS.fullmatch(said.kinds):
        letters = {*"".join(said.letters)}
        return Found("".join(sorted(letters)), "lone letter" if len(letters) == 1 else "listed letters")
    found = [_LONE.fullmatch(said.kinds[start:end].rstrip("\n")) for start, end in _lines(said)]
    lone = [
        said.letters[line[0] + hit.start("letter")] if hit else ""
        for line, hit in zip(_lines(said), found, strict=True)
    ]
    named = {*lone} - {""}
    if len(named) > 1:
        for at, beside in ((-1, -2), (0, 1)):
            if lone[at] and lone[beside] in ("", lone[at]):
                return Found(lone[at], "lone letter")
    return Found("".join(sorted(named)), "lone letter") if named else None


def _label(said: Said) -> Found | None:
    """Read the only label of the response, if it opens the first or the last line and nothing there denies it."""
    lines = _lines(said)
    labels = [(line, hit) for line in lines if (hit := _LABEL.match(said.kinds[: line[1]], line[0]))]
    labels = [(line, hit) for line, hit in labels if _labels(said, hit)]
    if len({said.letters[hit.start("letter")] for _, hit in labels}) != 1:
        return None
    line, hit = labels[-1]
    at, end = hit.start("letter"), hit.end()
    behind = said.kinds[end : line[1]]
    if line not in (lines[0], lines[-1]) or not re.search("[A-Za-z+~]", behind):
        return None
    if not _opens_text(said, end) and (_JUDGED.match(behind) or _DENIED.match(behind)):
        return None
    if _OF_OTHERS.fullmatch(said.kinds[line[0] : line[1]]):
        return Found(said.letters[at], "label")
    others = [n for n in range(end + 1, line[1]) if said.letters[n] not in ("", said.letters[at])]
    listed = any(
        said.kinds[n + 1 : n + 2] in ("", "\n", ":", ")") or _opens_text(said, n + 1) for n in others
    )
    letters = {*_chain(said, at)[0], *_too(said, Claim(said.letters[at], at, end, "label"))}
    return None if listed and len(letters) == 1 else Found("".join(sorted(letters)), "label")


def _last_word(said: Said) -> Found | None:
    """Read a marked letter that is the response's last word, behind a sentence that names no other: "x is 3. (C)"."""
    found = _LAST_WORD.search(said.kinds, max(0, len(said.kinds) - BACK))
    if found is None:
        return None
    at = found.start("letter")
    before = found.start("option")
    if not found["option"] and said.text[said.starts[at]] not in "([":
        return None
    last = max(said.kinds.rfind(stop, 0, before - 1) for stop in ".\n;?!") + 1
    whole = _SENTENCE_BEFORE.fullmatch(said.kinds[last : before - 1])
    return Found(said.letters[at], "last word") if whole else None


def _labels(said: Said, hit: re.Match[str]) -> bool:
    """Tell whether a letter at the beginning of a line is a label: "B) 12", "(B) because", "Option B: 12"."""
    return said.kinds[hit.end() : hit.end() + 1] in tuple(":.)-") or (
        not hit["option"] and _opens_text(said, hit.end())
    )


_SUBJECT = re.compile(
    r"(?:\A|[.\n])(?P<opened>[FGRSU,]*)(?P<letter>L)\)?(?P<rest>[^.?\nLlNWPDIZBS~]+)[.\n]*\Z"
)
_FITS = re.compile(
    r"\)? (?:(?:clearly|exactly|closely) )?(?:match(?:es)?|fits|satisfies|works|agrees with|meets"
    r"|(?:is (?:recommended|what we (?:want|need))|it is)(?=[.!]?\s*\Z)"
    r"|(?:is|comes|would be) (?:the )?(?:closest|nearest)(?=[.\n]|\Z| to (?:our|this|that)\b"
    r"| to the (?:computed|calculated|exact|actual|true|correct|answer|result|value)\b)"
    r"|best [a-z]{3,20}s|most (?:closely|accurately|directly) [a-z]{3,20}s)\b",
    re.IGNORECASE,
)
_FITTING = re.compile(rf"\b([A-Z])(?i:{_FITS.pattern})")


def _fitting(said: Said) -> Found | None:
    """Read the subject of the last sentence, where that says that it fits and every other letter is denied."""
    found = _SUBJECT.search(said.kinds, max(0, len(said.kinds) - BACK))
    if found is None or not _FITS.match(said.text, said.ends[found.start("letter")]):
        return None
    at, kinds = found.start("letter"), said.kinds
    if any(one[1] != said.letters[at] for one in _FITTING.finditer(said.text, 0, said.starts[at])):
        return None
    for n in range(found.start()):
        if said.letters[n] and said.letters[n] != said.letters[at]:
            start = max(kinds.rfind(stop, 0, n) for stop in ".\n") + 1
            if not re.search("[NW~Z]", re.split(r"[.\n]", kinds[start:], maxsplit=1)[0]):
                return None
    return Found(said.letters[at], "fits")
