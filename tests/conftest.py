"""What the tests share: real environments, a real pool, a real service."""

import os
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from countermark_service.engine.environment import EnvironmentCache
from countermark_service.engine.pool import Pool, PoolLimits
from countermark_service.sandbox import Containment, detect_containment
from tests.support import ServiceProcess, kept_folder

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell starts what runs in the background so, and the programs that tests interrupt would inherit it.
    signal.signal(signal.SIGINT, signal.default_int_handler)

# The same examples every time, however slow the machine; COUNTERMARK_FULL=1 looks for new ones.
settings.register_profile(
    "countermark", settings.get_profile("ci"), derandomize=not os.environ.get("COUNTERMARK_FULL")
)
settings.load_profile("countermark")


@pytest.fixture(scope="session")
def shared_root() -> Path:
    """Folder that keeps environments between runs, so that they are built once."""
    return kept_folder()


@pytest.fixture(scope="session")
def environments(shared_root: Path) -> EnvironmentCache:
    """The real cache of environments."""
    return EnvironmentCache(shared_root / "environments")


@pytest.fixture(scope="session")
def containment() -> Containment:
    """The best containment of this machine."""
    return detect_containment()


@pytest.fixture
def small_limits() -> PoolLimits:
    """Two slots and a short fuse."""
    return PoolLimits(slots=2)


@pytest.fixture
async def pool(
    environments: EnvironmentCache, containment: Containment, small_limits: PoolLimits, tmp_path: Path
) -> AsyncIterator[Pool]:
    """A real pool with real workers, closed at the end."""
    pool = Pool(
        environments=environments, containment=containment, data=tmp_path / "data", limits=small_limits
    )
    yield pool
    await pool.close()


@pytest.fixture(scope="session")
def service(shared_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    """A real service on SQLite with the shipped bundles."""
    data = tmp_path_factory.mktemp("service")
    (shared_root / "environments").mkdir(exist_ok=True)
    (data / "environments").symlink_to(shared_root / "environments")
    process = ServiceProcess(data).start()
    yield process
    process.stop()


@pytest.fixture(scope="session")
def service_url(service: ServiceProcess) -> str:
    """Where the real service answers."""
    return service.url
