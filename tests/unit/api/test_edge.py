"""The edge of the API: a bug in a route is answered once, logged once, and told to nobody outside."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from fastapi.responses import StreamingResponse

from countermark_service.api import create_app
from countermark_service.assembly import assemble
from countermark_service.settings import load_settings

SECRET = "what the route was working on"


@pytest.fixture
def app(tmp_path: Path) -> FastAPI:
    """The real app, with two routes that have bugs."""
    app = create_app(assemble(load_settings({"data": tmp_path}, environment={})))

    async def buggy() -> None:
        raise KeyError(SECRET)

    async def buggy_in_the_middle() -> StreamingResponse:
        async def lines() -> AsyncIterator[bytes]:
            yield b"a line\n"
            raise KeyError(SECRET)

        return StreamingResponse(lines())

    app.add_api_route("/buggy", buggy)
    app.add_api_route("/buggy-in-the-middle", buggy_in_the_middle)
    return app


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """A client that would raise what the app raises."""
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service") as client:
        yield client


async def test_a_bug_is_a_problem_that_says_nothing_of_itself(client: httpx.AsyncClient) -> None:
    answer = await client.get("/buggy")

    assert (answer.status_code, answer.headers["Content-Type"]) == (500, "application/problem+json")
    assert (answer.json()["code"], answer.json()["status"]) == ("internal", 500)
    assert SECRET not in answer.text
    assert "KeyError" not in answer.text
    metrics = (await client.get("/metrics")).text
    assert 'countermark_request_seconds_count{route="/buggy",status="500"} 1.0' in metrics


async def test_a_bug_is_logged_once_with_its_traceback(
    client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level(logging.DEBUG):
        await client.get("/buggy")
    told = caplog.text + "".join(capsys.readouterr())
    assert told.count("Traceback (most recent call last)") == 1
    assert "test_edge.py" in told


async def test_a_bug_in_the_middle_of_an_answer_breaks_it_off(client: httpx.AsyncClient) -> None:
    """A reply that ended in order would look whole."""
    with pytest.raises(KeyError):
        await client.get("/buggy-in-the-middle")


async def test_a_request_that_a_stop_ends_may_be_sent_again(app: FastAPI, client: httpx.AsyncClient) -> None:
    """The server cancels what is not done when its patience is over; a 500 would be final for clients."""
    begun = asyncio.Event()

    async def endless() -> None:
        begun.set()
        await asyncio.Event().wait()

    app.add_api_route("/endless", endless)
    asked = asyncio.create_task(client.get("/endless"))
    await begun.wait()
    asked.cancel("Task cancelled, timeout graceful shutdown exceeded")
    answer = await asked

    assert (answer.status_code, answer.headers["Content-Type"]) == (503, "application/problem+json")
    assert answer.json()["code"] == "unavailable"
    assert 'route="/endless",status="503"' in (await client.get("/metrics")).text


async def test_what_is_known_is_no_bug(client: httpx.AsyncClient) -> None:
    answer = await client.get("/v1/verifiers/nobody:1")
    assert json.loads(answer.text)["code"] == "unknown_verifier"
