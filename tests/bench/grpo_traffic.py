"""Traffic in the shape of group-relative policy optimisation, for measuring.

A training step sends a group of rollouts for every prompt. Each rollout is a long
new text, so nothing repeats as a whole, yet a group ends in about three distinct
answers. Real rollouts cannot be shipped, so these are made: reasoning of words,
formulas, numbers and lists, then a last line with a box. The same arguments give
the same items on every machine.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from random import Random
from typing import Any

ANSWER_SHARES = (7, 6, 3)
"""How often, of sixteen rollouts, the group's first, second and third answer comes."""

SUBJECTS = (
    "the sum",
    "the remaining side",
    "each term",
    "the second root",
    "our estimate",
    "the ratio",
    "this case",
)
VERBS = (
    "equals",
    "becomes",
    "must be at least",
    "can be written as",
    "is bounded by",
    "reduces to",
    "divides",
)
TURNS = (
    "Wait,",
    "So",
    "Therefore",
    "Next,",
    "However,",
    "Note that",
    "Let me check:",
    "Recall that",
    "Now",
    "Hence",
)
TAILS = (
    "which is what we wanted",
    "because the terms cancel in pairs",
    "as the problem says",
    "since both factors are positive",
    "so the other case cannot occur",
    "and the same holds for the others",
)
LAST_LINES = (
    "\n\nThe final answer is $\\boxed{{{0}}}$.",
    "\n\nTherefore, the result is $\\boxed{{{0}}}$.",
    "\n\n\\[\n\\boxed{{{0}}}\n\\]",
    "\n\nFinal answer: \\boxed{{{0}}}",
    "\n\n**Answer:** $\\boxed{{{0}}}$",
)


def grpo_items(
    prompts: int = 512, group: int = 16, characters: int = 5000, seed: int = 0
) -> list[dict[str, Any]]:
    """Return `prompts` * `group` items, the rollouts of one prompt together.

    Args:
        prompts: Number of groups; each has its own reference.
        group: Rollouts in a group.
        characters: Mean length of a response; single ones are up to 40 % shorter or longer.
        seed: Another seed, other items.
    """
    items = []
    for prompt in range(prompts):
        random = Random(f"{seed}/{prompt}")
        right, *wrong = _answers(random)
        answers = random.sample([right, *wrong], k=3)
        last_lines = random.choices(LAST_LINES, k=2)
        for answer in random.choices(answers, ANSWER_SHARES, k=group):
            length = int(characters * random.uniform(0.6, 1.4))
            response = _reasoning(random, length) + random.choice(last_lines).format(answer)
            items.append({"response": response, "reference": right})
    return items


def _reasoning(random: Random, length: int) -> str:
    """Return about `length` characters that read like working, without a box and without a stated answer."""
    parts: list[str] = []
    while length > 0:
        part = random.choices((_sentence, _formula, _display, _item), (10, 5, 1, 1))[0](random)
        length -= len(part)
        parts.append(part)
    return "".join(parts)


def _sentence(random: Random) -> str:
    turn, subject, verb, tail = map(random.choice, (TURNS, SUBJECTS, VERBS, TAILS))
    stop = random.choice((". ", ". ", ", and ", ".\n\n"))
    return f"{turn} {subject} {verb} {random.randint(2, 400)} {tail}{stop}"


def _formula(random: Random) -> str:
    a, b, c = (random.randint(1, 60) for _ in range(3))
    formula = random.choice(
        ("{0}x + {1} = {2}", "\\frac{{{0}}}{{{1}}} - {2}", "a_{{{0}}} = {1} \\cdot {2}", "x^2 + {0}x + {1}")
    )
    return f"{random.choice(TURNS)} we have ${formula.format(a, b, c)}$ {random.choice(TAILS)}. "


def _display(random: Random) -> str:
    a, b = random.randint(2, 90), random.randint(2, 90)
    return f"\n\\[ {a} \\times {b} = {a * b} \\]\n"


def _item(random: Random) -> str:
    step, value = random.randint(1, 9), random.uniform(0, 50)
    return f"\n- **Step {step}**: {random.choice(SUBJECTS)} {random.choice(VERBS)} {value:.2f};\n"


def _answers(random: Random) -> list[str]:
    """Return three different answers of one kind; the first is the right one."""
    kind: Callable[[Random], str] = random.choices(
        (_integer, _fraction, _root, _decimal, _multiple_of_pi, _polynomial, _pair, _interval),
        (8, 4, 2, 2, 1, 2, 1, 1),
    )[0]
    answers: list[str] = []
    while len(answers) < 3:
        answer = kind(random)
        if answer not in answers:
            answers.append(answer)
    return answers


def _integer(random: Random) -> str:
    return str(random.randint(-50, 2000))


def _fraction(random: Random) -> str:
    value = Fraction(random.randint(1, 80), random.randint(2, 60))
    return f"\\frac{{{value.numerator}}}{{{value.denominator}}}"


def _root(random: Random) -> str:
    return f"{random.randint(2, 12)}\\sqrt{{{random.choice((2, 3, 5, 6, 7, 10, 11, 13))}}}"


def _decimal(random: Random) -> str:
    return f"{random.uniform(0, 100):.{random.randint(1, 3)}f}"


def _multiple_of_pi(random: Random) -> str:
    return f"{random.randint(2, 90)}\\pi"


def _polynomial(random: Random) -> str:
    return f"{random.randint(2, 9)}x^2 + {random.randint(2, 30)}x - {random.randint(1, 40)}"


def _pair(random: Random) -> str:
    return f"({random.randint(-9, 9)}, {random.randint(-20, 20)})"


def _interval(random: Random) -> str:
    low = random.randint(-20, 10)
    return f"[{low}, {low + random.randint(1, 30)})"
