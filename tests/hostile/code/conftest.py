"""The corpus of hostile programs, the canaries they must not find, and pools to run them on."""

import os
import shutil
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from countermark_service.sandbox.code.flavour import python_flavour
from countermark_service.sandbox.code.inside import kernel
from countermark_service.sandbox.code.model import Level
from countermark_service.sandbox.code.pool import SandboxPool

CANARY = "CANARY-7f3a9d"
"""Planted where only the service may look: its environment, its memory, its folders."""


@pytest.fixture(scope="session")
def canaries(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Plant the canary in the host's usual places; return its text."""
    places = [tmp_path_factory.mktemp("canary") / "secret", Path(f"/var/tmp/canary-secret-{os.getpid()}")]
    for place in places:
        place.write_text(CANARY)
        place.chmod(0o644)
    os.environ["COUNTERMARK_CANARY"] = CANARY
    yield CANARY
    del os.environ["COUNTERMARK_CANARY"]
    for place in places:
        place.unlink()


def missing(level: Level) -> str | None:
    """Return what this machine lacks for `level`; anything else that stops a pool is a failure."""
    if level is Level.NAMESPACES and shutil.which("bwrap") is None:
        return "bubblewrap is not installed"
    if level is Level.LANDLOCK and kernel.landlock_abi() < kernel.LANDLOCK_SCOPED_ABI:
        return "the kernel's Landlock has no scopes"
    return None


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=list(Level), ids=str)
async def pool(request: pytest.FixtureRequest, canaries: str) -> AsyncIterator[SandboxPool]:
    """A pool of Python slots, once per level."""
    lack = missing(request.param)
    if lack is not None:
        pytest.skip(f"level {request.param}: {lack}")
    async with SandboxPool(request.param, python_flavour(Path(sys.executable)), slots=2) as pool:
        yield pool
