"""Nurseries that end and leave a process behind which holds their socket: all is told, and nothing stays.

Each wait has an end, as a wait for what never comes would hold up the suite; it asserts nothing about time.
"""

import asyncio
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from countermark_service.bundles import Bundle
from countermark_service.engine.environment import EnvironmentCache
from countermark_service.engine.pool import Pool, PoolLimits
from countermark_service.errors import UnavailableError
from countermark_service.model import Item
from countermark_service.sandbox import Containment, detect_containment
from countermark_service.sandbox.containment import ContainmentLevel
from tests.support import make_bundle

SOME_SECONDS = 60
"""Half of what a nursery has for its start."""
VERIFY = """
def verify(item):
    return {"outcome": "scored", "score": 1.0, "detail": {}}
"""
LEAVES = """
import os, time
if os.fork() == 0:
    while True:
        time.sleep(1)
os._exit(3)
"""
HAS_A_CHILD = """
import os, time
if os.fork() == 0:
    while True:
        time.sleep(1)
"""
NEVER_LOADED = """
import time
while True:
    time.sleep(1)
"""

MakePool = Callable[[Containment], Pool]


@pytest.fixture
async def make_pool(environments: EnvironmentCache, tmp_path: Path) -> AsyncIterator[MakePool]:
    """Makes pools that end with the test."""
    made: list[Pool] = []

    def make(containment: Containment) -> Pool:
        made.append(
            Pool(
                environments=environments, containment=containment, data=tmp_path / "data",
                limits=PoolLimits(slots=1),
            )
        )  # fmt: skip
        return made[-1]

    yield make
    for pool in made:
        await pool.close()


async def judge(pool: Pool, bundle: Bundle) -> list[object]:
    results: list[object] = []
    payload = Item("any", "right").canonical(uses_prompt=False)
    await pool.run(bundle, "verify", [payload], lambda _, result: results.append(result))
    return results


def of_the_bundle(folder: Path) -> list[int]:
    """Return the processes that have the path of a folder in their command line, or a file of it open."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            named = str(folder).encode() in (entry / "cmdline").read_bytes()
            opened = any(str(folder) in str(one.readlink()) for one in (entry / "fd").iterdir())
        except OSError:
            continue  # it ended, or is somebody else's
        if named or opened:
            found.append(int(entry.name))
    return found


async def none_is_left(folder: Path) -> None:
    """Wait until no process of the bundle is there."""
    while of_the_bundle(folder):
        await asyncio.sleep(0.02)


def holding(folder: Path, code: str) -> Bundle:
    """Return a bundle whose processes have a file of `folder` open, by which they are found."""
    (folder / "mark").touch()
    return make_bundle(folder, f"mark = open({str(folder / 'mark')!r})\n{code}{VERIFY}")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "bundles").mkdir()
    return tmp_path / "bundles"


async def test_an_import_that_leaves_a_child_and_ends_is_told_and_the_child_ends(
    make_pool: MakePool, folder: Path
) -> None:
    pool = make_pool(Containment(ContainmentLevel.LIMITS, 0, None))
    async with asyncio.timeout(SOME_SECONDS):
        with pytest.raises(UnavailableError, match="cannot be loaded: it ended without a word"):
            await judge(pool, holding(folder, LEAVES))
        await none_is_left(folder)


async def test_a_nursery_that_ends_is_replaced_though_a_child_of_it_holds_its_socket(
    make_pool: MakePool, folder: Path
) -> None:
    pool, bundle = make_pool(Containment(ContainmentLevel.LIMITS, 0, None)), holding(folder, HAS_A_CHILD)
    async with asyncio.timeout(SOME_SECONDS):
        assert len(await judge(pool, bundle)) == 1
        first = set(of_the_bundle(folder))
        (worker,) = [pid for _, pid in pool.workers()]
        stat = Path(f"/proc/{worker}/stat").read_text()
        os.kill(int(stat.rpartition(")")[2].split()[1]), signal.SIGKILL)  # its nursery
        while not pool.counters.restarts.get("nursery_lost"):
            await asyncio.sleep(0.02)
        assert len(await judge(pool, bundle)) == 1
        while first & set(of_the_bundle(folder)):
            await asyncio.sleep(0.02)
        await pool.close()
        await none_is_left(folder)


async def test_a_nursery_whose_bubblewrap_was_killed_too_early_ends_with_the_service_s_socket(
    make_pool: MakePool, folder: Path, tmp_path: Path
) -> None:
    """As by a kill before the process inside has asked to end with the one outside: nothing binds it to that."""
    here = detect_containment()
    if here.level is not ContainmentLevel.NAMESPACES:
        pytest.skip("no bubblewrap that works here")
    program = tmp_path / "bwrap"
    program.write_text(
        f"""#!{sys.executable}
import os, signal, sys
read, write = os.pipe()
if os.fork() == 0:
    os.setsid()
    os.execv({shutil.which("bwrap")!r}, [one for one in sys.argv if one != "--die-with-parent"])
os.close(write)
os.read(read, 1)  # until the other has become bubblewrap
os.kill(os.getpid(), signal.SIGKILL)
"""
    )
    program.chmod(0o755)
    pool = make_pool(Containment(here.level, here.landlock_abi, str(program), (), here.scratch_size))
    bundle = make_bundle(folder, NEVER_LOADED + VERIFY)
    async with asyncio.timeout(SOME_SECONDS):
        with pytest.raises(UnavailableError, match="it was killed: is the machine out of memory"):
            await judge(pool, bundle)
        await none_is_left(tmp_path)
