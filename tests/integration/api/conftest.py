"""Services that the tests of the API share, and the bundles that they serve."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.api.parts import (
    SUBJECT,
    Caller,
    item,
    link_environments,
    service_environment,
    write_subjects,
)
from tests.support import ServiceProcess

StartService = Callable[..., ServiceProcess]
"""Makes and starts a service on a data folder; settings are keywords. It ends with the fixture."""


@pytest.fixture(scope="session")
def subjects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the test bundles."""
    return write_subjects(tmp_path_factory.mktemp("subjects"))


@pytest.fixture(scope="module")
def start_service(shared_root: Path, subjects: Path) -> Iterator[StartService]:
    """Starts services that end with the module."""
    started: list[ServiceProcess] = []

    def start(data: Path, *, bundles: Path = subjects, **settings: str) -> ServiceProcess:
        if not (data / "environments").exists():
            link_environments(data, shared_root)
        service = ServiceProcess(data, service_environment(bundles, **settings))
        started.append(service)
        return service.start()

    yield start
    for service in started:
        service.stop()


@pytest.fixture(scope="session")
def plain_service(
    shared_root: Path, subjects: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServiceProcess]:
    """A service on SQLite with every limit at its default."""
    data = link_environments(tmp_path_factory.mktemp("plain"), shared_root)
    service = ServiceProcess(data, service_environment(subjects)).start()
    yield service
    service.stop()


@pytest.fixture(scope="session")
def caller(plain_service: ServiceProcess) -> Iterator[Caller]:
    """A caller of the plain service, whose workers run."""
    with Caller(plain_service) as caller:
        caller.verdicts([item(f"warm {n}") for n in range(64)], verifier=SUBJECT)
        yield caller
