"""A batch over HTTP: who asks properly is answered in order, in full, and with the pin."""

import gzip
import json
from typing import Any

import pytest

from tests.integration.api.parts import ASKING, REDUCING, SUBJECT, Caller, item


def test_a_batch_is_answered_in_order_with_the_pin_and_the_figures(caller: Caller) -> None:
    items = [
        item("right", id="a"),
        item("wrong"),
        item("silent", id=3),
        item("unreadable"),
        item("raise", id="é"),
    ]
    answer = caller.score(items)

    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/json")
    body = answer.json()
    assert list(body) == ["verifier", "verdicts", "stats"]
    verifier = body["verifier"]
    assert verifier["ref"] == f"{SUBJECT}@{verifier['digest']}"
    assert (verifier["name"], verifier["version"]) == ("subject", "1.0.0")
    told = [(one["id"], one["outcome"], one["score"], one["reward"]) for one in body["verdicts"]]
    assert told == [
        ("a", "scored", 1.0, 1.0),
        (None, "scored", 0.0, 0.0),
        (3, "no_answer", 0.0, 0.0),
        (None, "bad_reference", None, None),
        ("é", "error", None, None),
    ]
    assert body["stats"]["items"] == 5
    assert body["stats"]["failed"] == 2
    assert body["stats"]["seconds"] > 0


def test_every_verdict_names_what_could_make_it_differ_elsewhere(caller: Caller) -> None:
    for verdict in caller.verdicts([item("right"), item("raise")]):
        surroundings = verdict["surroundings"]
        assert surroundings["python"].startswith("3.11.")
        assert surroundings["platform"].startswith("linux-")
        assert surroundings["containment"] in ("namespaces", "landlock", "limits")


def test_a_failure_says_what_happened_and_has_no_score(caller: Caller) -> None:
    (verdict,) = caller.verdicts([item("raise something")])
    assert verdict["detail"]["code"] == "verifier_raised"
    assert verdict["detail"]["message"] == "ValueError: raise something"
    assert (verdict["score"], verdict["reward"]) == (None, None)


@pytest.mark.parametrize(("on_failure", "reward"), [("null", None), ("zero", 0.0)])
def test_the_caller_chooses_what_the_lack_of_a_score_becomes(
    caller: Caller, on_failure: str, reward: float | None
) -> None:
    right, failed = caller.verdicts([item("right"), item("raise")], on_failure=on_failure)
    assert (right["score"], right["reward"]) == (1.0, 1.0)
    assert (failed["score"], failed["reward"]) == (None, reward)


def test_raise_makes_an_error_of_a_batch_in_which_something_has_no_score(caller: Caller) -> None:
    items = [item("right"), item("raise", id="bad"), item("unreadable")]
    answer = caller.score(items, on_failure="raise")

    assert answer.status_code == 424
    problem = answer.json()
    assert (problem["code"], problem["count"], problem["total"]) == ("verdict_failed", 2, 3)
    assert [(one["index"], one["id"], one["outcome"]) for one in problem["failed"]] == [
        (1, "bad", "error"),
        (2, None, "bad_reference"),
    ]
    assert caller.score([item("right"), item("silent")], on_failure="raise").status_code == 200


def test_a_pin_is_held_to_its_digest(caller: Caller) -> None:
    pin = caller.score([item("right")]).json()["verifier"]["ref"]
    assert caller.score([item("right")], verifier=pin).json()["verifier"]["ref"] == pin

    wrong = f"{SUBJECT}@sha256:{'0' * 64}"
    answer = caller.score([item("right")], verifier=wrong)
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (409, "digest_mismatch")
    assert (problem["pinned"], problem["found"]) == ("sha256:" + "0" * 64, pin.partition("@")[2])


def test_no_items_are_a_batch_too(caller: Caller) -> None:
    answer = caller.score([]).json()
    assert answer["verdicts"] == []
    assert (answer["stats"]["items"], answer["stats"]["failed"]) == (0, 0)


def test_chat_messages_are_scored_by_the_last_of_the_assistant(caller: Caller) -> None:
    messages = [
        {"role": "user", "content": "right?"},
        {"role": "assistant", "content": "wrong"},
        {"role": "user", "content": "sure?"},
        {"role": "assistant", "content": [{"type": "text", "text": "ri"}, {"type": "text", "text": "ght"}]},
    ]
    parts: list[Any] = [{"response": messages, "reference": "right", "id": 1}, item("right"), item("wrong")]
    assert [one["score"] for one in caller.verdicts(parts)] == [1.0, 1.0, 0.0]
    assert caller.verdicts([parts[0]])[0]["cached"] is True


def test_the_prompt_decides_only_where_the_manifest_says_so(caller: Caller) -> None:
    two = [item("x", "one", prompt="one"), item("x", "one", prompt="two")]
    assert [one["score"] for one in caller.verdicts(two, verifier=ASKING)] == [1.0, 0.0]
    first, second = caller.verdicts([item("prompted", prompt="one"), item("prompted", prompt="two")])
    assert (first["cached"], second["cached"]) == (False, True)


def test_parameters_are_part_of_the_item(caller: Caller) -> None:
    plain, loose, again = caller.verdicts(
        [
            item("measured"),
            item("measured", params={"tolerance": 1}),
            item("measured", params={"tolerance": 1}),
        ]
    )
    assert (plain["cached"], loose["cached"], again["cached"]) == (False, False, True)


def test_what_is_sent_reaches_the_verifier_as_it_is(caller: Caller) -> None:
    texts = [
        "é",
        "e\u0301",
        "😀",
        " padded ",
        "\u0000",
        "\u2028",
        "\ufeff",
        "\uffff",
        '"\\',
        "",
        "\r\n",
        "x" * 60_000,
    ]
    verdicts = caller.verdicts([item(text, text, prompt=text) for text in texts], verifier=ASKING)
    assert [one["detail"]["response"] for one in verdicts] == texts
    assert [one["score"] for one in verdicts] == [1.0] * len(texts)


@pytest.mark.parametrize(
    "reference", [None, True, 0, 1.5, -0.0, 10**30, "", [], {}, [[{"a": [None]}]], {"é": "😀"}, "[" * 1000]
)
def test_a_reference_may_be_any_json(caller: Caller, reference: Any) -> None:
    (verdict,) = caller.verdicts([item("whatever", reference)])
    assert (verdict["outcome"], verdict["score"]) == ("scored", 0.0)


def test_ids_come_back_as_they_were_sent(caller: Caller) -> None:
    ids = ["é", "e\u0301", "😀", "", "\u0000", "1", 1, 0, -7, 10**30, None, None]
    verdicts = caller.verdicts([item("right", id=one) for one in ids])
    assert [one["id"] for one in verdicts] == ids


def test_as_many_items_as_the_limit_are_one_batch(caller: Caller) -> None:
    items = [item(f"{n} {'right' if n % 2 else 'wrong'}") for n in range(4096)]
    verdicts = caller.verdicts(items)
    assert [one["score"] for one in verdicts] == [float(n % 2) for n in range(4096)]
    assert all(one["cached"] for one in caller.verdicts(items))


def test_a_packed_body_is_unpacked(caller: Caller) -> None:
    data = gzip.compress(json.dumps({"verifier": SUBJECT, "items": [item("right")]}).encode())
    answer = caller.post(data, Content_Encoding="gzip")
    assert answer.json()["verdicts"][0]["score"] == 1.0


def test_the_same_again_is_not_judged_again(caller: Caller) -> None:
    items = [item(f"again {n}") for n in range(10)]
    first, second = caller.score(items).json(), caller.score(items).json()

    assert [one["cached"] for one in first["verdicts"]] == [False] * 10
    assert [one["cached"] for one in second["verdicts"]] == [True] * 10
    assert (first["stats"]["cached"], second["stats"]["cached"]) == (0, 10)
    for one, other in zip(first["verdicts"], second["verdicts"], strict=True):
        assert {**one, "cached": None} == {**other, "cached": None}


def test_items_with_equal_reductions_share_a_verdict(caller: Caller) -> None:
    verdicts = caller.verdicts(
        [item("it is b", "b"), item("thus b", "b"), item("it is g", "b"), item("thus b", "g")],
        verifier=REDUCING,
    )
    assert [one["score"] for one in verdicts] == [1.0, 1.0, 0.0, 0.0]
    assert [one["cached"] for one in verdicts] == [False, True, False, False]
    later = caller.score([item("hence b", "b"), item("hence g", "b")], verifier=REDUCING).json()
    assert [one["cached"] for one in later["verdicts"]] == [True, True]


def test_an_item_whose_reduction_fails_is_judged_whole(caller: Caller) -> None:
    items = [item("oops right"), item("oops so right"), item("whole right"), item("whole and right")]
    verdicts = caller.verdicts(items, verifier=REDUCING)
    assert [(one["score"], one["cached"]) for one in verdicts] == [(1.0, False)] * 4
    assert [one["cached"] for one in caller.verdicts(items, verifier=REDUCING)] == [True] * 4


def test_a_reduction_that_hangs_or_crashes_costs_no_verdict(caller: Caller) -> None:
    items = [item("spin right"), item("plainly right"), item("crash right"), item("spin wrong")]
    verdicts = caller.verdicts(items, verifier=REDUCING)
    assert [one["score"] for one in verdicts] == [1.0, 1.0, 1.0, 0.0]


def test_failures_are_not_kept_and_verdicts_are(caller: Caller) -> None:
    items = [item("raise 1"), item("exit 1"), item("lie 1"), item("unreadable 1"), item("silent 1")]
    caller.verdicts(items)
    again = caller.verdicts(items)

    assert [one["cached"] for one in again] == [False, False, False, True, True]
    assert [one["detail"].get("code") for one in again[:3]] == [
        "verifier_raised",
        "verifier_exited",
        "invalid_verdict",
    ]
    reduced = [item("now raise"), item("then raise")]
    for _ in range(2):
        verdicts = caller.verdicts(reduced, verifier=REDUCING)
        assert [(one["outcome"], one["cached"]) for one in verdicts] == [("error", False), ("error", True)]
