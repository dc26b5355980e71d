"""What `choice` reads in responses that are put together from parts, so that the verdict is known from the parts.

Each part is dressed in the ways that models write a letter: a dressing changes no verdict.
"""

# ruff: noqa: RUF001 - the parts hold the very characters that models write

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest

DRESSES = (
    "{}",
    "**{}**",
    "({})",
    "**({})**",
    "$\\text{{{}}}$",
    '"{}"',
    "“{}”",
    "`{}`",
    "*{}*",
    "[{}]",
    "<b>{}</b>",
    "option {}",
)
"""Ways to write one letter inside a sentence."""

BEFORE = (
    "",
    "Let's think step by step.\n\n",
    "<think>\nThe answer is C.\n</think>\n\n",
    "A) one\nB) two\nC) three\nD) four\n\n",
    "Many students choose C because they forget the factor 2.\n\n",
    "At first glance the answer might seem to be C, but that overlooks friction.\n\n",
    "If the answer were C, the mass would be negative, which is impossible.\n\n",
    "Option D is wrong because energy is not conserved. We can rule out (C), too.\n\n",
)
BEHIND = (
    "",
    "\n\nI hope this helps!",
    "\n\nWhy not C? Because the sign is wrong.",
    "\n\nThe other options (C and D) are incorrect.",
    "\n\nNote that C would be correct if the mass were zero.",
    "\n\nSome think that C is right, but it is not.",
    "<|im_end|>",
)
ANSWERS = (
    "The answer is {b}.",
    "Therefore, {b} is the correct answer.",
    "So it must be {b}.",
    "I would go with {b}.",
    "The option that satisfies every constraint is {b}.",
    "That makes {b} the best choice.",
    "By elimination, {b}.",
    "The answer isn't {c} but {b}.",
    "The answer is {b}, not {c}.",
    "Not {c}, but {b}.",
    "Only {b} is correct.",
    "The answer is {c}. Wait, no, the answer is {b}.",
    "I would say {c}. On second thought, {b}.",
    "{c} is not correct; {b} is.",
    "Unlike {c}, {b} is correct.",
    "Neither {c} nor {d} is correct, so the answer is {b}.",
    "The answer is {b}; {c} fails if n is odd.",
    "The answer is {b}, since {c} and {d} are too small.",
    "I'm torn between {b} and {c}, but I'd go with {b}.",
    "\\boxed{{B}}",
    "<answer>B</answer>",
    '{{"answer": "B"}}',
    "{b} is the most accurate.",
    "You should choose {b}.",
    "The statement that is not supported is {b}.",
    "The incorrect statement is {b}.",
    "The result agrees with option {b}.",
    "{c} is wrong, so {b} is the closest option.",
    "The correct answer is the third option, {b}.",
    "Die Antwort ist nicht {c}, sondern {b}.",
    "La réponse correcte est {b}.",
    "La respuesta es {b}, no {c}.",
    "所以选B，而不是C。",
    "正解はBです。",
    "따라서 B가 정답입니다.",
)
HEDGES = (
    "The answer is {b} or {c}.",
    "Answer: {b}, {c}",
    "Answer: {b} and {c}",
    "Answer: {b} / {c}",
    "The answer is {b} (or {c}).",
    "The answer is {b}. However, {c} is also correct.",
    "The answer is {b}, though {c} is equally valid.",
    "The answer is {b}. Or {c}.",
    "The answer is {b}, but {c} could also be correct.",
    "The answer is {b}, or else {c}.",
    "{b} is correct, and so is {c}.",
    "{b} and {c} are both correct.",
    "Answer: {b}\nAnswer: {c}",
    "Answer 1: {b}\nAnswer 2: {c}",
    "First choice: {b}. Second choice: {c}.",
    "My answer is {b} if gravity is included, otherwise {c}.",
    "For even n the answer is {b}, for odd n the answer is {c}.",
    "Answer: {b} (70%), {c} (30%)",
    "Only {b} and {c} remain.",
    "\\boxed{{B}} or \\boxed{{C}}",
    "\\boxed{{B \\lor C}}",
    "{b} is the most accurate, but {c} is equally accurate.",
    "You should choose {b} or {c}.",
    "<answer>B</answer><answer>C</answer>",
    "答案是B或C。",
)
NOTHING = (
    "The answer is not {b}.",
    "{b} is incorrect.",
    "There is no way that the answer is {b}.",
    "I doubt that {b} is correct.",
    "It is not the case that {b} is correct.",
    "Some people think the answer is {b}.",
    "The claim that {b} is correct is wrong.",
    "The most common wrong answer is {b}.",
    "The answer is {b}... but that is not correct.",
    "Is the answer {b}?",
    "The answer seems to be {b}, but it is not.",
    "Had the mass been zero, the answer would be {b}.",
    "Consider {b}.",
    "If the answer is {b}, then the mass is negative.",
    "I would not choose {b}.",
    "{b} is too small to be correct.",
    "According to some, the answer is {b}.",
    "You should not choose {b}.",
    "{b} is the most plausible if n is even.",
    "The statement that is not supported is not {b}.",
    "P(B) = 0.5",
    "\\boxed{{\\text{{not }}B}}",
    "<answer>B is wrong</answer>",
    "如果选B，则矛盾。",
    "B不是正确答案",
)


def responses(parts: tuple[str, ...]) -> Iterator[str]:
    """Yield every part in every dress, and in its first dress between every beginning and end."""
    for part in parts:
        for dress in DRESSES:
            yield part.format(**{letter.lower(): dress.format(letter) for letter in "BCD"})
        for before, behind in itertools.product(BEFORE, BEHIND):
            yield before + part.format(b="B", c="C", d="D") + behind


@pytest.mark.parametrize("parts", [ANSWERS], ids=["answers"])
def test_an_answer_is_read_in_every_dress_and_between_any_reasons(
    bundle: Callable[[str], Any], parts: tuple[str, ...]
) -> None:
    read = {response: bundle("choice").verify(response, "B")["score"] for response in responses(parts)}

    assert len(read) > 1500
    assert [response for response, score in read.items() if score != 1.0] == []


@pytest.mark.parametrize("parts", [HEDGES, NOTHING], ids=["hedges", "nothing"])
def test_a_hedge_or_a_mention_answers_nothing_in_any_dress(
    bundle: Callable[[str], Any], parts: tuple[str, ...]
) -> None:
    read = {response: bundle("choice").verify(response, "B")["outcome"] for response in responses(parts)}

    assert len(read) > 1000
    assert [response for response, outcome in read.items() if outcome != "no_answer"] == []
