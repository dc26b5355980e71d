"""What scoring knows of a runtime: nothing but this.

A runtime takes canonical items (`Item.canonical`) and reports verdicts as they
come, one per index, in any order. A failure of one item is a verdict of that item;
an exception means that nothing can be judged at all.
"""

from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

from countermark_service.bundles import Bundle
from countermark_service.model import Verdict

OnVerdict = Callable[[int, Verdict], None]
"""Takes the index of an item and its verdict."""

OnReduction = Callable[[int, bytes | None], None]
"""Takes the index of an item and its reduction, None where it has none."""


class Runtime(Protocol):
    """Judges the items of bundles of one kind."""

    async def prepare(self, bundle: Bundle) -> None:
        """Have everything ready that the bundle needs.

        Raises:
            CountermarkError: It cannot run here; the message says why and what to do.
        """

    def reduces(self, bundle: Bundle) -> bool:
        """True where `reduce` is worth asking."""

    async def reduce(self, bundle: Bundle, payloads: Sequence[bytes], on_reduction: OnReduction) -> None:
        """Report the part of each item that its verdict depends on."""

    async def verify(self, bundle: Bundle, payloads: Sequence[bytes], on_verdict: OnVerdict) -> None:
        """Report the verdict of each item; return when all are reported."""

    async def close(self) -> None:
        """End what runs."""


@runtime_checkable
class OwnKeys(Protocol):
    """A runtime whose verdicts depend on more than bundle and item, and which says on what."""

    def identity(self, bundle: Bundle) -> bytes:
        """Return the 32 bytes that key the bundle's verdicts in place of its digest."""

    def kept(self, bundle: Bundle) -> bool:
        """Whether verdicts of the bundle are stored and looked up; False makes each anew."""

    def degraded(self, bundle: Bundle) -> str | None:
        """What its verdicts are made without now, as a stable word; None where all is there."""
