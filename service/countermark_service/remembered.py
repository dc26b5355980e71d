"""What scoring remembers of verdicts in this process, before and behind the store.

To write an item's key takes a third of what answering a stored verdict costs, and to
look its texts up in a dictionary a third of that. So batches that were answered from
the store are remembered by the texts themselves: equal texts, equal verdict, and no
digest stands between. All is bounded, and forgotten when the process ends.
"""

import sys
from collections.abc import Sequence
from typing import Any

import msgspec

from countermark_service.model import CACHEABLE, Item, Verdict

_VERDICTS = 1 << 15
SMALL_BYTES = 1024
"""What is larger is not remembered where a memory is bounded in number, not in bytes."""
_TEXT_BYTES = 16 << 20
_LARGE_BYTES = 64 << 10
"""An item that takes more is not remembered: reading its digest is no large part of what it costs."""
_ENTRY_BYTES = 256
"""What an entry takes beside its texts and its verdict: two tuples and the dictionary's slot."""

Scored = tuple[Verdict, bool]
"""A verdict, and whether it was there already."""


class Decoded(dict[bytes | None, Scored | None]):
    """What stored bytes say, each read once: the verdict, or None for what is not to be trusted or not there."""

    def __init__(self) -> None:
        super().__init__({None: None})

    def __missing__(self, value: bytes) -> Scored | None:
        verdict = _decode(value)
        found = None if verdict is None else (verdict, True)
        if len(value) <= SMALL_BYTES:
            if len(self) >= _VERDICTS:
                self.clear()
                self[None] = None
            self[value] = found
        return found


def _decode(value: bytes) -> Verdict | None:
    """Return a stored verdict; None for one that is not to be trusted."""
    try:
        verdict = Verdict.decode(value)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    return verdict if verdict.outcome in CACHEABLE else None


class Familiar:
    """Verdicts that were found in the store, by the texts of their items.

    Only items whose reference is a text and that have no parameters are remembered: other values can be equal
    without being the same (1, 1.0 and true). Not safe to use from several threads.
    """

    def __init__(self, *, max_entries: int, max_bytes: int = _TEXT_BYTES) -> None:
        """Remember nothing yet.

        Args:
            max_entries: Most items that are remembered.
            max_bytes: Most bytes that they take, texts and verdicts. When either is reached, all are forgotten.
        """
        self._most, self._most_bytes = max_entries, max_bytes
        self._tables: dict[bytes, dict[tuple[str | None, ...], Scored]] = {}
        self._entries = self._bytes = 0

    def get_all(self, identity: bytes, items: Sequence[Item], *, uses_prompt: bool) -> list[Scored] | None:
        """Return the verdicts of a batch under the verifier of `identity`; None unless all are remembered."""
        table = self._tables.get(identity)
        if table is None or not items or _texts(items[0], uses_prompt) not in table:
            return None  # a batch is mostly known or not, and the first item tells at once
        if [1 for item in items if item.params or type(item.reference) is not str]:
            return None
        get = table.get
        found: list[Any]  # of verdicts, once it is known that none is missing
        if uses_prompt:
            found = [get((item.reference, item.response, item.prompt)) for item in items]
        else:
            found = [get((item.reference, item.response)) for item in items]
        return found if None not in found else None

    def put_all(
        self, identity: bytes, items: Sequence[Item], found: Sequence[Scored | None], *, uses_prompt: bool
    ) -> None:
        """Remember what the store had for the items of a batch, in order; None stands for what it had not."""
        if len(items) > self._most:
            return
        table = self._tables.setdefault(identity, {})
        for item, scored in zip(items, found, strict=True):
            texts = _texts(item, uses_prompt)
            if scored is None or texts is None or texts in table:
                continue
            size = _ENTRY_BYTES + len(scored[0].json) + sum(map(sys.getsizeof, texts))
            if size > _LARGE_BYTES:
                continue
            if self._entries >= self._most or self._bytes + size > self._most_bytes:
                self._tables = {identity: (table := {})}
                self._entries = self._bytes = 0
            table[texts] = scored
            self._entries += 1
            self._bytes += size


def _texts(item: Item, uses_prompt: bool) -> tuple[str | None, ...] | None:
    """Return what an item is remembered by; None where it is not."""
    if item.params or type(item.reference) is not str:
        return None
    return (item.reference, item.response, item.prompt) if uses_prompt else (item.reference, item.response)
