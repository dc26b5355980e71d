"""Reading a release card: what is a card, what names it, and that every refusal says where the fault is."""

import json
from typing import Any

import jsonschema
import pytest
import rfc8785

from countermark_service.releases import CardError, card_schema, read_release, release_of
from tests.cards import EXACT, NUMERIC, bare_card, full_card


def refusal(content: bytes) -> CardError:
    with pytest.raises(CardError) as refused:
        read_release(content)
    return refused.value


def test_the_digest_is_sha256_over_the_canonical_json_of_the_document() -> None:
    import hashlib

    release = read_release(json.dumps(full_card()).encode())

    assert release.digest == "sha256:" + hashlib.sha256(rfc8785.dumps(full_card())).hexdigest()
    assert str(release.ref) == f"tests/full:1.0@{release.digest}"


def test_order_indentation_and_the_editors_key_change_no_digest() -> None:
    card = full_card()
    other = json.dumps({"$schema": "x.json", **dict(reversed(card.items()))}, indent=7).encode()

    assert read_release(b"\xef\xbb\xbf" + other).digest == release_of(card).digest


@pytest.mark.parametrize("change", [{"summary": "Sums and Words"}, {"summary": None}, {"inference": {}}])
def test_every_change_of_a_value_changes_the_digest(change: dict[str, Any]) -> None:
    assert release_of(full_card(**change)).digest != release_of(full_card()).digest


def test_a_card_knows_its_routes_by_task_and_by_data_source() -> None:
    card = release_of(full_card()).card

    by_task, by_source = card.verifier.route("sums"), card.verifier.route("openai/gsm8k")

    assert by_task is not None
    assert by_task is by_source
    assert by_task.verifier == NUMERIC
    assert card.verifier.route("Sums") is None


def test_a_result_without_verifier_is_by_the_route_of_its_task() -> None:
    results = [
        {"metric": "accuracy", "value": 1, **more} for more in ({"task": "words"}, {"verifier": NUMERIC}, {})
    ]
    card = release_of(full_card(results=results)).card

    assert [card.judge_of(result) for result in card.results] == [EXACT, NUMERIC, None]


def test_references_without_digest_are_found_by_their_place() -> None:
    routes = {"routes": [{"task": "a", "verifier": EXACT}, {"task": "b", "verifier": "numeric:1.0.0"}]}
    results = [{"metric": "accuracy", "value": 0.5, "verifier": "exact:1.0.0"}]

    found = release_of(bare_card(verifier=routes, results=results)).card.unpinned()

    assert found == {"verifier.routes[1].verifier": "numeric:1.0.0", "results[0].verifier": "exact:1.0.0"}


PLACES: list[tuple[dict[str, Any], str, str]] = [
    ({"verifer": {}}, "verifer", "no field of a card"),
    ({"base_model": {"id": "a", "revison": "b"}}, "base_model.revison", "no field of a card"),
    ({"schema_version": 2}, "schema_version", "1"),
    ({"name": "Not A Name"}, "name", "lowercase"),
    ({"version": "a b"}, "version", "128 characters"),
    ({"verifier": {"routes": [{"task": "a"}]}}, "verifier.routes[0].verifier", "missing"),
    (
        {"verifier": {"routes": [{"task": "a", "verifier": "exact"}]}},
        "verifier.routes[0].verifier",
        "no version",
    ),
    (
        {"verifier": {"routes": [{"task": "a", "verifier": "exact:1@sha256:0"}]}},
        "verifier.routes[0].verifier",
        "64",
    ),
    (
        {
            "verifier": {
                "routes": [
                    {"task": "a", "verifier": EXACT},
                    {"task": "b", "data_sources": ["a"], "verifier": EXACT},
                ]
            }
        },
        "verifier",
        "'a' is named by the routes 'a' and 'b'",
    ),
    (
        {"verifier": {"routes": [{"task": "a", "verifier": EXACT, "on_failure": "skip"}]}},
        "verifier.routes[0].on_failure",
        "'zero'",
    ),
    ({"optimizer": {"seeds": [2**53]}}, "optimizer.seeds[0]", "9007199254740991"),
    ({"optimizer": {"seeds": ["1"]}}, "optimizer.seeds[0]", "integer"),
    ({"inference": {"temperature": "0"}}, "inference.temperature", "number"),
    ({"inference": {"temperature": -1}}, "inference.temperature", "greater"),
    ({"results": [{"metric": "accuracy"}]}, "results[0].value", "missing"),
    ({"optimizer": {"not_applicable": "data only", "algorithm": "grpo"}}, "optimizer", "keep one of the two"),
    ({"base_model": {"weights_digest": "sha256:AB"}}, "base_model.weights_digest", "pattern"),
    ({"summary": "two\nlines"}, "summary", "one line"),
]


@pytest.mark.parametrize(("change", "place", "said"), PLACES)
def test_what_is_no_card_is_refused_with_its_place(change: dict[str, Any], place: str, said: str) -> None:
    error = refusal(json.dumps(bare_card(**change)).encode())

    assert (error.code, error.field) == ("invalid_card", place)
    assert said in str(error)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "not JSON"),
        (b"[]", "one JSON object"),
        (b'{"name": "a", "name": "b"}', "'name' is given twice"),
        (b'{"name": NaN}', "NaN"),
        (b"\xff{}", "utf-8"),
        (b"[" * 100_000, "levels deep"),
        (b'{"a":' * 41 + b"1" + b"}" * 41, "over 40 levels deep"),
        (b'{"a": "' + b"x" * (5 << 20) + b'"}', "over 4194304 bytes"),
        (b'{"a": ' + b"9" * 5000 + b"}", "not JSON"),
    ],
)
def test_hostile_bytes_are_refused_in_a_sentence(content: bytes, said: str) -> None:
    assert said in str(refusal(content))


@pytest.mark.parametrize("value", ["1e999", str(2**60), '"\\ud800"'])
def test_values_that_readers_disagree_about_are_refused(value: str) -> None:
    content = json.dumps(bare_card(optimizer={"hyperparameters": {"x": "HERE"}})).replace('"HERE"', value)

    error = refusal(content.encode())

    assert "hyperparameters" in error.field or "every JSON reader" in error.problem


def test_what_the_published_schema_allows_and_what_is_read_are_the_same() -> None:
    schema = jsonschema.Draft202012Validator(card_schema())
    schema.check_schema(card_schema())

    for card in (bare_card(), full_card(), full_card(**{"$schema": "x"})):
        schema.validate(card)
        release_of(card)
    structural = (
        "no field of a card",
        "missing",
        "'zero'",
        "integer",
        "number",
        "greater",
        "pattern",
        "1",
        "64-",
    )
    for change, place, said in PLACES:
        if said in structural:
            assert not schema.is_valid(bare_card(**change)), place
