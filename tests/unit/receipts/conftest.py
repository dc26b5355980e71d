"""A verifier, a batch with every outcome, and whoever issues receipts of it; time stands where a test puts it."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from countermark_service.bundles import Bundle
from countermark_service.model import Item, Outcome, Verdict
from countermark_service.receipts import Issuer, Keyring, Ledger, ReleaseMark
from tests.support import make_bundle

NOON = 1_795_867_200.0
"""2026-11-28T12:00:00Z."""
DAY = 86_400.0


class Clock:
    """Seconds since the epoch, as a test sets them."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> float:
        return self.now


@dataclass
class Desk:
    """Everything that issues receipts in one folder."""

    folder: Path
    bundle: Bundle
    clock: Clock

    def __post_init__(self) -> None:
        self.keyring = Keyring(self.folder / "signing", now=self.clock)
        self.ledger = Ledger(self.folder / "receipts.sqlite")
        self.issuer = Issuer(self.keyring, self.ledger, version="0.1.0", now=self.clock)

    def issue(self, items: list[Item], verdicts: list[Verdict], release: ReleaseMark | None = None) -> bytes:
        """Return the receipt of a batch."""
        identity = self.bundle.digest_bytes
        return self.issuer.issue(self.bundle, identity, items, verdicts, release=release).json


SURROUNDINGS = b'{"python":"3.11.7","containment":"namespaces"}'
VERDICTS = [
    Verdict.made(Outcome.SCORED, 1.0, b'{"answer": "4", "weight": 0.50}', SURROUNDINGS),
    Verdict.made(Outcome.SCORED, 0.25, b"{}", SURROUNDINGS),
    Verdict.made(Outcome.NO_ANSWER, 0.0, b"{}", b'{"python":"3.11.7","containment":"landlock"}'),
    Verdict.failure(Outcome.BAD_REFERENCE, "bad_reference", "not a number"),
    Verdict.failure(Outcome.TIMEOUT, "cpu_seconds", "2 s of CPU time"),
    Verdict.failure(Outcome.ERROR, "crashed", "exit code 1"),
    Verdict.failure(Outcome.ABSTAIN, "tie", "1 to 1"),
]
ITEMS = [Item(f"it is {n}\n", "4", {"tolerance": 0.0}, "2 + 2?", n) for n in range(len(VERDICTS))]


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    """A desk with a key that is valid for 100 days."""
    made = Desk(tmp_path / "data", make_bundle(tmp_path / "bundles", "def verify(item): ..."), Clock())
    made.keyring.make(days=100, label="of the tests")
    yield made
    made.ledger.close()
