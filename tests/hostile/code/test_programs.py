# ruff: noqa: E501
# One hostile source a line, so that the tables stay tables.
"""Compiled and foreign programs: the same containment, on every level."""

import shutil
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio

from countermark_service.sandbox.code.flavour import Flavour, cpp_flavour, javascript_flavour
from countermark_service.sandbox.code.levels import survivors
from countermark_service.sandbox.code.model import Limits, Status
from countermark_service.sandbox.code.pool import SandboxPool

pytestmark = pytest.mark.asyncio(loop_scope="module")

UNHURRIED = Limits(cpu_seconds=10, wall_seconds=60, address_space_mib=None)
LIMITS = Limits(cpu_seconds=0.5, wall_seconds=3, memory_mib=256, address_space_mib=None)
ROOM_ONLY = Limits(cpu_seconds=10, wall_seconds=60, memory_mib=256, address_space_mib=None)
"""For programs that must meet the limit of memory, however slow the machine is."""

CPP_SUM = b"#include <iostream>\nint main() { long a, b; std::cin >> a >> b; std::cout << a + b << '\\n'; }"
CPP = {
    "endless-loop": (b"int main() { for (volatile int i = 0;; i = i + 1); }", {Status.TIME_LIMIT}),
    "memory": (b"#include <cstdlib>\n#include <cstring>\nint main() { for (;;) memset(malloc(1 << 20), 1, 1 << 20); }", {Status.MEMORY_LIMIT, Status.TIME_LIMIT}),
    "output": (b"#include <cstdio>\nint main() { for (;;) puts(\"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\"); }", {Status.OUTPUT_LIMIT, Status.TIME_LIMIT}),
    "fork-bomb": (b"#include <unistd.h>\nint main() { for (;;) fork(); }", {Status.TIME_LIMIT, Status.RESOURCE_LIMIT}),
    "crash": (b"int main() { volatile int* p = nullptr; *p = 1; }", {Status.RUNTIME_ERROR}),
    "abort": (b"#include <cstdlib>\nint main() { abort(); }", {Status.RUNTIME_ERROR}),
    "no-program": (b"int main( {", {Status.COMPILE_ERROR}),
    "includes-a-secret": (b"#include \"/etc/shadow\"\nint main() {}", {Status.COMPILE_ERROR}),
    "includes-an-endless-file": (b"#include \"/dev/zero\"\nint main() {}", {Status.COMPILE_ERROR}),
    "template-bomb": (b"template <int N> struct A { A<N - 1> a; A<N - 2> b; };\nint main() { A<100000> a; }", {Status.COMPILE_ERROR}),
    "huge-binary": (b"char x[1 << 30] = {1};\nint main() {}", {Status.COMPILE_ERROR}),
    "no-interpreter": (b"const char i[] __attribute__((section(\".interp\"))) = \"/none\";\nint main() {}", {Status.OK, Status.RUNTIME_ERROR, Status.COMPILE_ERROR}),
    "shell": (b"#include <cstdlib>\nint main() { return system(\"cat /etc/shadow /proc/1/environ >/tmp/x && echo ESCAPED\") == 0 ? 0 : 1; }", {Status.RUNTIME_ERROR}),
    "memory-files": (b"#include <cstdio>\n#include <fcntl.h>\n#include <sys/mman.h>\nint main() { int n = 0; while (n < 40) { int f = memfd_create(\"\", 0); if (f < 0 || fallocate(f, 0, 0, 15 << 20)) break; n++; } if (n > 20) puts(\"ESCAPED\"); }", {Status.OK}),
    "shared-memory": (b"#include <cstring>\n#include <sys/mman.h>\n#include <unistd.h>\nint main() { for (int i = 0; i < 3; i++) if (!fork()) { memset(mmap(0, 150 << 20, 3, MAP_SHARED | MAP_ANONYMOUS, -1, 0), 1, 150 << 20); sleep(30); return 0; } sleep(30); }", {Status.MEMORY_LIMIT}),
    "page-tables": (b"#include <sys/mman.h>\nint main() { for (;;) { auto m = (volatile char*)mmap(0, 1L << 30, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0); for (long i = 0; i < 1L << 30; i += 2 << 20) (void)m[i]; } }", {Status.MEMORY_LIMIT, Status.TIME_LIMIT}),
    "forges-what-it-is-judged-by": (b"#include <unistd.h>\nint main() { for (int i = 3; i < 1024; i++) { ftruncate(i, 0); pwrite(i, \"Sbroken\", 7, 0); } }", {Status.OK}),
    "daemon": (b"#include <unistd.h>\nint main() { if (!fork()) { setsid(); if (!fork()) sleep(600); } }", {Status.OK}),
}  # fmt: skip
JAVASCRIPT_SUM = (
    b"const [a, b] = require('fs').readFileSync(0, 'utf8').split(' ').map(Number);\nconsole.log(a + b);"
)
JAVASCRIPT = {
    "endless-loop": (b"for (;;);", {Status.TIME_LIMIT}),
    "memory": (b"const a = []; for (;;) a.push(new Array(1e6).fill(1));", {Status.MEMORY_LIMIT, Status.TIME_LIMIT}),
    "no-program": (b"let let = 1 1", {Status.RUNTIME_ERROR}),
    "reads-a-secret": (b"try { console.log('ESCAPED' + require('fs').readFileSync('/etc/shadow')) } catch (e) { }", {Status.OK}),
    "connects": (b"require('net').connect(8000, '127.0.0.1').on('connect', () => console.log('ESCAPED')).on('error', () => {})", {Status.OK}),
    "forges-what-it-is-judged-by": (b"for (let i = 3; i < 1024; i++) try { require('fs').ftruncateSync(i, 0); require('fs').writeSync(i, 'Sbroken', 0) } catch (e) { }", {Status.OK}),
    "timer-for-ever": (b"setInterval(() => {}, 1000)", {Status.TIME_LIMIT}),
}  # fmt: skip


async def _pool(
    request: pytest.FixtureRequest, pool: SandboxPool, tool: str, flavour: Flavour
) -> SandboxPool:
    if shutil.which(tool) is None:
        pytest.skip(f"{tool} is not installed")
    return SandboxPool(pool.level, flavour, slots=2)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cpp(request: pytest.FixtureRequest, pool: SandboxPool) -> AsyncIterator[SandboxPool]:
    """A pool of C++ slots at the level of `pool`."""
    async with await _pool(request, pool, "g++", cpp_flavour(Path(sys.executable))) as own:
        yield own


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def javascript(request: pytest.FixtureRequest, pool: SandboxPool) -> AsyncIterator[SandboxPool]:
    """A pool of node slots at the level of `pool`."""
    async with await _pool(request, pool, "node", javascript_flavour(Path(sys.executable))) as own:
        yield own


async def test_a_cpp_program_is_compiled_once_and_run_for_each_test(cpp: SandboxPool) -> None:
    results = await cpp.run_tests(CPP_SUM, [b"1 2\n", b"20 22\n"], UNHURRIED)
    assert [result.stdout for result in results] == [b"3\n", b"42\n"], results


@pytest.mark.parametrize("name", CPP)
async def test_a_hostile_cpp_program_gets_its_class(cpp: SandboxPool, name: str) -> None:
    source, expected = CPP[name]
    limits = ROOM_ONLY if expected == {Status.MEMORY_LIMIT} else LIMITS
    (result,) = await cpp.run_tests(source, [b"1 2\n"], limits)
    assert result.status in expected, result
    assert b"ESCAPED" not in result.stdout
    assert survivors(cpp) == []


async def test_a_program_finds_the_three_standard_descriptors_and_no_other(cpp: SandboxPool) -> None:
    source = (
        b"#include <cstdio>\n#include <fcntl.h>\n"
        b'int main() { for (int i = 0; i < 1024; i++) if (fcntl(i, F_GETFD) >= 0) printf("%d ", i); }'
    )
    results = await cpp.run_tests(source, [b"", b""], UNHURRIED)
    assert [result.stdout for result in results] == [b"0 1 2 "] * 2, results


async def test_a_javascript_program_runs_for_each_test(javascript: SandboxPool) -> None:
    results = await javascript.run_tests(JAVASCRIPT_SUM, [b"1 2\n", b"20 22\n"], UNHURRIED)
    assert [result.stdout for result in results] == [b"3\n", b"42\n"], results


@pytest.mark.parametrize("stack_mib", [1, 4, 64])
async def test_a_javascript_program_meets_its_own_stack_limit_before_the_sandbox_s(
    javascript: SandboxPool, stack_mib: int
) -> None:
    source = b"function f(n) { return n && 1 + f(n - 1) }\nfor (;;) try { f(1e9) } catch (e) { console.log(e.name); break }"
    (result,) = await javascript.run_tests(source, [b""], replace(UNHURRIED, stack_mib=stack_mib))
    assert (result.status, result.stdout) == (Status.OK, b"RangeError\n"), result


@pytest.mark.parametrize("name", JAVASCRIPT)
async def test_a_hostile_javascript_program_gets_its_class(javascript: SandboxPool, name: str) -> None:
    source, expected = JAVASCRIPT[name]
    (result,) = await javascript.run_tests(source, [b"1 2\n"], LIMITS)
    assert result.status in expected, result
    assert b"ESCAPED" not in result.stdout
    assert survivors(javascript) == []
