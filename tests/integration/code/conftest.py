"""A whole service in this process, for the tests of code bundles."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from countermark_service.api.app import create_app
from countermark_service.assembly import Service, assemble
from countermark_service.settings import load_settings

Score = Callable[..., Awaitable[list[dict[str, Any]]]]
NEWEST = {
    "python-assert": "1.0.8",
    "python-assert-sci": "1.0.8",
}
"""Versions of the code verifiers that are beyond `USUAL`."""
USUAL = "1.0.7"
_SECONDS = 300.0


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service(shared_root: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Service]:
    """The parts of a service whose environments are kept between runs."""
    data = tmp_path_factory.mktemp("code")
    (shared_root / "environments").mkdir(exist_ok=True)
    (data / "environments").symlink_to(shared_root / "environments")
    yield assemble(load_settings({"data": data}, environment={}))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(service: Service) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the real app over that service, started."""
    app = create_app(service)
    transport = httpx.ASGITransport(app=app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://service", timeout=_SECONDS) as client,
    ):
        yield client


@pytest.fixture
def score(client: httpx.AsyncClient) -> Score:
    """Score items over the API; return their verdicts."""

    async def call(verifier: str, *items: dict[str, Any]) -> list[dict[str, Any]]:
        body = {"verifier": pinned(verifier), "items": list(items)}
        async with asyncio.timeout(_SECONDS):
            answer = await client.post("/v1/score", json=body)
        assert answer.status_code == 200, answer.text
        verdicts: list[dict[str, Any]] = answer.json()["verdicts"]
        return verdicts

    return call


def pinned(verifier: str) -> str:
    """Return a code verifier with its newest version."""
    return f"{verifier}:{NEWEST.get(verifier, USUAL)}"


def fenced(code: str, language: str = "python") -> str:
    """Return a response that holds `code`."""
    return f"```{language}\n{code}\n```"
