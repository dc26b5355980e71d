"""The error tree: as drawn, with codes, picklable, and without secrets."""

from __future__ import annotations

import copy
import logging
import pickle
from collections.abc import Callable

import pytest

import countermark
from countermark import (
    ApiError,
    Client,
    ConnectError,
    CountermarkClientError,
    DeadlineExceededError,
    IndexedVerdict,
    InvalidItemError,
    Outcome,
    Partial,
    ProtocolError,
    UnauthorizedError,
    Verdict,
    VerdictFailedError,
    VerifierMismatchError,
    _errors,
)
from tests.unit.client.conftest import QUICK, Connect
from tests.unit.client.scripted_server import NAME, PIN, Reaction, ScriptedServer, page, problem

ITEMS = [{"response": "1", "reference": "1"}]
FAILED = Verdict("a", Outcome.ERROR, None, None, False, {"code": "out_of_memory"}, {}, PIN)

ONE_OF_EACH: list[CountermarkClientError] = [
    CountermarkClientError("plain"),
    countermark.InvalidInputError("argument"),
    InvalidItemError(3, "response", "is odd"),
    countermark.TransportError("carried nothing"),
    ConnectError("http://x", "refused"),
    DeadlineExceededError("scoring", 2.0),
    ProtocolError("nonsense"),
    VerifierMismatchError(NAME, PIN),
    VerdictFailedError((IndexedVerdict(0, FAILED),), total=1),
    *(kind(499, code, "because", {"versions": ["1"]}) for code, kind in _errors.BY_CODE.items()),
    ApiError(500, "internal", "because", {"x": [1]}, retry_after=2.0),
]


def tree(kind: type[CountermarkClientError]) -> set[type[CountermarkClientError]]:
    """Return `kind` and everything below it."""
    return {kind}.union(*(tree(below) for below in kind.__subclasses__()))


def test_every_class_is_drawn_and_public_and_tried_here() -> None:
    drawn = {
        line.split()[1]
        for line in (_errors.__doc__ or "").splitlines()
        if line.strip()[:2] in ("* ", "x ", "- ")
    }
    kinds = tree(CountermarkClientError)
    assert drawn == {kind.__name__ for kind in kinds}
    assert drawn <= set(countermark.__all__)
    assert {type(error) for error in ONE_OF_EACH} == kinds


def pickled(error: CountermarkClientError) -> CountermarkClientError:
    """Return what another process gets of an error."""
    made: CountermarkClientError = pickle.loads(pickle.dumps(error))
    return made


@pytest.mark.parametrize("again", [pickled, copy.copy, copy.deepcopy])
@pytest.mark.parametrize("error", ONE_OF_EACH, ids=lambda error: type(error).__name__)
def test_an_error_passes_from_process_to_process_unchanged(
    error: CountermarkClientError, again: Callable[[CountermarkClientError], CountermarkClientError]
) -> None:
    error.attempts, error.items = 3, range(4, 6)
    error.partial = Partial(
        None, (None, FAILED), (error, ConnectError("http://x", "refused"))
    )  # as of a call
    got = again(error)
    assert type(got) is type(error)
    assert str(got) == str(error)
    assert got.code == error.code
    assert got.partial is not None
    assert got.partial.verdicts == (None, FAILED)
    assert list(map(str, got.partial.errors)) == list(map(str, error.partial.errors))
    assert {k: v for k, v in vars(got).items() if k != "partial"} == {
        k: v for k, v in vars(error).items() if k != "partial"
    }


async def test_the_error_of_a_call_passes_from_process_to_process_unchanged(
    connect: Connect, server: ScriptedServer
) -> None:
    server.react = lambda request: problem(422, "invalid_request", "odd")
    with pytest.raises(ApiError) as caught:
        await connect(server, max_items_per_request=1).score(NAME, ITEMS * 2)
    got = pickled(caught.value)
    assert str(got) == str(caught.value)
    assert got.partial is not None
    assert got.partial.errors[0] is got


def test_codes_of_errors_raised_here_are_stable() -> None:
    assert {type(error).__name__: error.code for error in ONE_OF_EACH if not isinstance(error, ApiError)} == {
        "CountermarkClientError": "client_error",
        "InvalidInputError": "invalid_input",
        "InvalidItemError": "invalid_item",
        "TransportError": "transport",
        "ConnectError": "connect",
        "DeadlineExceededError": "deadline_exceeded",
        "ProtocolError": "protocol",
        "VerifierMismatchError": "verifier_mismatch",
        "VerdictFailedError": "verdict_failed",
    }


SECRET = "sk-4711-do-not-print"


@pytest.mark.parametrize(
    "reaction",
    [
        problem(401, "unauthorized", f"no such key: {SECRET}", given=[{"authorization": f"Bearer {SECRET}"}]),
        page(401, f"<pre>Authorization: Bearer {SECRET}</pre>"),
        page(307, "", f"location: http://login.example/?token={SECRET}"),
        page(200, f"<pre>Authorization: Bearer {SECRET}</pre>"),
        page(503, f"<pre>Authorization: Bearer {SECRET}</pre>"),
    ],
    ids=["problem", "page", "redirect", "ok-page", "retried"],
)
async def test_the_key_is_in_no_error_repr_or_log(
    connect: Connect, server: ScriptedServer, caplog: pytest.LogCaptureFixture, reaction: Reaction
) -> None:
    server.react = lambda request: reaction
    caplog.set_level(logging.DEBUG)
    caller = connect(server, api_key=SECRET, max_retries=1)
    with pytest.raises(CountermarkClientError) as caught:
        await caller.score(NAME, ITEMS)
    assert server.scored[0].headers["authorization"] == f"Bearer {SECRET}"
    told = [str(caught.value), repr(caught.value), repr(vars(caught.value)), repr(caller.client)]
    told.append(repr(caller.client._core.settings))
    # The HTTP library's wire log shows what a server sends; what is sent to the server must not be in it.
    told += [
        str(vars(record))
        for record in caplog.records
        if not (record.name.startswith("httpcore") and "receive_response" in record.getMessage())
    ]
    assert "[api key]" in told[0]
    assert not [text for text in told if SECRET in text]


def test_a_key_that_no_header_can_carry_is_refused_without_being_quoted() -> None:
    with pytest.raises(countermark.InvalidInputError, match="position 3 of 7") as caught:
        Client(api_key="abc\ndef")
    assert "abc" not in str(caught.value)


def test_a_refusal_for_a_missing_key_says_where_to_put_one(server: ScriptedServer) -> None:
    server.script = [problem(401, "unauthorized", "this service wants a key")]
    with (
        Client(server.url, backoff=QUICK) as client,
        pytest.raises(UnauthorizedError, match="COUNTERMARK_API_KEY"),
    ):
        client.score(NAME, ITEMS)
