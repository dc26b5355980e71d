"""The bundle's search against the library's patterns: the same matches, in the same order, on every text."""

import subprocess

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.bench.grpo_traffic import grpo_items
from tests.conformance.math_verify.conftest import FULL, PYTHON_OPTIONS, VERSIONS, Program, interpreter
from tests.conformance.math_verify.made_up import texts

FOLDING = """
import re, sys
characters = "".join(map(chr, range(sys.maxunicode + 1)))
for letter in sorted(set("final answer")):
    others = set(re.findall(f"(?i:{letter})", characters)) - {letter, letter.upper()}
    if others:
        print(letter, ascii("".join(sorted(others))))
"""


@settings(max_examples=4000 if FULL else 60, suppress_health_check=list(HealthCheck))
@given(batch=st.lists(texts, min_size=4, max_size=4))
def test_it_finds_the_matches_of_the_library_in_the_order_of_the_library(
    searches: Program, batch: list[str]
) -> None:
    for found in searches.ask(batch):
        assert found["bundle"] == found["library"]


def test_it_finds_them_in_long_rollouts(searches: Program) -> None:
    rollouts = [item["response"] for item in grpo_items(prompts=6, group=3, characters=4000, seed=7)]
    for found in searches.ask([*rollouts, "\n".join(rollouts), " ".join(rollouts).replace("\n", " ")]):
        assert found["bundle"] == found["library"]
        assert found["library"]


def test_it_finds_them_in_real_responses(searches: Program, corpus: list[tuple[str, str]]) -> None:
    for found in searches.ask([response for response, _ in corpus]):
        assert found["bundle"] == found["library"]


def test_a_thousand_openers_that_close_nowhere_cost_no_time_worth_measuring(searches: Program) -> None:
    hostile = ["\\( " * 1000, "\\[ " * 1000 + "\\boxed{1}", "\\boxed{" * 300, "$" * 999 + "\\boxed{1}"]
    for found in searches.ask(hostile):
        assert found["bundle"] == found["library"]


def test_three_letters_beyond_ascii_pass_for_letters_of_final_answer() -> None:
    """The search folds case in ASCII only, where none of these three stands in the text."""
    said = subprocess.run(
        [interpreter(VERSIONS[-1]), *PYTHON_OPTIONS, "-c", FOLDING],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert said.splitlines() == [r"i '\u0130\u0131'", r"s '\u017f'"]
