"""What the conformance tests of all frameworks share."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conformance.frameworks.fetched import Package, fetched_or_skipped
from tests.integration.api.parts import link_environments, write_subjects
from tests.support import ServiceProcess

Fetched = Callable[[Package], Path]
"""Takes a package and returns the folder with its code, or skips the test."""


@pytest.fixture(scope="session")
def fetched_whole(fetched: Fetched) -> Fetched:
    """Fetches packages that take long to install and to import; only where conformance itself is asked for.

    All of them together take longer than the three minutes that `make test` may spend on the trainers.
    """
    if not os.environ.get("COUNTERMARK_CONFORMANCE"):
        pytest.skip("installs and imports a whole framework: make conformance")
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


@pytest.fixture(scope="session")
def narrow(shared_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    """A service with the obedient verifiers, one worker, and a queue of four items."""
    data = link_environments(tmp_path_factory.mktemp("narrow"), shared_root)
    bundles = write_subjects(tmp_path_factory.mktemp("subjects"))
    environment = {
        "COUNTERMARK_BUNDLES": str(bundles),
        "COUNTERMARK_WORKERS": "1",
        "COUNTERMARK_QUEUE_ITEMS": "4",
    }
    service = ServiceProcess(data, environment).start()
    yield service
    service.stop()
