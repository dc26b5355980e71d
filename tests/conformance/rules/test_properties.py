"""What holds for every text and every JSON reference: a verdict, the same one twice, and a reference judged
alone."""

# ruff: noqa: RUF001 - the fragments hold the very characters that models write

import itertools
import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

NAMES = ["exact", "choice", "regex", "json-schema", "numeric", "gsm8k-answer"]
SCORES: dict[str, set[float | None]] = {"scored": {0.0, 1.0}, "no_answer": {0.0}, "bad_reference": {None}}

FRAGMENTS = (
    "\\boxed{", "}", "{", "\\frac{1}{2}", "\\text{B}", "$", "**", "\n", " ", "Answer:", "The answer is",
    "not", "or", "and",
    "(", ")", "[", "]", '"', "'", "\\", "A", "B", "b", "I", "1", "42", "-", "−", "½", ".", ",", "1,234",
    "1e9", "1e999999999",
    "10^{5}", "%", "\\%", "cm", "/", "^", "_", "=", "x", "#### ", "```json\n", "\n```",
    '{"a":1}', '{"answer": "B"}', "答案",
    "选", "<answer>", "</answer>", "\ud800", "\x00", "\x02", "\u200b", "e\u0301", "ﬃ", "\U0001d7d2", "true",
    "null", "NaN",
)  # fmt: skip
characters = st.one_of(st.characters(), st.sampled_from("\ud800\udfff\x00\x02\x03"))
responses = st.one_of(
    st.lists(st.sampled_from(FRAGMENTS), max_size=25).map("".join), st.text(characters, max_size=60)
)
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.just(10**2000),
    st.floats(),
    responses,
    st.sampled_from(FRAGMENTS),
)
json_values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(responses, inner, max_size=4),
    max_leaves=8,
)
keywords = st.sampled_from(
    ["type", "properties", "items", "$ref", "$dynamicRef", "$id", "id", "$anchor", "$dynamicAnchor", "$defs",
    "definitions",
     "allOf", "anyOf", "not", "if", "then", "pattern", "patternProperties", "additionalProperties",
     "required", "enum",
     "multipleOf", "uniqueItems", "dependencies", "dependentSchemas", "contains", "prefixItems",
     "unevaluatedItems",
     "unevaluatedProperties", "$schema", "$recursiveRef", "$recursiveAnchor", "propertyNames", "minimum",
     "const", "a"]
)  # fmt: skip
schema_values: st.SearchStrategy[Any] = st.sampled_from(
    ["object", "array", "string", "#", "#/$defs/a", "#a", "a", "http://[", "urn:x", "http://a.example/b",
    "(", "^a|b$", 0, 0.1,
     1, True, False, {}, [], [{}], ["a"], {"a": {}}, {"a": {"$ref": "#"}}, {"$ref": "#"}, None]
)  # fmt: skip
schemas = st.recursive(
    schema_values,
    lambda inner: st.dictionaries(keywords, inner | st.lists(inner, max_size=2), max_size=4),
    max_leaves=10,
)
references: dict[str, st.SearchStrategy[Any]] = {
    "numeric": st.fixed_dictionaries(
        {"value": scalars},
        optional=dict.fromkeys(
            ("absolute_tolerance", "relative_tolerance", "decimals", "significant", "unit"), scalars
        ),
    ),
    "regex": st.fixed_dictionaries(
        {"pattern": st.text("ab(|)*+?[]{}1,^$\\.PpLd<>:=!-", max_size=12)},
        optional={
            "match": scalars,
            "flags": st.text("imsx", max_size=3),
            "group": scalars,
            "expected": scalars,
        },
    ),
    "json-schema": schemas,
    "choice": st.sampled_from("ABJ"),
    "gsm8k-answer": st.one_of(st.integers(), st.floats(), st.from_regex(r"\A[-$]{0,2}[0-9.,]{1,6}%?\Z")),
    "exact": st.lists(responses, max_size=3),
}


def parameters(manifest: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Return a strategy for the values that a manifest's parameters admit."""
    declared = manifest.get("parameters", {})
    return st.fixed_dictionaries({}, optional={name: admitted(schema) for name, schema in declared.items()})


def admitted(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Return a strategy for the values that one parameter admits."""
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if "pattern" in schema:
        return st.from_regex(schema["pattern"].replace("$", r"\Z"))
    return {
        "boolean": st.booleans(),
        "string": st.sampled_from(["Answer:", "####", "is"]),
        "number": st.floats(min_value=0, allow_infinity=False),
        "integer": st.integers(schema.get("minimum", -100), schema.get("maximum", 100)),
        "array": st.lists(responses, min_size=1, max_size=5),
    }[schema["type"]]


DASHES = "\u2010\u2011\u2012\u2013\u2212"
PLACES = (
    "", "The answer is ", "x = ", "(", "<answer>", "**", "_", "`", "$", "\\$", "€", "≈", "-> ", "\\boxed{",
    "\\text{", "word", "x", "3", "5 ", "10^{", "a_", "\\pm ", "5%", "...", "{,", "答案是",
)  # fmt: skip
OPERANDS = (
    "5",
    " 5",
    ".5",
    "1,234",
    "\\frac{1}{2}",
    "½",
    "$5",
    "€5",
    "{5}",
    "(5)",
    "**5**",
    "5 million",
    "x",
)


@pytest.mark.parametrize("extract", ["boxed_else_last", "last", "whole"])
def test_a_dash_is_to_a_number_what_a_hyphen_is(bundle: Callable[[str], Any], extract: str) -> None:
    subject = bundle("numeric")
    for place, operand, number in itertools.product(PLACES, OPERANDS, (-5, "-1/2")):
        hyphen = subject.verify(f"{place}-{operand}", number, extract=extract)
        for dash in DASHES:
            assert subject.verify(f"{place}{dash}{operand}", number, extract=extract) == hyphen, place


@pytest.mark.parametrize("name", NAMES)
def test_any_text_and_any_reference_get_a_verdict_and_the_same_one_twice(
    bundle: Callable[[str], Any], name: str
) -> None:
    subject = bundle(name)

    @settings(deadline=None, database=None, derandomize=True, max_examples=200)
    @given(responses, st.one_of(json_values, references[name]), parameters(subject.manifest))
    def holds(response: str, reference: Any, params: dict[str, Any]) -> None:
        verdict = subject.verify(response, reference, **params)

        assert verdict["score"] in SCORES[verdict["outcome"]]
        assert isinstance(verdict["detail"], dict)
        json.dumps(verdict, ensure_ascii=False, allow_nan=False).encode("utf-8")
        assert verdict == subject.verify(response, reference, **params)

    holds()


@pytest.mark.parametrize("name", NAMES)
def test_a_reference_is_bad_whatever_the_response_is(bundle: Callable[[str], Any], name: str) -> None:
    subject = bundle(name)

    @settings(deadline=None, database=None, derandomize=True, max_examples=150)
    @given(responses, responses, st.one_of(json_values, references[name]), parameters(subject.manifest))
    def holds(one: str, other: str, reference: Any, params: dict[str, Any]) -> None:
        first, second = (subject.verify(text, reference, **params) for text in (one, other))

        assert (first["outcome"] == "bad_reference") == (second["outcome"] == "bad_reference")
        if first["outcome"] == "bad_reference":
            assert first == second

    holds()


def test_no_answer_is_never_rewarded_for_saying_nothing(bundle: Callable[[str], Any]) -> None:
    asked: dict[str, list[Any]] = {
        "exact": ["a", ["a", "b"]],
        "choice": ["A", "J"],
        "regex": ["a", "^.$", {"pattern": "a*", "expected": "a"}],
        "json-schema": [True, {}, {"type": "object"}],
        "numeric": [0, "0", {"value": 0, "absolute_tolerance": 100}],
        "gsm8k-answer": [0, "0"],
    }
    for name, questions in asked.items():
        for reference in questions:
            for nothing in ("", " ", "\n\n", "\u00a0", "\u200b", ".", "\x00"):
                verdict = bundle(name).verify(nothing, reference)
                rewarded_dot = name == "regex" and reference == "^.$" and nothing in ("\u200b", ".", "\x00")
                assert verdict["score"] == (1.0 if rewarded_dot else 0.0), (name, reference, nothing)


def test_equal_reductions_of_json_schema_items_get_equal_verdicts(bundle: Callable[[str], Any]) -> None:
    subject = bundle("json-schema")
    prose = st.sampled_from(
        ["", "Here it is:\n", "x ", "```json\n", "\n```", "\n```\nDone.", " [1]", "{", '"', " {} "]
    )
    values = st.sampled_from(['{"a":1}', '{"a":"x"}', '{"a":1,"a":2}', "[1]", '{"a":', "{}", '{"b":NaN}', ""])
    how = st.sampled_from(["auto", "whole", "fenced", "object"])
    seen: dict[str, Any] = {}

    @settings(deadline=None, database=None, derandomize=True, max_examples=300)
    @given(prose, values, prose, how, st.one_of(st.just({"properties": {"a": {"type": "integer"}}}), schemas))
    def holds(before: str, value: str, behind: str, extract: str, reference: Any) -> None:
        item = {
            "response": before + value + behind,
            "reference": reference,
            "params": {"extract": extract},
            "prompt": None,
        }
        verdict = subject.call("verify", item)
        key = json.dumps(subject.call("reduce", item), sort_keys=True)
        assert seen.setdefault(key, verdict) == verdict

    holds()
    assert len(seen) > 100


def test_a_json_schema_verdict_is_that_of_the_reduced_text_alone(bundle: Callable[[str], Any]) -> None:
    subject = bundle("json-schema")

    @settings(deadline=None, database=None, derandomize=True, max_examples=200)
    @given(responses, schemas)
    def holds(response: str, reference: Any) -> None:
        item = {"response": response, "reference": reference, "params": {}, "prompt": None}
        found, *_ = subject.call("reduce", item)
        if "json" in found:
            assert subject.call("verify", item) == subject.verify(found["json"], reference, extract="whole")

    holds()


def test_json_schema_agrees_with_the_library_it_changes(bundle: Callable[[str], Any]) -> None:
    subject = bundle("json-schema")
    values = st.recursive(
        st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["", "a", "ab", "string"]),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
        max_leaves=5,
    )
    judged: list[float] = []

    @settings(deadline=None, database=None, derandomize=True, max_examples=400)
    @given(values, schemas.filter(lambda schema: isinstance(schema, dict) and "$schema" not in schema))
    def holds(value: Any, schema: Any) -> None:
        verdict = subject.verify(json.dumps(value), schema, extract="whole")
        if verdict["outcome"] == "scored":
            assert verdict["score"] == float(jsonschema.Draft202012Validator(schema).is_valid(value))
            judged.append(verdict["score"])

    holds()
    assert min(judged.count(0.0), judged.count(1.0)) > 10


@pytest.mark.parametrize(
    "spelling",
    [
        "{}",
        "The answer is {}.",
        "**{}**",
        "\\boxed{{{}}}",
        "= {}",
        "${}$",
        "${}",
        "{} cm^2",
        "{}\\%",
        "Answer: {} (exact)",
        "<answer>{}</answer>",
    ],
)
def test_numeric_and_gsm8k_answer_read_a_decimal_however_it_is_dressed(
    bundle: Callable[[str], Any], spelling: str
) -> None:
    @settings(deadline=None, database=None, derandomize=True, max_examples=40)
    @given(st.decimals(-(10**9), 10**9, places=3), st.sampled_from(["{}", "{:,}", "{:+}"]))
    def holds(value: Decimal, form: str) -> None:
        response = spelling.format(form.format(value))
        near = value + Decimal("0.001")

        assert bundle("numeric").verify(response, str(value))["score"] == 1.0
        assert bundle("numeric").verify(response, str(near))["score"] == 0.0
        assert (
            bundle("numeric").verify(response, {"value": str(near), "absolute_tolerance": 0.001})["score"]
            == 1.0
        )
        if "cm^2" not in spelling:  # there, the last number is the exponent
            assert bundle("gsm8k-answer").verify(response, str(value))["score"] == 1.0
            assert bundle("gsm8k-answer").verify(response, str(near))["score"] == 0.0

    holds()


@pytest.mark.parametrize("letter", list("ABCDEFGHIJ"))
@pytest.mark.parametrize(
    "spelling",
    [
        "{}",
        "({}).",
        "**{}**",
        "Answer: {}",
        "The answer is ({})",
        "\\boxed{{\\text{{{}}}}}",
        "{}) 12",
        "{} is correct.",
        "答案：{}",
    ],
)
def test_choice_reads_every_letter_however_it_is_dressed(
    bundle: Callable[[str], Any], letter: str, spelling: str
) -> None:
    verdict = bundle("choice").verify("Let me think. A cat, I say.\n\n" + spelling.format(letter), letter)

    assert (verdict["outcome"], verdict["score"]) == ("scored", 1.0)


@pytest.mark.parametrize(
    "joint", [" or ", "\\text{ or }", "$ or $", "\\quad\\text{and}\\quad ", ", or\n", "和"]
)
def test_two_boxes_that_are_joined_answer_nothing(bundle: Callable[[str], Any], joint: str) -> None:
    for name, answers in (("choice", ("A", "B")), ("numeric", ("5", "6"))):
        response = f"$\\boxed{{{answers[0]}}}{joint}\\boxed{{{answers[1]}}}$"

        assert {bundle(name).verify(response, answer)["outcome"] for answer in answers} == {"no_answer"}


@pytest.mark.parametrize("joint", ["或", "或者", "和", "与", "、", " or ", "/", ", ", "또는"])
def test_two_letters_that_are_joined_answer_nothing(bundle: Callable[[str], Any], joint: str) -> None:
    for frame in ("答案是{}", "The answer is {}", "정답: {}", "\\boxed{{{}}}"):
        verdict = bundle("choice").verify(frame.format(f"A{joint}B"), "A")

        assert (verdict["outcome"], verdict["detail"].get("letters")) == ("no_answer", "AB")


def test_a_lone_surrogate_is_an_ordinary_wrong_character(bundle: Callable[[str], Any]) -> None:
    assert bundle("exact").verify("Pari\ud800", "Paris")["score"] == 0.0
    assert bundle("choice").verify("B \ud800", "B")["outcome"] in {"scored", "no_answer"}
    assert bundle("regex").verify("a\ud800b", r"a\x{fffd}b")["score"] == 1.0
    assert bundle("regex").verify("a", "\ud800")["detail"]["code"] == "bad_pattern"
    assert bundle("json-schema").verify('{"a":"\ud800"}', {})["detail"]["code"] == "lone_surrogate"
    assert bundle("numeric").verify("\ud800 42", 42)["score"] == 1.0
    assert bundle("gsm8k-answer").verify("\ud800 42", 42)["score"] == 1.0
