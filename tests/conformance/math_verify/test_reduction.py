"""What `reduce` is for: rollouts that end alike become one, and nothing else does."""

import json

import pytest

from tests.bench.grpo_traffic import grpo_items
from tests.conformance.math_verify.conftest import FULL, Json, Program

WORKING = (
    "Let us see. First $x = 3$, so the sum is \\[ 3 + 4 = 7. \\]\n\n",
    "It costs $5 or $6, that is \\$11 in all.\n",
    "\\(a\\) and [b] and 17% of 30 answers.\n\n",
    "\u00c9tude: 1/2 \u2013 3/4 = \u22121/4.\n",
)


def reductions(bundle: Program, responses: list[str], reference: Json = "42") -> list[str]:
    """Return the reductions of the responses as text."""
    items = [{"response": text, "reference": reference, "params": {}, "prompt": None} for text in responses]
    return [json.dumps(reply["reduction"], sort_keys=True) for reply in bundle.ask(items)]


def test_a_group_of_rollouts_reduces_to_its_answers(bundle: Program) -> None:
    items = grpo_items(prompts=8 if FULL else 1, group=16, characters=3000)
    for start in range(0, len(items), 16):
        group = items[start : start + 16]
        answers = {
            item["response"].rpartition("boxed{")[2].partition("\n")[0].rstrip(".$}") for item in group
        }
        reduced = reductions(bundle, [item["response"] for item in group], group[0]["reference"])
        assert len(set(reduced)) == len(answers) <= 3


@pytest.mark.parametrize("ending", ["$\\boxed{42}$", "\\boxed{42}", "The final answer is $42$."])
def test_the_working_does_not_count(bundle: Program, ending: str) -> None:
    assert len(set(reductions(bundle, [ending, *(working + ending for working in WORKING)]))) == 1


def test_what_could_change_the_verdict_is_kept_apart(bundle: Program) -> None:
    endings = [
        "$\\boxed{42}$", "$\\boxed{42}$ percent", "$\\boxed{42\\%}$", "$\\boxed{24}$", "42", "42%", "1 + 41 ",
        "$40$ and $2$", "$4$ and $02$", "$\\boxed{\\text{42}}$ 42", "",
    ]  # fmt: skip
    reduced = reductions(bundle, endings)
    assert len(set(reduced)) == len(endings)
    assert len({*reduced, *reductions(bundle, endings, "41")}) == 2 * len(endings)


def test_numbers_and_their_text_are_one_reference(bundle: Program) -> None:
    assert reductions(bundle, ["42"], 42) == reductions(bundle, ["42"], "42")


def test_there_is_none_for_a_bad_reference_or_an_endless_answer_or_a_lone_surrogate(bundle: Program) -> None:
    endless = "\\boxed{" + "9+" * 2500 + "=}"
    assert reductions(bundle, [endless, "\\boxed{\ud800}"]) == ["null", "null"]
    assert reductions(bundle, ["42"], ["42"]) == ["null"]
