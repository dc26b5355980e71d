"""The shapes of request bodies: decoded fast, refused with the place of the fault.

The hot routes decode with msgspec (a fraction of the cost of typed FastAPI
parameters); `schemas.py` holds the same shapes for the OpenAPI document, and a
test holds the two together. How bytes come in is `intake.py`'s subject, what may
not be there twice is that of `repeats.py`.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec

from countermark_service.api.advice import advice
from countermark_service.api.repeats import nested_keys, refuse_double_ids, refuse_double_keys, too_deep
from countermark_service.errors import RequestError
from countermark_service.judge import JudgeMode
from countermark_service.model import Item, OnFailure, last_assistant_text
from countermark_service.model.json_text import exact_number

_T = TypeVar("_T")

_PLACE = re.compile(r" - at `\$(?P<path>[^`]*)`")
_ITEM = re.compile(r"\.items\[(\d+)\]")


class ItemBody(msgspec.Struct, forbid_unknown_fields=True, gc=False, omit_defaults=True):
    """One item, as it is sent."""

    response: str | list[dict[str, Any]]
    reference: Any
    params: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET
    prompt: str | msgspec.UnsetType | None = msgspec.UNSET
    id: str | int | msgspec.UnsetType | None = msgspec.UNSET


class _Head(msgspec.Struct, forbid_unknown_fields=True, gc=False, kw_only=True):
    """What a batch and a stream say before their items: a verifier, or a release with one of its tasks."""

    verifier: str | msgspec.UnsetType = msgspec.UNSET
    release: str | msgspec.UnsetType = msgspec.UNSET
    task: str | msgspec.UnsetType = msgspec.UNSET
    on_failure: OnFailure | msgspec.UnsetType = msgspec.UNSET
    judge_mode: JudgeMode | msgspec.UnsetType | None = msgspec.UNSET

    @property
    def subject(self) -> str:
        """The reference, of whichever kind."""
        return self.verifier or self.release or ""

    @property
    def given(self) -> int:
        """How many of the five are given."""
        said = (self.verifier, self.release, self.task, self.on_failure, self.judge_mode)
        return len([one for one in said if one is not msgspec.UNSET])

    @property
    def wished_mode(self) -> JudgeMode | None:
        """Where judges' replies are to come from; None where it is left to the settings."""
        return None if self.judge_mode is msgspec.UNSET else self.judge_mode


class Batch(_Head):
    """A batch whose responses are texts: what is sent is what is scored."""

    items: list[Item]
    receipt: bool | msgspec.UnsetType = msgspec.UNSET

    @property
    def given(self) -> int:
        """How many keys are given besides the items."""
        return super().given + (self.receipt is not msgspec.UNSET)


class _MixedBatch(_Head):
    """A batch, some of whose responses are chat messages."""

    items: list[ItemBody]
    receipt: bool | msgspec.UnsetType = msgspec.UNSET


class StreamHead(_Head):
    """The first line of a stream."""


class _ReceiptBody(msgspec.Struct, forbid_unknown_fields=True):
    receipt: msgspec.Raw
    items: list[ItemBody] | None = None
    verdicts: list[msgspec.Raw] | None = None


@dataclass(frozen=True)
class ReceiptBody:
    """A receipt to check, and what is to be held against it."""

    receipt: bytes
    """JSON, unread."""
    items: list[Item] | None
    verdicts: list[bytes] | None
    """JSON of each."""


_batch_decoder = msgspec.json.Decoder(Batch, float_hook=exact_number)
_mixed_decoder = msgspec.json.Decoder(_MixedBatch, float_hook=exact_number)
_head_decoder = msgspec.json.Decoder(StreamHead)
_item_decoder = msgspec.json.Decoder(ItemBody, float_hook=exact_number)
_receipt_decoder = msgspec.json.Decoder(_ReceiptBody, float_hook=exact_number)


def decode_batch(body: bytes) -> Batch:
    """Read a batch.

    Raises:
        RequestError: Not JSON, not of the shape, or a key or id given twice; says where.
    """
    try:
        batch = _batch_decoder.decode(body)
    except (msgspec.ValidationError, RecursionError):
        # Chat messages, or a fault: the wider shape tells which.
        mixed: _MixedBatch = _decode(_mixed_decoder, body, "the body")
        keys = sum(_keys_of_body(one, index) for index, one in enumerate(mixed.items))
        batch = Batch(
            verifier=mixed.verifier,
            release=mixed.release,
            task=mixed.task,
            on_failure=mixed.on_failure,
            judge_mode=mixed.judge_mode,
            items=_items_of(mixed.items),
            receipt=mixed.receipt,
        )
    except (msgspec.MsgspecError, UnicodeDecodeError) as exc:
        raise _unreadable(exc, body, "the body", Batch) from exc
    else:
        keys = _keys_of_items(batch.items)
    # The colons of the reference count where it is written out, not as `\u003a`.
    plain = batch.subject.encode() in body
    keys += 1 + batch.given
    refuse_double_keys(body, keys, text_colons=batch.subject.count(":") if plain else 0)
    _check_subject(batch, "the body")
    refuse_double_ids(batch.items)
    return batch


def decode_head(line: bytes) -> StreamHead:
    """Read the first line of a stream; raises `RequestError`."""
    head: StreamHead = _decode(_head_decoder, line, "line 1")
    refuse_double_keys(line, 1)
    _check_subject(head, "line 1")
    return head


def _check_subject(head: _Head, where: str) -> None:
    """Refuse what does not name one verifier, or one release with a task."""
    verifier, release, task = (one is not msgspec.UNSET for one in (head.verifier, head.release, head.task))
    if verifier is release:
        field, problem = (
            "verifier",
            "give one of `verifier` and `release`, not " + ("both" if verifier else "neither"),
        )
    elif release is not task:
        field, problem = (
            "task",
            ("`release` needs the `task` whose route is meant" if release else "`task` belongs to `release`"),
        )
    else:
        return
    raise RequestError(f"{where}: {problem}.", field=field)


def asked_of(head: _Head) -> dict[str, Any]:
    """Return what a head says, by the names that `Scorer.asked` takes."""
    said = {
        "verifier": head.verifier,
        "release": head.release,
        "task": head.task,
        "on_failure": head.on_failure,
    }
    return {name: value for name, value in said.items() if value is not msgspec.UNSET}


def decode_line(line: bytes, index: int) -> Item:
    """Read one item of a stream; raises `RequestError`."""
    body: ItemBody = _decode(_item_decoder, line, f"item {index}", item=index)
    refuse_double_keys(line, _keys_of_body(body, index), item=index)
    return _item_of(body, index)


def decode_with(decoder: msgspec.json.Decoder[_T], body: bytes) -> _T:
    """Read the body of a route with a shape of its own; raises `RequestError`."""
    decoded: _T = _decode(decoder, body, "the body")
    return decoded


def decode_receipt_body(body: bytes) -> ReceiptBody:
    """Read a receipt that is to be checked; raises `RequestError`."""
    found = decode_with(_receipt_decoder, body)
    refuse_double_keys(body, 1)
    for index, verdict in enumerate(found.verdicts or ()):
        if not bytes(verdict).lstrip().startswith(b"{"):
            field = f"verdicts[{index}]"
            raise RequestError(
                f"the body, field `{field}`: must be an object, as it was replied.", field=field
            )
    return ReceiptBody(
        bytes(found.receipt),
        None if found.items is None else _items_of(found.items),
        None if found.verdicts is None else [bytes(each) for each in found.verdicts],
    )


def _items_of(bodies: Sequence[ItemBody]) -> list[Item]:
    return [_item_of(body, index) for index, body in enumerate(bodies)]


def _item_of(body: ItemBody, index: int) -> Item:
    """Return the item that a body means.

    Raises:
        RequestError: Chat messages of another shape, or without one of the assistant.
    """
    response = body.response
    if not isinstance(response, str):
        _check_messages(response, index)
        text = last_assistant_text(response)
        if text is None:
            message = f"item {index}: `response` has no assistant message with text, which is what is scored."
            raise RequestError(message, item=index, field="response")
        response = text
    params = {} if body.params is msgspec.UNSET else body.params
    prompt = None if body.prompt is msgspec.UNSET else body.prompt
    return Item(response, body.reference, params, prompt, None if body.id is msgspec.UNSET else body.id)


def _check_messages(messages: list[dict[str, Any]], index: int) -> None:
    for number, message in enumerate(messages):
        content = message.get("content")
        if not isinstance(message.get("role"), str):
            key, wanted = "role", "a text"
        elif isinstance(content, list) and not all(isinstance(part, dict) for part in content):
            key, wanted = "content", "a list of objects"
        elif not isinstance(content, (str, list, type(None))):
            key, wanted = "content", "a text, a list of parts, or null"
        else:
            continue
        field = f"response[{number}].{key}"
        raise RequestError(f"item {index}, field `{field}`: must be {wanted}.", item=index, field=field)


def _keys_of_items(items: Sequence[Item]) -> int:
    """Return how many keys the items have, not counting those without a say."""
    # Picking first and looking at few takes half the time of one loop that looks at all of each.
    count = 2 * len(items)
    count += len([1 for item in items if item.id is not None])
    count += len([1 for item in items if item.prompt is not None])
    for index, params in [(index, item.params) for index, item in enumerate(items) if item.params]:
        count += 1 + nested_keys(params, f"item {index}, field `params`", index)
    nested = [(index, item.reference) for index, item in enumerate(items) if type(item.reference) is not str]
    for index, reference in nested:
        count += nested_keys(reference, f"item {index}, field `reference`", index)
    return count


def _keys_of_body(body: ItemBody, index: int) -> int:
    count = 2 + (body.prompt is not msgspec.UNSET) + (body.id is not msgspec.UNSET)
    if body.params is not msgspec.UNSET:
        count += 1 + nested_keys(body.params, f"item {index}, field `params`", index)
    if not isinstance(body.response, str):
        count += nested_keys(body.response, f"item {index}, field `response`", index)
    return count + nested_keys(body.reference, f"item {index}, field `reference`", index)


def _decode(decoder: msgspec.json.Decoder[Any], data: bytes, where: str, item: int | None = None) -> Any:
    try:
        return decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
        raise _unreadable(exc, data, where, decoder.type, item) from exc


def _unreadable(exc: Exception, data: bytes, where: str, shape: Any, item: int | None = None) -> RequestError:
    if isinstance(exc, RecursionError):
        return too_deep(where, item)
    if isinstance(exc, UnicodeDecodeError):
        return _not_utf8(exc, data, where, item)
    return _located(str(exc), data, where, shape, item)


def _not_utf8(exc: UnicodeDecodeError, data: bytes, where: str, item: int | None) -> RequestError:
    try:
        data.decode()
    except UnicodeDecodeError as whole:  # the decoder counts from the text's own start
        exc = whole
    return RequestError(f"{where} is not UTF-8: {exc.reason} at byte {exc.start}.", item=item)


def _located(text: str, data: bytes, where: str, shape: Any, item: int | None) -> RequestError:
    """Turn a decoder's message into one that names item and field, and says what would be right."""
    place = _PLACE.search(text)
    problem, path = (text, "") if place is None else (text[: place.start()], place["path"])
    found = _ITEM.match(path)
    if found:
        item, path, shape = int(found[1]), path[found.end() :], ItemBody
        where = f"item {item}"
    field = path.removeprefix(".") or None
    what_now = advice(problem, data, shape, field)
    named = f", field `{field}`" if field else " cannot be read" if place is None else ""
    message = f"{where}{named}: {problem}." + (f" {what_now}." if what_now else "")
    return RequestError(message, item=item, field=field)
