"""Releases at a running service: registered once, scored by name and task, and marked where they are bad."""

import json
import signal
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest

from countermark_service.bundles import read_bundle
from countermark_service.registry import append_advisory, append_withdrawal, make_advisory
from countermark_service.releases import card_schema, release_of
from countermark_service.store.access_keys import AccessKeys
from tests.cards import bare_card
from tests.integration.api.conftest import StartService
from tests.integration.api.parts import Caller, item, log_of, wait_until
from tests.support import ServiceProcess

FAILING = item("raise")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("released")


@pytest.fixture(scope="module")
def released(start_service: StartService, data: Path) -> ServiceProcess:
    """A service of this module alone: what is registered here stays here."""
    return start_service(data)


@pytest.fixture(scope="module")
def caller(released: ServiceProcess) -> Iterator[Caller]:
    with Caller(released) as caller:
        yield caller


@pytest.fixture(scope="module")
def pins(subjects: Path) -> dict[str, str]:
    """The pin of each test bundle."""
    return {name: str(read_bundle(subjects / name / "1.0.0").ref) for name in ("subject", "asking")}


@pytest.fixture(scope="module")
def card(pins: dict[str, str]) -> dict[str, Any]:
    routes = [
        {"task": "obey", "data_sources": ["tests/obey"], "verifier": pins["subject"], "params": {"tolerance": 0.5},
         "on_failure": "zero"},
        {"task": "ask", "verifier": pins["asking"]},
        {"task": "strict", "verifier": pins["subject"], "on_failure": "raise"},
    ]  # fmt: skip
    return bare_card(name="tests/routes", verifier={"routes": routes})


@pytest.fixture(scope="module")
def digest(caller: Caller, card: dict[str, Any]) -> str:
    """The digest of the card, which is registered."""
    answer = caller.post(card, path="/v1/releases")
    assert answer.status_code in (200, 201), answer.text
    return str(answer.json()["digest"])


def test_a_card_is_registered_once_and_for_ever(caller: Caller, card: dict[str, Any]) -> None:
    mine = {**card, "name": "tests/once"}

    first = caller.post(mine, path="/v1/releases")
    again = caller.post(json.dumps(mine, indent=3).encode(), path="/v1/releases")
    other = caller.post({**mine, "summary": "Another"}, path="/v1/releases")

    assert (first.status_code, again.status_code, other.status_code) == (201, 200, 409)
    assert first.json() == again.json()
    assert first.json()["ref"] == f"tests/once:1.0@{release_of(mine).digest}"
    assert other.json()["code"] == "release_conflict"
    assert caller.http.get("/v1/releases/tests/once:1.0").json()["card"] == mine


def test_what_is_registered_is_listed_and_shown(caller: Caller, card: dict[str, Any], digest: str) -> None:
    listed = {one["name"]: one for one in caller.http.get("/v1/releases").json()["releases"]}
    shown = caller.http.get(f"/v1/releases/tests/routes:1.0@{digest}").json()

    assert listed["tests/routes"]["tasks"] == ["obey", "ask", "strict"]
    assert listed["tests/routes"]["digest"] == shown["digest"] == digest
    assert shown["card"] == card
    assert shown["completeness"]["grade"] == "F"
    assert {one["factor"]: one["grade"] for one in shown["completeness"]["factors"]}["verifier"] == "C"
    assert shown["advisories"] == []


@pytest.mark.parametrize(
    ("ref", "status", "code"),
    [
        ("tests/routes", 400, "release_version_required"),
        ("Not a name", 400, "invalid_release_ref"),
        ("tests/routes:9", 404, "unknown_release"),
        ("tests/routes:1.0@sha256:" + "0" * 64, 409, "release_digest_mismatch"),
    ],
)
def test_a_release_that_cannot_be_meant_is_refused_when_it_is_shown_and_when_it_is_used(
    caller: Caller, digest: str, ref: str, status: int, code: str
) -> None:
    shown = caller.http.get(f"/v1/releases/{ref}")
    scored = caller.post({"release": ref, "task": "obey", "items": []})

    for answer in (shown, scored):
        assert (answer.status_code, answer.json()["code"]) == (status, code)
        assert answer.headers["content-type"] == "application/problem+json"


def test_a_batch_by_release_and_task_is_scored_as_the_card_says(
    caller: Caller, pins: dict[str, str], digest: str
) -> None:
    items = [item("so right", id="a"), item("wrong"), FAILING]
    for task in ("obey", "tests/obey"):
        answer = caller.post({"release": "tests/routes:1.0", "task": task, "items": items}).json()

        assert answer["verifier"]["ref"] == pins["subject"]
        assert answer["release"] == {
            "ref": f"tests/routes:1.0@{digest}", "name": "tests/routes", "version": "1.0", "digest": digest,
            "task": task, "on_failure": "zero",
        }  # fmt: skip
        assert [one["reward"] for one in answer["verdicts"]] == [1.0, 0.0, 0.0]
        assert [one["score"] for one in answer["verdicts"]] == [1.0, 0.0, None]
        assert "advisories" not in answer


def test_the_parameters_of_the_card_reach_the_verifier(caller: Caller, digest: str, subjects: Path) -> None:
    """A verdict under the card's parameters is another than one without them, and the same as one with them."""
    by_card = caller.post(
        {"release": "tests/routes:1.0", "task": "obey", "items": [item("params right")]}
    ).json()
    plain = caller.verdicts([item("params right")])
    named = caller.verdicts([item("params right", params={"tolerance": 0.5})])

    assert by_card["verdicts"][0]["score"] == 1.0
    assert (plain[0]["cached"], named[0]["cached"]) == (False, True)


def test_a_stream_by_release_and_task_is_scored_as_the_card_says(caller: Caller, digest: str) -> None:
    head = {"release": f"tests/routes:1.0@{digest}", "task": "obey"}
    lines = [json.dumps(one).encode() + b"\n" for one in (head, item("so right"), FAILING)]

    *verdicts, last = caller.stream(lines)

    assert {one["index"]: one["reward"] for one in verdicts} == {0: 1.0, 1: 0.0}
    assert last["summary"]["release"]["digest"] == digest
    assert last["summary"]["release"]["on_failure"] == "zero"


def test_where_the_card_is_silent_the_request_decides(caller: Caller, digest: str) -> None:
    body = {"release": "tests/routes:1.0", "task": "ask", "items": [item("a", prompt="right")]}
    for on_failure in ("null", "zero", "raise"):
        answer = caller.post({**body, "on_failure": on_failure}).json()
        assert answer["release"]["on_failure"] == on_failure
        assert answer["verdicts"][0]["score"] == 1.0
    assert caller.post(body).json()["release"]["on_failure"] == "null"


def test_a_card_that_wants_failures_raised_has_them_raised(caller: Caller, digest: str) -> None:
    answer = caller.post({"release": "tests/routes:1.0", "task": "strict", "items": [FAILING]})
    assert (answer.status_code, answer.json()["code"]) == (424, "verdict_failed")


@pytest.mark.parametrize(
    ("body", "status", "code", "field"),
    [
        ({"task": "obey", "on_failure": "null"}, 422, "release_contradicted", "on_failure"),
        ({"task": "obey", "items": [item("a", params={"tolerance": 1})]}, 422, "release_contradicted",
         "params.tolerance"),
        ({"task": "obey", "items": [item("a", params={"other": 1})]}, 422, "invalid_request", "params"),
        ({"task": "nothing"}, 404, "unknown_task", None),
        ({"task": "obey", "verifier": "subject:1.0.0"}, 422, "invalid_request", "verifier"),
        ({}, 422, "invalid_request", "task"),
    ],
)  # fmt: skip
def test_a_request_that_goes_against_the_card_is_refused_and_nothing_is_scored(
    caller: Caller, digest: str, body: dict[str, Any], status: int, code: str, field: str | None
) -> None:
    whole = {"release": "tests/routes:1.0", "items": [item("never scored")], **body}
    items = whole.pop("items")
    caller.verdicts([item("right")])
    before = caller.metric("countermark_items_total")
    assert before > 0

    batch = caller.post({**whole, "items": items})
    lines = b"".join(json.dumps(one).encode() + b"\n" for one in (whole, *items))
    stream = caller.post(lines, path="/v1/score/stream", Content_Type="application/x-ndjson")

    assert (batch.status_code, batch.json()["code"], batch.json().get("field")) == (status, code, field)
    refused = (
        stream.json() if stream.status_code != 200 else json.loads(stream.text.splitlines()[-1])["error"]
    )
    assert (refused["status"], refused["code"], refused.get("field")) == (status, code, field)
    assert caller.metric("countermark_items_total") == before


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"nmae": "a"}, 422, "invalid_card"),
        ({"verifier": {"routes": [{"task": "a", "verifier": "subject:1.0.0"}]}}, 422, "invalid_card"),
        ({"verifier": {"routes": [{"task": "a", "verifier": "nobody:1@sha256:" + "0" * 64}]}}, 404, "unknown_verifier"),
        ({"verifier": {"routes": [{"task": "a", "verifier": "subject:1.0.0@sha256:" + "0" * 64}]}}, 409,
         "digest_mismatch"),
    ],
)  # fmt: skip
def test_a_card_that_could_not_be_scored_under_is_not_registered(
    caller: Caller, change: dict[str, Any], status: int, code: str
) -> None:
    answer = caller.post(bare_card(name="tests/refused", **change), path="/v1/releases")

    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert caller.http.get("/v1/releases/tests/refused:1.0").status_code == 404


def test_parameters_that_the_verifier_does_not_take_keep_a_card_out(
    caller: Caller, pins: dict[str, str]
) -> None:
    routes = [{"task": "a", "verifier": pins["subject"], "params": {"tolerance": -1}}]
    answer = caller.post(bare_card(name="tests/refused", verifier={"routes": routes}), path="/v1/releases")

    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert "tolerance" in answer.json()["detail"]


def test_hostile_cards_are_refused_in_a_sentence(caller: Caller) -> None:
    for body in (b"", b"[" * 10**6, b'{"a":1,"a":2}', b"\xff", b"{" + b" " * (5 << 20) + b"}"):
        answer = caller.post(body, path="/v1/releases")
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_card"), body[:20]
    assert caller.post(b"x" * (65 << 20), path="/v1/releases").status_code == 413
    assert caller.post(b"{}", path="/v1/releases", Content_Type="text/plain").status_code == 415


def test_two_services_on_one_folder_know_the_same_releases(
    start_service: StartService, data: Path, caller: Caller, card: dict[str, Any], digest: str
) -> None:
    other = start_service(data)
    with Caller(other) as second:
        late = {**card, "name": "tests/late"}
        assert second.post(late, path="/v1/releases").status_code == 201
        for one in (caller, second):
            answer = one.post({"release": "tests/late:1.0", "task": "obey", "items": [item("right")]}).json()
            assert answer["verdicts"][0]["reward"] == 1.0
        assert caller.post({**late, "summary": "x"}, path="/v1/releases").status_code == 409
    other.stop(signal.SIGKILL)


def test_registering_needs_the_scope_admin_and_reading_the_scope_score(
    start_service: StartService, tmp_path: Path, card: dict[str, Any]
) -> None:
    data = tmp_path / "guarded"
    data.mkdir()
    keys = AccessKeys(data / "keys.json")
    scorer, admin = keys.add(["score"], "")[0], keys.add(["admin"], "")[0]
    service = start_service(data)
    body, address = json.dumps(card), f"{service.url}/v1/releases"

    def status(method: str, key: str | None) -> int:
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
        return httpx.request(
            method, address, content=body if method == "POST" else b"", headers=headers, timeout=300
        ).status_code

    assert [status("POST", key) for key in (None, scorer, admin)] == [401, 403, 201]
    assert [status("GET", key) for key in (None, admin, scorer)] == [401, 403, 200]


def test_what_is_yanked_is_scored_and_every_answer_says_so(
    released: ServiceProcess, caller: Caller, data: Path, pins: dict[str, str], digest: str
) -> None:
    today, file = date.today().isoformat(), data / "advisories.toml"
    yanked = make_advisory(
        pins["asking"],
        "yanked",
        "Asks too much.",
        subject="verifier",
        date=today,
        replacement="subject:1.0.0",
    )
    warned = make_advisory(
        f"tests/routes:1.0@{digest}",
        "warning",
        "The card names the wrong model.",
        subject="release",
        date=today,
    )
    body = {"verifier": "asking:1.0.0", "items": [item("a", prompt="right")]}
    by_release = {"release": "tests/routes:1.0", "task": "ask", "items": body["items"]}

    append_advisory(file, yanked)
    append_advisory(file, warned)
    wait_until(lambda: "advisories" in caller.post(body).json(), "the advisory is noticed")

    answers = [caller.post(body).json(), caller.post(by_release).json()]
    assert [one["verdicts"][0]["score"] for one in answers] == [1.0, 1.0]
    assert answers[0]["advisories"] == [yanked.document()]
    assert answers[1]["advisories"] == [yanked.document(), warned.document()]
    lines = [
        json.dumps(one).encode() + b"\n" for one in ({"verifier": "asking:1.0.0"}, item("a", prompt="right"))
    ]
    assert caller.stream(lines)[-1]["summary"]["advisories"] == [yanked.document()]
    assert caller.http.get("/v1/verifiers/asking:1.0.0").json()["advisories"] == [yanked.document()]
    assert len(caller.http.get("/v1/releases/tests/routes:1.0").json()["advisories"]) == 2
    assert "advisories" not in caller.score([item("right")]).json()
    assert log_of(released).count(yanked.id) == 1

    append_withdrawal(file, yanked.id, "It asks enough.", date=today)
    wait_until(lambda: "advisories" not in caller.post(body).json(), "the withdrawal is noticed")


def test_a_service_may_refuse_what_is_yanked(
    start_service: StartService, tmp_path: Path, pins: dict[str, str]
) -> None:
    yanked = make_advisory(pins["asking"], "yanked", "Asks too much", subject="verifier", date="2026-11-28")
    warned = make_advisory(pins["subject"], "warning", "Slow", subject="verifier", date="2026-11-28")
    for one in (yanked, warned):
        append_advisory(tmp_path / "strict" / "advisories.toml", one)
    service = start_service(tmp_path / "strict", refuse_yanked="1")
    with Caller(service) as caller:
        batch = caller.score([item("a", prompt="right")], verifier="asking:1.0.0")
        stream = caller.post(
            b'{"verifier":"asking:1.0.0"}\n', path="/v1/score/stream", Content_Type="application/x-ndjson"
        )

        for answer in (batch, stream):
            assert (answer.status_code, answer.json()["code"]) == (410, "yanked")
            assert answer.json()["advisories"] == [yanked.document()]
        assert caller.score([item("right")]).json()["advisories"] == [warned.document()]
        assert caller.http.get("/v1/verifiers/asking:1.0.0").status_code == 200


def test_cards_of_a_folder_are_there_from_the_start_even_where_a_verifier_is_not(
    start_service: StartService, tmp_path: Path, card: dict[str, Any]
) -> None:
    gone = "gone:1.0@sha256:" + "1" * 64
    (tmp_path / "cards").mkdir()
    (tmp_path / "cards" / "one.json").write_text(json.dumps(card))
    (tmp_path / "cards" / "two.json").write_text(
        json.dumps(bare_card(name="tests/gone", verifier={"routes": [{"task": "a", "verifier": gone}]}))
    )
    service = start_service(tmp_path / "data", releases=str(tmp_path / "cards"))
    with Caller(service) as caller:
        scored = caller.post({"release": "tests/routes:1.0", "task": "obey", "items": [item("right")]}).json()
        shown = caller.http.get("/v1/releases/tests/gone:1.0")
        refused = caller.post({"release": "tests/gone:1.0", "task": "a", "items": [item("right")]})

        assert scored["verdicts"][0]["reward"] == 1.0
        assert caller.post(card, path="/v1/releases").status_code == 200
        assert caller.post({**card, "summary": "x"}, path="/v1/releases").status_code == 409
        assert (shown.status_code, shown.json()["registered"], shown.json()["advisories"]) == (200, None, [])
        assert (refused.status_code, refused.json()["code"]) == (404, "unknown_verifier")


def test_the_documented_card_is_the_published_schema(caller: Caller, card: dict[str, Any]) -> None:
    document = caller.http.get("/openapi.json").json()
    whole = {"$ref": "#/components/schemas/ReleaseCard", "components": document["components"]}

    jsonschema.Draft202012Validator(whole).validate(card)

    described = document["components"]["schemas"]["ReleaseCard"]["properties"].keys()
    assert described == card_schema()["properties"].keys() - {"$schema"}
