# ruff: noqa: E501
# One hostile source a line, so that the tables stay tables.
"""Function calls and test programs: forged answers, hostile values, death at the wrong moment."""

from dataclasses import replace

import pytest

from countermark_service.sandbox.code.model import Call, Limits, SandboxInputError, Status
from countermark_service.sandbox.code.pool import SandboxPool

pytestmark = pytest.mark.asyncio(loop_scope="module")

LIMITS = Limits(cpu_seconds=0.5, wall_seconds=3, memory_mib=256)
UNHURRIED = Limits(cpu_seconds=10, wall_seconds=60)

WRONG = {
    "a wrong answer": b"def add(a, b): return 0",
    "an object that equals everything": b"class E:\n    def __eq__(self, o): return True\ndef add(a, b): return E()",
    "a number that equals everything": b"class E(int):\n    def __eq__(self, o): return True\n    __hash__ = int.__hash__\ndef add(a, b): return E(0)",
    "a list that equals everything": b"class E(list):\n    def __eq__(self, o): return True\ndef add(a, b): return E()",
    "an exit from inside": b"import os\ndef add(a, b): os._exit(0)",
    "an exit by exception": b"import sys\ndef add(a, b): sys.exit(0)",
    "an exit at the top": b"import os\nos._exit(0)",
    "a patched comparison": b"import builtins\nbuiltins.AssertionError = type('A', (Exception,), {})\nint.__doc__\ndef add(a, b): return None",
    "a patched test framework": b"import unittest\nunittest.TestCase.assertEqual = lambda *a: None\ndef add(a, b): return None",
    "a verdict written to every descriptor": b"import os\nfor fd in range(3, 20):\n    try: os.write(fd, b'\\x00\\x00\\x00\\x05passed')\n    except OSError: pass\ndef add(a, b): return 0",
    "a closed socket": b"import os\nos.closerange(3, 20)\ndef add(a, b): return 0",
    "a generator": b"def add(a, b): yield 3",
    "a coroutine": b"async def add(a, b): return 3",
    "a lambda": b"add = lambda a, b: (lambda: a + b)",
    "no function at all": b"x = 1",
    "a name that is no function": b"add = 3",
    "a syntax error": b"def add(a, b: return 3",
    "a skipped test": b"import unittest\ndef add(a, b): raise unittest.SkipTest('no')",
    "a raised assertion": b"def add(a, b): raise AssertionError",
    "a keyboard interrupt": b"def add(a, b): raise KeyboardInterrupt",
    "an endless loop": b"def add(a, b):\n    while True: pass",
    "endless memory": b"def add(a, b): return [0] * 10 ** 9",
    "an answer that is too large": b"def add(a, b): return 'x' * (8 << 20)",
    "an answer that is too deep": b"def add(a, b):\n    x = []\n    for _ in range(10 ** 5): x = [x]\n    return x",
    "an answer that contains itself": b"def add(a, b):\n    x = []; x.append(x)\n    return x",
    "hashes that collide": b"def add(a, b): return {i * (2 ** 61 - 1) for i in range(2000)}",
    "an exception that cannot be shown": b"class E(Exception):\n    def __str__(self): raise SystemExit\ndef add(a, b): raise E",
    "an exception with a huge text": b"def add(a, b): raise ValueError('x' * 10 ** 7)",
    "a stopped process": b"import os, signal\ndef add(a, b): os.kill(os.getpid(), signal.SIGSTOP)",
    "a killed process": b"import os, signal\ndef add(a, b): os.kill(os.getpid(), signal.SIGKILL)",
    "a child that answers too": b"import os\ndef add(a, b):\n    os.fork()\n    return 0",
    "a pickled surprise": b"class E:\n    def __reduce__(self): return (print, ('x',))\ndef add(a, b): return E()",
    "a replaced encoder": b"import sys\nfor n, m in list(sys.modules.items()):\n    if n.endswith('plain'): m.encode = lambda v: b'N'\ndef add(a, b): return 0",
    "a frame hack": b"import sys\ndef add(a, b):\n    f = sys._getframe()\n    while f:\n        for k in list(f.f_locals):\n            try: f.f_locals[k] = True\n            except Exception: pass\n        f = f.f_back\n    return 0",
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
async def test_a_wrong_function_never_returns_the_right_value(pool: SandboxPool, name: str) -> None:
    (result,) = await pool.run_calls(WRONG[name], "add", [Call((1, 2))], LIMITS)
    assert result.run.status is not Status.INFRASTRUCTURE, result
    assert not (result.run.status is Status.OK and type(result.value) is int and result.value == 3)


@pytest.mark.parametrize("name", WRONG)
async def test_a_wrong_function_never_passes_a_test_program(pool: SandboxPool, name: str) -> None:
    result = await pool.run_tester(
        b"assert add(1, 2) == 3\nassert add(2, 2) == 4", WRONG[name], ["add"], LIMITS
    )
    assert not result.passed, result
    assert not result.unsupported
    assert result.status is not Status.INFRASTRUCTURE


async def test_a_test_program_sees_values_exceptions_and_changes(pool: SandboxPool) -> None:
    candidate = b"""
def work(kind, x=None):
    if kind == "raise": raise ValueError("no")
    if kind == "sort": x.sort()
    if kind == "value": return {1: (2.5, {3}), "s": b"x", None: [True]}
"""
    tester = b"""
assert work("value") == {1: (2.5, {3}), "s": b"x", None: [True]}
try:
    work("raise")
    raise SystemExit(1)
except ValueError as error:
    assert str(error) == "no"
numbers = [3, 1, 2]
assert candidate("sort", x=numbers) is None
work("sort", numbers)
assert numbers == [1, 2, 3]
"""
    result = await pool.run_tester(tester, candidate, ["work"], UNHURRIED)
    assert result.passed, result


async def test_a_test_program_may_use_names_of_its_prelude_but_not_its_stub(pool: SandboxPool) -> None:
    prelude = b"def helper(x): return x + 1\ndef f(x):\n    raise NotImplementedError"
    result = await pool.run_tester(
        b"assert f(helper(1)) == 4", b"def f(x): return x * 2", ["f"], UNHURRIED, prelude=prelude
    )
    assert result.passed, result


@pytest.mark.parametrize(
    "tester",
    [
        b"class A: pass\nassert f(A())",
        b"assert f((",
        b"from unittest.mock import Mock\nassert f(Mock())",
        b"async def g(): pass\nassert f(g())",
        b"class A: pass\nassert f(A)",
    ],
)
async def test_a_test_program_that_cannot_work_is_told_from_a_wrong_candidate(
    pool: SandboxPool, tester: bytes
) -> None:
    result = await pool.run_tester(tester, b"def f(x): return x", ["f"], UNHURRIED)
    assert (result.passed, result.unsupported) == (False, True)


async def test_each_call_starts_from_the_same_state(pool: SandboxPool) -> None:
    code = b"calls = []\ndef f():\n    calls.append(1)\n    return len(calls)"
    results = await pool.run_calls(code, "f", [Call()] * 3, UNHURRIED)
    assert [result.value for result in results] == [1, 1, 1]


async def test_a_method_and_an_exception_and_prints_come_back(pool: SandboxPool) -> None:
    code = b"class Solution:\n    def solve(self, x):\n        print('seen')\n        return 1 // x"
    good, bad = await pool.run_calls(code, "Solution.solve", [Call((1,)), Call((0,))], UNHURRIED)
    assert (good.value, good.run.stdout) == (1, b"seen\n")
    assert bad.exception is not None
    assert bad.exception[0] == "ZeroDivisionError"
    assert bad.run.status is Status.RUNTIME_ERROR


async def test_arguments_that_are_no_data_are_refused(pool: SandboxPool) -> None:
    with pytest.raises(SandboxInputError, match="plain data"):
        await pool.run_calls(b"def f(x): return x", "f", [Call((object(),))])


PAIRS = b"""
class Pair:
    def __init__(self, a, b): self.a, self.b = a, b
    def swapped(self): return Pair(self.b, self.a)
    def __len__(self): return 2
    def __str__(self): return f'{self.a}, {self.b}'
    def __iter__(self): return iter((self.a, self.b))
    def __getitem__(self, place): return (self.a, self.b)[place]
    def __eq__(self, other): return True
    def __hash__(self): return 1
def longest(pairs):
    return max(pair.b - pair.a for pair in pairs)
def made(a, b): return Pair(a, b)
def several(): return [Pair(1, 2), 3]
"""


@pytest.mark.parametrize(
    "tester",
    [
        b"assert longest([Pair(5, 24), Pair(15, 25)]) == 19",
        b"assert made(1, 2).a == 1 and made(1, 2).swapped().a == 2",
        b"p = Pair(3, 4)\nassert longest([p, p]) == 1 and len(p) == 2 and list(p) == [3, 4] and p[1] == 4",
        b"assert str(Pair(3, 4)) == '3, 4' and f'{Pair(3, 4)}' == '3, 4'",
        b"assert several()[1] == 3 and several()[0].b == 2",
    ],
)
async def test_a_test_may_hand_back_what_the_candidate_made(pool: SandboxPool, tester: bytes) -> None:
    result = await pool.run_tester(tester, PAIRS, ["longest", "made", "Pair", "several"], UNHURRIED)
    assert (result.passed, result.unsupported) == (True, False), result


@pytest.mark.parametrize(
    "tester",
    [
        b"assert made(1, 2) == 3",
        b"assert 3 == made(1, 2)",
        b"assert not made(1, 2) != 3",
        b"assert made(1, 2)",
        b"assert made(1, 2) in [3, 4]",
        b"assert several() == [5, 3]",
        b"assert {made(1, 2): 1}",
        b"assert made(1, 2) == made(1, 2)",
        b"try:\n    assert made(1, 2) == 3\nexcept Exception:\n    pass",
        b"assert made(1, 2) >= 3",
        b"assert len(made(1, 2)) == 3",
        b"assert abs(made(1, 2) - 3) < 1e-9",
        b"assert 3 in made(1, 2) or made(1, 2)[0] == 3",
        b"assert made(1, 2) in {3: 4}",
        b"assert longest([Pair(5, 24), Pair(15, 25)]) == 20",
    ],
)
async def test_an_object_of_the_candidate_decides_no_comparison(pool: SandboxPool, tester: bytes) -> None:
    result = await pool.run_tester(tester, PAIRS, ["longest", "made", "Pair", "several"], UNHURRIED)
    assert (result.passed, result.unsupported) == (False, False), result
    assert result.status is not Status.INFRASTRUCTURE


@pytest.mark.parametrize(
    "tester",
    [
        b"try:\n    assert f(1) == 3\nexcept:\n    pass",
        b"def g():\n    try: return f(1) == 3\n    finally: return True\nassert g()",
        b"from contextlib import suppress\nwith suppress(BaseException): assert f(1) == 3",
        b"import unittest\nclass T(unittest.TestCase):\n    def test(self):\n        with self.assertRaises(BaseException): f(1)\nunittest.main()",
    ],
)
@pytest.mark.parametrize(
    "candidate",
    [
        b"import os\ndef f(x): os._exit(0)",
        b"import os\ndef f(x): os.close(4); return 0",
        b"class E:\n    def __eq__(s, o): return True\n    def __hash__(s): return 1\ndef f(x): return {E()}",
    ],
)
async def test_no_test_that_catches_everything_passes_a_candidate_that_has_gone(
    pool: SandboxPool, tester: bytes, candidate: bytes
) -> None:
    result = await pool.run_tester(tester + b"\nassert f(1) or True", candidate, ["f"], UNHURRIED)
    assert (result.passed, result.unsupported, result.status) == (False, False, Status.RUNTIME_ERROR), result


async def test_no_test_that_catches_value_errors_passes_anybody_on_what_cannot_cross(
    pool: SandboxPool,
) -> None:
    tester = b"import unittest\nclass T(unittest.TestCase):\n    def test(self):\n        with self.assertRaises(ValueError): f(object())\nunittest.main()"
    result = await pool.run_tester(tester, b"def f(x): return x", ["f"], UNHURRIED)
    assert (result.passed, result.unsupported) == (False, True), result


LYING = {
    "a length that is none": b"class E:\n    def __len__(self): return -1\ndef f(): return E()",
    "an endless list": b"class E:\n    def __iter__(self):\n        while True: yield 1\ndef f(): return E()",
    "a text that is none": b"class T(str): pass\nclass E:\n    def __str__(self): return T('3')\ndef f(): return E()",
    "objects without end": b"class E:\n    def __getattr__(self, n): return [E() for _ in range(200_000)]\ndef f(): return E()",
    "a number that stands for nothing": b"import sys\nclass E: pass\nfor m in list(sys.modules.values()):\n    if hasattr(m, 'Held'): m.Held.number = lambda self, v: 7\ndef f(): return E()",
}  # fmt: skip


@pytest.mark.parametrize("name", LYING)
async def test_an_object_that_lies_of_itself_passes_nothing(pool: SandboxPool, name: str) -> None:
    tester = b"x = f()\nassert len(x) == 3 and list(x) == [1] and str(x) == '3' and x.a.b.c == 3"
    result = await pool.run_tester(tester, LYING[name], ["f"], LIMITS)
    assert not result.passed
    assert result.status is not Status.INFRASTRUCTURE


FORGED = {
    "a counter that adds up to anything": b"from collections import Counter\nclass C(Counter):\n    def __eq__(s, o): return True\nC.__name__ = 'Counter'\nC.__module__ = 'collections'\ndef f(): return C()",
    "a fraction of nothing": b"from fractions import Fraction\ndef f():\n    x = Fraction(1, 2)\n    x._denominator = 0\n    return x",
    "parts of no kind": b"import sys\nfor m in list(sys.modules.values()):\n    if hasattr(m, 'parts_of'): m.parts_of = lambda v: (99, 1)\nclass E: pass\ndef f(): return E()",
    "an array without numbers": b"import sys\nfor m in list(sys.modules.values()):\n    if hasattr(m, 'parts_of'): m.parts_of = lambda v: (9, ('|O', (1,), b'12345678'))\nclass E: pass\ndef f(): return E()",
    "a deque of a negative length": b"import sys\nfor m in list(sys.modules.values()):\n    if hasattr(m, 'parts_of'): m.parts_of = lambda v: (3, ([], -5))\nclass E: pass\ndef f(): return E()",
}  # fmt: skip


@pytest.mark.parametrize("name", FORGED)
async def test_parts_that_make_no_object_pass_nothing(pool: SandboxPool, name: str) -> None:
    result = await pool.run_tester(b"assert f() == 3", FORGED[name], ["f"], LIMITS)
    assert (result.passed, result.unsupported) == (False, False), result
    assert result.status is not Status.INFRASTRUCTURE


@pytest.mark.parametrize(
    "tester",
    [
        b"from collections import Counter\nassert f(Counter('aab')).most_common(1) == [('a', 2)] and f(Counter())['x'] == 0",
        b"from collections import defaultdict\nd = f(defaultdict(list))\nassert d['x'] == [] and type(d) is defaultdict",
        b"from collections import defaultdict\nassert f(defaultdict(lambda: 1, a=2)) == {'a': 2}",
        b"from collections import OrderedDict\nassert f(OrderedDict(b=1, a=2)) == OrderedDict(b=1, a=2) != OrderedDict(a=2, b=1)",
        b"from collections import deque\nassert f(deque([1, 2], 5)) == deque([1, 2]) and f(deque([], 5)).maxlen == 5",
        b"from fractions import Fraction\nassert f(Fraction(1, 3)) * 3 == 1",
        b"from decimal import Decimal\nassert f([Decimal('1.50')]) == [Decimal('1.5')]",
        b"from datetime import date, datetime, timedelta\nfor x in (date(2024, 2, 29), datetime(2024, 1, 2, 3, 4, 5, 6), timedelta(1, 2, 3)): assert f(x) == x",
        b"from collections import namedtuple\nassert f(namedtuple('P', 'x y')(1, 2)) == (1, 2)",
    ],
)
async def test_objects_of_python_s_own_classes_cross_as_what_they_are(
    pool: SandboxPool, tester: bytes
) -> None:
    result = await pool.run_tester(tester, b"def f(x): return x", ["f"], UNHURRIED)
    assert result.passed, result


@pytest.mark.parametrize(
    ("tester", "candidate"),
    [
        (b"q = deque([1, 2])\nf(q)\nassert q == deque([2])", b"def f(q): q.popleft()"),
        (b"c = Counter('a')\nf(c)\nassert c == Counter('aab')", b"def f(c): c.update('ab')"),
        (b"d = defaultdict(list)\nf(d)\nassert d == {1: [2]}", b"def f(d): d[1].append(2)"),
    ],
)
async def test_such_objects_are_changed_in_place_too(
    pool: SandboxPool, tester: bytes, candidate: bytes
) -> None:
    result = await pool.run_tester(b"from collections import *\n" + tester, candidate, ["f"], UNHURRIED)
    assert result.passed, result


async def test_arguments_may_be_larger_than_any_answer(pool: SandboxPool) -> None:
    tester = b"n = list(range(40_000))\nassert f(n) == 40_000 and n[0] == 39_999"
    candidate = b"def f(x):\n    x.reverse()\n    return len(x)"
    result = await pool.run_tester(tester, candidate, ["f"], replace(UNHURRIED, answer_bytes=1 << 16))
    assert result.passed, result
    large = b"def f(x): return 'x' * (1 << 20)"
    result = await pool.run_tester(b"f([1])", large, ["f"], replace(UNHURRIED, answer_bytes=1 << 16))
    assert not result.passed


SUITE = b"""
import unittest
class T(unittest.TestCase):
    def test_a(self): self.assertEqual(f(), 5)
if __name__ == '__main__':
    unittest.main()
"""
SHORT = b"class L:\n    def __init__(s, n): s.n = n\n    def __len__(s): return s.n\n    def __iter__(s): return iter(())\n"
FADING = (
    b"class L:\n    n = 4\n    def __len__(s): s.n -= 1; return s.n\n    def __getitem__(s, k): return 0\n"
)


@pytest.mark.parametrize(
    ("tester", "wrong", "right"),
    [
        (SUITE, b"def f(): return 6", b"def f(): return 5"),
        (
            b"assert all(map(lambda t: f(*t) == sum(t), [(1, 2), (3, 4)]))",
            b"def f(a, b): raise StopIteration",
            b"def f(a, b): return a + b",
        ),
        (
            b"for got, want in zip(map(f, [1, 2]), [2, 4]): assert got == want",
            b"def f(a): raise StopIteration",
            b"def f(a): return 2 * a",
        ),
        (
            b"r = f([3, 1, 2])\nw = [1, 2, 3]\nassert len(r) == len(w) and all(a == b for a, b in zip(r, w))",
            SHORT + b"def f(x): return L(len(x))",
            b"def f(x): return sorted(x)",
        ),
        (
            b"r = f([3, 1, 2])\nassert len(r) == 3\nfor i in range(len(r)): assert r[i] == i + 1",
            FADING + b"def f(x): return L()",
            b"def f(x): return sorted(x)",
        ),
        (
            b"assert f([3, 1, 2])[:2] == [1, 2]",
            b"class L:\n    def __getitem__(s, k): return 0\ndef f(x): return L()",
            b"class L(list): pass\ndef f(x): return L(sorted(x))",
        ),
    ],
)
async def test_a_wrong_program_fails_what_the_right_one_passes(
    pool: SandboxPool, tester: bytes, wrong: bytes, right: bytes
) -> None:
    failed = await pool.run_tester(tester, wrong, ["f"], UNHURRIED)
    assert (failed.passed, failed.unsupported) == (False, False), failed
    passed = await pool.run_tester(tester, right, ["f"], UNHURRIED)
    assert passed.passed, passed


@pytest.mark.parametrize(
    "tester",
    [
        b"def test_f(): assert f() == 5",
        b"import unittest\nclass T(unittest.TestCase): pass",
        b"pass",
        b"import no_such_module\nassert f() == 5",
        b"assert 1 == 2\nassert f() == 5",
        b"from solution import f\nassert f() == 5",
    ],
)
async def test_a_test_program_that_tests_nothing_passes_nobody(pool: SandboxPool, tester: bytes) -> None:
    result = await pool.run_tester(tester, b"def f(): return 6", ["f"], UNHURRIED)
    assert (result.passed, result.unsupported) == (False, True)


@pytest.mark.parametrize(
    ("tester", "candidate"),
    [
        (b"a = [2, 1]\nf(xs=a)\nassert a == [1, 2]", b"def f(xs): xs.sort()"),
        (b"x = []\nf(x, x)\nassert x == [1]", b"def f(a, b): a.append(1)"),
        (
            b"x = []\ntry: f(x)\nexcept ValueError: pass\nassert x == [1]",
            b"def f(a):\n    a.append(1)\n    raise ValueError",
        ),
        (
            b"from collections import OrderedDict\nd = OrderedDict()\nf(d)\nassert d == {'z': 1}",
            b"def f(d): d['z'] = 1",
        ),
        (
            b"try: f(b'\\xff')\nexcept ValueError: pass\nelse: raise SystemExit(1)",
            b"def f(b): return b.decode()",
        ),
        (
            b"try: f('{')\nexcept ValueError: pass\nelse: raise SystemExit(1)",
            b"import json\ndef f(s): return json.loads(s)",
        ),
        (b"try: f({})\nexcept KeyError as e: assert str(e) == \"'k'\"", b"def f(d): return d['k']"),
        (
            b"from itertools import islice\nassert list(islice(f(), 5)) == [0, 1, 2, 3, 4]",
            b"import itertools\ndef f(): yield from itertools.count()",
        ),
        (
            b"g = f()\nassert next(g) == 1 and next(g) == 2 and list(g) == [3]",
            b"def f(): yield from (1, 2, 3)",
        ),
        (
            (
                b"from concurrent.futures import ThreadPoolExecutor\n"
                b"with ThreadPoolExecutor(8) as threads: assert list(threads.map(f, range(200))) == list(range(1, 201))"
            ),
            b"def f(x): return x + 1",
        ),
    ],
)
async def test_a_right_program_passes_tests_of_many_habits(
    pool: SandboxPool, tester: bytes, candidate: bytes
) -> None:
    result = await pool.run_tester(tester, candidate, ["f"], UNHURRIED)
    assert result.passed, result


MANY_TEXTS = b"\n".join(b"a%d = 'k%d' * 600" % (n, n) for n in range(20_000)) + b"\nprint(4)"


@pytest.mark.parametrize(
    "code", [b"f = " + b"lambda: " * 1000 + b"1\nprint(4)", MANY_TEXTS], ids=["too deep", "too large"]
)
async def test_how_many_tests_there_are_says_nothing_of_a_program(pool: SandboxPool, code: bytes) -> None:
    """What was compiled for the first test is kept for the others, where it can be."""
    alone = await pool.run_tests(code, [b""], UNHURRIED)
    several = await pool.run_tests(code, [b""] * 2, UNHURRIED)
    assert [result.stdout for result in [*alone, *several]] == [b"4\n"] * 3


@pytest.mark.parametrize(
    ("tester", "right", "wrong"),
    [
        (
            b"x = [[1], [2]]\ny = f(x)\nassert y == x and y is not x and y[0] is not x[0]",
            b"import copy\ndef f(x): return copy.deepcopy(x)",
            b"def f(x): return x[:]",
        ),
        (b"x = [1]\nassert f(x) is x", b"def f(x): return x", b"def f(x): return x[:]"),
        (
            b"row = [1, 2]\nm = [row, [3, 4]]\nf(m)\nassert row == [2, 1] and m == [[2, 1], [4, 3]]",
            b"def f(m):\n    for r in m: r.reverse()",
            b"def f(m): m[:] = [r[::-1] for r in m]",
        ),
        (
            b"row = [0, 0]\nm = [row, row]\nf(m)\nassert m == [[1, 0], [1, 0]] and m[0] is m[1]",
            b"def f(m): m[1][0] = 1",
            b"def f(m): m[:] = [[1, 0], [1, 0]]",
        ),
        (
            b"d = {'k': {1}}\nf(d)['k'].add(2)\nassert d == {'k': {1, 2}}",
            b"def f(d): return d",
            b"def f(d): return {'k': {1}}",
        ),
        (
            b"x = []\nx.append(x)\nassert f(x)[0][0] is x",
            b"def f(x): return x[0]",
            b"def f(x): return [[1]]",
        ),
        (
            b"from collections import deque\nq = deque([[1]])\na = q[0]\nf(q)\nassert a == [1, 2] and len(q) == 2",
            b"def f(q):\n    q[0].append(2)\n    q.append(3)",
            b"def f(q): q[0] = [1, 2]; q.append(3)",
        ),
    ],
)
async def test_what_is_one_object_stays_one(
    pool: SandboxPool, tester: bytes, right: bytes, wrong: bytes
) -> None:
    passed = await pool.run_tester(tester, right, ["f"], UNHURRIED)
    assert passed.passed, passed
    failed = await pool.run_tester(tester, wrong, ["f"], UNHURRIED)
    assert (failed.passed, failed.unsupported) == (False, False), failed


@pytest.mark.parametrize(
    ("tester", "candidate"),
    [
        (b"assert f(lambda x: x * 2, [1, 2]) == [2, 4]", b"def f(g, xs): return [g(x) for x in xs]"),
        (
            b"seen = []\nf(seen.append, [1, 2])\nassert seen == [1, 2]",
            b"def f(g, xs):\n    for x in xs: g(x)",
        ),
        (b"assert f(lambda x: x + 1, str)(1) == '2'", b"def f(g, h): return lambda x: h(g(x))"),
        (
            (
                b"calls = []\n@f\ndef square(x):\n    calls.append(x)\n    return x * x\n"
                b"assert square(3) == 9 and square(3) == 9 and calls == [3]"
            ),
            b"def f(g):\n    known = {}\n    def h(x):\n        if x not in known: known[x] = g(x)\n        return known[x]\n    return h",
        ),
        (
            b"@f\ndef fact(n): return n * fact(n - 1) if n else 1\nassert fact(20) == 2432902008176640000",
            b"def f(g): return lambda n: g(n)",
        ),
        (
            b"def bad(): raise KeyError('no')\nassert f(bad, KeyError) == 'no'",
            b"def f(g, kind):\n    try: g()\n    except kind as e: return e.args[0]",
        ),
        (b"def g(x): return x\nassert f(g) is g", b"def f(g): return g"),
        (
            b"@f\ndef g(x):\n    'Doubles.'\n    return 2 * x\nassert g(2) == 4 and g.__name__ == 'g' and g.__doc__ == 'Doubles.'",
            b"import functools\ndef f(g):\n    @functools.wraps(g)\n    def h(*args): return g(*args)\n    return h",
        ),
        (
            b"assert sorted(f(lambda x: x * 2, range(50))) == list(range(0, 100, 2))",
            (
                b"from concurrent.futures import ThreadPoolExecutor\ndef f(g, xs):\n"
                b"    with ThreadPoolExecutor(4) as threads: return list(threads.map(g, xs))"
            ),
        ),
    ],
)
async def test_a_program_may_call_what_a_test_hands_to_it(
    pool: SandboxPool, tester: bytes, candidate: bytes
) -> None:
    result = await pool.run_tester(tester, candidate, ["f"], UNHURRIED)
    assert result.passed, result


@pytest.mark.parametrize(
    "candidate",
    [
        b"def f(g): return g(SystemExit)",
        b"import sys\ndef f(g):\n    for m in list(sys.modules.values()):\n        if hasattr(m, 'TESTERS'): m.TESTERS = -9\n    return g(lambda: 3)",
        b"def f(g):\n    for _ in range(3): g(g)\n    return g",
        b"import os\ndef f(g):\n    os.write(4, b'\\0\\0\\0\\1N')\n    return g(3)",
        b"import threading\ndef f(g):\n    threading.Thread(target=lambda: [g(3) for _ in range(99)]).start()\n    return 4",
    ],
)
@pytest.mark.parametrize(
    "tester", [b"assert f(lambda x: x) == 3", b"import sys\nassert f(lambda x: sys.exit(0)) == 3"]
)
async def test_a_function_of_the_test_passes_nobody(
    pool: SandboxPool, tester: bytes, candidate: bytes
) -> None:
    result = await pool.run_tester(tester, candidate, ["f"], UNHURRIED)
    assert (result.passed, result.unsupported) == (False, False), result
    assert result.status is not Status.INFRASTRUCTURE


STACK = b"""
class Stack:
    made = 0
    def __init__(self, *items): self.items = list(items); self.name = None
    def push(self, x): self.items.append(x)
    def pop(self):
        if not self.items: raise Empty('nothing is left')
        return self.items.pop()
    def __len__(self): return len(self.items)
    def __contains__(self, x): return x in self.items
    def __eq__(self, other): return self.items == other.items
    def __add__(self, other): return Stack(*self.items, *other.items)
    def __lt__(self, other): return self.items < other.items
    def __enter__(self): return self
    def __exit__(self, *_): self.items.clear()
    def __setitem__(self, place, x): self.items[place] = x
    def __getitem__(self, place): return self.items[place]
    def __delitem__(self, place): del self.items[place]
class Empty(Exception): pass
"""


@pytest.mark.parametrize(
    "tester",
    [
        b"s = Stack()\ns.push(1)\nassert 1 in s and 2 not in s and len(s) == 1 and s\ns.pop()\nassert not s",
        b"s = Stack()\ntry: s.pop()\nexcept Empty as e: assert str(e) == 'nothing is left'\nelse: raise SystemExit(1)",
        b"assert Stack(1) + Stack(2) == Stack(1, 2) and Stack(1) != Stack(2) and Stack(1) < Stack(2)",
        b"with Stack(1) as s: assert s.items == [1]\nassert s.items == []",
        b"s = Stack(1, 2)\ns[0] = 5\ndel s[1]\nassert s[0] == 5 and len(s) == 1\ns.name = 'x'\nassert s.name == 'x'",
        b"assert isinstance(Stack(), Stack) and not isinstance(3, Stack) and Stack.made == 0",
        b"a = Stack(1)\nb = [a]\nassert b[0] is a and a in b and a is not Stack(1) and a != None",
    ],
)
async def test_a_class_that_a_test_makes_objects_of_is_what_it_tests(
    pool: SandboxPool, tester: bytes
) -> None:
    result = await pool.run_tester(tester, STACK, ["Stack", "Empty"], UNHURRIED)
    assert result.passed, result


LISTS = b"""
class Node:
    def __init__(self, value=0, next=None):
        self.value, self.next = value, next
def made(values):
    first = None
    for value in reversed(values): first = Node(value, first)
    return first
def same(one, other):
    while one and other:
        if one.value != other.value: return False
        one, other = one.next, other.next
    return one is None and other is None
"""


async def test_objects_of_a_class_before_both_programs_cross_by_their_attributes(pool: SandboxPool) -> None:
    tester = b"n = list(range(3000))\nassert same(f(made(n)), made(n[::-1]))\nassert f(made([])) is None"
    right = b"def f(node):\n    last = None\n    while node: node.next, last, node = last, node, node.next\n    return last"
    forged = (
        b"def same(a, b): return True\ndef made(x): return None\ndef f(node): return node",
        b"class Node:\n    def __init__(s, *a): pass\n    def __eq__(s, o): return True\n    def __bool__(s): return False\ndef f(node): return node",
        b"def f(node):\n    node.next = node\n    return node",
        b"class E:\n    def __eq__(s, o): return True\ndef f(node): return E()",
        b"def f(node): return Node(Node(1), 5)",
    )
    passed = await pool.run_tester(tester, LISTS + right, ["f"], UNHURRIED, prelude=LISTS)
    assert passed.passed, passed
    for code in forged:
        failed = await pool.run_tester(tester, LISTS + code, ["f"], UNHURRIED, prelude=LISTS)
        assert (failed.passed, failed.unsupported) == (False, False), (code, failed)


LYING_LIST = b"class L(list):\n    def __eq__(s, o): return True\n    def __getitem__(s, k): return 0\n    def __iter__(s): return iter([1, 2, 3])\n"
LYING_SEQUENCE = b"class L:\n    def __init__(s, x): s.x = x\n    def __len__(s): return len(s.x)\n    def __getitem__(s, k): return 0\n    def __iter__(s): return iter(s.x)\n"


@pytest.mark.parametrize(
    ("tester", "right", "wrong"),
    [
        (
            b"n = [3, 1, 2]\nassert f(n) == [1, 2, 3]",
            b"class L(list): pass\ndef f(x): return L(sorted(x))",
            LYING_LIST + b"def f(x): return L(x)",
        ),
        (
            b"n = [3, 5, 4]\nr = f(n)\nassert sorted(r) == sorted(n) and all(r[i] <= r[i + 1] for i in range(2))",
            b"class L:\n    def __init__(s, x): s.x = x\n    def __getitem__(s, k): return s.x[k]\n    def __iter__(s): return iter(s.x)\ndef f(x): return L(sorted(x))",
            LYING_SEQUENCE + b"def f(x): return L(x)",
        ),
        (
            b"n = 1\nassert f(n) == 2 and abs(f(n) - 2) < 1e-9 and f(n) < 3",
            b"import enum\nclass E(enum.IntEnum):\n    A = 2\ndef f(x): return E.A",
            b"class E(float):\n    def __eq__(s, o): return True\n    def __sub__(s, o): return 0.0\ndef f(x): return E()",
        ),
        (
            b"n = 'a'\nassert f(n) == 'aa' and 'a' in f(n)",
            b"class S(str): pass\ndef f(x): return S(x * 2)",
            b"class S(str):\n    def __eq__(s, o): return True\n    def __contains__(s, o): return True\ndef f(x): return S()",
        ),
        (b"n = 3\nassert f(n) == range(3)", b"def f(n): return range(n)", b"def f(n): return list(range(n))"),
    ],
)
async def test_an_object_of_a_subclass_of_plain_data_counts_as_that(
    pool: SandboxPool, tester: bytes, right: bytes, wrong: bytes
) -> None:
    passed = await pool.run_tester(tester, right, ["f"], UNHURRIED)
    assert passed.passed, passed
    failed = await pool.run_tester(tester, wrong, ["f"], UNHURRIED)
    assert (failed.passed, failed.unsupported) == (False, False), failed
