"""What a request may not hold twice: a key in one object, an id in one batch.

How a repeated key is found is `model.json_text`'s subject. Here stands what a request knows
besides: where no text holds a colon, the colons are the keys, which is quicker to count;
``"id": null`` says nothing and is not counted; and a fault is said with its place.
"""

from collections.abc import Sequence
from typing import Any

from countermark_service.errors import RequestError
from countermark_service.model import Item
from countermark_service.model.json_text import DEEPEST, count_keys, keys_in, repeated_key


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
    if keys_in(body) == keys:
        return
    where = "the body" if item is None else f"item {item}"
    try:
        double = repeated_key(body)
    except RecursionError as exc:
        raise too_deep(where, item) from exc
    if double is not None:
        shown = double[:80]
        message = f"{where}: the key {shown!r} is given twice in one object: give it once."
        raise RequestError(message, item=item, field=shown)


def _has_colons(body: bytes, count: int) -> bool:
    """Return whether a body has `count` colons; taking them out is quicker than counting them."""
    return len(body) - len(body.replace(b":", b"", count + 1)) == count


def nested_keys(value: Any, where: str, item: int | None) -> int:
    """Return how many keys the objects in a JSON value have.

    Raises:
        RequestError: It is nested more than `DEEPEST` levels deep.
    """
    try:
        return count_keys(value)
    except RecursionError as exc:
        raise too_deep(where, item) from exc


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
