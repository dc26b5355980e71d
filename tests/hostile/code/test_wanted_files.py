"""Files that are wanted after a program: what it left, and nothing of the machine."""

from dataclasses import replace

import pytest

from countermark_service.sandbox.code.model import Limits, SandboxInputError, Status
from countermark_service.sandbox.code.pool import SandboxPool

pytestmark = pytest.mark.asyncio(loop_scope="module")

LIMITS = Limits(cpu_seconds=5, wall_seconds=30, scratch_mib=4)
MIB = 1 << 20


async def left(
    pool: SandboxPool, code: str, *names: str, files: dict[str, bytes] | None = None, limits: Limits = LIMITS
) -> tuple[Status, dict[str, bytes]]:
    """Run a program and return how it ended, and the files of `names`."""
    (result,) = await pool.run_tests(code.encode(), [b""], limits, files=files, fetch=names)
    return result.status, dict(result.files)


async def test_a_program_s_files_come_back_and_what_is_not_there_does_not(pool: SandboxPool) -> None:
    code = (
        "import os\nos.makedirs('a/b')\nopen('a/b/c', 'wb').write(b'\\xff\\x00')\nopen('d', 'w').write('d')"
    )
    assert await left(pool, code, "a/b/c", "d", "e", "a/e", "a") == (
        Status.OK,
        {"a/b/c": b"\xff\x00", "d": b"d"},
    )


async def test_files_that_were_given_come_back_as_the_program_left_them(pool: SandboxPool) -> None:
    code = "open('x', 'a').write('2')\nimport os; os.remove('y')"
    assert await left(pool, code, "x", "y", files={"x": b"1", "y": b""}) == (Status.OK, {"x": b"12"})


async def test_files_of_a_program_that_fails_come_back_too(pool: SandboxPool) -> None:
    assert await left(pool, "open('x', 'w').write('1')\n1 / 0", "x") == (Status.RUNTIME_ERROR, {"x": b"1"})
    endless = "open('x', 'w').write('1')\nwhile True: pass"
    late, files = await left(pool, endless, "x", limits=replace(LIMITS, cpu_seconds=0.5))
    assert late is Status.TIME_LIMIT
    assert files in ({}, {"x": b"1"})


@pytest.mark.parametrize(
    "code",
    [
        "import os; os.symlink('/etc/passwd', 'x')",
        "import os; os.symlink('/etc', 'folder')",
        "import os; os.symlink('/proc/self/environ', 'x')",
        "import os; os.mkfifo('x')",
        "import os; os.mkdir('x')",
        "import socket; socket.socket(socket.AF_UNIX).bind('x')",
        "import os; open('x', 'w').write('1'); os.chmod('x', 0); os.chmod('.', 0)",
        "import os; open('y', 'w').write('1'); os.symlink('y', 'x')",
    ],
)
async def test_no_link_is_followed_and_nothing_but_files_is_read(pool: SandboxPool, code: str) -> None:
    _, files = await left(
        pool, f"try:\n    {code}\nexcept OSError:\n    pass", "x", "folder/passwd", "folder"
    )
    assert files in ({}, {"x": b"1"})  # a mode does not hide a file from its owner at every level
    assert (await left(pool, "open('x', 'w').write('2')", "x"))[1] == {"x": b"2"}


async def test_more_than_the_scratch_holds_is_a_limit_and_costs_only_itself(pool: SandboxPool) -> None:
    code = (
        "import os\nopen('x', 'w').write('1')\n"
        "for n in range(8): os.truncate(os.open(f's{n}', os.O_CREAT | os.O_RDWR), 3 << 20)"
    )
    status, files = await left(pool, code, "x", *[f"s{n}" for n in range(8)])
    assert status is Status.OUTPUT_LIMIT
    assert files["x"] == b"1"
    assert sum(map(len, files.values())) <= 4 * MIB


async def test_children_that_outlive_their_program_change_nothing(pool: SandboxPool) -> None:
    code = "import os\nopen('x', 'w').write('1')\nif os.fork() == 0:\n    while True: open('x', 'w').write('2' * 1000)"
    _, files = await left(pool, code, "x")
    assert set(files["x"]) <= {ord("1"), ord("2")}
    assert await left(pool, "", "x") == (Status.OK, {})


@pytest.mark.parametrize("name", ["/etc/passwd", "../x", "a//b", "", ".", "a/../../x", "x\0y"])
async def test_names_that_lead_elsewhere_are_refused(pool: SandboxPool, name: str) -> None:
    with pytest.raises(SandboxInputError, match="plain relative path"):
        await left(pool, "", name)


async def test_too_many_wishes_are_refused(pool: SandboxPool) -> None:
    for names in ([f"{n}" for n in range(65)], ["x" * 9000]):
        with pytest.raises(SandboxInputError, match="are wanted"):
            await left(pool, "", *names)
