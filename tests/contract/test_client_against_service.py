"""The real client against the real service: what one says and the other understands.

The client's values ignore fields that they do not know and the service's refuse them, so the two are defined
apart. These tests are what keeps them the same contract. `service_url` is the address of a running service
that has ``exact:1.0.0`` and ``numeric:1.4.0`` and asks for no key.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from countermark import (
    ApiError,
    AsyncClient,
    Client,
    DigestMismatchError,
    InvalidInputError,
    InvalidRequestError,
    Item,
    Outcome,
    ReleaseConflictError,
    UnknownReleaseError,
    UnknownVerifierError,
    VerdictFailedError,
    VersionRequiredError,
)
from countermark_service.model import Item as ServiceItem
from countermark_service.receipts import Keyring, KeySet, check, read
from tests.cards import EXACT as EXACT_PIN
from tests.cards import NUMERIC as NUMERIC_PIN
from tests.cards import bare_card
from tests.support import ServiceProcess

EXACT, NUMERIC = "exact:1.0.0", "numeric:1.4.0"
PAIRS = [
    ("the same", "the same"),
    ("this", "that"),
    ("", "x"),
    ('naïve — 😀 \u2028 \\ " \n', 'naïve — 😀 \u2028 \\ " \n'),
]
ITEMS = [{"id": f"pair {n}", "response": said, "reference": right} for n, (said, right) in enumerate(PAIRS)]
RIGHT = [1.0, 0.0, 0.0, 1.0]


@pytest.fixture
def client(service_url: str) -> Iterator[Client]:
    """A client of the running service."""
    with Client(service_url, timeout=120) as client:
        yield client


def test_the_service_says_that_it_lives_and_is_ready(client: Client) -> None:
    assert client.livez()
    assert client.readyz()


def test_listed_verifiers_can_be_looked_up_by_ref_and_by_pin(client: Client) -> None:
    listed = {f"{line.name}:{line.version}": line for line in client.verifiers()}
    assert {EXACT, NUMERIC} <= listed.keys()
    for line in (listed[EXACT], listed[NUMERIC]):
        assert re.fullmatch(r"sha256:[0-9a-f]{64}", line.digest)
        assert line.ref == f"{line.name}:{line.version}@{line.digest}"
        assert line.runtime == "python"
        for ref in (f"{line.name}:{line.version}", line.ref):
            detail = client.verifier(ref)
            assert (detail.ref, detail.summary) == (line.ref, line.summary)
            assert detail.description
            assert detail.vectors


def test_a_batch_is_judged_in_order_under_a_pin(client: Client) -> None:
    result = client.score(EXACT, ITEMS)
    assert [verdict.score for verdict in result.verdicts] == RIGHT
    assert [verdict.id for verdict in result.verdicts] == [item["id"] for item in ITEMS]
    assert result.rewards == RIGHT
    assert result.verifier.ref == client.verifier(EXACT).ref
    assert (result.stats.items, result.stats.failed) == (4, 0)
    assert set(result.verdicts[0].surroundings) >= {"python", "platform", "containment"}


def test_the_answered_pin_can_be_asked_for(client: Client) -> None:
    pin = client.score(EXACT, ITEMS).verifier.ref
    again = client.score(pin, ITEMS)
    assert again.rewards == RIGHT
    assert again.verifier.ref == pin
    assert [verdict.cached for verdict in again.verdicts] == [True] * 4


def test_every_form_of_an_item_is_understood(client: Client) -> None:
    chat = [{"role": "user", "content": "say x"}, {"role": "assistant", "content": "x"}]
    items: list[Item | dict[str, Any]] = [
        Item("x", "x", id="text", prompt="say x", params={}),
        Item(chat, "x", id="chat"),
        {"response": "x", "reference": "x"},
    ]
    assert client.score(EXACT, items).rewards == [1.0] * 3
    assert client.score_one(EXACT, chat, "x").outcome is Outcome.SCORED


def test_another_verifier_reads_numbers(client: Client) -> None:
    assert client.score_one(NUMERIC, "the answer is 1,000.0", "1000").score == 1.0
    assert client.score_one(NUMERIC, "the answer is 7", "8").score == 0.0


def test_a_response_without_an_answer_is_a_verdict_and_no_failure(client: Client) -> None:
    verdict = client.score_one(NUMERIC, "I do not know.", "8", on_failure="raise")
    assert (verdict.outcome, verdict.score, verdict.reward) == (Outcome.NO_ANSWER, 0.0, 0.0)


def test_a_reference_that_cannot_be_read_is_a_failure_by_every_policy(client: Client) -> None:
    bad = [{"response": "8", "reference": "no number"}]
    (verdict,) = client.score(NUMERIC, bad).verdicts
    assert (verdict.outcome, verdict.score, verdict.reward) == (Outcome.BAD_REFERENCE, None, None)
    (zero,) = client.score(NUMERIC, bad, on_failure="zero").verdicts
    assert (zero.score, zero.reward) == (None, 0.0)
    with pytest.raises(VerdictFailedError, match=r"1 of 1 items .* item 0: bad_reference"):
        client.score(NUMERIC, bad, on_failure="raise")


def test_a_large_input_comes_back_whole_from_many_requests(service_url: str) -> None:
    items = [{"id": str(n), "response": str(n % 7), "reference": "3"} for n in range(1000)]
    with Client(service_url, max_items_per_request=64) as client:
        result = client.score(EXACT, items)
        streamed = list(client.stream(EXACT, iter(items)))
    assert result.rewards == [float(n % 7 == 3) for n in range(1000)]
    assert [verdict.id for verdict in result.verdicts] == [item["id"] for item in items]
    assert {index: verdict.reward for index, verdict in streamed} == dict(enumerate(result.rewards))


def test_a_stream_ends_in_a_summary(client: Client) -> None:
    with client.stream(EXACT, ITEMS) as stream:
        came = dict(stream)
    assert [came[index].reward for index in range(4)] == RIGHT
    assert stream.summary.verifier.ref == client.verifier(EXACT).ref
    assert (stream.summary.stats.items, stream.summary.stats.failed) == (4, 0)


def test_no_items_are_no_verdicts(client: Client) -> None:
    assert client.score(EXACT, []).rewards == []
    assert list(client.stream(EXACT, [])) == []


async def test_the_asynchronous_client_says_the_same(service_url: str) -> None:
    async with AsyncClient(service_url, timeout=120) as client:
        assert (await client.score(EXACT, ITEMS)).rewards == RIGHT
        came = {index: verdict.reward async for index, verdict in client.stream(EXACT, ITEMS)}
        assert [came[index] for index in range(4)] == RIGHT
        assert await client.readyz()


def test_a_ref_without_version_is_refused_with_the_versions(client: Client) -> None:
    with pytest.raises(VersionRequiredError) as caught:
        client.score("exact", ITEMS)
    assert "1.0.0" in caught.value.versions


def test_an_unknown_verifier_is_refused_in_every_call(client: Client) -> None:
    with pytest.raises(UnknownVerifierError):
        client.score("nobody-has-this:1.0.0", ITEMS)
    with pytest.raises(UnknownVerifierError):
        next(client.stream("nobody-has-this:1.0.0", ITEMS))
    with pytest.raises(UnknownVerifierError):
        client.verifier("nobody-has-this:1.0.0")


def test_a_pin_of_other_content_is_refused(client: Client) -> None:
    with pytest.raises(DigestMismatchError):
        client.score(f"{EXACT}@sha256:{'0' * 64}", ITEMS)


@pytest.mark.parametrize(
    "item",
    [
        {"response": "x", "reference": "x", "surprise": 1},
        {"reference": "x"},
        {"response": 3, "reference": "x"},
        {"response": "x", "reference": "x", "params": {"no-such-parameter": 1}},
    ],
    ids=["unknown-field", "no-response", "response-of-wrong-type", "unknown-parameter"],
)
def test_an_item_that_is_out_of_form_is_refused_with_its_index(
    client: Client, item: dict[str, object]
) -> None:
    with pytest.raises(InvalidRequestError, match=r"\b1\b") as caught:
        client.score(EXACT, [ITEMS[0], item])
    assert caught.value.code == "invalid_request"


@pytest.mark.parametrize("most", [1024, 3])
def test_receipts_are_signed_for_every_request_of_a_call(
    shared_root: Path, tmp_path: Path, most: int
) -> None:
    (shared_root / "environments").mkdir(exist_ok=True)
    data = tmp_path / "data"
    data.mkdir()
    (data / "environments").symlink_to(shared_root / "environments")
    Keyring(data / "signing").make()
    service = ServiceProcess(data).start()
    try:
        with Client(service.url, timeout=120, max_items_per_request=most) as client:
            result = client.score(EXACT, ITEMS, receipt=True)
            assert client.score(EXACT, ITEMS).receipts == ()
            named = KeySet.parse(json.dumps(client.receipt_keys()).encode(), "the service")
    finally:
        service.stop()

    assert [(one.start, one.items) for one in result.receipts] == ([(0, 4)] if most > 4 else [(0, 3), (3, 1)])
    for one in result.receipts:
        one.save(tmp_path / "receipt.json")
        held = read((tmp_path / "receipt.json").read_bytes())
        given = [ServiceItem(item["response"], item["reference"]) for item in ITEMS[one.start :][: one.items]]
        assert check(held, named, items=given).items
    assert named == Keyring(data / "signing").public()


def test_a_service_without_a_signing_key_says_so(client: Client) -> None:
    with pytest.raises(ApiError, match="no receipt can be signed here") as refused:
        client.score(EXACT, ITEMS, receipt=True)
    assert (refused.value.code, refused.value.attempts) == ("no_signing_key", 1)


@pytest.fixture(scope="module")
def release(service_url: str) -> str:
    """A registered release: one task whose failures are zeros, one that leaves that to the caller."""
    routes = [
        {"task": "words", "data_sources": ["org/words"], "verifier": EXACT_PIN},
        {"task": "sums", "verifier": NUMERIC_PIN, "on_failure": "zero"},
    ]
    card = bare_card(name="tests/contract", summary="Words and sums", verifier={"routes": routes})
    with Client(service_url, timeout=120) as client:
        first, again = client.register(card), client.register(card)
        assert (first.name, first.tasks, first.grade) == ("tests/contract", ("words", "sums"), "F")
        assert again.new is False
        assert again.ref == first.ref
        with pytest.raises(ReleaseConflictError) as refused:
            client.register({**card, "summary": "Other words"})
        assert refused.value.status == 409
        with pytest.raises(InvalidRequestError):
            client.register({**card, "sumary": "Words"})
    return first.ref


def test_a_release_is_listed_and_looked_up_by_name_and_by_digest(client: Client, release: str) -> None:
    name = release.partition("@")[0]

    assert release in [one.ref for one in client.releases()]
    for ref in (name, release):
        detail = client.release(ref)
        assert (detail.ref, detail.summary, detail.card["version"]) == (release, "Words and sums", "1.0")
        assert detail.completeness["grade"] == detail.grade == "F"
        assert detail.advisories == ()
    with pytest.raises(UnknownReleaseError):
        client.release("tests/contract:9")
    with pytest.raises(VersionRequiredError) as refused:
        client.release("tests/contract")
    assert refused.value.versions == ("1.0",)
    with pytest.raises(DigestMismatchError):
        client.release(f"{name}@sha256:{'0' * 64}")


@pytest.mark.parametrize("pinned", [False, True])
def test_a_batch_in_many_requests_is_scored_under_one_release(
    service_url: str, release: str, pinned: bool
) -> None:
    ref = release if pinned else release.partition("@")[0]
    with Client(service_url, timeout=120, max_items_per_request=1) as client:
        result = client.score(release=ref, task="org/words", items=ITEMS)

    assert result.rewards == RIGHT
    assert result.verifier.ref == EXACT_PIN
    assert result.release is not None
    assert (result.release.ref, result.release.task, result.release.on_failure) == (
        release,
        "org/words",
        "null",
    )
    assert result.advisories == ()


def test_the_card_says_what_becomes_of_failures_and_the_client_believes_it(
    client: Client, release: str
) -> None:
    items = [{"response": "4", "reference": "four"}, {"response": "4", "reference": "4"}]

    result = client.score(release=release, task="sums", items=items)
    stream = client.stream(release=release, task="sums", items=items)

    assert result.rewards == [0.0, 1.0]
    assert [one.score for one in result.verdicts] == [None, 1.0]
    assert {index: verdict.reward for index, verdict in stream} == {0: 0.0, 1: 1.0}
    assert stream.summary.release == result.release
    for on_failure in ("null", "raise"):
        with pytest.raises(InvalidRequestError) as refused:
            client.score(release=release, task="sums", items=items, on_failure=on_failure)
        assert refused.value.code == "release_contradicted"


def test_a_task_that_the_card_does_not_have_is_named_with_those_that_it_has(
    client: Client, release: str
) -> None:
    with pytest.raises(UnknownReleaseError) as refused:
        client.score(release=release, task="proofs", items=ITEMS)
    assert refused.value.problem["tasks"] == ["words", "sums"]
    with pytest.raises(UnknownReleaseError):
        list(client.stream(release=release, task="proofs", items=ITEMS))


@pytest.mark.parametrize(
    "named", [{}, {"release": "a:1"}, {"task": "a"}, {"verifier": EXACT, "release": "a:1", "task": "a"}]
)
def test_a_call_names_a_verifier_or_a_release_with_its_task(client: Client, named: dict[str, Any]) -> None:
    for call in (client.score, client.stream):
        with pytest.raises(InvalidInputError, match="exactly one of the two"):
            call(**named, items=ITEMS)
    with pytest.raises(InvalidInputError, match="no items to score"):
        client.score(EXACT)


async def test_the_asynchronous_client_scores_under_a_release_too(service_url: str, release: str) -> None:
    async with AsyncClient(service_url, timeout=120) as client:
        result = await client.score(release=release, task="words", items=ITEMS)
        stream = client.stream(release=release, task="words", items=ITEMS)
        streamed = {index: verdict.reward async for index, verdict in stream}

    assert result.rewards == RIGHT == [streamed[n] for n in range(len(RIGHT))]
    assert stream.summary.release == result.release
