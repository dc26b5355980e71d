"""A verdict depends on the item alone: not on the thread, the depth of the stack or what came before."""

import subprocess

import pytest

from tests.conformance.math_verify.conftest import (
    BUNDLES,
    FULL,
    PYTHON_OPTIONS,
    SURROUNDINGS,
    VERSIONS,
    Json,
    Program,
    interpreter,
)

OUT_OF_MEMORY = """
import sys
sys.path.insert(0, sys.argv[1])
import verifier
def exhausted(*arguments):
    raise MemoryError
verifier.grader.sympy_expr_eq = exhausted
try:
    print(verifier.verify({"response": "1", "reference": "1"}))
except MemoryError as error:
    print("raised")
"""


def items_of(vectors: list[Json], **further: Json) -> list[Json]:
    """Return the items of the vectors in the shape of the worker."""
    return [{"params": {}, "prompt": None, **vector["item"], **further} for vector in vectors]


def test_no_alarm_is_set_so_that_any_thread_will_do(bundle: Program, vectors: list[Json]) -> None:
    some = vectors[:6]
    verdicts = [reply["verdict"] for reply in bundle.ask(items_of(some, thread=True))]
    assert verdicts == [vector["expect"] for vector in some]


def test_a_fresh_process_gives_the_same_verdicts_in_reverse(version: str, vectors: list[Json]) -> None:
    some = vectors if FULL else vectors[::6]
    program = Program(version, "bundle_worker.py", str(BUNDLES / version))
    verdicts = [reply["verdict"] for reply in program.ask(items_of(some[::-1]))]
    program.close()
    assert verdicts[::-1] == [vector["expect"] for vector in some]


CHAINS = [
    "1 < x \\le 3",
    "3 \\ge x > 1",
    "(1,3]",
    "x = y = 3",
    "3 = y = x",
    "5 = x = y = 5",
    "x = y = 5 = x",
    "5",
]
"""Answers that hold the same relations in one order and another, and what they are compared with."""


def test_an_order_of_relations_is_not_left_to_the_next_item(bundle: Program, library: Program) -> None:
    """The library keeps one object for chains of the same relations, and writes their order onto it.

    So it is asked in a process of its own for each pair, and the bundle in one for all, then once more in reverse.
    """
    pairs = [(f"\\boxed{{{answer}}}", f"\\boxed{{{gold}}}") for gold in CHAINS for answer in CHAINS]
    items = items_of([{"item": {"response": response, "reference": gold}} for response, gold in pairs])
    verdicts = [reply["verdict"]["score"] for reply in bundle.ask(items)]
    reversed_verdicts = [reply["verdict"]["score"] for reply in bundle.ask(items[::-1])]
    alone = library.ask([{"response": response, "gold": gold, "fork": True} for response, gold in pairs])
    assert verdicts == [said["score"] for said in alone]
    assert verdicts == reversed_verdicts[::-1]


def test_the_parser_gives_up_at_one_length_however_deep_the_caller_is(
    version: str, bundle: Program, library: Program
) -> None:
    """Words are read as a product, recursively; beyond a length that is too deep, and the text alone is left.

    The gold is the same product in another spelling, so that the verdict tells whether it was read.
    """
    if not FULL and version != VERSIONS[-1]:
        pytest.skip("a minute of CPU time for each version: set COUNTERMARK_FULL=1")
    for words in range(314, 326) if FULL else (320,):
        text = " ".join(["word"] * words)
        response, gold = f"\\boxed{{{text}}}", f"\\boxed{{{text.replace(' ', '  ')}}}"
        item: dict[str, Json] = {"response": response, "reference": gold, "params": {}, "prompt": None}
        replies = bundle.ask([item, item | {"depth": 60}])
        assert replies[0] == replies[1]
        direct = library.ask([{"response": response, "gold": gold}])[0]
        assert direct["clocked"] or direct["score"] == replies[0]["verdict"]["score"]


def test_a_lack_of_memory_is_not_a_zero() -> None:
    version = VERSIONS[-1]
    said = subprocess.run(
        [interpreter(version), *PYTHON_OPTIONS, "-c", OUT_OF_MEMORY, BUNDLES / version],
        env=SURROUNDINGS,
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stdout == "raised\n"
