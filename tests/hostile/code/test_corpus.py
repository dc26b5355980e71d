"""Every program of the corpus, on every level: its class, and what must not happen."""

import asyncio
import os
import random
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest

from countermark_service.sandbox.code.levels import survivors
from countermark_service.sandbox.code.model import Level, Limits, RunResult, Status
from countermark_service.sandbox.code.pool import SandboxPool

LIMITS = Limits(cpu_seconds=0.5, wall_seconds=1.5, memory_mib=256, processes=16)
ROOM_ONLY = Limits(cpu_seconds=10, wall_seconds=60, memory_mib=256, processes=16)
"""For programs that must meet the limit of memory, however slow the machine is."""
ANSWER_SECONDS = 0.1
"""How long after the wall limit an answer may take."""
HONEST = b"a, b = map(int, input().split())\nprint(a + b)\n"


@dataclass(frozen=True)
class Hostile:
    """One program of the corpus."""

    id: str
    source: bytes
    expect: frozenset[Status]
    levels: frozenset[Level]

    @property
    def limits(self) -> Limits:
        """What it is run with."""
        return ROOM_ONLY if self.expect == {Status.MEMORY_LIMIT} else LIMITS


def load() -> list[Hostile]:
    """Read the corpus; `make` is an expression for sources that no text file should hold."""
    programs = []
    for path in sorted((Path(__file__).parent / "corpus").glob("*.toml")):
        for entry in tomllib.loads(path.read_text())["program"]:
            source = eval(entry["make"]) if "make" in entry else entry["code"].encode()
            levels = frozenset(Level(name) for name in entry.get("levels", list(Level)))
            programs.append(Hostile(entry["id"], source, frozenset(map(Status, entry["expect"])), levels))
    return programs


CORPUS = load()


def check(program: Hostile, result: RunResult, canary: str) -> None:
    assert result.status in program.expect, f"{program.id}: {result}"
    output = result.stdout + result.stderr
    assert b"ESCAPED" not in output.replace(b'"ESCAPED', b"").replace(b"'ESCAPED", b""), (
        f"{program.id}: {output[:500]!r}"
    )
    assert canary.encode() not in output, program.id
    assert len(result.stdout) <= LIMITS.stdout_bytes
    assert len(result.stderr) <= LIMITS.stderr_bytes


def test_the_corpus_is_as_large_as_promised() -> None:
    assert len(CORPUS) >= 80
    assert len({program.id for program in CORPUS}) == len(CORPUS)


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("program", CORPUS, ids=lambda program: program.id)
async def test_a_hostile_program_gets_its_class_and_leaves_nothing(
    pool: SandboxPool, canaries: str, program: Hostile
) -> None:
    if pool.level not in program.levels:
        pytest.skip(f"level {pool.level} does not promise this")
    control, (result,) = await asyncio.gather(
        pool.run_tests(HONEST, [b"1 2\n"]), pool.run_tests(program.source, [b"1 2\n"], program.limits)
    )
    check(program, result, canaries)
    assert survivors(pool) == []
    assert (control[0].status, control[0].stdout) == (Status.OK, b"3\n")


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.slow
@pytest.mark.skipif(not os.environ.get("COUNTERMARK_FULL"), reason="five rounds; set COUNTERMARK_FULL=1")
@pytest.mark.parametrize("seed", range(5))
async def test_any_order_in_parallel_with_honest_programs_changes_nothing(
    pool: SandboxPool, canaries: str, seed: int
) -> None:
    programs = [program for program in CORPUS if pool.level in program.levels]
    random.Random(seed).shuffle(programs)

    async def attack(program: Hostile) -> None:
        (result,) = await pool.run_tests(program.source, [b"1 2\n"], program.limits)
        check(program, result, canaries)

    async def control() -> None:
        (result,) = await pool.run_tests(HONEST, [b"20 22\n"], Limits(wall_seconds=20))
        assert (result.status, result.stdout) == (Status.OK, b"42\n"), result

    await asyncio.gather(*(one for program in programs for one in (attack(program), control())))
    assert survivors(pool) == []
