"""What all facades share: the switch, the key in the path, the one way in which errors are answered."""

import logging
import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import msgspec
import pytest
from fastapi import FastAPI, Request

from countermark_service.api import create_app
from countermark_service.api.dependencies import ScoringDep
from countermark_service.api.facades import FACADES, chosen
from countermark_service.api.facades.facade import (
    Refusal,
    facade_router,
    json_answer,
    read_json,
    worth_repeating,
)
from countermark_service.api.facades.path_token import PathToken
from countermark_service.assembly import Service, assemble
from countermark_service.errors import (
    CountermarkError,
    RequestError,
    SaturatedError,
    SettingsError,
    UnauthorizedError,
    UnavailableError,
    VerdictFailedError,
)
from countermark_service.settings import load_settings
from tests.support import REPOSITORY

REF = "judge/equivalence:1.0.0@sha256:" + "0" * 64
SECRET = "what the route was working on"


class Body(msgspec.Struct):
    """A body of which one key counts."""

    number: int


def refuse(error: CountermarkError) -> Refusal:
    return Refusal(598 if worth_repeating(error) else 498, {"told": error.code}, {"X-Told": "yes"})


@pytest.fixture
def service(tmp_path: Path) -> Service:
    return assemble(load_settings({"data": tmp_path}, environment={}))


@pytest.fixture
def app(service: Service) -> FastAPI:
    """The real app, with one facade more."""
    app = create_app(service)
    router = facade_router("/sandbox-fusion/subject", refuse)

    @router.post("/{ref:path}/echo")
    async def echo(request: Request, ref: str, parts: ScoringDep) -> object:
        body = await read_json(request, parts, msgspec.json.Decoder(Body))
        return json_answer({"ref": ref, "number": body.number})

    @router.get("/buggy")
    async def buggy() -> None:
        raise KeyError(SECRET)

    app.include_router(router)
    return app


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service") as client:
        yield client


async def test_a_pin_in_the_path_arrives_whole_and_unknown_keys_are_let_be(client: httpx.AsyncClient) -> None:
    for path in (REF, REF.replace(":", "%3A").replace("@", "%40").replace("/", "%2F")):
        answer = await client.post(
            f"/sandbox-fusion/subject/{path}/echo", json={"number": 3, "trace": "x", "more": {}}
        )
        assert (answer.status_code, answer.json()) == (200, {"ref": REF, "number": 3})


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"", "application/json"),
        (b"{", "application/json"),
        (b'{"number": "three"}', "application/json"),
        (b"[" * 100_000, "application/json"),
        (b'{"number": 1}\xff', "application/json"),
        (b"number=3", "application/x-www-form-urlencoded"),
        (b'{"number": ' + b" " * (65 << 20) + b"3}", "application/json"),
    ],
)
async def test_what_cannot_be_read_is_answered_in_the_shape_of_the_facade(
    client: httpx.AsyncClient, content: bytes, kind: str
) -> None:
    answer = await client.post(
        "/sandbox-fusion/subject/x:1/echo", content=content, headers={"Content-Type": kind}
    )

    assert answer.status_code == 498
    assert answer.json()["told"] in ("invalid_request", "unsupported_content_type", "too_large")
    assert answer.headers["X-Told"] == "yes"


async def test_a_bug_is_logged_once_and_answered_in_the_shape_of_the_facade(
    client: httpx.AsyncClient, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = await client.get("/sandbox-fusion/subject/buggy")

    assert (answer.status_code, answer.json()) == (598, {"told": "internal"})
    assert capsys.readouterr().out.count(f"KeyError: '{SECRET}'") == 1


def test_only_what_may_change_by_itself_is_worth_repeating() -> None:
    changes = [
        SaturatedError(pending=1, limit=1, retry_after=1),
        UnavailableError("gone"),
        VerdictFailedError([{"index": 0, "outcome": "timeout"}], 1),
    ]
    assert all(worth_repeating(one) for one in changes)
    assert not worth_repeating(UnauthorizedError())
    assert not worth_repeating(RequestError("no"))


# --- the key in the path --------------------------------------------------------------------------


async def test_a_key_in_the_path_counts_like_one_in_a_header(
    client: httpx.AsyncClient, service: Service
) -> None:
    scoring, _ = service.access.add(["score"], "trainer")
    auditing, _ = service.access.add(["audit"], "auditor")

    async def post(prefix: str, **headers: str) -> tuple[int, str | None]:
        answer = await client.post(
            f"{prefix}/sandbox-fusion/subject/x:1/echo", json={"number": 1}, headers=headers
        )
        return answer.status_code, answer.json().get("told")

    assert await post(f"/t/{scoring}") == (200, None)
    assert await post("", Authorization=f"Bearer {scoring}") == (200, None)
    assert await post(f"/t/{scoring}", Authorization="Bearer of a client that must send some") == (200, None)
    assert await post("") == (498, "unauthorized")
    assert await post("/t/cmk_wrong") == (498, "unauthorized")
    assert await post("/t/cmk_wrong", Authorization=f"Bearer {scoring}") == (498, "unauthorized")
    assert await post(f"/t/{auditing}") == (498, "forbidden")


async def test_a_key_in_the_path_is_for_facades_alone(client: httpx.AsyncClient, service: Service) -> None:
    scoring, _ = service.access.add(["score"], "trainer")

    for path in (
        f"/t/{scoring}/v1/verifiers",
        f"/t/{scoring}",
        f"/t/{scoring}/",
        f"/t/{scoring}/sandbox-fusionx/v1",
    ):
        answer = await client.get(path)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
        assert scoring not in answer.text


async def test_a_key_in_the_path_is_in_no_log_and_no_metric(
    client: httpx.AsyncClient,
    service: Service,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    secret, _ = service.access.add(["score"], "trainer")
    caplog.set_level(logging.DEBUG)

    for path in ("subject/x:1/echo", "subject/buggy", "nothing"):
        await client.post(f"/t/{secret}/sandbox-fusion/{path}", json={"number": 1})
        await client.get(f"/t/{secret}/sandbox-fusion/{path}")
    await client.get(f"/t/{secret}/nothing/here")

    written = capsys.readouterr()
    metrics = (await client.get("/metrics")).text
    assert "/sandbox-fusion/subject/{ref:path}/echo" in metrics
    assert "request" in written.out
    assert secret.removeprefix("cmk_")[:12] not in written.out + written.err + metrics


async def test_what_is_no_request_and_what_has_no_key_passes_as_it_is() -> None:
    seen: list[dict[str, object]] = []

    async def app(scope: object, receive: object, send: object) -> None:
        assert isinstance(scope, dict)
        seen.append(scope)

    async def unused() -> dict[str, object]:
        raise AssertionError

    scopes: list[dict[str, object]] = [
        {"type": "lifespan"},
        {"type": "http", "path": "/tt/x", "raw_path": b"/tt/x", "headers": []},
    ]
    for scope in scopes:
        await PathToken(app, ["/openrlhf"])(scope, unused, unused)  # type: ignore[arg-type]
    assert seen == scopes


# --- the switch -----------------------------------------------------------------------------------


def chosen_error(*names: str) -> SettingsError:
    with pytest.raises(SettingsError) as refused:
        chosen(names)
    return refused.value


def test_all_are_on_and_names_narrow_them() -> None:
    assert chosen(load_settings({"data": "/d"}, environment={}).facades) == list(FACADES.values())
    settings = load_settings(
        {"data": "/d"}, environment={"COUNTERMARK_FACADES": "sandbox-fusion, sandbox-fusion"}
    )
    assert chosen(settings.facades) == [FACADES["sandbox-fusion"]]
    assert chosen(["none"]) == []


@pytest.mark.parametrize("names", [["nobody"], ["sandbox-fusion", "all"], ["none", "sandbox-fusion"], [""]])
def test_a_name_that_is_none_is_refused_at_the_start(names: list[str]) -> None:
    error = chosen_error(*names)
    assert (error.key, error.code) == ("facades", "invalid_settings")
    assert "sandbox-fusion" in str(error) or "alone" in str(error)


async def test_a_facade_that_is_off_is_not_there(tmp_path: Path) -> None:
    app = create_app(assemble(load_settings({"data": tmp_path, "facades": ["none"]}, environment={})))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service") as client:
        for prefix in ("", "/t/key"):
            answer = await client.get(f"{prefix}/sandbox-fusion/v1/ping")
            assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
            assert "'sandbox-fusion' is switched off" in answer.json()["detail"]
            assert "COUNTERMARK_FACADES" in answer.json()["detail"]
            assert "key" not in answer.json()["detail"]


def test_a_facade_is_named_as_its_path_and_stays_out_of_the_document(app: FastAPI) -> None:
    for name, router in FACADES.items():
        assert router.prefix.split("/")[1] == name
    assert [path for path in app.openapi()["paths"] if path.split("/")[1] in FACADES] == []


def test_every_facade_has_its_section_on_the_page_which_begins_with_lines_to_paste() -> None:
    page = (REPOSITORY / "service" / "docs" / "facades.md").read_text()
    sections = dict(re.findall(r"^## ([a-z0-9-]+)\n\n(.*)$", page, flags=re.MULTILINE))
    assert sections.keys() == FACADES.keys()
    assert all(first.startswith("```") for first in sections.values())
