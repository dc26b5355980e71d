"""A service with tight limits that listens on every address: who may call, how much, and how many at once."""

import json
import signal
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from countermark_service.store.access_keys import AccessKeys
from tests.integration.api.conftest import StartService
from tests.integration.api.parts import (
    JSON,
    NDJSON,
    SUBJECT,
    Caller,
    item,
    link_environments,
    log_of,
    peak_memory,
    reset_peak_memory,
    stream_of,
    wait_until,
)
from tests.support import ServiceProcess

MIB = 1 << 20


@pytest.fixture(scope="module")
def data(shared_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return link_environments(tmp_path_factory.mktemp("tight"), shared_root)


@pytest.fixture(scope="module")
def keys(data: Path) -> AccessKeys:
    """The keys of the service, as another process has them."""
    return AccessKeys(data / "keys.json")


@pytest.fixture(scope="module")
def trainer(keys: AccessKeys) -> str:
    """A key that may score."""
    return keys.add(["score"], "trainer")[0]


@pytest.fixture(scope="module")
def tight(data: Path, trainer: str, start_service: StartService) -> ServiceProcess:
    return start_service(
        data,
        host="0.0.0.0",
        max_body_mib="1",
        max_items="100",
        max_response_kib="16",
        queue_items="50",
        log_format="json",
    )


@pytest.fixture(scope="module")
def tight_caller(tight: ServiceProcess, trainer: str) -> Iterator[Caller]:
    with Caller(tight, trainer) as caller:
        yield caller


# --- who may call ---------------------------------------------------------------------------------


@pytest.mark.parametrize("header", [None, "Bearer cmk_wrong", "Basic dHJhaW5lcjp0cmFpbmVy"])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/score"),
        ("POST", "/v1/score/stream"),
        ("GET", "/v1/verifiers"),
        ("GET", f"/v1/verifiers/{SUBJECT}"),
    ],
)
def test_without_a_known_key_nothing_is_told(
    tight: ServiceProcess, header: str | None, method: str, path: str
) -> None:
    headers = {} if header is None else {"Authorization": header}
    answer = httpx.request(method, tight.url + path, headers=headers, timeout=300)
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert answer.headers["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/healthz", "/metrics", "/v1/receipts/keys"])
def test_health_figures_and_public_keys_are_open(tight: ServiceProcess, path: str) -> None:
    assert httpx.get(tight.url + path, timeout=300).status_code == 200


@pytest.mark.parametrize(
    ("file", "method", "path", "code"),
    [
        ("keys.json", "GET", "/v1/verifiers", "invalid_access_keys"),
        ("keys.json", "POST", "/openrlhf/get_reward", "invalid_access_keys"),
        ("signing/keys.json", "GET", "/v1/receipts/keys", "invalid_signing_keys"),
    ],
)
def test_whoever_asks_is_not_told_which_file_of_keys_is_damaged(
    tight: ServiceProcess, data: Path, trainer: str, file: str, method: str, path: str, code: str
) -> None:
    damaged = data / file
    before = damaged.read_bytes() if damaged.exists() else None
    damaged.parent.mkdir(exist_ok=True)
    damaged.write_text("{")
    try:
        answer = httpx.request(method, tight.url + path, timeout=300)
    finally:
        damaged.unlink() if before is None else damaged.write_bytes(before)
    assert (answer.status_code, answer.json()["code"]) == (503, code)
    assert "its log has the details" in answer.json()["detail"]
    assert str(data) not in answer.text
    wait_until(lambda: str(damaged) in log_of(tight), "the log names the file")
    after = httpx.get(
        f"{tight.url}/v1/verifiers", headers={"Authorization": f"Bearer {trainer}"}, timeout=300
    )
    assert after.status_code == 200


def test_a_key_without_the_scope_is_known_and_refused(tight: ServiceProcess, keys: AccessKeys) -> None:
    secret, _ = keys.add(["audit"], "auditor")
    with Caller(tight, secret) as caller:
        answer = caller.score([item("right")])
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (403, "forbidden")
    assert (problem["scope"], problem["granted"]) == ("score", ["audit"])


def test_receipts_are_checked_for_auditors(tight: ServiceProcess, keys: AccessKeys) -> None:
    codes = []
    for scope in ("score", "audit"):
        secret, _ = keys.add([scope], scope)
        headers = {"Authorization": f"Bearer {secret}"}
        codes.append(
            httpx.post(
                f"{tight.url}/v1/receipts/verify", json={"receipt": {}}, headers=headers, timeout=300
            ).status_code
        )
    assert codes == [403, 200]


def test_a_key_opens_as_soon_as_it_is_made_and_shuts_as_soon_as_it_is_removed(
    tight: ServiceProcess, keys: AccessKeys
) -> None:
    secret, key = keys.add(["score"], "passing")
    with Caller(tight, secret) as passing:
        assert passing.score([item("right")]).status_code == 200
        keys.remove(key.id)
        assert passing.score([item("right")]).status_code == 401


def test_keys_are_in_no_log(tight_caller: Caller, trainer: str) -> None:
    tight_caller.score([item("right")])
    assert trainer not in log_of(tight_caller.service)
    assert trainer.removeprefix("cmk_")[:12] not in log_of(tight_caller.service)


# --- how much -------------------------------------------------------------------------------------


def refused(answer: httpx.Response) -> tuple[int, str, Any]:
    return answer.status_code, answer.json()["code"], answer.json().get("limit")


def test_a_body_over_the_limit_is_refused_whether_it_says_its_length_or_not(tight_caller: Caller) -> None:
    body = json.dumps({"verifier": SUBJECT, "items": [item("x" * MIB)]}).encode()
    pieces = (body[start : start + 65536] for start in range(0, len(body), 65536))
    for content in (body, pieces):
        answer = tight_caller.http.post("/v1/score", content=content, headers={"Content-Type": JSON})
        assert refused(answer) == (413, "body_too_large", MIB)
    assert tight_caller.verdicts([item("right")])[0]["score"] == 1.0


def test_a_body_that_goes_on_for_ever_is_answered_and_not_kept(tight_caller: Caller) -> None:
    """40 MB are sent, of which the service reads little and keeps none."""
    pid = tight_caller.service.process.pid
    before = reset_peak_memory(pid)
    answer = tight_caller.http.post(
        "/v1/score", content=(b" " * 65536 for _ in range(640)), headers={"Content-Type": JSON}
    )
    assert refused(answer) == (413, "body_too_large", MIB)
    assert peak_memory(pid) - before < 16 * MIB


def test_each_limit_is_named_by_its_own_code(tight_caller: Caller) -> None:
    many = tight_caller.score([item(str(n)) for n in range(101)])
    large = tight_caller.score([item("right"), item("x" * 16385)])
    assert refused(many) == (413, "too_many_items", 100)
    assert refused(large) == (413, "response_too_large", 16384)
    assert large.json()["item"] == 1
    assert len(tight_caller.verdicts([item("y" * 16384), *[item(str(n)) for n in range(40)]])) == 41


def bomb(head: bytes) -> bytes:
    """Return a gzip of `head` and 8 GiB of blanks, made of one block over and over, without a proper end."""
    pack = zlib.compressobj(9, zlib.DEFLATED, 31)
    begin = pack.compress(head) + pack.flush(zlib.Z_FULL_FLUSH)
    block = pack.compress(b" " * MIB) + pack.flush(zlib.Z_FULL_FLUSH)
    return begin + block * 8192


@pytest.mark.parametrize(("path", "kind"), [("/v1/score", JSON), ("/v1/score/stream", NDJSON)])
@pytest.mark.parametrize("head", [b"", b'{"verifier": "subject:1.0.0"}\n'])
def test_a_gzip_bomb_is_refused_in_bounded_memory(
    tight_caller: Caller, path: str, kind: str, head: bytes
) -> None:
    packed = bomb(head)
    pid = tight_caller.service.process.pid
    before = reset_peak_memory(pid)
    answer = tight_caller.post(packed, path=path, Content_Type=kind, Content_Encoding="gzip")

    if answer.status_code == 200:  # the stream had begun
        assert json.loads(answer.text.splitlines()[-1])["error"]["code"] == "body_too_large"
    else:
        assert refused(answer) == (413, "body_too_large", MIB)
    assert peak_memory(pid) - before < 16 * MIB
    assert tight_caller.verdicts([item("right")])[0]["score"] == 1.0


def test_a_stream_has_no_limit_but_that_of_a_line(tight_caller: Caller) -> None:
    lines = tight_caller.stream(stream_of([item(f"{'x' * 10_000} {n}") for n in range(400)]))
    assert lines[-1]["summary"]["items"] == 400
    lines = tight_caller.stream(stream_of([item("right"), item("x" * MIB)]))
    assert lines[0]["score"] == 1.0
    assert lines[-1]["error"]["code"] == "body_too_large"


# --- how many at once -----------------------------------------------------------------------------


def teach_that_items_are_slow(caller: Caller) -> None:
    """Have the pool learn it, so that it hands them out one by one and the others stay in the queue."""
    caller.verdicts([item(f"work 10 {time.monotonic_ns()} {n}") for n in range(60)])


def test_a_full_queue_is_said_with_a_time_and_harms_nobody_who_is_in_it(tight_caller: Caller) -> None:
    teach_that_items_are_slow(tight_caller)
    with ThreadPoolExecutor(2) as together:
        queued = [item(f"work 20 queued {n}", f"queued {n}") for n in range(100)]
        first = together.submit(tight_caller.verdicts, queued)
        wait_until(lambda: tight_caller.metric("countermark_queue_depth") > 60, "the queue fills")
        turned_away = [item(f"turned away {n}") for n in range(60)]  # too many beside any other
        answer = tight_caller.score(turned_away)
        problem = answer.json()
        assert (answer.status_code, problem["code"], problem["limit"]) == (429, "saturated", 50)
        assert int(answer.headers["Retry-After"]) >= 1
        assert answer.headers["Content-Type"] == "application/problem+json"

        streamed = tight_caller.stream(stream_of([item(f"streamed away {n}") for n in range(60)]))
        assert streamed[-1]["error"]["code"] == "saturated"
        assert not first.done()
        assert [one["score"] for one in first.result()] == [1.0] * 100
    assert [one["cached"] for one in tight_caller.verdicts(turned_away)] == [False] * 60


def test_what_is_stored_is_answered_even_when_the_queue_is_full(tight_caller: Caller) -> None:
    known = [item(f"known {n}") for n in range(40)]
    tight_caller.verdicts(known)
    teach_that_items_are_slow(tight_caller)
    with ThreadPoolExecutor(1) as together:
        first = together.submit(tight_caller.verdicts, [item(f"work 20 filling {n}") for n in range(100)])
        wait_until(lambda: tight_caller.metric("countermark_queue_depth") > 60, "the queue fills")
        assert all(one["cached"] for one in tight_caller.verdicts(known))
        assert not first.done()
        assert len(first.result()) == 100


# --- the end of it --------------------------------------------------------------------------------


def test_json_logs_are_json_line_by_line_and_the_last_key_opens_nothing(
    tight_caller: Caller, keys: AccessKeys
) -> None:
    tight_caller.verdicts([item("right")])
    tight_caller.verdicts([item("right")])  # the one before is logged by now
    lines = [json.loads(line) for line in log_of(tight_caller.service).splitlines()]
    requests = [line for line in lines if line["event"] == "request"]
    assert {"method", "route", "status", "ms", "level", "timestamp"} <= requests[-1].keys()

    for key in keys.all():
        keys.remove(key.id)
    assert tight_caller.score([item("right")]).status_code == 401
    assert httpx.get(f"{tight_caller.service.url}/v1/verifiers", timeout=300).status_code == 401
    assert tight_caller.service.stop(signal.SIGTERM) in (0, -signal.SIGTERM)
