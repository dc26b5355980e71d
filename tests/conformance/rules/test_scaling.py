"""A large hostile response costs linear time: the kernel kills the process at a few CPU seconds.

A quadratic step would take minutes on these texts, so the limit needs no measuring and does not depend on
load.
"""

from collections.abc import Callable
from typing import Any

import pytest

MEBIBYTE = 1 << 20
SIZE = MEBIBYTE // 4
CPU_SECONDS = 20
"""For all the texts of one bundle together, the start of Python included; linear work takes 1 to 5 seconds of
it."""

UNITS = (
    "9", "(", "[", "{", "}", " ", "\n", "\\", '"', "$", "*", "-", "/", ".", ",", "9,", "9.", "1/", "1 ",
    "9e", "{}", "[]",
    "\\boxed{", "\\boxed{1}", "\\frac{", "\\text{", "\\(", "$1$ ", "**1**", "^{", "(A)", "A ", "A\n",
    "**B** ", "answer: ",
    "The answer is A or ", "so ", "I choose ", "选", "B is correct. ", "<answer>", "</answer>", "```\n",
    "```json\n{}\n```\n",
    '{"a":', '{"a":1}', '"\\"', "\\u", "1e999", "a\u0301\u0323", "\u0301", "ﷺ", "\u00a0", "½", "\U0001d7d2",
    "x_", "-$",
    "~~a", "__", "the ", "if ", "####", "\u2028",
)  # fmt: skip
REFERENCES: dict[str, Any] = {
    "exact": "42",
    "choice": "B",
    "regex": "^(([a-z])+.)+[A-Z]([a-z])+$",
    "json-schema": {"type": "object", "patternProperties": {"^(a+)+$": True},
    "additionalProperties": {"type": "string"}},
    "numeric": 42,
    "gsm8k-answer": 42,
}  # fmt: skip
HARD: dict[str, list[dict[str, Any]]] = {
    "exact": [
        {"extract": "last_line"},
        {"extract": "boxed"},
        {"extract": "tag"},
        {"extract": "after_marker", "marker": " "},
        {"unicode": "NFKC", "case_fold": True, "punctuation": "unicode", "remove_articles": True},
    ],
    "choice": [{}, {"choices": ["a", "b"]}],
    "regex": [{}, {"match": "full", "flags": "ims"}],
    "json-schema": [{}, {"extract": "object"}],
    "numeric": [{}, {"extract": "last"}, {"extract": "whole"}, {"extract": "after_marker", "marker": " "}],
    "gsm8k-answer": [{}],
}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "params"), [(name, params) for name in HARD for params in HARD[name]])
def test_a_quarter_mebibyte_of_anything_is_answered_in_linear_time(
    limited: Callable[[str, int], Any], name: str, params: dict[str, Any]
) -> None:
    subject = limited(name, CPU_SECONDS)

    for unit in UNITS:
        text = (unit * (SIZE // len(unit.encode("utf-8", "surrogatepass")) + 1))[:SIZE]
        verdict = subject.verify(text, REFERENCES[name], **params)
        assert verdict["outcome"] in {"scored", "no_answer"}


@pytest.mark.parametrize("name", list(HARD))
def test_a_whole_mebibyte_is_answered_too(limited: Callable[[str, int], Any], name: str) -> None:
    subject = limited(name, CPU_SECONDS)

    for unit in ("9", "(", "{", " ", "\\boxed{", '{"a":', "answer: "):
        verdict = subject.verify((unit * MEBIBYTE)[:MEBIBYTE], REFERENCES[name])
        assert verdict["outcome"] in {"scored", "no_answer"}


def test_a_million_nested_brackets_are_refused_by_the_json_reader(limited: Callable[[str, int], Any]) -> None:
    subject = limited("json-schema", 5)

    for text in ("[" * 10**6 + "]" * 10**6, '{"a":' * 10**6, "[{" * 500_000):
        for extract in ("auto", "whole", "object"):
            assert subject.verify(text, True, extract=extract)["outcome"] == "no_answer"


def test_an_object_as_large_as_allowed_is_validated_in_bounded_time(
    limited: Callable[[str, int], Any],
) -> None:
    subject = limited("json-schema", 10)
    members = "{" + ",".join(f'"k{n}":{n}' for n in range(9_900)) + "}"
    elements = "[" + ",".join(f'{{"k":{n}}}' for n in range(4_900)) + "]"

    unevaluated = {"patternProperties": {"^k": True}, "unevaluatedProperties": False}
    assert subject.verify(members, unevaluated)["score"] == 1.0
    assert subject.verify(elements, {"uniqueItems": True})["score"] == 1.0
    assert (
        subject.verify(elements, {"items": {"anyOf": [{"type": "string"}, {"type": "array"}]}})["score"]
        == 0.0
    )


def test_the_deepest_schema_on_the_deepest_json_does_not_exhaust_the_stack(
    bundle: Callable[[str], Any],
) -> None:
    schema: dict[str, Any] = {"items": {"$ref": "#/$defs/n"}}
    for _ in range(4):
        schema = {"anyOf": [{"not": {"not": schema}}]}
    nested = "[" * 64 + "]" * 64

    verdict = bundle("json-schema").verify(nested, {"$defs": {"n": schema}, "$ref": "#/$defs/n"})

    assert verdict == {"outcome": "scored", "score": 1.0, "detail": {}}


def test_a_backtracking_engine_would_hang_on_these_patterns(limited: Callable[[str, int], Any]) -> None:
    subject = limited("regex", 10)

    for pattern in (r"(a+)+$", r"(a|aa)*b", r"(a?){100}a{100}b", r"(.*)(.*)(.*)(.*)x", r"((a*)*)*b"):
        reference = {"pattern": pattern, "expected": "a"} if pattern.endswith(")x") else pattern
        assert subject.verify("a" * MEBIBYTE + "!", reference)["outcome"] in {"scored", "no_answer"}
    assert subject.verify("b" + "a" * MEBIBYTE, "^(a+)+$")["score"] == 0.0


@pytest.mark.parametrize(
    "exponent", ["1e999999999", "1e-999999999", "9^9^9^9", "10^999999999", "1/1e999999999"]
)
def test_number_bombs_are_no_answers(limited: Callable[[str, int], Any], exponent: str) -> None:
    verdict = limited("numeric", 5).verify(exponent, 1)

    assert verdict["outcome"] == "no_answer"
