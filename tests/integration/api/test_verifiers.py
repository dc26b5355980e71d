"""What the service says of itself: its verifiers, health and figures, and nothing of what it was sent."""

import pytest

from countermark_service import __version__
from countermark_service.bundles import read_bundle
from tests.integration.api.parts import (
    NDJSON,
    REDUCING,
    SUBJECT,
    Caller,
    item,
    log_of,
    stream_of,
    wait_until,
)
from tests.support import REPOSITORY


def test_every_verifier_is_listed_with_its_pin(caller: Caller) -> None:
    body = caller.http.get("/v1/verifiers").json()
    listed = {one["name"] + ":" + one["version"]: one for one in body["verifiers"]}

    assert {SUBJECT, REDUCING, "asking:1.0.0", "exact:1.0.0", "numeric:1.0.0"} <= listed.keys()
    for ref, one in listed.items():
        assert one["ref"] == f"{ref}@{one['digest']}"
        assert one["runtime"] in ("python", "sandbox", "judge", "composite")
        assert one["summary"]
    assert body["broken"] == []


@pytest.mark.parametrize("pinned", [False, True])
def test_one_verifier_is_shown_with_all_that_it_says_of_itself(caller: Caller, pinned: bool) -> None:
    listed = caller.http.get("/v1/verifiers").json()["verifiers"]
    (line,) = (one for one in listed if one["name"] == "subject")
    shown = caller.http.get(f"/v1/verifiers/{line['ref'] if pinned else SUBJECT}").json()

    assert {name: shown[name] for name in line} == line
    assert shown["description"] == "Obeys."
    assert (shown["python"], shown["uses_prompt"], shown["reduces"]) == ("3.11", False, False)
    assert shown["limits"] == {"cpu_seconds": 0.5, "wall_seconds": 1.5, "memory_mib": 96.0}
    assert shown["files"] == ["verifier.toml", "verifier.py", "requirements.lock", "vectors.jsonl"]
    assert shown["parameters"]["properties"]["tolerance"] == {"type": "number", "minimum": 0}
    assert shown["parameters"]["additionalProperties"] is False
    assert (shown["vectors"], shown["advisories"]) == ([], [])


def test_a_shipped_verifier_is_shown_with_its_vectors(caller: Caller) -> None:
    bundle = read_bundle(REPOSITORY / "verifiers" / "exact" / "1.0.0")
    shown = caller.http.get("/v1/verifiers/exact:1.0.0").json()
    assert shown["digest"] == bundle.digest
    assert [one["id"] for one in shown["vectors"]] == [one.id for one in bundle.vectors]


@pytest.mark.parametrize(
    ("ref", "status", "code"),
    [
        ("subject", 400, "version_required"),
        ("Subject:1", 400, "invalid_ref"),
        ("nobody:1", 404, "unknown_verifier"),
        ("no/body:1", 404, "unknown_verifier"),
        ("subject:2", 404, "unknown_verifier"),
        (f"subject:1.0.0@sha256:{'0' * 64}", 409, "digest_mismatch"),
        ("", 400, "invalid_ref"),
        ("a/b/c:1", 400, "invalid_ref"),
        ("%2e%2e%2fsubject:1.0.0", 400, "invalid_ref"),
    ],
)
def test_a_verifier_that_is_not_here_is_an_error(caller: Caller, ref: str, status: int, code: str) -> None:
    answer = caller.http.get(f"/v1/verifiers/{ref}")
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["Content-Type"] == "application/problem+json"


def test_the_service_says_that_it_lives_and_what_it_stands_on(caller: Caller) -> None:
    assert caller.http.get("/livez").json() == {"status": "alive"}
    assert caller.http.get("/healthz").json() == {"status": "alive"}
    ready = caller.http.get("/readyz").json()
    assert (ready["status"], ready["version"]) == ("ready", __version__)
    assert ready["verifiers"] >= 3
    assert ready["containment"] in ("namespaces", "landlock", "limits")
    assert ready["store"]["backend"] == "sqlite"
    assert ready["store"]["degraded"] is None


def test_the_figures_count_what_was_done(caller: Caller) -> None:
    def count(outcome: str, cached: str) -> float:
        return caller.metric(
            "countermark_items_total", verifier="subject", version="1.0.0", outcome=outcome, cached=cached
        )

    kinds = [("scored", "false"), ("scored", "true"), ("error", "false")]
    before = [count(*kind) for kind in kinds]
    requests = caller.metric("countermark_request_seconds_count", route="/v1/score", status="200")
    items = [item("counted 1"), item("counted 2"), item("counted 1"), item("raise counted")]
    caller.verdicts(items)
    caller.stream(stream_of(items))

    assert [count(*kind) - start for kind, start in zip(kinds, before, strict=True)] == [2, 4, 2]
    assert caller.metric("countermark_request_seconds_count", route="/v1/score", status="200") == requests + 1
    assert caller.metric("countermark_request_seconds_count", route="/v1/score/stream", status="200") >= 1
    assert caller.metric("countermark_verifier_info", verifier="subject") == 1
    assert caller.metric("countermark_verifier_cpu_seconds_total") > 0
    assert caller.metric("countermark_store_events_total", event="lru_hits") > 0
    assert caller.metric("countermark_workers") >= 1
    assert caller.metric("countermark_store_degraded") == 0


def test_no_text_of_an_item_reaches_logs_or_figures(caller: Caller) -> None:
    """Whatever happens to it: scored, failed, raised with, refused, in a batch or in a stream."""
    secret = "canary-5d41402a"
    whole = {"response": f"right {secret}", "reference": secret, "prompt": secret, "id": secret}
    failing = [{**whole, "response": f"{end} {secret}", "id": end + secret} for end in ("raise", "exit")]
    good = [whole, *failing]
    assert secret in caller.score(good).text
    assert caller.score(good, on_failure="raise").status_code == 424
    caller.stream([*stream_of(good), b'{"response": "canary-5d41402a", "reference": 1, "oops": 1}\n'])
    for bad in (
        [{**whole, "params": {secret: 1}}],
        [{**whole, "params": {"tolerance": secret}}],
        [whole, whole],
        [{**whole, "response": {secret: secret}}],
        [{**whole, secret: 1}],
        [{**whole, "reference": "\ud800" + secret}],
    ):
        assert caller.score(bad).status_code == 422
    caller.post(f'{{"verifier": "{secret}:1", "items": []}}'.encode())
    caller.post(secret.encode())
    caller.post(secret.encode(), path="/v1/score/stream", Content_Type=NDJSON)

    all_logged(caller)
    assert secret not in log_of(caller.service)
    assert secret not in caller.http.get("/metrics").text


def all_logged(caller: Caller) -> None:
    """Wait until the requests so far are in the log: lines stand in the order of requests."""
    shown = log_of(caller.service).count("/v1/verifiers/{ref:path}")
    caller.http.get("/v1/verifiers/nobody:1")
    wait_until(lambda: log_of(caller.service).count("/v1/verifiers/{ref:path}") > shown, "all is logged")


def test_a_request_is_one_line_of_the_log(caller: Caller) -> None:
    all_logged(caller)
    before = len(log_of(caller.service).splitlines())
    caller.score([item("right")])
    caller.score([item("right")], verifier="nobody:1")
    wait_until(lambda: len(log_of(caller.service).splitlines()) >= before + 2, "both are logged")
    first, second = log_of(caller.service).splitlines()[before : before + 2]
    assert "method=POST" in first
    assert "route=/v1/score" in first
    assert "status=200" in first
    assert "status=404" in second


def test_the_document_describes_what_is_served(caller: Caller) -> None:
    document = caller.http.get("/openapi.json").json()
    for path, operations in document["paths"].items():
        for method in operations:
            answer = caller.http.request(method, path.replace("{ref}", "exact:1.0.0"))
            assert answer.status_code != 405, path
            if answer.status_code == 404:  # a route that knows of no such thing says of what kind
                assert answer.json()["code"] != "not_found", path
