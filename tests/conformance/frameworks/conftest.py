"""What the conformance tests of all frameworks share."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conformance.frameworks.fetched import Package, fetched_or_skipped
from tests.support import ServiceProcess

Fetched = Callable[[Package], Path]
"""Takes a package and returns the folder with its code, or skips the test."""


@pytest.fixture(scope="session")
def fetched_whole(fetched: Fetched) -> Fetched:
    """Fetches packages that take long to import; only where conformance itself is asked for."""
    if not (os.environ.get("COUNTERMARK_CONFORMANCE") or os.environ.get("CI")):
        pytest.skip("imports a whole framework; `make conformance` runs it")
    return fetched


@pytest.fixture(scope="session")
def fetched(shared_root: Path) -> Fetched:
    """Fetches the frameworks' packages, once."""
    return lambda package: fetched_or_skipped(package, shared_root)


@pytest.fixture(scope="module")
def own_service(shared_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    """A service that the tests of one file may kill."""
    data = tmp_path_factory.mktemp("service")
    (data / "environments").symlink_to(shared_root / "environments")
    process = ServiceProcess(data).start()
    yield process
    process.stop()
