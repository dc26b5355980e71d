"""Honest programs, on every level: none may be refused."""

import asyncio
import gzip
import json
import os
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest

from countermark_service.sandbox.code.model import Call, Level, Limits, Status
from countermark_service.sandbox.code.pool import SandboxPool

pytestmark = pytest.mark.asyncio(loop_scope="module")

HUMAN_EVAL = Path(__file__).parents[4] / "shared/data/HumanEval.jsonl.gz"
UNHURRIED = Limits(cpu_seconds=10, wall_seconds=60)
"""For a machine that is busy with other things."""


@dataclass(frozen=True)
class Honest:
    """One program that must run, and what it prints."""

    id: str
    source: bytes
    stdin: bytes
    stdout: str
    levels: frozenset[Level]


def load() -> list[Honest]:
    """Read the programs; `make_…` are expressions for texts too long to write down."""
    programs = []
    for entry in tomllib.loads((Path(__file__).parent / "honest.toml").read_text())["program"]:
        stdin = eval(entry["make_stdin"]) if "make_stdin" in entry else entry.get("stdin", "")
        stdout = eval(entry["make_stdout"]) if "make_stdout" in entry else entry["stdout"]
        levels = frozenset(Level(name) for name in entry.get("levels", list(Level)))
        programs.append(Honest(entry["id"], entry["code"].encode(), stdin.encode(), stdout, levels))
    return programs


@pytest.mark.parametrize("program", load(), ids=lambda program: program.id)
async def test_an_honest_program_runs(pool: SandboxPool, program: Honest) -> None:
    if pool.level not in program.levels:
        pytest.skip(f"level {pool.level} does not promise this")
    (result,) = await pool.run_tests(program.source, [program.stdin], UNHURRIED)
    assert (result.status, result.message) == (Status.OK, ""), result
    assert result.stdout.decode() == program.stdout


async def test_files_of_a_run_are_there_and_importable(pool: SandboxPool) -> None:
    files = {"helper.py": b"VALUE = 41\n", "data/numbers.txt": b"1\n"}
    code = b"import helper\nprint(helper.VALUE + int(open('data/numbers.txt').read()))"
    first, second = await pool.run_tests(code, [b"", b""], UNHURRIED, files=files)
    assert (first.stdout, second.stdout) == (b"42\n", b"42\n"), (first, second)


async def test_each_test_starts_clean(pool: SandboxPool) -> None:
    code = b"import os\nprint(os.path.exists('mark'))\nopen('mark', 'w').close()"
    results = await pool.run_tests(code, [b""] * 3, UNHURRIED)
    assert [result.stdout for result in results] == [b"False\n"] * 3, results


async def test_no_mark_on_the_folder_itself_reaches_the_next_test_or_candidate(pool: SandboxPool) -> None:
    code = (
        b"import os\nhere = os.stat('.')\n"
        b"print(os.listxattr('.'), oct(here.st_mode), here.st_atime == 5)\n"
        b"try: os.setxattr('.', 'user.mark', b'1')\nexcept OSError: pass\n"
        b"open('mark', 'w').close()\nos.utime('.', (5, 5))\nos.chmod('.', 0)"
    )
    results = [one for tests in (1, 2, 1) for one in await pool.run_tests(code, [b""] * tests, UNHURRIED)]
    assert [result.stdout for result in results] == [b"[] 0o40700 False\n"] * 4, results


async def test_in_place_changes_of_arguments_come_back(pool: SandboxPool) -> None:
    (result,) = await pool.run_calls(
        b"def f(x): x.sort()", "f", [Call(([3, 1, 2],))], UNHURRIED, want_arguments=True
    )
    assert (result.run.status, result.value, result.args) == (Status.OK, None, ([1, 2, 3],))


@pytest.mark.skipif(not HUMAN_EVAL.exists(), reason=f"{HUMAN_EVAL.name} is not beside the checkout")
async def test_every_reference_solution_of_human_eval_passes(pool: SandboxPool) -> None:
    with gzip.open(HUMAN_EVAL) as lines:
        rows = [json.loads(line) for line in lines]
    rows = rows if os.environ.get("COUNTERMARK_FULL") else rows[::4]

    async def passes(row: dict[str, str]) -> bool:
        outcome = await pool.run_tester(
            f"{row['test']}\ncheck({row['entry_point']})\n".encode(),
            (row["prompt"] + row["canonical_solution"]).encode(),
            [row["entry_point"]],
            UNHURRIED,
            prelude=row["prompt"].encode(),
        )
        return outcome.passed

    passed = await asyncio.gather(*map(passes, rows))
    assert [row["task_id"] for row, good in zip(rows, passed, strict=True) if not good] == []
