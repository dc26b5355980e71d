"""The port to whoever judges: worker processes of this machine, or a service somewhere else.

Whoever reads rows and counts verdicts does so in one way for both. A row that a
verifier does not take (an unknown parameter, a response over the limit) is refused
by its place in the batch and not scored as anything.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec

from countermark_service.errors import CountermarkError
from countermark_service.model import BundleRef, Item
from countermark_service.receipts import KeySet


class RowRefusedError(CountermarkError):
    """A row of a batch that a verifier does not take; nothing of the batch was scored under it."""

    code = "row_refused"

    def __init__(self, index: int, problem: str) -> None:
        super().__init__(f"row {index} of the batch: {problem}")
        self.index, self.problem = index, problem


class Judgement(msgspec.Struct, frozen=True, gc=False):
    """A verdict, wherever it was made. `detail` and `surroundings` are JSON objects."""

    outcome: str
    score: float | None
    cached: bool
    detail: Any
    surroundings: Any


class SignedBatch(msgspec.Struct, frozen=True, gc=False):
    """A receipt over neighbouring items of a batch; who hands it on has checked it."""

    start: int
    """Place in the batch of the first item that it is about."""
    items: int
    root: str
    """Of the tree over the verdicts, as hex."""
    key: str
    """Id of the key that signed it."""
    document: bytes
    """The receipt, JSON."""


@dataclass
class Judged:
    """The verdicts on one batch, in its order."""

    judgements: list[Judgement]
    degraded: set[str] = field(default_factory=set)
    """Codes of what did not work meanwhile."""
    receipts: list[SignedBatch] = field(default_factory=list)
    """Where receipts are wanted: in order, and together over every item."""


class Judge(Protocol):
    """Judges batches under some verifiers, which go by their place in `pins`."""

    pins: list[BundleRef]
    """Filled by `open`; each has name, version and digest."""
    advisories: list[str]
    """Filled by `open`: what became known of these verifiers after they were published, as sentences."""

    @property
    def receipt_keys(self) -> KeySet | None:
        """The public keys that sign receipts, where receipts are wanted; there once `open` has ended."""

    async def open(self, refs: Sequence[str]) -> None:
        """Find the verifiers; raises `CountermarkError` where one is not there, or where receipts
        are wanted and nothing could sign them."""

    def refusals(self, verifier: int, items: Sequence[Item]) -> Mapping[int, str]:
        """Return why a verifier does not take some of `items`, by place, as far as nobody need be asked."""

    async def prepare(self) -> None:
        """Have everything ready that takes long the first time."""

    async def judge(self, verifier: int, items: Sequence[Item]) -> Judged:
        """Judge a batch; raises `RowRefusedError` for an item that the verifier does not take."""

    async def close(self) -> None:
        """End what was started."""
