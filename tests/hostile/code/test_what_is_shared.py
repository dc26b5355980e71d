# ruff: noqa: E501
# One test, one right and one wrong program a line, so that the tables stay tables.
"""Tests that look at more than what a function returns: what it prints, awaits, yields, raises and is."""

import re

import pytest

from countermark_service.sandbox.code.model import Limits, Status
from countermark_service.sandbox.code.pool import SandboxPool

pytestmark = pytest.mark.asyncio(loop_scope="module")

UNHURRIED = Limits(cpu_seconds=10, wall_seconds=60)

PRINTS = b"def f(n): print('hello', n)", b"def f(n): print('hallo', n)"
ASKS = b"def f(): return int(input('a')) * 2", b"def f(): return int(input('a')) * 3"
ADDS = b"async def f(x): return x + 1", b"async def f(x): return x"
VECTOR = (
    b"class V:\n    def __init__(s, x): s.x = x\n    def __mul__(s, k): return V(s.x * k)\n    __rmul__ = __mul__\n"
    b"    def __add__(s, o): return V(s.x + o.x)\n    def __neg__(s): return V(-s.x)\n    def __hash__(s): return hash(s.x)\n"
    b"    def __eq__(s, o): return isinstance(o, V) and s.x == o.x\n    def __abs__(s): return abs(s.x)\n    def __str__(s): return f'V({s.x})'"
)
COUNTS = (
    b"class It:\n    def __init__(s, n): s.n, s.i = n, 0\n    def __iter__(s): return s\n"
    b"    def __next__(s):\n        if s.i >= s.n: raise StopIteration\n        s.i += 1\n        return s.i - 1"
)

TESTS = {
    "output redirected by contextlib": (b"import io, contextlib\nb = io.StringIO()\nwith contextlib.redirect_stdout(b): f('x')\nassert b.getvalue() == 'hello x\\n'", *PRINTS),
    "output replaced": (b"import io, sys\nold, sys.stdout = sys.stdout, io.StringIO()\nf('x')\nout, sys.stdout = sys.stdout.getvalue(), old\nassert out == 'hello x\\n'", *PRINTS),
    "output patched": (b"from unittest.mock import patch\nfrom io import StringIO\nwith patch('sys.stdout', new_callable=StringIO) as out: f('x')\nassert out.getvalue() == 'hello x\\n'", *PRINTS),
    "print patched": (b"from unittest.mock import patch\nwith patch('builtins.print') as p: f('x')\np.assert_called_once_with('hello', 'x')", *PRINTS),
    "printed before and behind a call back": (
        b"import io, sys\nsys.stdout = io.StringIO()\nf(lambda: print('b'))\nassert sys.stdout.getvalue() == 'a\\nb\\nc\\n'",
        b"def f(g): print('a'); g(); print('c')", b"def f(g): g(); print('a'); print('c')",
    ),
    "printed before an exception": (
        b"import io, sys\nsys.stdout = io.StringIO()\ntry: f()\nexcept ValueError: pass\nassert sys.stdout.getvalue() == 'a\\n'",
        b"def f(): print('a'); raise ValueError", b"def f(): raise ValueError",
    ),
    "input patched": (b"from unittest.mock import patch\nwith patch('builtins.input', side_effect=['7']) as ask: assert f() == 14\nask.assert_called_once_with('a')", *ASKS),
    "standard input replaced": (b"import io, sys\nsys.stdin = io.StringIO('7\\n8\\n')\nassert f() == 14 and f() == 16", *ASKS),
    "standard input read": (
        b"import io, sys\nsys.stdin = io.StringIO('7 8\\n9')\nassert f() == ['7 8', '9', '']",
        b"import sys\ndef f(): return [next(sys.stdin).strip(), sys.stdin.read(), sys.stdin.readline()]", b"def f(): return []",
    ),
    "chance seeded": (b"import random\nrandom.seed(3)\na = random.random()\nrandom.seed(3)\nassert f() == a", b"import random\ndef f(): return random.random()", b"def f(): return 0.5"),
    "awaited by asyncio": (b"import asyncio\nassert asyncio.run(f(3)) == 4", *ADDS),
    "awaited in a loop of the test's": (b"import asyncio\nloop = asyncio.new_event_loop()\nassert loop.run_until_complete(f(3)) == 4\nloop.close()", *ADDS),
    "gathered": (b"import asyncio\nasync def t(): return await asyncio.gather(f(1), f(2))\nassert asyncio.run(t()) == [2, 3]", b"import asyncio\nasync def f(x):\n    await asyncio.sleep(0.01)\n    return x + 1", ADDS[1]),
    "awaited by unittest": (b"import unittest\nclass T(unittest.IsolatedAsyncioTestCase):\n    async def test(self): self.assertEqual(await f(3), 4)\nunittest.main()", *ADDS),
    "raised behind an await": (b"import asyncio\ntry: asyncio.run(f(-1))\nexcept ValueError: pass\nelse: raise SystemExit(1)", b"async def f(x): raise ValueError", b"async def f(x): return x"),
    "iterated asynchronously": (b"import asyncio\nasync def t(): return [x async for x in f(3)]\nassert asyncio.run(t()) == [0, 1, 2]", b"async def f(n):\n    for i in range(n): yield i", b"async def f(n):\n    for i in range(n): yield i + 1"),
    "entered asynchronously": (
        b"import asyncio\nasync def t():\n    async with F() as x: assert x.open\n    assert not x.open\nasyncio.run(t())",
        b"class F:\n    async def __aenter__(s): s.open = True; return s\n    async def __aexit__(s, *_): s.open = False",
        b"class F:\n    async def __aenter__(s): s.open = True; return s\n    async def __aexit__(s, *_): pass",
    ),
    "known to be a coroutine function": (b"import asyncio, inspect\nassert inspect.iscoroutinefunction(f) and asyncio.run(f(3)) == 4", ADDS[0], b"def f(x): return x + 1"),
    "a file to read": (b"open('in.txt', 'w').write('abc')\nassert f('in.txt') == 3", b"def f(p): return len(open(p).read())", b"def f(p): return 4"),
    "a path": (b"from pathlib import Path\nPath('a').write_text('abc')\nassert f(Path('a')) == (3, Path('a.b'))", b"def f(p): return len(p.read_text()), p.with_suffix('.b')", b"def f(p): return len(p.read_text()), 'a.b'"),
    "a file to write": (b"import os\nf('out.txt')\nassert os.path.exists('out.txt') and open('out.txt').read() == 'x'", b"def f(p): open(p, 'w').write('x')", b"def f(p): open(p, 'w').write('y')"),
    "a temporary folder": (
        b"import os, tempfile\nwith tempfile.TemporaryDirectory() as d:\n    os.mkdir(d + '/a')\n    open(d + '/a/b', 'w').write('1')\n    assert f(d) == ['a/b']\n    assert sorted(os.listdir(d)) == ['a', 'c'] and os.listdir(d + '/a') == []",
        b"import os\ndef f(d):\n    found = [os.path.relpath(os.path.join(p, n), d) for p, _, ns in os.walk(d) for n in ns]\n    os.remove(d + '/a/b')\n    open(d + '/c', 'w').close()\n    return found",
        b"def f(d): return ['a/b']",
    ),
    "a file changed and a file removed": (
        b"import os\nopen('a', 'w').write('1')\nassert f('a') == '1'\nopen('a', 'w').write('2')\nassert f('a') == '2'\nos.remove('a')\nassert f('a') is None\nopen('a', 'w').write('3')\nassert f('a') == '3'",
        b"def f(p):\n    try: return open(p).read()\n    except FileNotFoundError: return None",
        b"import functools\n@functools.cache\ndef f(p): return open(p).read()",
    ),
    "a file of a generator": (b"g = f()\nnext(g)\nassert open('a').read() == '1'\nlist(g)\nassert open('a').read() == '12'", b"def f():\n    with open('a', 'w') as h:\n        h.write('1'); h.flush()\n        yield\n        h.write('2')", b"def f():\n    open('a', 'w').write('1')\n    yield"),
    "a generator": (b"import types\ng = f(2)\nassert isinstance(g, types.GeneratorType) and next(g) == 0 and list(g) == [1]", b"def f(n): yield from range(n)", b"def f(n): return iter(range(n))"),
    "the end of a generator and what it returns": (b"g = f()\nnext(g)\ntry: next(g)\nexcept StopIteration as e: assert e.value == 5\nelse: raise SystemExit(1)", b"def f():\n    yield 1\n    return 5", b"def f():\n    yield 1\n    yield 2"),
    "sent to a generator": (b"g = f()\nnext(g)\nassert g.send(3) == 3 and g.send(4) == 7", b"def f():\n    t = 0\n    while True: t += yield t", b"def f():\n    t = 0\n    while True: t = yield t"),
    "thrown into a generator": (b"g = f()\nnext(g)\nassert g.throw(ValueError('x')) == 'x'", b"def f():\n    try: yield 1\n    except ValueError as e: yield str(e)", b"def f():\n    yield 1\n    yield 'y'"),
    "a generator handed back": (b"g = f(3)\nnext(g)\nassert total(g) == 3", b"def f(n): yield from range(n)\ndef total(g): return sum(g)", b"def f(n): yield from range(n)\ndef total(g): return 4"),
    "the end of an iterator": (b"i = It(1)\nassert next(i) == 0\ntry: next(i)\nexcept StopIteration: pass\nelse: raise SystemExit(1)\nassert list(It(3)) == [0, 1, 2]", COUNTS, COUNTS.replace(b">=", b">")),
    "operators with numbers": (b"assert V(3) * 2 == V(6) == 2 * V(3) and -V(1) == V(-1) and abs(V(-3)) == 3 and str(V(3) * 2) == 'V(6)'", VECTOR, VECTOR.replace(b"V(s.x * k)", b"V(s.x)")),
    "what operators make": (b"assert (V(3) * 2).x == 6 and (V(1) * 2 + V(3)).x == 5 and sum([V(1), V(2)], V(0)).x == 3", VECTOR, VECTOR.replace(b"V(s.x * k)", b"V(6)")),
    "hashes of a class": (b"assert len({V(1), V(1), V(2)}) == 2 and {V(1): 'a'}[V(1)] == 'a'", VECTOR, VECTOR.replace(b"hash(s.x)", b"id(s)")),
    "copies of objects": (b"import copy\na = V([1])\nb, c = copy.copy(a), copy.deepcopy(a)\nb.x = 3\nassert a.x == [1] and c == a and c is not a", VECTOR, VECTOR.replace(b"s.x = x", b"s.x = x\n    def __copy__(s): return s")),
    "an exception's own attributes": (b"try: f()\nexcept E as e: assert e.code == 3 and str(e) == 'm'\nelse: raise SystemExit(1)", b"class E(Exception):\n    def __init__(s, code): super().__init__('m'); s.code = code\ndef f(): raise E(3)", b"class E(Exception): code = 4\ndef f(): raise E('m')"),
    "members of an enumeration": (b"assert C['RED'] is C(1) and [c.name for c in C] == ['RED', 'BLUE'] and len(C) == 2 and C.RED in C", b"from enum import Enum\nclass C(Enum): RED = 1; BLUE = 2", b"from enum import Enum\nclass C(Enum): RED = 2; BLUE = 1"),
    "a class below another": (b"assert issubclass(S, P) and not issubclass(P, S) and isinstance(S(), P) and issubclass(E, E)", b"class P: pass\nclass S(P): pass\nclass E(Exception): pass", b"class P: pass\nclass S: pass\nclass E(Exception): pass"),
    "names of a tuple": (b"p = f(1)\nassert p.x == 1 and p._asdict() == {'x': 1, 'y': 2} and p == (1, 2) and isinstance(p, P) and p == P(1, 2)", b"from collections import namedtuple\nP = namedtuple('P', 'x y')\ndef f(a): return P(a, a + 1)", b"from collections import namedtuple\nP = namedtuple('P', 'x y')\ndef f(a): return P(a, a)"),
    "methods of a tuple with names": (b"p = P(3, 4)\nassert p.norm() == 5 and p.x == 3 and p == (3, 4)", b"from typing import NamedTuple\nclass P(NamedTuple):\n    x: int\n    y: int\n    def norm(s): return (s.x ** 2 + s.y ** 2) ** 0.5", b"from typing import NamedTuple\nclass P(NamedTuple):\n    x: int\n    y: int\n    def norm(s): return 0"),
    "a tuple with names given": (b"from collections import namedtuple\nassert f(namedtuple('P', 'x y')(3, 4)) == 7", b"def f(p): return p.x + p.y", b"def f(p): return p.x"),
    "a signature": (b"import inspect\ns = inspect.signature(f)\nassert list(s.parameters) == ['a', 'b'] and s.parameters['b'].default == 2 and s.return_annotation is int and f(1) == 3", b"def f(a: int, b: int = 2) -> int: return a + b", b"def f(a, c=2): return a + c"),
    "a docstring": (b"assert 'adds' in candidate.__doc__ and candidate(1, 2) == 3", b"def f(a, b):\n    'adds'\n    return a + b", b"def f(a, b):\n    'adds not'\n    return a - b"),
    "constants": (b"assert f() == MAX == 10 and MAX + 1 > PI and T[0] == 1 and NAME.startswith('x')", b"MAX = 10\nPI = 3.5\nT = (1, 2)\nNAME = 'xy'\ndef f(): return MAX", b"MAX = 9\nPI = 3.5\nT = (1, 2)\nNAME = 'xy'\ndef f(): return MAX"),
    "constants that change": (b"f('b')\nassert table == {'a': 1, 'b': 1} and 'b' in table and len(table) == 2 and table['b'] == 1\ntable.clear()\nassert f('c') == 1", b"table = {'a': 1}\ndef f(x):\n    table[x] = 1\n    return len(table)", b"table = {'a': 1}\ndef f(x): return len(table)"),
    "what an exception was made with": (b"try: f(3)\nexcept ValueError as e: assert e.args == ('bad', 3)\nelse: assert False", b"def f(x): raise ValueError('bad', x)", b"def f(x): raise ValueError('bad')"),
    "a key that is a number": (b"try: f(3)\nexcept KeyError as e: assert str(e) == '3' and e.args == (3,)", b"def f(x): return {}[x]", b"def f(x): return {}[str(x)]"),
    "the number of an error": (b"try: f('x')\nexcept OSError as e: assert e.errno == 2 and e.filename == 'x' and 'x' in str(e)\nelse: assert False", b"def f(x): open(x)", b"def f(x): raise FileNotFoundError('x')"),
    "an exception of a library": (b"import json, dataclasses\ntry: f('{')\nexcept json.JSONDecodeError: pass\ntry: P(1).x = 2\nexcept dataclasses.FrozenInstanceError: pass\nelse: assert False", b"import json, dataclasses\n@dataclasses.dataclass(frozen=True)\nclass P:\n    x: int\ndef f(x): return json.loads(x)", b"import json, dataclasses\n@dataclasses.dataclass(frozen=True)\nclass P:\n    x: int\ndef f(x): raise ValueError(x)"),
    "the truth of a new object": (b"assert not Q() and Q(1)\nq = Q()\nassert not q\nq.add(1)\nassert q", b"class Q:\n    def __init__(s, *a): s.a = list(a)\n    def __len__(s): return len(s.a)\n    def add(s, x): s.a.append(x)", b"class Q:\n    def __init__(s, *a): s.a = list(a)\n    def __bool__(s): return True\n    def add(s, x): s.a.append(x)"),
    "an attribute that the test changes in place": (b"n = N(1)\nn.children.append(N(2))\nkids = n.children\nkids.append(N(3))\nn.names['a'] = 3\nassert len(n.children) == 2 and n.total() == 6 and n.names == {'a': 3} and n['a'] == 3", b"class N:\n    def __init__(s, v): s.v, s.children, s.names = v, [], {}\n    def total(s): return s.v + sum(c.total() for c in s.children)\n    def __getitem__(s, k): return s.names[k]", b"class N:\n    names = {}\n    def __init__(s, v): s.v = v\n    @property\n    def children(s): return []\n    def total(s): return s.v\n    def __getitem__(s, k): return s.names[k]"),
    "an item that the test changes in place": (b"g = G()\ng.n = 1\ng['a'].append(2)\nassert g['a'] == [2] and g.all() == {'a': [2]}", b"class G:\n    def __init__(s): s.d = {'a': []}\n    def __getitem__(s, k): return s.d[k]\n    def all(s): return s.d", b"class G:\n    def __init__(s): s.d = {'a': []}\n    def __getitem__(s, k): return list(s.d[k])\n    def all(s): return s.d"),
    "attributes of a class": (b"A.count = 0\na, b = A(), A()\nassert A.count == 2 and b.id == 2\nA.names.append('x')\nassert a.names == ['x']", b"class A:\n    count, names = 5, []\n    def __init__(s):\n        A.count += 1\n        s.id = A.count", b"class A:\n    count, names = 5, []\n    def __init__(s): s.id = A.count"),
    "an attribute that is deleted": (b"a = A()\ndel a.x\nassert not hasattr(a, 'x') and a.y == 1", b"class A:\n    def __init__(s): s.x = s.y = 1", b"class A:\n    x = 1\n    def __init__(s): s.x = s.y = 1"),
    "private attributes of any name": (b"s = S()\nassert s._data == [1] and s._number == 3 and s._line == 'x' and s._ask() == 1", b"class S:\n    _data, _number, _line = [1], 3, 'x'\n    def _ask(s): return 1", b"class S:\n    _data, _number, _line = [2], 3, 'x'\n    def _ask(s): return 1"),
}  # fmt: skip


def names_of(tester: bytes, candidate: bytes) -> list[str]:
    """Return the functions and classes that a program has, those first that a test names."""
    found = re.findall(
        r"^(?:async def|def|class)? ?([A-Za-z]\w*)(?:[(:]| = )", candidate.decode(), re.MULTILINE
    )
    return sorted(dict.fromkeys(found), key=lambda name: f"{name}(".encode() not in tester)


@pytest.mark.parametrize("name", TESTS)
async def test_a_right_program_passes_and_a_wrong_one_fails(pool: SandboxPool, name: str) -> None:
    tester, right, wrong = TESTS[name]
    passed = await pool.run_tester(tester, right, names_of(tester, right), UNHURRIED)
    assert passed.passed, passed
    failed = await pool.run_tester(tester, wrong, names_of(tester, right), UNHURRIED)
    assert (failed.passed, failed.unsupported) == (False, False), failed
    assert failed.status is not Status.INFRASTRUCTURE


YES = b"class E:\n    def __getattr__(s, n): return lambda *a: True\n    def __contains__(s, o): return True\n    def __eq__(s, o): return True\n"
SUITS = YES + b"".join(
    b"    def __%s__(s, *o): return %s\n" % (name, value)
    for name, value in {
        b"sub": b"0", b"rsub": b"0", b"mul": b"E()", b"abs": b"E()", b"neg": b"E()", b"lt": b"True", b"le": b"True",
        b"hash": b"3", b"round": b"0", b"bool": b"False", b"int": b"0",
    }.items()
)  # fmt: skip


@pytest.mark.parametrize(
    "tester",
    [
        b"assert Sum(1, 2) == 3",
        b"assert abs(Sum(1, 2) - 3) < 1e-9",
        b"assert not Sum(1, 2) - 3",
        b"assert Sum(2, 2) * 2 == 8",
        b"assert -Sum(1, 2) == -3",
        b"assert abs(-Sum(1, 2) + 3) < 1e-9",
        b"assert Sum(1, 2) in (3, 4)",
        b"assert round(Sum(1, 2) - 3, 5) == 0",
        b"assert {3: 1}.get(Sum(1, 2)) == 1",
        b"import copy\nassert copy.deepcopy(Sum(1, 2)) == 3",
        b"x = f()\nassert x.startswith('a') and x.isdigit()",
        b"assert f().issubset({1})",
        b"assert f().equals([1])",
        b"assert f().count('a') == 1",
        b"assert f().all()",
    ],
)
async def test_an_object_that_suits_every_test_passes_none(pool: SandboxPool, tester: bytes) -> None:
    candidate = SUITS + b"def Sum(a, b): return E()\ndef f(): return E()"
    result = await pool.run_tester(tester, candidate, ["Sum", "f"], UNHURRIED)
    assert (result.passed, result.unsupported) == (False, False), result


FORGERS = {
    "a print that is none": b"import builtins\nbuiltins.print = lambda *a: None\ndef f(n): pass",
    "texts that are none": b"import sys\nfor m in list(sys.modules.values()):\n    if hasattr(m, 'as_the_tester_has_it'):\n        def around(*_):\n            import contextlib\n            return contextlib.nullcontext(lambda: (b'hello x', 3))\n        m.as_the_tester_has_it = around\ndef f(n): pass",
    "texts for more streams than there are": b"import sys\nfor m in list(sys.modules.values()):\n    if hasattr(m, 'as_the_tester_has_it'):\n        def around(*_):\n            import contextlib\n            return contextlib.nullcontext(lambda: ('',) * 9)\n        m.as_the_tester_has_it = around\ndef f(n): pass",
    "a closed stream": b"import sys\ndef f(n): sys.stdout.close()",
    "a stream of its own": b"import sys\ndef f(n):\n    class S:\n        def write(self, text): return 99\n    sys.stdout = S()\n    print('hello', n)",
    "endless text": b"def f(n):\n    while True: print('x' * 1000)",
    "an exception of no number": b"import sys\nfor m in list(sys.modules.values()):\n    if hasattr(m, 'Held'): m.Held.number = lambda self, v: -1\nclass E(Exception): pass\ndef f(n): raise E",
    "a coroutine that never ends": b"async def f(n):\n    import asyncio\n    await asyncio.sleep(1e9)",
    "a generator that never ends": b"def f(n):\n    while True: yield n",
    "a file that lies elsewhere": b"import sys\nfor m in list(sys.modules.values()):\n    if hasattr(m, 'Folder') and hasattr(m, 'as_the_tester_has_it'): m.Folder.changes = lambda self: ({'../../x': b'1'}, ())\ndef f(n): pass",
    "files that are none": b"import sys\nfor m in list(sys.modules.values()):\n    if hasattr(m, 'Folder') and hasattr(m, 'as_the_tester_has_it'): m.Folder.changes = lambda self: ({3: 4}, [5])\ndef f(n): pass",
    "files without end": b"def f(n):\n    for i in range(10 ** 6): open(str(i), 'w').write('x' * 1000)",
    "links to everywhere": b"import os\ndef f(n):\n    for i, p in enumerate(('/', '/proc/self', '/etc/passwd', '.', '..')): os.symlink(p, str(i))",
    "folders without end": b"import os\ndef f(n):\n    while True:\n        os.mkdir('x' * 200); os.chdir('x' * 200)",
    "a pipe that nobody writes": b"import os\ndef f(n): os.mkfifo('x')",
    "a file that nobody may read": b"import os\ndef f(n):\n    open('x', 'w').close(); os.chmod('x', 0); os.chmod('.', 0)",
    "names that are none": b"import sys\nfor m in list(sys.modules.values()):\n    if hasattr(m, '_is_bare'): m._is_bare = lambda kind: True\nclass T(tuple): _fields = ('__class__', 'x y')\ndef f(n): return T((1, 2))",
}  # fmt: skip


@pytest.mark.parametrize("name", FORGERS)
async def test_what_a_hostile_program_tells_of_its_surroundings_passes_nothing(
    pool: SandboxPool, name: str
) -> None:
    tester = b"import contextlib, io\nb = io.StringIO()\nwith contextlib.redirect_stdout(b): x = f('x')\nassert b.getvalue() == 'hello x\\n'"
    limits = Limits(cpu_seconds=1, wall_seconds=3, memory_mib=256)
    result = await pool.run_tester(tester, FORGERS[name], ["f"], limits)
    assert (result.passed, result.unsupported) == (False, False), result
    assert result.status is not Status.INFRASTRUCTURE


@pytest.mark.parametrize("given", [b"E()", b"s"])
@pytest.mark.parametrize(
    "tester",
    [b"assert not Sum(1, 2) - 3", b"assert not abs(Sum(1, 2) - 3)", b"x = Sum(1, 2)\nx -= 3\nassert not x"],
)
async def test_the_truth_of_what_an_operator_gives_decides_nothing(
    pool: SandboxPool, tester: bytes, given: bytes
) -> None:
    candidate = (
        b"class E:\n    def __sub__(s, o): return %s\n    def __abs__(s): return %s\n"
        b"    def __bool__(s): return False\ndef Sum(a, b): return E()" % (given, given)
    )
    result = await pool.run_tester(tester, candidate, ["Sum"], UNHURRIED)
    assert (result.passed, result.unsupported) == (False, False), result


CLAIMS = {
    "by its own code": b"""
import sys
for module in list(sys.modules.values()):
    if hasattr(module, "_constant"):
        module._constant = lambda value: ()
def f(*arguments): return E()
""",
    "for a while": b"""
import threading, time
f = []
def become():
    global f
    time.sleep(0.1)
    f = lambda *arguments: E()
threading.Thread(target=become, daemon=True).start()
""",
}
ASKS_THROUGH_A_NAME = {
    "truth": b"assert g(7)",
    "an attribute, then equality": b"r = g(1, 2)\nassert r.x == 1\nassert r == (1, 2)",
    "an attribute of one, then equality of another": b"g(1, 2).x\nassert g(2, 2) == [4]",
    "a difference": b"r = g(1)\nr.x\nassert abs(r - 3) < 1e-6",
}


@pytest.mark.parametrize("asked", ASKS_THROUGH_A_NAME)
@pytest.mark.parametrize("claim", CLAIMS)
async def test_a_function_that_claims_to_be_a_value_decides_nothing(
    pool: SandboxPool, claim: str, asked: str
) -> None:
    """A test that hands a function on does not call it by its name, so the program is asked what that stands for."""
    candidate = (
        b"class E:\n    x = 1\n    def __eq__(s, o): return True\n    def __bool__(s): return True\n"
        b"    def __sub__(s, o): return s\n    def __abs__(s): return s\n    def __lt__(s, o): return True\n"
    )
    tester = b"import time\ntime.sleep(0.3)\ng = f\n" + ASKS_THROUGH_A_NAME[asked]
    result = await pool.run_tester(tester, candidate + CLAIMS[claim], ["f"], UNHURRIED)
    assert not result.passed, result


async def test_a_test_of_nothing_but_a_constant_is_none(pool: SandboxPool) -> None:
    """Whether a name stands for a value is the program's word, and a test that runs nothing would pass with it."""
    tester = b"def never():\n    return f\nassert True"
    for candidate in (b"f = 1", b"def f(): pass"):
        result = await pool.run_tester(tester, candidate, ["f"], UNHURRIED)
        assert (result.passed, result.unsupported) == (False, True), result


NO_CONSTANTS = {
    "an object": b"class E:\n    def __eq__(s, o): return True\n    def __gt__(s, o): return True\nMAX = E()",
    "a number that lies": b"class E(int):\n    def __eq__(s, o): return True\n    __hash__ = int.__hash__\nMAX = E(1)",
    "a class that lies": b"class M(type):\n    def __eq__(c, o): return True\n    __hash__ = type.__hash__\nclass MAX(metaclass=M): pass",
}  # fmt: skip


@pytest.mark.parametrize("name", NO_CONSTANTS)
async def test_a_constant_that_suits_every_test_passes_none(pool: SandboxPool, name: str) -> None:
    candidate = NO_CONSTANTS[name] + b"\ndef f(): return 10"
    result = await pool.run_tester(b"assert f() == 10 and MAX == 10", candidate, ["f", "MAX"], UNHURRIED)
    assert (result.passed, result.unsupported) == (False, False), result


@pytest.mark.parametrize("name", ["SkipTest", "_ShouldStop"])
async def test_no_exception_of_a_program_skips_a_test(pool: SandboxPool, name: str) -> None:
    tester = b"import unittest\nclass T(unittest.TestCase):\n    def test_a(self):\n        self.assertEqual(f(), 10)\nunittest.main()"
    candidate = b"import unittest\ndef f(): raise getattr(unittest.case, '%s')('x')" % name.encode()
    result = await pool.run_tester(tester, candidate, ["f"], UNHURRIED)
    assert (result.passed, result.unsupported) == (False, False), result


async def test_a_program_s_own_state_does_not_become_the_tester_s(pool: SandboxPool) -> None:
    tester = b"import random\nrandom.seed(3)\na = random.random()\nrandom.seed(3)\nf()\nassert random.random() == a"
    candidate = b"import random\nrandom.getstate = lambda: None\ndef f():\n    random.seed(0)\n    return 1"
    assert (await pool.run_tester(tester, candidate, ["f"], UNHURRIED)).passed


async def test_a_test_whose_function_gives_what_cannot_cross_says_nothing_of_a_program(
    pool: SandboxPool,
) -> None:
    tester = b"class N: x = 3\nassert f(lambda: N()) == 3"
    result = await pool.run_tester(tester, b"def f(g): return g().x", ["f"], UNHURRIED)
    assert (result.passed, result.unsupported) == (False, True), result
