"""What a client can be made with, and where defaults come from."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from countermark import AsyncClient, Client, InvalidInputError
from tests.unit.client.scripted_server import NAME, ScriptedServer

ITEMS = [{"response": "1", "reference": "1"}]


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("COUNTERMARK_URL", "COUNTERMARK_API_KEY"):
        monkeypatch.delenv(name, raising=False)


def test_without_anything_said_the_service_is_the_one_on_this_machine() -> None:
    assert repr(Client()) == "<countermark.Client http://127.0.0.1:8000>"
    assert repr(AsyncClient()) == "<countermark.AsyncClient http://127.0.0.1:8000>"


def test_address_and_key_come_from_the_environment(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COUNTERMARK_URL", server.url + "/")
    monkeypatch.setenv("COUNTERMARK_API_KEY", "from-outside\n")
    with Client() as client:
        client.score(NAME, ITEMS)
    assert server.scored[0].headers["authorization"] == "Bearer from-outside"


def test_arguments_come_before_the_environment(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COUNTERMARK_URL", "http://192.0.2.1")
    monkeypatch.setenv("COUNTERMARK_API_KEY", "from-outside")
    with Client(server.url, api_key="given") as client:
        client.score(NAME, ITEMS)
    assert server.scored[0].headers["authorization"] == "Bearer given"


def test_an_empty_key_is_none(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COUNTERMARK_API_KEY", "from-outside")
    with Client(server.url, api_key="") as client:
        client.score(NAME, ITEMS)
    assert "authorization" not in server.scored[0].headers


@pytest.mark.parametrize("kind", [Client, AsyncClient])
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"base_url": "127.0.0.1:8000"}, r"base_url is '127\.0\.0\.1:8000'; it must be an address like"),
        ({"base_url": "ftp://host"}, "base_url is 'ftp://host'"),
        ({"base_url": "http://"}, "base_url is 'http://'"),
        ({"base_url": ""}, "base_url is ''"),
        ({"base_url": "http://host:99999"}, "base_url is"),
        ({"base_url": "http://[::1"}, "base_url is"),
        ({"base_url": b"http://host"}, "base_url is a bytes, not a string like http"),
        ({"base_url": Path("http://host")}, "base_url is a PosixPath, not a string"),
        ({"api_key": b"s3cret"}, "api_key is a bytes, not a string.$"),
        ({"base_url": "http://host/?a=1"}, "carries credentials, a query or a fragment"),
        ({"timeout": 0}, "timeout is 0; it must be seconds above 0"),
        ({"timeout": math.nan}, "timeout is nan"),
        ({"timeout": "5"}, "timeout is '5'"),
        ({"timeout": True}, "timeout is True"),
        ({"max_retries": -1}, "max_retries is -1; it must be a whole number of at least 0"),
        ({"max_retries": 1.5}, "max_retries is 1.5"),
        ({"concurrency": 0}, "concurrency is 0; it must be a whole number of at least 1"),
        ({"max_items_per_request": 0}, "max_items_per_request is 0"),
        ({"max_bytes_per_request": True}, "max_bytes_per_request is True"),
    ],
)
def test_an_argument_that_cannot_be_meant_is_refused_at_once(
    kind: type[Client] | type[AsyncClient], options: dict[str, Any], words: str
) -> None:
    with pytest.raises(InvalidInputError, match=words):
        kind(**options)


@pytest.mark.parametrize("url", ["http://me:pa55word@host", "http://me:pa55word@", "htp://me:pa55word@host"])
def test_a_password_in_the_address_is_refused_without_being_quoted(url: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        Client(url)
    assert "pa55word" not in str(caught.value)


def test_no_limit_is_a_limit_that_can_be_set(server: ScriptedServer) -> None:
    with Client(server.url, timeout=math.inf) as client:
        assert client.score(NAME, ITEMS).rewards == [1.0]
