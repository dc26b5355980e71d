"""Services that the tests of the facades share."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from countermark_service.store.access_keys import AccessKeys
from tests.integration.api.parts import link_environments, write_subjects
from tests.support import ServiceProcess, write_bundle


def started(data: Path, shared_root: Path, bundles: Path | None = None, **settings: str) -> ServiceProcess:
    """Return a running service on `data`; settings are keywords."""
    link_environments(data, shared_root)
    environment = {f"COUNTERMARK_{name.upper()}": value for name, value in settings.items()}
    if bundles is not None:
        environment["COUNTERMARK_BUNDLES"] = str(bundles)
    return ServiceProcess(data, environment).start()


@pytest.fixture(scope="session")
def subjects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with verifiers that do what a response tells them to, and one that cannot be built."""
    root = write_subjects(tmp_path_factory.mktemp("subjects"))
    lock = f"countermark-there-is-no-such-package==0.0.1 --hash=sha256:{'0' * 64}\n"
    write_bundle(root, "def verify(item): pass", name="unbuildable", lock=lock)
    return root


@pytest.fixture(scope="session")
def facade_service(
    shared_root: Path, subjects: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServiceProcess]:
    """A service with the shipped verifiers and the subjects, open to all."""
    service = started(tmp_path_factory.mktemp("facades"), shared_root, subjects)
    yield service
    service.stop()


@pytest.fixture(scope="session")
def http(facade_service: ServiceProcess) -> Iterator[httpx.Client]:
    """A client of that service."""
    with httpx.Client(base_url=facade_service.url, timeout=120) as client:
        yield client


@pytest.fixture(scope="session")
def narrow_service(
    shared_root: Path, subjects: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServiceProcess]:
    """A service with keys, one slot, one place in each queue, and small bodies."""
    data = tmp_path_factory.mktemp("narrow")
    AccessKeys(data / "keys.json").add(["audit"], "somebody")
    service = started(
        data,
        shared_root,
        subjects,
        sandbox_slots="1",
        sandbox_queue="1",
        workers="1",
        queue_items="1",
        max_body_mib="1",
    )
    yield service
    service.stop()


@pytest.fixture(scope="session")
def keys(narrow_service: ServiceProcess) -> dict[str, str]:
    """A key of the narrow service for each scope."""
    made = AccessKeys(narrow_service.data / "keys.json")
    return {scope: made.add([scope], scope)[0] for scope in ("run", "score", "audit")}
