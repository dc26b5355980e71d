"""The bundle against the library: the same verdict on the same texts."""

import ast
import re
from concurrent.futures import ThreadPoolExecutor

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conformance.math_verify.conftest import ALL_VERSIONS, BUNDLES, FULL, Json, Program
from tests.conformance.math_verify.made_up import answers, noises, statements

MATH_MODE = re.compile(r"\\boxed|(?<!\\)\\[(\[]|(?<!\\)\$.+?(?<!\\)\$", re.DOTALL)
CLOCKED_SHARE = 0.01
"""Share of pairs at most on which the library's own alarm may have spoken, which proves nothing."""


def gold_text(reference: str) -> str:
    """Return what a direct call has to parse: the stated policy for references."""
    return reference if MATH_MODE.search(reference) else f"\\boxed{{{reference}}}"


def compared(
    bundle: Program, library: Program, pairs: list[tuple[str, str]], *, alone: bool = False
) -> list[Json]:
    """Ask both about the pairs at once; return the bundle's replies where they agree, else fail.

    With `alone`, the library judges each pair in a process of its own: it leaves something of a pair to the next.
    Also fails where two items with one reference and equal reductions have different verdicts.
    """
    items: list[Json] = [
        {"response": response, "reference": gold, "params": {}, "prompt": None} for response, gold in pairs
    ]
    questions = [{"response": response, "gold": gold_text(gold), "fork": alone} for response, gold in pairs]
    with ThreadPoolExecutor() as both:
        replying, saying = both.submit(bundle.ask, items), both.submit(library.ask, questions)
        replies, said = replying.result(), saying.result()
    by_reduction: dict[str, Json] = {}
    clocked = 0
    for pair, reply, direct in zip(pairs, replies, said, strict=True):
        verdict = reply["verdict"]
        clocked += direct["clocked"]
        if not direct["clocked"]:
            assert (verdict["outcome"], verdict["score"]) == (direct["outcome"], direct["score"]), pair
        if reply["reduction"] is not None:
            assert by_reduction.setdefault(str(reply["reduction"]), verdict) == verdict, pair
    assert clocked <= CLOCKED_SHARE * len(pairs), f"{clocked} of {len(pairs)} pairs met the library's alarm"
    return replies


def test_the_newest_four_bundles_share_their_code() -> None:
    """Only what their docstrings say of each version differs, so testing one of them tests the code of all."""
    modules = [ast.parse((BUNDLES / version / "verifier.py").read_text("utf-8")) for version in ALL_VERSIONS]
    oldest, *newer = [ast.dump(ast.Module(module.body[1:], [])) for module in modules]
    assert len(set(newer)) == 1
    assert oldest not in newer


def test_vectors_say_what_the_library_says(bundle: Program, library: Program, vectors: list[Json]) -> None:
    readable = [vector for vector in vectors if isinstance(vector["item"]["reference"], str)]
    pairs = [(vector["item"]["response"], vector["item"]["reference"]) for vector in readable]
    replies = compared(bundle, library, pairs, alone=True)
    assert [reply["verdict"] for reply in replies] == [vector["expect"] for vector in readable]
    assert len(vectors) >= 40
    assert len({vector["id"] for vector in vectors}) == len(vectors)


def test_real_responses_get_the_verdict_of_the_library(
    bundle: Program, library: Program, corpus: list[tuple[str, str]]
) -> None:
    replies = compared(bundle, library, corpus)
    assert {reply["verdict"]["score"] for reply in replies} == {0.0, 1.0}


@settings(max_examples=1500 if FULL else 12, suppress_health_check=list(HealthCheck))
@given(
    statement=statements,
    around=st.lists(st.tuples(noises, noises), min_size=4, max_size=4),
    gold=answers,
)
def test_made_up_responses_get_the_verdict_of_the_library(
    bundle: Program, library: Program, statement: str, around: list[tuple[str, str]], gold: str
) -> None:
    pairs = [(before + statement + after, gold) for before, after in around]
    compared(bundle, library, pairs)
