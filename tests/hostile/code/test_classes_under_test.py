# ruff: noqa: E501
# One source a line, so that the tables stay tables.
"""Classes that a test makes objects of: their operators count, and neither what they return nor what they swallow does."""

import pytest

from countermark_service.sandbox.code.model import Limits, Status
from countermark_service.sandbox.code.pool import SandboxPool

pytestmark = pytest.mark.asyncio(loop_scope="module")

UNHURRIED = Limits(cpu_seconds=10, wall_seconds=60)
SUITS = b"    def __eq__(s, o): return True\n    def __hash__(s): return 1\n    __lt__ = __le__ = __gt__ = __ge__ = __contains__ = __eq__\n    def __sub__(s, o): return s\n    def __abs__(s): return 0.0\n    def startswith(s, o): return True\n"
ITSELF = {
    "itself": b"class S:\n    def add(s, a, b): return s\n" + SUITS,
    "a list of itself": b"class S:\n    def add(s, a, b): return [s, s]\n" + SUITS,
    "another that was made": b"made = []\nclass S:\n    def __init__(s): made.append(s)\n    def add(s, a, b): return made[0]\n" + SUITS,
    "whatever is asked for": b"class S:\n    def __getattr__(s, n): return s\n    def __call__(s, *a): return s\n" + SUITS,
    "a new one": b"class S:\n    def add(s, a, b): return S()\n" + SUITS,
}  # fmt: skip


@pytest.mark.parametrize("name", ITSELF)
@pytest.mark.parametrize(
    "tester",
    [
        b"x = S()\nassert x.add(1, 2) == 3",
        b"x = S()\nassert x.add(1, 2) == [1, 2]",
        b"assert 3 == S().add(1, 2)",
        b"x = S()\ny = S()\nassert y.add(1, 2) > 0 and x.add(1, 2) in [3]",
        b"x = S()\nassert 3 in x.add(1, 2)",
        b"x = S()\nassert abs(x.add(1, 2) - 3) < 1e-9",
        b"x = S()\nassert x.add(1, 2).startswith('a')",
        b"x = S()\nr = [2, 1]\nx.add(r, r)\nassert x.add(1, 2) == 3 and x is not None",
        b"import unittest\nclass T(unittest.TestCase):\n    def test_a(self):\n        self.assertEqual(S().add(1, 2), 3)\nunittest.main()",
    ],
)
async def test_an_object_that_its_own_method_returns_decides_nothing(
    pool: SandboxPool, name: str, tester: bytes
) -> None:
    result = await pool.run_tester(tester, ITSELF[name], ["S"], UNHURRIED)
    assert (result.passed, result.unsupported) == (False, False), result
    assert result.status is not Status.INFRASTRUCTURE


async def test_an_object_that_is_put_into_the_test_s_own_list_decides_nothing(pool: SandboxPool) -> None:
    candidate = b"class S:\n    def sort(s, x): x[:] = [s, s]\n" + SUITS
    result = await pool.run_tester(
        b"x = [2, 1]\nS().sort(x)\nassert x == [1, 2]", candidate, ["S"], UNHURRIED
    )
    assert (result.passed, result.unsupported) == (False, False), result


BAG = b"class Bag:\n    def __init__(s): s.v = []\n    def add(s, x):\n        s.v.append(x)\n        return s\n    def __eq__(s, o): return s.v == (o.v if isinstance(o, Bag) else o)\n    def __contains__(s, x): return x in s.v\n    def __len__(s): return len(s.v)\n    def count(s, x): return s.v.count(x)\n    def __enter__(s): return s\n    def __exit__(s, *a): s.v.clear()\n"


@pytest.mark.parametrize(
    "tester",
    [
        b"b = Bag()\nassert b.add(1) is b and b.v == [1] and 1 in Bag().add(1).v",
        b"b = Bag()\nb.add(1)\nassert b.v == [1] and b == [1] and 1 in b and 2 not in b",
        b"assert Bag().add(1).add(1).count(1) == 2 and len(Bag().add(5)) == 1",
        b"assert Bag().add(1) == Bag().add(1) and Bag().add(1) != Bag()",
        b"b = Bag()\nassert b.add(1).add(2).v == [1, 2]\nassert b.add(4) is b\nassert 4 in b and 5 not in b and len(b) == 3\nassert b == [1, 2, 4] and b != Bag()",
        b"import unittest\nb = Bag()\nunittest.TestCase().assertIs(b.add(1), b)",
        b"with Bag() as b:\n    b.add(1)\n    assert 1 in b and b == [1]\nassert len(b) == 0",
    ],
)
async def test_a_class_whose_methods_return_the_object_is_tested_by_its_operators(
    pool: SandboxPool, tester: bytes
) -> None:
    result = await pool.run_tester(tester, BAG, ["Bag"], UNHURRIED)
    assert result.passed, result


TAKES = b"class Box:\n    def __init__(s, v): pass\n    def __enter__(s): return s\n    def __exit__(s, *a): return True\n    async def __aenter__(s): return s\n    async def __aexit__(s, *a): return True\n    def get(s): return None\n"
TAKES_BY_A_GENERATOR = b"from contextlib import contextmanager\n@contextmanager\ndef Box(v):\n    try: yield Box\n    except BaseException: pass\nBox.get = lambda: None\n"


@pytest.mark.parametrize("candidate", [TAKES, TAKES_BY_A_GENERATOR], ids=["a class", "a generator"])
@pytest.mark.parametrize(
    "tester",
    [
        b"with Box(3) as b:\n    assert b.get() == 3",
        b"with Box(3) as b:\n    assert b.get() + 1 == 4",
        b"with Box(3) as b:\n    x = b.get() + 1\n    assert x == 4",
        b"import unittest\nt = unittest.TestCase()\nwith Box(3) as b:\n    t.assertEqual(b.get(), 3)",
    ],
)
async def test_no_manager_takes_what_keeps_a_test_from_its_assertions(
    pool: SandboxPool, candidate: bytes, tester: bytes
) -> None:
    result = await pool.run_tester(tester, candidate, ["Box"], UNHURRIED)
    assert (result.passed, result.unsupported) == (False, False), result


async def test_no_asynchronous_manager_does_so_either(pool: SandboxPool) -> None:
    tester = b"import asyncio\nasync def main():\n    async with Box(3) as b:\n        assert b.get() == 3\nasyncio.run(main())"
    result = await pool.run_tester(tester, TAKES, ["Box"], UNHURRIED)
    assert (result.passed, result.unsupported) == (False, False), result


@pytest.mark.parametrize(
    "tester",
    [
        b"with Box(3) as b:\n    assert b.get() is None\n    int('x')",
        b"with Box(3):\n    raise AssertionError('no')\nwith Box(3):\n    assert False",
        b"with Box(3):\n    1 / 0\n    assert False, 'this is never reached'",
    ],
)
async def test_a_manager_may_take_what_a_test_raises_for_it(pool: SandboxPool, tester: bytes) -> None:
    assert (await pool.run_tester(tester, TAKES, ["Box"], UNHURRIED)).passed
    keeps = TAKES.replace(b"*a): return True", b"*a): return None")
    failed = await pool.run_tester(tester, keeps, ["Box"], UNHURRIED)
    assert (failed.passed, failed.unsupported) == (False, False), failed


LOOKS = b"import inspect\nassert inspect.signature(f).parameters['a'].default == 1\nassert f(2) == 3"
FORGED_LOOK = b"import inspect\ninspect.signature = lambda v: type('X', (), {'parameters': {'a': type('P', (), {'name': '1 x', 'kind': 0, 'default': inspect.Parameter.empty})()}})()\n"


@pytest.mark.parametrize(
    "candidate",
    [
        b"def f(): return 3",
        b"def f(b=1): return 3",
        FORGED_LOOK + b"def f(a=1): return 3",
    ],
    ids=["no parameter", "another one", "a forged one"],
)
async def test_a_program_that_does_not_look_as_a_test_wants_it_has_failed(
    pool: SandboxPool, candidate: bytes
) -> None:
    result = await pool.run_tester(LOOKS, candidate, ["f"], UNHURRIED)
    assert (result.passed, result.unsupported) == (False, False), result


async def test_a_test_that_looks_and_fails_by_itself_says_nothing_of_a_program(pool: SandboxPool) -> None:
    result = await pool.run_tester(
        b"import no_such_module\n" + LOOKS, b"def f(a=1): return 3", ["f"], UNHURRIED
    )
    assert (result.passed, result.unsupported) == (False, True), result


async def test_no_object_names_an_address_in_the_test_s_memory(pool: SandboxPool) -> None:
    candidate = b"class E:\n    __array_interface__ = {'data': (8, False)}\n    __array_struct__ = 8\n    x = 3\ndef f(): return E()"
    tester = b"e = f()\nassert e.x == 3 and not hasattr(e, '__array_interface__') and not hasattr(e, '__array_struct__')"
    assert (await pool.run_tester(tester, candidate, ["f"], UNHURRIED)).passed
