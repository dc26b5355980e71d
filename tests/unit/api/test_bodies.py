"""Request bodies as bytes: what is read, what is refused, and that every refusal says where the fault is."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from countermark_service.api.bodies import Batch, ItemBody, StreamHead, decode_batch, decode_head, decode_line
from countermark_service.api.repeats import refuse_double_keys
from countermark_service.api.schemas import ItemSchema, ScoreRequest
from countermark_service.errors import RequestError
from countermark_service.model import Item, OnFailure
from countermark_service.model.json_text import DEEPEST

ITEM: dict[str, Any] = {"response": "a", "reference": "b"}


def body(*items: Any, **more: Any) -> bytes:
    return json.dumps({"verifier": "exact:1.0.0", "items": items or [ITEM], **more}).encode()


def refusal(data: bytes) -> RequestError:
    with pytest.raises(RequestError) as refused:
        decode_batch(data)
    return refused.value


def test_a_batch_is_read_as_it_was_sent() -> None:
    whole = {
        "response": "é\n",
        "reference": {"n": [1, 1.0]},
        "params": {"p": None},
        "prompt": "q: r",
        "id": 7,
    }
    batch = decode_batch(body(ITEM, whole, on_failure="zero"))

    assert (batch.verifier, batch.on_failure) == ("exact:1.0.0", OnFailure.ZERO)
    assert batch.items == [Item("a", "b"), Item("é\n", {"n": [1, 1.0]}, {"p": None}, "q: r", 7)]


def test_what_is_null_is_what_is_left_out() -> None:
    batch = decode_batch(body({**ITEM, "prompt": None, "id": None}, judge_mode=None))
    assert (batch.items, batch.wished_mode) == ([Item("a", "b")], None)
    assert decode_head(b'{"verifier":"exact:1.0.0","judge_mode":null}').wished_mode is None


def test_null_is_taken_where_the_document_says_so_and_nowhere_else() -> None:
    for name, schema in ScoreRequest.model_json_schema()["properties"].items():
        documented = {"type": "null"} in schema.get("anyOf", ())
        try:
            decode_batch(json.dumps({"verifier": "exact:1.0.0", "items": [], name: None}).encode())
        except RequestError:
            assert not documented, name
        else:
            assert documented, name


def test_an_empty_list_of_items_is_a_batch() -> None:
    assert decode_batch(b'{"verifier":"exact:1.0.0","items":[]}').items == []


def test_texts_and_chat_messages_may_stand_in_one_batch() -> None:
    chat = [
        {"role": "user", "content": "q", "name": "x"},
        {"role": "assistant", "content": "said", "refusal": None},
    ]
    batch = decode_batch(body(ITEM, {"response": chat, "reference": ["b"], "params": {"p": 1}, "id": "x"}))
    assert batch.items == [Item("a", "b"), Item("said", ["b"], {"p": 1}, None, "x")]


@pytest.mark.parametrize(
    ("messages", "field"),
    [
        ([], "response"),
        ([{"role": "user", "content": "q"}], "response"),
        ([{"content": "said"}], "response[0].role"),
        ([{"role": "assistant", "content": "a"}, {"role": 1, "content": "b"}], "response[1].role"),
        ([{"role": "assistant", "content": 1}], "response[0].content"),
        ([{"role": "assistant", "content": ["a"]}], "response[0].content"),
        ([{"role": "assistant", "content": {"text": "a"}}], "response[0].content"),
        (["said"], "response[0]"),
        ({"role": "assistant", "content": "a"}, "response"),
    ],
)
def test_chat_messages_of_another_shape_are_refused_with_their_place(messages: Any, field: str) -> None:
    error = refusal(body(ITEM, {"response": messages, "reference": "b"}))
    assert error.values() == {"item": 1, "field": field}


FAULTS: list[tuple[bytes, dict[str, Any], str]] = [
    # the body, the place that the error names, a word of what it says
    (b"", {}, "truncated"),
    (b"null", {}, "Expected `object`"),
    (b"[]", {}, "Expected `object`"),
    (b"not json", {}, "malformed"),
    (body() + b"{}", {}, "trailing"),
    (body()[:-1], {}, "truncated"),
    (b"\xef\xbb\xbf" + body(), {}, "malformed"),
    (body().decode().encode("utf-16"), {}, "malformed"),
    (b"{}", {}, "missing required field `items`"),
    (b'{"items":[]}', {"field": "verifier"}, "one of `verifier` and `release`, not neither"),
    (body(release="a:1"), {"field": "verifier"}, "one of `verifier` and `release`, not both"),
    (body(task="a"), {"field": "task"}, "`task` belongs to `release`"),
    (b'{"release":"a:1","items":[]}', {"field": "task"}, "`release` needs the `task`"),
    (b'{"release":"a:1","task":1,"items":[]}', {"field": "task"}, "Expected `str`"),
    (b'{"verifier":"exact:1.0.0"}', {}, "missing required field `items`"),
    (body(verifiers=[]), {}, "unknown field `verifiers`"),
    (body(on_failure="ignore"), {"field": "on_failure"}, "Invalid enum value"),
    (body(on_failure=None), {"field": "on_failure"}, "Expected `str`"),
    (body(items={}), {"field": "items"}, "Expected `array`"),
    (body(items=None), {"field": "items"}, "Expected `array`"),
    (body(verifier=1), {"field": "verifier"}, "Expected `str`"),
    (body(ITEM, "a"), {"item": 1}, "Expected `object`"),
    (body(ITEM, {"response": "a"}), {"item": 1}, "missing required field `reference`"),
    (body(ITEM, {"reference": "a"}), {"item": 1}, "missing required field `response`"),
    (body(ITEM, {**ITEM, "respone": "a"}), {"item": 1}, "unknown field `respone`"),
    (body(ITEM, {**ITEM, "response": 1}), {"item": 1, "field": "response"}, "got `int`"),
    (body(ITEM, {**ITEM, "response": None}), {"item": 1, "field": "response"}, "got `null`"),
    (body(ITEM, {**ITEM, "params": []}), {"item": 1, "field": "params"}, "got `array`"),
    (body(ITEM, {**ITEM, "params": None}), {"item": 1, "field": "params"}, "got `null`"),
    (body(ITEM, {**ITEM, "prompt": 1}), {"item": 1, "field": "prompt"}, "got `int`"),
    (body(ITEM, {**ITEM, "id": 1.5}), {"item": 1, "field": "id"}, "got `float`"),
    (body(ITEM, {**ITEM, "id": True}), {"item": 1, "field": "id"}, "got `bool`"),
    (body(ITEM, {**ITEM, "id": ["a"]}), {"item": 1, "field": "id"}, "got `array`"),
    (body(ITEM, {**ITEM, "reference": float("nan")}), {}, "malformed"),
    (body(ITEM, {**ITEM, "reference": float("-inf")}), {}, "malformed"),
    (body().replace(b'"b"', b"1e999"), {"item": 0, "field": "reference"}, "out of range"),
    (body().replace(b'"b"', b"9" * 5000), {"item": 0, "field": "reference"}, "out of range"),
    (body().replace(b'"b"', rb'"\ud800"'), {}, "surrogate"),
    (body().replace(b'"b"', rb'"\udc00"'), {}, "surrogate"),
    (body().replace(b'"b"', rb'"\ud800\ud800"'), {}, "surrogate"),
    (body().replace(b'"b"', b'"\xed\xa0\x80"'), {}, "not UTF-8"),
    (body().replace(b'"b"', b'"b\xff"'), {}, "not UTF-8: invalid start byte at byte 71"),
    (body().replace(b'"b"', b'"\x00"'), {}, "malformed"),
    (body().replace(b'"b"', b'"\n"'), {}, "malformed"),
]


@pytest.mark.parametrize(("data", "place", "problem"), FAULTS)
def test_a_fault_is_refused_with_its_place(data: bytes, place: dict[str, Any], problem: str) -> None:
    error = refusal(data)
    assert error.code == "invalid_request"
    assert error.values() == place
    assert problem in str(error)
    if "item" in place:
        assert str(error).startswith(f"item {place['item']}")


@pytest.mark.parametrize(
    ("data", "what_now"),
    [
        (b"", "It is empty."),
        (b" \n", "It is empty."),
        (b"\xef\xbb\xbf" + body(), "byte order mark: leave it out."),
        (
            body(ITEM, {**ITEM, "reference": float("nan")}),
            "NaN and Infinity are no JSON: send null, or a text.",
        ),
        (
            body(ITEM, {**ITEM, "reference": float("-inf")}),
            "NaN and Infinity are no JSON: send null, or a text.",
        ),
        (body().replace(b'"b"', rb'"\ud800"'), "half of a surrogate pair is no character: replace it"),
        (
            body(ITEM, {**ITEM, "respone": "a"}),
            "`response`, `reference` must be there; `params`, `prompt`, `id` may be.",
        ),
        (body(ITEM, {"reference": "a"}), "`response`, `reference` must be there"),
        (
            body(verifiers=[]),
            "`items` must be there; `receipt`, `verifier`, `release`, `task`, `on_failure`,",
        ),
        (body(on_failure="ignore"), "It takes 'null', 'zero', 'raise'."),
        (body(judge_mode="ignore"), "It takes 'auto', 'replay', 'fresh'."),
    ],
)
def test_a_refusal_says_what_would_be_right(data: bytes, what_now: str) -> None:
    assert what_now.lower() in str(refusal(data)).lower()


@pytest.mark.parametrize(
    "number", ["9" * 30, "-" + "9" * 30, "1" + "0" * 400, "1e300", "-0.0", "0.1", "0.10", "1E+2", "5e-324"]
)
def test_numbers_come_through_as_they_are(number: str) -> None:
    (item,) = decode_batch(body().replace(b'"b"', number.encode())).items
    assert item.reference == json.loads(number)
    assert type(item.reference) is type(json.loads(number))


@pytest.mark.parametrize(
    "number", ["1E-400", "1e400", "12345678901234567.5", "0.30000000000000000001", "3.14159265358979323846"]
)
@pytest.mark.parametrize("place", [b'"b"', b'["b"]'])
def test_a_number_that_no_double_holds_is_refused_and_not_rounded(number: str, place: bytes) -> None:
    """It would be scored as a number that nobody sent; a text with the same digits is exact."""
    data = body().replace(b'"b"', place.replace(b'"b"', number.encode()))
    with pytest.raises(RequestError, match="send it as a text"):
        decode_batch(data)


@pytest.mark.parametrize(("opens", "closes"), [("[", "]"), ('{"a":', "}"), ('[{"a":', "}]")])
@pytest.mark.parametrize("part", ["reference", "params", "response"])
def test_the_depth_of_a_value_is_bounded_by_a_number_and_not_by_the_machine(
    part: str, opens: str, closes: str
) -> None:
    levels = len(opens.replace('"a":', ""))

    def nested(depth: int) -> bytes:
        value = opens * (depth // levels) + "1" + closes * (depth // levels)
        if part == "params":  # itself one level
            value = '{"p":' + value + "}"
        if part == "response":  # a list of messages: two levels
            value = '[{"role":"assistant","content":"a","x":' + value + "}]"
        values = {"response": '"a"', "reference": '"b"', part: value}
        fields = ",".join(f'"{name}":{text}' for name, text in values.items())
        return f'{{"verifier":"exact:1.0.0","items":[{{{fields}}}]}}'.encode()

    fits = DEEPEST - {"reference": 0, "params": 1, "response": 2}[part]
    fits -= fits % levels
    decode_batch(nested(fits))
    for depth in (fits + levels, 1000, 100_000):
        error = refusal(nested(depth))
        assert f"nested too deeply: at most {DEEPEST} levels" in str(error)


DOUBLES = [
    '{"verifier":"a:1","verifier":"a:1","items":[]}',
    '{"verifier":"a:1","items":[],"items":[]}',
    '{"verifier":"a:1","items":[],"on_failure":"null","on_failure":"zero"}',
    '{"release":"a:1","task":"a:1","task":"a:1","items":[]}',
    '{"release":"a\\u003a1","task":"a:1","task":"a:1","items":[]}',
    '{"release":"a:1","task":"b","items":[],"on_failure":"null","on_failure":"null"}',
    '{"verifier":"a:1","items":[{"response":"a","response":"b","reference":"b"}]}',
    '{"verifier":"a:1","items":[{"response":"a","reference":1,"reference":2}]}',
    '{"verifier":"a:1","items":[{"response":"a","reference":1,"id":"x","id":"x"}]}',
    '{"verifier":"a:1","items":[{"response":"a","reference":1,"id":null,"id":null}]}',
    '{"verifier":"a:1","items":[{"response":"a","reference":{"k":1,"k":1}}]}',
    '{"verifier":"a:1","items":[{"response":"a","reference":[[{"k":{"k":1,"k":2}}]]}]}',
    '{"verifier":"a:1","items":[{"response":"a","reference":1,"params":{"p":1,"p":2}}]}',
    '{"verifier":"a:1","items":[{"response":[{"role":"assistant","content":"a","content":"b"}],"reference":1}]}',
    # the same key, written in two ways
    '{"verifier":"a:1","items":[{"response":"a","\\u0072esponse":"b","reference":1}]}',
    # each with something that blurs the count of keys
    '{"verifier":"a\\u003a1","items":[{"response":"a","response":"b","reference":1}]}',
    '{"verifier":"a:1\\u003a1","items":[{"response":"a:","response":"b","reference":1}]}',
    '{"verifier" :"a:1","items":[{"response":"a","response":"b","reference":1}]}',
    '{"verifier"\t:"a:1","items"\n:[{"response":"a: b","response":"b","reference":1}]}',
    '{"verifier":"a:1","items":[{"response":"a","response":"b","reference":{"k\\\\":1}}]}',
    '{"verifier":"a:1","items":[{"response":"a:b","response":"\\":","reference":1}]}',
    '{"verifier":"a:1","items":[{"response":"a","reference":1,"reference":"\\\\"}]}',
    '{"verifier":"a:1","items":[{"response":"x","reference":{"a:b":1,"a:b":2}}]}',
]


@pytest.mark.parametrize("text", DOUBLES)
def test_a_key_that_is_given_twice_is_refused_wherever_it_stands(text: str) -> None:
    error = refusal(text.encode())
    assert "is given twice in one object" in str(error)
    assert error.values()["field"] in str(error)


SINGLES = [
    '{"release":"a:1","task":"a:b","items":[{"response":"a","reference":1}],"on_failure":"null"}',
    '{"verifier":"a:1","items":[{"response":"a","reference":1}],"on_failure":"null"}',
    '{"verifier":"a:1","items":[{"response":"a: b","reference":"\\":"}]}',
    '{"verifier" : "a:1", "items" : [ {"response" : "x", "reference" : {"k" : {"k" : 1}}} ]}',
    '{"verifier":"a\\u003a1","items":[{"response":"\\"response\\":\\"b\\"","reference":1}]}',
    '{"verifier":"a:1","items":[{"response":"\\\\\\":","reference":{"k\\\\":1,"k":2}}]}',
    '{"verifier":"a:1","items":[{"response":"{\\"a\\":1,\\"a\\":2}","reference":[{"k":1},{"k":1}]}]}',
]


@pytest.mark.parametrize("text", SINGLES)
def test_what_only_looks_like_a_double_key_is_read(text: str) -> None:
    assert len(decode_batch(text.encode()).items) == 1


keys = st.sampled_from(["a", "b", "a:", '"', "\\", ":", '":', " "])
objects = st.recursive(
    st.none() | st.sampled_from(["", ":", '":', '\\":', " :", '" :']) | st.integers(),
    lambda inner: st.lists(inner, max_size=3) | st.lists(st.tuples(keys, inner), max_size=3).map(tuple),
    max_leaves=8,
)
"""JSON values; an object is a tuple of pairs, so that it can hold a key twice."""


def written(value: Any, gap: str) -> str:
    if isinstance(value, tuple):
        return "{" + ",".join(f"{json.dumps(k)}{gap}:{written(v, gap)}" for k, v in value) + "}"
    if isinstance(value, list):
        return "[" + ",".join(written(one, gap) for one in value) + "]"
    return json.dumps(value)


def has_double(value: Any) -> bool:
    if isinstance(value, tuple):
        return len({key for key, _ in value}) < len(value) or any(has_double(one) for _, one in value)
    return isinstance(value, list) and any(map(has_double, value))


@given(
    objects, objects, st.sampled_from(["", " ", "\n", "\t\r "]), st.sampled_from(["a:1", "a\\u003a1", "a"])
)
def test_double_keys_are_found_if_and_only_if_they_are_there(
    reference: Any, params: Any, gap: str, verifier: str
) -> None:
    parts = [f'"response"{gap}:":"', f'"reference"{gap}:{written(reference, gap)}']
    if isinstance(params, tuple):
        parts.append(f'"params"{gap}:{written(params, gap)}')
    data = f'{{"verifier"{gap}:"{verifier}","items"{gap}:[{{{",".join(parts)}}}]}}'.encode()
    if has_double(reference) or (isinstance(params, tuple) and has_double(params)):
        assert "given twice" in str(refusal(data))
    else:
        assert len(decode_batch(data).items) == 1


def test_the_count_of_keys_alone_clears_a_body_of_which_nothing_is_odd() -> None:
    """Were this body read again, it would be found to be no JSON at all."""
    refuse_double_keys(b'not json, but with "one": colon', 1)
    refuse_double_keys(b'nor this: with "one":1 key', 1)


@pytest.mark.parametrize("ids", [("a", "a"), (1, 1), ("", "")])
def test_an_id_that_two_items_have_is_refused_with_both(ids: tuple[str | int, str | int]) -> None:
    first, second = ids
    error = refusal(body({**ITEM, "id": first}, ITEM, {**ITEM, "id": second}))
    assert error.values() == {"item": 2, "field": "id"}
    assert "items 0 and 2 have the same id" in str(error)


def test_ids_may_be_of_any_script_and_a_number_is_not_its_text() -> None:
    ids = ["é", "e\u0301", "😀", "", "1", 1, 0, -1, 10**30, "\u0000", "a" * 10_000]
    batch = decode_batch(body(*({**ITEM, "id": one} for one in ids)))
    assert [item.id for item in batch.items] == ids


def test_a_stream_is_read_line_by_line() -> None:
    assert decode_head(b'{"verifier":"a:1","on_failure":"raise"}') == StreamHead(
        verifier="a:1", on_failure=OnFailure.RAISE
    )
    assert decode_line(b'{"response":"a","reference":"b","id":"x"}', 3) == Item("a", "b", {}, None, "x")
    chat = b'{"response":[{"role":"assistant","content":"said"}],"reference":"b"}'
    assert decode_line(chat, 0) == Item("said", "b")


@pytest.mark.parametrize(
    ("line", "place"),
    [
        (b"not json", {"item": 3}),
        (b'{"response":"a"}', {"item": 3}),
        (b'{"response":1,"reference":"b"}', {"item": 3, "field": "response"}),
        (b'{"response":"a","response":"a","reference":"b"}', {"item": 3, "field": "response"}),
        (b'{"response":"a","reference":{"k":1,"k":2}}', {"item": 3, "field": "k"}),
        (b'{"response":[],"reference":"b"}', {"item": 3, "field": "response"}),
        (b'{"response":"a","reference":"\xff"}', {"item": 3}),
        (b'{"response":"a","reference":' + b"[" * 201 + b"]" * 201 + b"}", {"item": 3}),
        (b'{"response":"a","reference":' + b"[" * 100_000, {"item": 3}),
    ],
)
def test_a_fault_in_a_line_names_the_item(line: bytes, place: dict[str, Any]) -> None:
    with pytest.raises(RequestError) as refused:
        decode_line(line, 3)
    assert refused.value.values() == place
    assert "item 3" in str(refused.value)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{}",
        b'{"verifier":1}',
        b'{"verifier":"a:1","items":[]}',
        b'{"verifier":"a","verifier":"b"}',
        b'{"release":"a:1"}',
        b'{"task":"a"}',
        b'{"verifier":"a:1","release":"a:1","task":"b"}',
    ],
)
def test_a_stream_without_a_proper_head_is_refused(line: bytes) -> None:
    with pytest.raises(RequestError):
        decode_head(line)


# --- the two definitions of a request: msgspec decodes, pydantic describes -------------------------------


def test_both_definitions_have_the_same_fields() -> None:
    assert set(Batch.__struct_fields__) == set(ScoreRequest.model_fields)
    assert set(ItemBody.__struct_fields__) == set(Item.__struct_fields__) == set(ItemSchema.model_fields)


VALUES: list[Any] = [
    None, True, 0, 7, -1, 10**30, 0.5, "", "text", "null", [], {}, ["a"], [1], {"a": 1}, [[]], [{}],
    [{"role": "assistant"}], [{"role": "assistant", "content": "a", "name": "n"}], [{"content": "a"}],
    [{"role": 1, "content": "a"}], [{"role": "assistant", "content": [{"type": "text", "text": "a"}]}],
    [{"role": "assistant", "content": 1}], [{"role": "assistant", "content": ["a"]}],
    [{"role": "assistant", "content": None}],
]  # fmt: skip


@pytest.mark.parametrize("field", ["verifier", "items", "on_failure", "release", "task", "unknown"])
@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_both_definitions_accept_the_same_values_of_a_batch(field: str, value: Any) -> None:
    data = body(**{field: value})
    assert is_described(data) is is_read(data)


@pytest.mark.parametrize(
    "head",
    [{"release": "a:1", "task": "b"}, {"release": "a:1"}, {"task": "b"}, {"release": None, "task": "b"}, {}],
    ids=repr,
)
def test_both_definitions_want_one_verifier_or_one_release_with_a_task(head: dict[str, Any]) -> None:
    data = json.dumps({**head, "items": [ITEM]}).encode()
    assert is_described(data) is is_read(data) is (head == {"release": "a:1", "task": "b"})


@pytest.mark.parametrize("field", ["response", "reference", "params", "prompt", "id", "unknown"])
@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_both_definitions_accept_the_same_values_of_an_item(field: str, value: Any) -> None:
    data = body({**ITEM, field: value})
    assert is_described(data) is is_read(data)


@pytest.mark.parametrize("field", ["response", "reference"])
def test_both_definitions_require_the_same_fields(field: str) -> None:
    data = body({name: value for name, value in ITEM.items() if name != field})
    assert is_described(data) is is_read(data) is False


def is_described(data: bytes) -> bool:
    try:
        ScoreRequest.model_validate_json(data, strict=True)
    except ValidationError:
        return False
    return True


def is_read(data: bytes) -> bool:
    try:
        decode_batch(data)
    except RequestError as error:
        # A rule over all messages, which a schema cannot say.
        return "no assistant message with text" in str(error)
    return True
