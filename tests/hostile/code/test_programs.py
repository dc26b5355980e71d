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
    "includes-its-surroundings": (b"#include \"/proc/self/environ\"\nint main() {}", {Status.COMPILE_ERROR}),
    "assembles-its-surroundings": (b"asm(\".section .rodata\\n.global d\\nd: .incbin \\\"/proc/self/environ\\\"\\n.byte 0\\n.text\");\n#include <cstdio>\nextern char d[];\nint main() { puts(d); }", {Status.COMPILE_ERROR, Status.OK}),
    "looks-for-other-files": (b"#include <cstdio>\n#if __has_include(\"/etc/shadow\") || __has_include(\"/proc/1/environ\") || __has_include(\"/root/.profile\")\n#define IT \"ESCAPED\"\n#else\n#define IT \"held\"\n#endif\nint main() { puts(IT); }", {Status.OK, Status.COMPILE_ERROR}),
    "macro-bomb": (b"\n".join(b"#define A%d A%d A%d A%d A%d" % (n, *[n + 1] * 4) for n in range(20)) + b"\n#define A20 1+\nint x = A0 1;\nint main() {}", {Status.COMPILE_ERROR}),
    "computes-in-the-compiler": (b"constexpr long f(long n) { long s = 0; for (long i = 0; i < n; i++) s += i; return s; }\nconstexpr long a = f(1L << 40);\nint main() { return a; }", {Status.COMPILE_ERROR}),
    "floods-the-compiler-s-output": (b"#pragma message(\"" + b"y" * 40_000 + b"\")\n#include __FILE__\nint main() {}", {Status.COMPILE_ERROR}),
    "runs-before-main": (b"#include <unistd.h>\nstruct A { A() { for (;;); } } a;\nint main() {}", {Status.TIME_LIMIT}),
    "forks-behind-main": (b"#include <unistd.h>\nstruct A { ~A() { for (;;) fork(); } } a;\nint main() {}", {Status.TIME_LIMIT, Status.RESOURCE_LIMIT}),
    "kills-everybody": (b"#include <signal.h>\n#include <unistd.h>\nint main() { kill(getppid(), SIGSTOP); kill(getppid(), SIGKILL); kill(1, SIGKILL); kill(-1, SIGKILL); for (;;); }", {Status.TIME_LIMIT, Status.RUNTIME_ERROR}),
    "stops-itself": (b"#include <signal.h>\nint main() { raise(SIGSTOP); }", {Status.TIME_LIMIT}),
    "is-traced-and-stops": (b"#include <signal.h>\n#include <sys/ptrace.h>\nint main() { ptrace(PTRACE_TRACEME, 0, 0, 0); raise(SIGSTOP); }", {Status.TIME_LIMIT, Status.RUNTIME_ERROR}),
    "starts-and-ends-without-end": (b"#include <unistd.h>\nint main() { for (;;) if (!vfork()) _exit(0); }", {Status.TIME_LIMIT, Status.RESOURCE_LIMIT}),
    "becomes-itself-without-end": (b"#include <unistd.h>\nint main() { char* a[] = {(char*)\"x\", 0}; execv(\"/proc/self/exe\", a); }", {Status.TIME_LIMIT, Status.RUNTIME_ERROR, Status.OK}),
    "kernel-interfaces": (b"#include <cstdio>\n#include <initializer_list>\n#include <sys/syscall.h>\n#include <unistd.h>\nint main() { char b[256] = {}; int f = 0; for (int n : {425, 321, 323, 298, 300, 248, 29, 64, 68, 240, 447, 272, 308, 175, 313}) f += syscall(n, 8, b, 0, 0, 0) >= 0; f += syscall(41, 2, 1, 0) >= 0; puts(f ? \"ESCAPED\" : \"held\"); }", {Status.OK, Status.RUNTIME_ERROR}),
    "calls-as-a-32-bit-program": (b"#include <cstdio>\nint main() { int r; asm volatile(\"int $0x80\" : \"=a\"(r) : \"a\"(20)); puts(r > 0 ? \"ESCAPED\" : \"held\"); }", {Status.OK, Status.RUNTIME_ERROR}),
    "handles-its-own-crash": (b"#include <csignal>\n#include <unistd.h>\nint main() { signal(SIGSEGV, [](int) { for (;;); }); *(volatile int*)0 = 1; }", {Status.TIME_LIMIT}),
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
    "forks-itself": (b"const c = require('child_process'); for (let i = 0; i < 100; i++) try { c.spawn(process.execPath, ['-e', 'for (;;);'], { detached: true, stdio: 'ignore' }).on('error', () => {}).unref() } catch (e) { }", {Status.OK, Status.TIME_LIMIT, Status.MEMORY_LIMIT, Status.RESOURCE_LIMIT, Status.RUNTIME_ERROR}),
    "workers": (b"const { Worker } = require('worker_threads'); for (let i = 0; i < 100; i++) new Worker('for (;;);', { eval: true }).on('error', () => {})", {Status.TIME_LIMIT, Status.MEMORY_LIMIT, Status.RESOURCE_LIMIT, Status.RUNTIME_ERROR}),
    "shared-buffers": (b"const a = []; for (;;) a.push(new Int32Array(new SharedArrayBuffer(1 << 26)).fill(1))", {Status.MEMORY_LIMIT, Status.TIME_LIMIT, Status.RUNTIME_ERROR}),
    "buffers": (b"const a = []; for (;;) a.push(Buffer.alloc(1 << 26, 1))", {Status.MEMORY_LIMIT, Status.TIME_LIMIT, Status.RUNTIME_ERROR}),
    "waits-for-ever": (b"Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0)", {Status.TIME_LIMIT}),
    "promises-for-ever": (b"const f = () => Promise.resolve().then(f); f()", {Status.TIME_LIMIT, Status.MEMORY_LIMIT}),
    "throws-for-ever": (b"process.on('uncaughtException', () => {}); setInterval(() => { throw 1 }, 1)", {Status.TIME_LIMIT}),
    "never-exits": (b"process.on('exit', () => { for (;;); })", {Status.TIME_LIMIT}),
    "prototypes-of-everything": (b"Object.prototype.toString = () => 'ESCAPED'; Object.prototype.then = function (f) { f(3) }; Function.prototype.call = () => 3; console.log('3')", {Status.OK, Status.RUNTIME_ERROR}),
    "new-realm-without-end": (b"require('vm').runInNewContext('for (;;);', {}, { timeout: 1e9 })", {Status.TIME_LIMIT}),
    "modules-by-absolute-path": (b"for (const p of ['/etc/passwd', '/proc/1/environ', '/root/x.js', '../../x']) try { require(p); console.log('ESCAPED') } catch (e) { }", {Status.OK}),
    "modules-by-address": (b"for (const p of ['file:///etc/shadow', 'http://127.0.0.1:8000/x.js']) import(p).then(() => console.log('ESCAPED')).catch(() => {})", {Status.OK}),
    "its-own-report": (b"try { process.report.writeReport('r'); console.log(require('fs').readFileSync('r', 'utf8').includes('CANARY') ? 'ESCAPED' : 'held') } catch (e) { }", {Status.OK}),
    "kills-everybody": (b"for (const p of [process.ppid, 1, -1]) for (const s of ['SIGSTOP', 'SIGKILL']) try { process.kill(p, s) } catch (e) { }\nfor (;;);", {Status.TIME_LIMIT, Status.RUNTIME_ERROR}),
    "stops-itself": (b"process.kill(process.pid, 'SIGSTOP')", {Status.TIME_LIMIT}),
    "opens-an-inspector": (b"try { require('inspector').open(0); console.log(require('inspector').url() ? 'ESCAPED' : 'held') } catch (e) { }", {Status.OK}),
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
