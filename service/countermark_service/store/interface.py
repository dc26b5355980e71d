"""The storage port: where verdicts are kept, as scoring sees it.

A verdict that can never change is worth keeping: its key is a digest over the
verifier's content and the item, so whoever holds the value holds the answer.
This module says what a place to keep it must do. It knows neither what a value
means (bytes that scoring encodes and decodes) nor where any store keeps it.

What every store promises:

- A key names one value for ever. Putting a key that is already there changes
  nothing that matters: the first value stays, except in Redis, where one of two
  values that are written at the same time stays (both are right).
- A value that comes back is, byte for byte, one that was put under that key.
- A value may be gone at any time (eviction, a lost machine): that costs a
  computation.
- What cannot be read or written is a `StoreUnavailableError`, never a wrong value.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from countermark_service.errors import CountermarkError

KEY_BYTES = 32
"""Length of every key: a SHA-256 digest, raw."""


class StoreUnavailableError(CountermarkError):
    """A store cannot be read or written now; verdicts are computed without it."""

    code = "store_unavailable"

    def __init__(self, store: str, where: str, problem: str, advice: str) -> None:
        super().__init__(f"{store} store {where}: {problem}. {advice}")
        self.store, self.where, self.problem = store, where, problem


class StoreSchemaError(StoreUnavailableError):
    """The store was written by a newer Countermark, or is no store of ours; waiting will not help."""

    code = "store_schema"


class Store(Protocol):
    """A place that keeps bytes under 32-byte keys.

    The methods run in one event loop. `start` is a check and may be left out:
    the others open what they need, so a store that was down at start comes into
    use when it is back.
    """

    name: str
    """Kind of the store, for logs and metrics: ``memory``, ``sqlite``, ``redis``."""

    async def start(self) -> None:
        """Open the store and check that it answers.

        Raises:
            StoreUnavailableError: It does not answer; later calls try again.
            StoreSchemaError: It holds data that this release must not touch.
        """

    async def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Return one value per key, in order; None where nothing is kept. Keys may repeat.

        Raises:
            ValueError: A key has not 32 bytes.
            StoreUnavailableError: The store could not be asked.
        """

    async def put_many(self, entries: Mapping[bytes, bytes]) -> None:
        """Keep every entry whose key is not there yet; return when they are kept.

        Raises:
            ValueError: A key has not 32 bytes.
            StoreUnavailableError: The entries may or may not have been kept; putting them again is safe.
        """

    async def discard_many(self, keys: Sequence[bytes]) -> None:
        """Let go of what is kept under some keys, for a holder that knows it to be of no use; return when it is gone.

        Raises:
            ValueError: A key has not 32 bytes.
            StoreUnavailableError: It may or may not be there still.
        """

    async def close(self) -> None:
        """Finish what was started and let go of files and connections. May be called twice."""


def check_keys(keys: Collection[bytes]) -> None:
    """Refuse keys that are not SHA-256 digests, before they reach any format that counts on the length.

    Raises:
        ValueError: A key has not 32 bytes. This is a bug of the caller, so it is no domain error.
    """
    wrong = set(map(len, keys)) - {KEY_BYTES}
    if wrong:
        raise ValueError(f"a store key has {KEY_BYTES} bytes, here are some of {min(wrong)}")
