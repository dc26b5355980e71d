"""Replies: JSON that says exactly what the verdicts say, whatever the caller wants in place of a score."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from countermark_service.api import replies
from countermark_service.bundles import Bundle
from countermark_service.errors import VerdictFailedError
from countermark_service.model import Item, OnFailure, Outcome, Verdict
from countermark_service.registry import make_advisory
from countermark_service.releases import ReleaseUse, release_of
from countermark_service.scoring import Asked, Run
from tests.cards import full_card
from tests.support import make_bundle

SURROUNDINGS = b'{"python":"3.11.7"}'
RIGHT = Verdict.made(Outcome.SCORED, 1.0, '{"é":"\\"}"}'.encode(), SURROUNDINGS)
PARTIAL = Verdict.made(Outcome.SCORED, 1 / 3, b"{}", SURROUNDINGS)
SILENT = Verdict.made(Outcome.NO_ANSWER, 0.0, b"{}", SURROUNDINGS)
UNREADABLE = Verdict.made(Outcome.BAD_REFERENCE, None, b"{}", SURROUNDINGS)
LATE = Verdict.failure(Outcome.TIMEOUT, "cpu_limit", "too long", SURROUNDINGS)
ALL = [RIGHT, PARTIAL, SILENT, UNREADABLE, LATE]


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return make_bundle(tmp_path, "def verify(item): ...\n")


def reply(bundle: Bundle, verdicts: list[Verdict], on_failure: OnFailure, run: Run, **ids: Any) -> Any:
    items = [Item("a", "b", id=ids.get(f"id{n}")) for n in range(len(verdicts))]
    asked = Asked(bundle, on_failure)
    return json.loads(replies.batch_json(asked, items, [(one, False) for one in verdicts], run))


@pytest.mark.parametrize(
    ("on_failure", "rewards"),
    [
        (OnFailure.NULL, [1.0, 1 / 3, 0.0, None, None]),
        (OnFailure.ZERO, [1.0, 1 / 3, 0.0, 0.0, 0.0]),
    ],
)
def test_the_reward_is_the_score_or_what_the_caller_wants_in_its_place(
    bundle: Bundle, on_failure: OnFailure, rewards: list[float | None]
) -> None:
    verdicts = reply(bundle, ALL, on_failure, Run(5))["verdicts"]

    assert [one["reward"] for one in verdicts] == rewards
    assert [one["score"] for one in verdicts] == [1.0, 1 / 3, 0.0, None, None]
    assert [one["outcome"] for one in verdicts] == [
        "scored",
        "scored",
        "no_answer",
        "bad_reference",
        "timeout",
    ]
    assert verdicts[4]["detail"] == {"code": "cpu_limit", "message": "too long"}


def test_a_verdict_has_these_members_and_no_others(bundle: Bundle) -> None:
    (verdict,) = reply(bundle, [RIGHT], OnFailure.NULL, Run(1))["verdicts"]
    assert verdict == {
        "id": None,
        "reward": 1.0,
        "cached": False,
        "outcome": "scored",
        "score": 1.0,
        "detail": {"é": '"}'},
        "surroundings": {"python": "3.11.7"},
    }


@pytest.mark.parametrize("one", [None, "", "a", 'quote " and \\', "é 😀 \u2028", 0, -7, 10**30])
def test_the_callers_id_comes_back_as_it_was(bundle: Bundle, one: str | int | None) -> None:
    (verdict,) = reply(bundle, [RIGHT], OnFailure.NULL, Run(1), id0=one)["verdicts"]
    assert verdict["id"] == one
    line = json.loads(replies.verdict_json((RIGHT, True), one, OnFailure.NULL, index=12))
    assert (line["index"], line["id"], line["cached"]) == (12, one, True)


def test_a_batch_says_of_each_verdict_what_a_stream_says(bundle: Bundle) -> None:
    ids: list[str | int | None] = [None, "a\n\r\u2028b", 7, ",", '"']
    items = [Item("a", "b", id=one) for one in ids]
    for on_failure in (OnFailure.NULL, OnFailure.ZERO):
        for cached in (False, True):
            scored = [(verdict, cached) for verdict in ALL]
            lines = [
                replies.verdict_json(one, item_id, on_failure)
                for one, item_id in zip(scored, ids, strict=True)
            ]
            batch = replies.batch_json(Asked(bundle, on_failure), items, scored, Run(5))
            assert b'"verdicts":[%b],' % b",".join(lines) in batch


def test_a_reply_names_the_verifier_and_says_what_it_did(bundle: Bundle) -> None:
    outcomes = Counter({(Outcome.SCORED, True): 2, (Outcome.TIMEOUT, False): 4})
    run = Run(items=1, outcomes=outcomes, reduced=3, seconds=0.12345678)
    answer = reply(bundle, [], OnFailure.NULL, run)

    pin = f"subject:1.0.0@{bundle.digest}"
    assert answer["verifier"] == {"ref": pin, "name": "subject", "version": "1.0.0", "digest": bundle.digest}
    assert answer["stats"] == {"items": 1, "cached": 2, "failed": 4, "seconds": 0.123457}
    assert answer["verdicts"] == []
    assert list(answer) == ["verifier", "verdicts", "stats"]


def test_what_did_not_work_is_said_in_a_batch_and_in_a_stream(bundle: Bundle) -> None:
    run = Run(degraded={"store_unavailable", "another"})
    assert reply(bundle, [], OnFailure.NULL, run)["degraded"] == ["another", "store_unavailable"]
    summary = json.loads(replies.summary_json(Asked(bundle), run))["summary"]
    assert summary["degraded"] == ["another", "store_unavailable"]
    assert summary["verifier"]["digest"] == bundle.digest


def test_a_reply_under_a_release_names_it_and_what_stands_against_it(bundle: Bundle) -> None:
    release = release_of(full_card())
    route = release.card.verifier.routes[1]
    yanked = make_advisory(str(bundle.ref), "yanked", "wrong", subject="verifier", date="2026-11-28")
    asked = Asked(bundle, OnFailure.ZERO, ReleaseUse(release, "words", route), (yanked,))
    run = Run(degraded={"store_unavailable"})

    batch = json.loads(replies.batch_json(asked, [Item("a", "b")], [(LATE, False)], run))
    summary = json.loads(replies.summary_json(asked, run))["summary"]

    for answer in (batch, summary):
        assert answer["release"] == {
            "ref": f"tests/full:1.0@{release.digest}", "name": "tests/full", "version": "1.0",
            "digest": release.digest, "task": "words", "on_failure": "zero",
        }  # fmt: skip
        assert answer["advisories"] == [yanked.document()]
        assert answer["degraded"] == ["store_unavailable"]
    assert batch["verdicts"][0]["reward"] == 0.0


def test_raise_refuses_a_batch_with_the_items_that_have_no_score() -> None:
    items = [Item("a", "b", id=f"item {n}") for n in range(len(ALL))]
    with pytest.raises(VerdictFailedError) as refusal:
        replies.refuse_failures(items, [(one, False) for one in ALL])

    values = refusal.value.values()
    assert (values["count"], values["total"]) == (2, 5)
    assert [(one["index"], one["id"], one["outcome"]) for one in values["failed"]] == [
        (3, "item 3", "bad_reference"),
        (4, "item 4", "timeout"),
    ]
    assert values["failed"][1]["detail"]["code"] == "cpu_limit"


def test_raise_lets_a_batch_pass_in_which_every_item_has_a_score() -> None:
    replies.refuse_failures([Item("a", "b")] * 3, [(one, False) for one in (RIGHT, PARTIAL, SILENT)])


def test_a_refusal_of_thousands_names_the_first_few() -> None:
    with pytest.raises(VerdictFailedError) as refusal:
        replies.refuse_failures([Item("a", "b")] * 4096, [(LATE, False)] * 4096)
    assert refusal.value.count == 4096
    assert len(refusal.value.failed) == 32
