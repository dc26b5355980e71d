"""What a JSON body may not hold twice: a key in one object, an id in one request.

A JSON object may hold a key twice, and decoders keep the last one: two readers of
one request could see different items. Decoding with a hook on every object finds
that, at many times the cost of decoding. So the keys are counted first, in the
bytes and in what was decoded: where the two agree, no key was lost.

A key takes a colon outside of any text, so where no text holds a colon, the colons
are the keys. Else: inside a JSON text a quote is always escaped, so a quote before
a colon ends a key if no backslash stands before it. Where neither count is certain
(space between key and colon, a key that ends in a backslash) or the counts differ
(``"id": null`` says nothing and is not counted), the body is read again, slowly.
"""

import json
import re
from collections.abc import Sequence
from typing import Any

from countermark_service.errors import RequestError
from countermark_service.model import Item

DEEPEST = 200
"""Levels of lists and objects that a reference or a parameter may have. It is far above what data has
and far below what any Python version's recursion limit allows, so that no machine decides it."""

_SPACED_COLON = re.compile(rb'"[ \t\r\n]+:')


def refuse_double_keys(body: bytes, keys: int, *, text_colons: int = 0, item: int | None = None) -> None:
    """Refuse a body in which some object has a key twice.

    Args:
        body: JSON that can be decoded.
        keys: How many keys were decoded, or fewer.
        text_colons: Colons that are known to stand in texts of the body, as bytes, or fewer.
        item: Index of the item that `body` is, for messages.

    Raises:
        RequestError: A key is there twice; the message names it.
    """
    if _has_colons(body, keys + text_colons):
        return
    if _keys_in(body) == keys:
        return
    where = "the body" if item is None else f"item {item}"
    double: list[str] = []

    def note(pairs: list[tuple[str, Any]]) -> None:
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                double.append(key)
            seen.add(key)

    try:
        json.loads(body, object_pairs_hook=note)
    except RecursionError as exc:
        raise too_deep(where, item) from exc
    if double:
        shown = double[0][:80]
        message = f"{where}: the key {shown!r} is given twice in one object: give it once."
        raise RequestError(message, item=item, field=shown)


def _has_colons(body: bytes, count: int) -> bool:
    """Return whether a body has `count` colons; taking them out is quicker than counting them."""
    return len(body) - len(body.replace(b":", b"", count + 1)) == count


def _keys_in(body: bytes) -> int | None:
    """Return how many keys a body has, or None where some key may not end in a quote and a colon side by side."""
    # Looking for one byte costs next to nothing, for two or three as much as decoding the body does.
    escaped = body.count(b'\\":') if b"\\" in body else 0
    if escaped and b'\\\\":' in body:
        return None
    if _SPACED_COLON.search(body):
        return None
    return body.count(b'":') - escaped


def nested_keys(value: Any, where: str, item: int | None) -> int:
    """Return how many keys the objects in a JSON value have.

    Raises:
        RequestError: It is nested more than `DEEPEST` levels deep.
    """
    count, level = 0, [value]
    for _ in range(DEEPEST):
        below: list[Any] = []
        for one in level:
            if isinstance(one, dict):
                count += len(one)
                below += [each for each in one.values() if isinstance(each, (dict, list))]
            elif isinstance(one, list):
                below += [each for each in one if isinstance(each, (dict, list))]
        if not below:
            return count
        level = below
    raise too_deep(where, item)


def too_deep(where: str, item: int | None) -> RequestError:
    """Return the error for what is nested too deeply."""
    return RequestError(f"{where} is nested too deeply: at most {DEEPEST} levels.", item=item)


def refuse_double_ids(items: Sequence[Item]) -> None:
    """Refuse a batch in which two items have one id.

    Raises:
        RequestError: Names both items.
    """
    ids = [item.id for item in items if item.id is not None]
    if len(set(ids)) == len(ids):
        return
    seen: dict[str | int, int] = {}
    for index, item in enumerate(items):
        if item.id is None:
            continue
        if item.id in seen:
            raise RequestError(
                f"items {seen[item.id]} and {index} have the same id {str(item.id)[:80]!r}: ids are unique "
                "in a request, or left out (verdicts come in the order of the items).",
                item=index,
                field="id",
            )
        seen[item.id] = index
