"""What the network, a proxy or a broken service can do to a call, and what the caller then gets."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable

import pytest

from countermark import (
    ApiError,
    ConnectError,
    CountermarkClientError,
    DeadlineExceededError,
    DigestMismatchError,
    ForbiddenError,
    InvalidRequestError,
    ProtocolError,
    ReleaseConflictError,
    SaturatedError,
    TooLargeError,
    UnauthorizedError,
    UnavailableError,
    UnknownVerifierError,
    VerifierMismatchError,
    VersionRequiredError,
)
from tests.unit.client.conftest import Connect
from tests.unit.client.scripted_server import (
    NAME,
    OTHER_DIGEST,
    OTHER_VERIFIER,
    PIN,
    Document,
    Reaction,
    Received,
    ScriptedServer,
    answer,
    drop,
    drop_half_way,
    edited,
    hang,
    page,
    problem,
    trickle,
)

ITEMS = [{"id": str(i), "response": str(i), "reference": "1"} for i in range(4)]
REWARDS = [0.0, 1.0, 0.0, 0.0]

SATURATED = problem(429, "saturated", "the queue is full", "retry-after: 0")
BAD_GATEWAY = page(502, "<html><body>Bad Gateway</body></html>")


def closed_port() -> str:
    """Return an address where nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"http://127.0.0.1:{listener.getsockname()[1]}"


# What is tried again ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "reaction",
    [
        SATURATED,
        problem(429, "saturated", "the queue is full"),
        problem(503, "unavailable", "starting"),
        BAD_GATEWAY,
        page(504, ""),
        drop,
        drop_half_way,
    ],
    ids=["429-retry-after", "429", "503", "502-html", "504-empty", "drop", "drop-half-way"],
)
async def test_a_passing_fault_costs_attempts_and_no_verdicts(
    connect: Connect, server: ScriptedServer, reaction: Reaction
) -> None:
    server.script = [reaction, reaction]
    assert (await connect(server).score(NAME, ITEMS)).rewards == REWARDS
    assert len({request.body for request in server.scored}) == 1
    assert len(server.scored) == 3


async def test_a_storm_that_outlasts_the_attempts_is_the_last_answer(
    connect: Connect, server: ScriptedServer
) -> None:
    server.react = lambda request: problem(503, "unavailable", "no workers")
    with pytest.raises(UnavailableError, match=r"503 unavailable: no workers.*after 4 attempts") as caught:
        await connect(server, max_retries=3).score(NAME, ITEMS)
    assert caught.value.attempts == len(server.scored) == 4


async def test_retry_after_is_waited_for(connect: Connect, server: ScriptedServer) -> None:
    server.script = [problem(429, "saturated", "full", "retry-after: 1")]
    assert (await connect(server).score(NAME, ITEMS)).rewards == REWARDS
    first, second = server.scored
    assert second.arrived - first.arrived >= 1.0


async def test_a_long_wait_is_told_at_once(
    connect: Connect,
    server: ScriptedServer,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("countermark._core.LONG_WAIT_SECONDS", 0.5)
    server.script = [
        problem(429, "saturated", "full", "retry-after: 0"),
        problem(429, "saturated", "full", "retry-after: 1"),
    ]
    await connect(server).score(NAME, ITEMS)
    assert [record.getMessage().partition(" failed")[0] for record in caplog.records] == [
        f"scoring {len(ITEMS)} items with {NAME}: attempt 2"
    ]


async def test_a_wait_that_does_not_fit_in_the_deadline_is_not_begun(
    connect: Connect, server: ScriptedServer
) -> None:
    server.script = [problem(429, "saturated", "full", "retry-after: 3600")]
    with pytest.raises(SaturatedError, match="429 saturated: full") as caught:
        await connect(server).score(NAME, ITEMS)
    assert caught.value.retry_after == 3600
    assert len(server.scored) == 1


async def test_a_service_that_is_not_there_is_named_with_what_to_check(connect: Connect) -> None:
    url = closed_port()
    with pytest.raises(ConnectError, match=f"no whole answer from {url}: .*COUNTERMARK_URL") as caught:
        await connect(url, max_retries=2).score(NAME, ITEMS)
    assert caught.value.attempts == 3


# What is not tried again --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (401, "unauthorized", UnauthorizedError),
        (403, "forbidden", ForbiddenError),
        (404, "unknown_verifier", UnknownVerifierError),
        (400, "version_required", VersionRequiredError),
        (409, "digest_mismatch", DigestMismatchError),
        (413, "body_too_large", TooLargeError),
        (413, "too_many_items", TooLargeError),
        (413, "response_too_large", TooLargeError),
        (422, "invalid_request", InvalidRequestError),
        (418, "a_code_of_a_later_service", ApiError),
        (500, "internal", ApiError),
    ],
)
async def test_a_refusal_is_final_and_has_its_class_code_and_document(
    connect: Connect, server: ScriptedServer, status: int, code: str, kind: type[ApiError]
) -> None:
    server.script = [problem(status, code, "because of x.", extra=[1])]
    with pytest.raises(kind, match=f"{status} {code}: because of x\\. ") as caught:
        await connect(server).score(NAME, ITEMS)
    assert type(caught.value) is kind
    assert (caught.value.status, caught.value.code, caught.value.detail) == (status, code, "because of x.")
    assert caught.value.problem["extra"] == [1]
    assert len(server.scored) == 1


async def test_a_ref_without_version_is_answered_with_the_versions(
    connect: Connect, server: ScriptedServer
) -> None:
    server.script = [problem(400, "version_required", "which exact?", versions=["1.0.0", "1.1.0"])]
    with pytest.raises(VersionRequiredError, match=r"Versions: 1\.0\.0, 1\.1\.0") as caught:
        await connect(server).score("exact", ITEMS)
    assert caught.value.versions == ("1.0.0", "1.1.0")


async def test_what_the_service_has_said_already_is_not_said_twice(
    connect: Connect, server: ScriptedServer
) -> None:
    advice = ReleaseConflictError.advice
    listed = "Write one of: 1.0.0, 1.1.0."
    server.script = [
        problem(409, "release_conflict", f"another card. {advice}"),
        problem(400, "version_required", listed, versions=["1.0.0", "1.1.0"]),
    ]
    with pytest.raises(ReleaseConflictError) as conflict:
        await connect(server).score(NAME, ITEMS)
    with pytest.raises(VersionRequiredError) as versions:
        await connect(server).score(NAME, ITEMS)
    assert str(conflict.value).count(advice) == 1
    assert str(versions.value).count("1.0.0, 1.1.0") == 1


async def test_a_proxys_page_is_quoted_and_classed_by_its_status(
    connect: Connect, server: ScriptedServer
) -> None:
    server.script = [page(401, "<html>\n  <h1>Who are you?</h1></html>")]
    with pytest.raises(UnauthorizedError, match="401 http_401: <html> <h1>Who are you"):
        await connect(server).score(NAME, ITEMS)


async def test_a_redirect_is_not_followed_with_the_key_in_hand(
    connect: Connect, server: ScriptedServer
) -> None:
    server.script = [page(307, "", "location: http://elsewhere.example/")]
    with pytest.raises(ApiError, match=r"307 http_307: a redirect.* to http://elsewhere\.example/"):
        await connect(server, api_key="s3cret").score(NAME, ITEMS)
    assert len(server.requests) == 1


# Answers that must not be believed ----------------------------------------------------------------


def set_verdict(field: str, value: object) -> Callable[[Document], None]:
    def edit(document: Document) -> None:
        document["verdicts"][2][field] = value

    return edit


def fail_with_reward(document: Document) -> None:
    document["verdicts"][2].update(outcome="error", score=None, reward=0.0)


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda d: d["verdicts"].pop(), "3 verdicts for 4 items"),
        (lambda d: d["verdicts"].append(d["verdicts"][0]), "5 verdicts for 4 items"),
        (lambda d: d.pop("verdicts"), "no verdicts for 4 items"),
        (lambda d: d["verdicts"].reverse(), "item 0 carries the id '3', not '0'"),
        (set_verdict("id", None), "item 2 carries the id None"),
        (set_verdict("outcome", "splendid"), "verdict on item 2 cannot be read"),
        (set_verdict("score", 1.5), "verdict on item 2 cannot be read"),
        (set_verdict("score", -0.1), "verdict on item 2 cannot be read"),
        (set_verdict("score", True), "verdict on item 2 cannot be read"),
        (set_verdict("score", "1"), "verdict on item 2 cannot be read"),
        (set_verdict("score", None), "item 2 is scored with the score None"),
        (set_verdict("outcome", "timeout"), "item 2 is timeout with the score 0.0"),
        (set_verdict("detail", [1]), "verdict on item 2 cannot be read"),
        (fail_with_reward, "item 2 has no score and yet a reward of 0.0; a failure is never a zero"),
        (lambda d: d["verdicts"].__setitem__(2, None), "verdict on item 2 cannot be read"),
        (lambda d: d.pop("verifier"), "does not name the verifier"),
        (lambda d: d["verifier"].pop("digest"), "verifier has no digest"),
        (lambda d: d["verifier"].update(digest=OTHER_DIGEST), "names two digests"),
        (lambda d: d.pop("stats"), "no usable counts"),
        (lambda d: d["stats"].update(seconds="soon"), "no usable counts"),
        (lambda d: d["stats"].update(seconds=10**400), "no usable counts"),
    ],
)
async def test_a_malformed_answer_gives_no_verdicts_at_all(
    connect: Connect, server: ScriptedServer, edit: Callable[[Document], object], words: str
) -> None:
    server.script = [edited(edit)]
    with pytest.raises(ProtocolError, match=words) as caught:
        await connect(server).score(NAME, ITEMS)
    assert caught.value.partial is not None
    assert caught.value.partial.arrived == 0
    assert len(server.scored) == 1


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("<html>Welcome to the hotel network</html>", "the answer is not JSON: '<html>Welcome"),
        ("", "the answer is not JSON: ''"),
        ("[]", "the answer is a JSON list, not an object"),
        ('{"verdicts": [NaN]}', "the answer is not JSON"),
        ("[" * 100_000, "the answer is not JSON"),
    ],
    ids=["html", "empty", "list", "nan", "deep"],
)
async def test_an_answer_that_is_no_json_object_is_quoted(
    connect: Connect, server: ScriptedServer, body: str, words: str
) -> None:
    server.script = [page(200, body)]
    with pytest.raises(ProtocolError, match=words):
        await connect(server).score(NAME, ITEMS)


async def test_an_answer_by_another_digest_than_the_pinned_one_is_refused(
    connect: Connect, server: ScriptedServer
) -> None:
    server.script = [edited(lambda d: d.update(verifier=OTHER_VERIFIER))]
    with pytest.raises(VerifierMismatchError, match=f"asked for {PIN}, answered by {OTHER_VERIFIER['ref']}"):
        await connect(server).score(PIN, ITEMS)


async def test_an_answer_by_another_version_is_refused(connect: Connect, server: ScriptedServer) -> None:
    with pytest.raises(VerifierMismatchError, match=r"asked for exact:1\.0\.1, answered by exact:1\.0\.0"):
        await connect(server).score("exact:1.0.1", ITEMS)


# One part of several ------------------------------------------------------------------------------


def by_first_id(reactions: dict[str, Reaction]) -> Callable[[Received], Reaction]:
    """React to a part by the id of its first item."""
    return lambda request: reactions.get(request.items[0]["id"], answer)


async def test_parts_answered_by_different_digests_are_never_one_result(
    connect: Connect, server: ScriptedServer
) -> None:
    server.react = by_first_id({"2": edited(lambda d: d.update(verifier=OTHER_VERIFIER))})
    with pytest.raises(VerifierMismatchError, match=f"asked for {PIN}, answered by") as caught:
        await connect(server, max_items_per_request=1, concurrency=1).score(NAME, ITEMS)
    partial = caught.value.partial
    assert partial is not None
    assert partial.verifier is not None
    assert partial.verifier.ref == PIN
    assert partial.missing == [2, 3]
    assert {verdict.pin for verdict in partial.verdicts if verdict} == {PIN}


async def test_a_refused_part_does_not_cost_the_others_their_verdicts(connect: Connect) -> None:
    refusal = problem(422, "invalid_request", "item 1: unknown field", item=1)
    with (
        ScriptedServer(react=by_first_id({"2": refusal})).running() as server,
        pytest.raises(
            InvalidRequestError, match=r"item 3 of the input; items 2 to 3; 6 of 8 verdicts"
        ) as caught,
    ):
        await connect(server, max_items_per_request=2).score(
            NAME, [{"id": str(i), "response": "1", "reference": "1"} for i in range(8)]
        )
    assert (caught.value.items, caught.value.item) == (range(2, 4), 3)
    partial = caught.value.partial
    assert partial is not None
    assert [verdict and verdict.id for verdict in partial.verdicts] == [
        "0",
        "1",
        None,
        None,
        "4",
        "5",
        "6",
        "7",
    ]
    assert partial.errors == (caught.value,)


async def test_after_a_refusal_of_the_call_as_such_no_further_part_is_sent(
    connect: Connect, server: ScriptedServer
) -> None:
    server.react = by_first_id({"1": problem(403, "forbidden", "scope")})
    with pytest.raises(ForbiddenError) as caught:
        await connect(server, max_items_per_request=1, concurrency=1).score(NAME, ITEMS)
    assert len(server.scored) == 2
    assert caught.value.partial is not None
    assert caught.value.partial.missing == [1, 2, 3]


# Deadlines ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("reaction", [hang, trickle], ids=["hang", "trickle"])
async def test_a_server_that_never_finishes_is_left_when_the_time_is_up(
    connect: Connect, server: ScriptedServer, reaction: Reaction
) -> None:
    server.script = [reaction]
    with pytest.raises(DeadlineExceededError, match=f"scoring 4 items with {NAME} .* deadline of 0.2 s"):
        await connect(server, timeout=0.2).score(NAME, ITEMS)


async def test_a_calls_own_deadline_comes_before_the_clients(
    connect: Connect, server: ScriptedServer
) -> None:
    server.script = [hang]
    with pytest.raises(DeadlineExceededError) as caught:
        await connect(server, timeout=3600).score(NAME, ITEMS, deadline=0.2)
    assert caught.value.seconds == 0.2


async def test_a_deadline_holds_over_all_parts_and_keeps_what_arrived(
    connect: Connect, server: ScriptedServer
) -> None:
    server.react = by_first_id({"2": hang})
    with pytest.raises(DeadlineExceededError, match="3 of 4 verdicts are in `partial`") as caught:
        await connect(server, max_items_per_request=1, concurrency=2).score(NAME, ITEMS, deadline=2)
    assert caught.value.partial is not None
    assert caught.value.partial.missing == [2]


async def test_a_deadline_that_ends_the_attempts_names_the_fault_behind_them(
    connect: Connect, server: ScriptedServer
) -> None:
    server.script = [problem(503, "unavailable", "starting"), hang]
    with pytest.raises(DeadlineExceededError, match="after 2 attempts") as caught:
        await connect(server, timeout=1.5).score(NAME, ITEMS)
    assert isinstance(caught.value.__cause__, UnavailableError)


async def test_a_client_serves_on_after_a_deadline(connect: Connect, server: ScriptedServer) -> None:
    server.script = [hang]
    caller = connect(server)
    with pytest.raises(DeadlineExceededError):
        await caller.score(NAME, ITEMS, deadline=0.2)
    assert (await caller.score(NAME, ITEMS)).rewards == REWARDS


# Probes -------------------------------------------------------------------------------------------


async def test_probes_say_yes_no_and_why(connect: Connect, server: ScriptedServer) -> None:
    server.elsewhere = {"/readyz": problem(503, "unavailable", "building environments")}
    caller = connect(server)
    assert await caller.livez()
    ready = await caller.readyz()
    assert not ready
    assert (ready.status, ready.detail) == (503, "building environments")
    assert len(server.requests) == 2


async def test_a_probe_of_nothing_is_no(connect: Connect, server: ScriptedServer) -> None:
    ready = await connect(closed_port()).readyz()
    assert (bool(ready), ready.status) == (False, None)
    server.elsewhere = {"/readyz": hang}
    late = await connect(server).readyz(deadline=0.2)
    assert (bool(late), late.detail) == (False, "no answer within 0.2 s")


async def test_looking_up_verifiers_is_retried_and_refused_like_any_call(
    connect: Connect, server: ScriptedServer
) -> None:
    caller = connect(server, max_retries=1)
    with pytest.raises(UnknownVerifierError, match=r"Client\.verifiers\(\) lists"):
        await caller.verifier("nobody:1")
    server.elsewhere = {"/v1/verifiers": BAD_GATEWAY}
    with pytest.raises(UnavailableError, match="after 2 attempts"):
        await caller.verifiers()
    server.elsewhere = {"/v1/verifiers": page(200, json.dumps({"verifiers": [{"ref": 1}]}))}
    with pytest.raises(ProtocolError, match="verifier 0 of the list has no ref"):
        await caller.verifiers()


@pytest.mark.parametrize("ref", ["../livez", "a/../b:1", "", "./x:1"])
async def test_a_ref_that_would_lead_elsewhere_is_not_put_in_a_path(
    connect: Connect, server: ScriptedServer, ref: str
) -> None:
    with pytest.raises(CountermarkClientError, match="it must have the form"):
        await connect(server).verifier(ref)
    assert server.requests == []
