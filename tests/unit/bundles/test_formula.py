"""Formulas of graders: arithmetic as people write it, and nothing that is more."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from countermark_service.bundles.formula import MOST_CHARS, Formula, FormulaError

NUMBERS = {"a": 2.0, "b": 0.5, "c": -3.0}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1.0),
        ("a", 2.0),
        ("a + b", 2.5),
        ("a - b - b", 1.0),
        ("a * b + c", -2.0),
        ("c + a * b", -2.0),
        ("(c + a) * b", -0.5),
        ("a / b", 4.0),
        ("a ^ 3", 8.0),
        ("a ** 3", 8.0),
        ("2 ^ 3 ^ 2", 512.0),
        ("-a ^ 2", -4.0),
        ("+a", 2.0),
        ("--a", 2.0),
        ("7 % 4", 3.0),
        ("min(a, b, c)", -3.0),
        ("max(a, b)", 2.0),
        ("max(a)", 2.0),
        ("abs(c)", 3.0),
        ("floor(b)", 0.0),
        ("ceil(b)", 1.0),
        ("exp(0)", 1.0),
        ("sqrt(a * 8)", 4.0),
        ("log(exp(1))", 1.0),
        (" a\n", 2.0),
        ("1e-3", 0.001),
        ("(a)", 2.0),
    ],
)
def test_a_formula_has_the_value_that_it_has_on_paper(text: str, value: float) -> None:
    assert Formula(text).value(NUMBERS) == pytest.approx(value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "a +",
        "a b",
        "a; b",
        "a = 1",
        "a == b",
        "a if b else c",
        "a and b",
        "not a",
        "a < b",
        "a // b",
        "a @ b",
        "a << 2",
        "~a",
        "a | b",
        "a.real",
        "a[0]",
        "[a]",
        "{}",
        "'a'",
        "True",
        "None",
        "1j",
        "lambda: 1",
        "(a for a in b)",
        "__import__('os')",
        "abs",
        "abs()",
        "abs(a, b)",
        "min()",
        "pow(a, b)",
        "round(a)",
        "min(*a)",
        "min(a, key=b)",
        "f'{a}'",
        "(a := 1)",
        "9" * 400 + "." + "0",
        "(" * 150 + "a" + ")" * 150,
        "-" * 150 + "a",
        "a" * (MOST_CHARS + 1),
        "\x00",
        "a + \ud800",
        "print(a)",
        "exp.__call__(a)",
        "yield a",
        "await a",
        "(" * 1000 + "a" + ")" * 1000,
    ],
)
def test_what_is_no_formula_is_refused(text: str) -> None:
    if text == "abs":  # a name like any other; whoever has the numbers refuses it
        assert Formula(text).names == {"abs"}
        return
    if text.startswith("(" * 150) and len(text) < 400:  # brackets leave no trace in the tree
        assert Formula(text).value(NUMBERS) == 2.0
        return
    with pytest.raises(FormulaError):
        Formula(text).value(NUMBERS)


@pytest.mark.parametrize(
    "text",
    [
        "a / 0",
        "0 ^ -1",
        "c ^ 0.5",
        "sqrt(c)",
        "log(0)",
        "exp(1000)",
        "10 ^ 400",
        "1e308 * 10",
        "a % 0",
        "1e999",
    ],
)
def test_what_has_no_finite_value_is_an_error_and_no_number(text: str) -> None:
    with pytest.raises(FormulaError):
        Formula(text).value(NUMBERS)


@given(st.text(alphabet="abc0123456789.+-*/%^(), \nminabsexpsqrtlog_'[]", max_size=60))
def test_any_text_is_a_formula_of_those_names_or_refused(text: str) -> None:
    try:
        formula = Formula(text)
        assert math.isfinite(formula.value(dict.fromkeys(formula.names, 1.5)))
    except FormulaError:
        pass
