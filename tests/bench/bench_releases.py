"""What naming a release costs, and what the possibility costs who names a verifier.

Prints microseconds of CPU time for what happens to a request of 256 items before it is
scored (read, resolved, its parameters joined), and for the look at advisories: the
median of some rounds, each beside its baseline from the same minute.

    python tests/bench/bench_releases.py
"""

import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from countermark_service.api.bodies import asked_of, decode_batch
from countermark_service.registry import AdvisoryBook, Registry, append_advisory, make_advisory
from countermark_service.releases import ReleaseBook, release_of
from countermark_service.scoring import Scorer
from countermark_service.store import MemoryStore, TieredStore
from tests.bench.measure import interleaved, report
from tests.cards import EXACT, NUMERIC, full_card
from tests.support import REPOSITORY

CALLS = 200
ITEMS = [{"id": n, "response": f"so it is {n}, I think" * 20, "reference": str(n)} for n in range(256)]


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        advisories = Path(folder) / "advisories.toml"
        other = "other:1.0@sha256:" + "1" * 64
        append_advisory(
            advisories, make_advisory(other, "warning", "slow", subject="verifier", date="2026-11-28")
        )
        book = ReleaseBook(Path(folder) / "releases")
        book.register(release_of(full_card()))
        scorer = Scorer(
            Registry([REPOSITORY / "verifiers"]),
            {},
            TieredStore(MemoryStore()),
            releases=book,
            advisories=AdvisoryBook([advisories]),
        )
        bundle = scorer.resolve(NUMERIC)
        plain = json.dumps({"verifier": EXACT, "items": ITEMS}).encode()

        def requested(**head: str) -> Callable[[], object]:
            body = json.dumps({**head, "items": ITEMS}).encode()

            def call() -> object:
                batch = decode_batch(body)
                return scorer.asked(**asked_of(batch)).items(batch.items)

            return call

        verifier, words, sums, read, heed = interleaved(
            [
                microseconds(requested(verifier=EXACT)),
                microseconds(requested(release="tests/full:1.0", task="words")),
                microseconds(requested(release="tests/full:1.0", task="sums")),
                microseconds(lambda: scorer.resolve(str(decode_batch(plain).verifier))),
                microseconds(lambda: scorer.heed(bundle)),
            ]
        )
    report("a request by verifier", verifier, "us", read, "read and resolved", goal="<= 1.05")
    report("the same by release and task", words, "us", verifier, "by verifier", goal="<= 1.1")
    report(
        "... with parameters of the card for every item", sums, "us", verifier, "by verifier", goal="<= 1.5"
    )
    report("a look at the advisories", heed, "us", verifier, "by verifier", goal="<= 0.01")


def microseconds(call: Callable[[], object]) -> Callable[[], float]:
    """Return what measures one call."""

    def measure() -> float:
        started = time.process_time()
        for _ in range(CALLS):
            call()
        return (time.process_time() - started) / CALLS * 1e6

    return measure


if __name__ == "__main__":
    main()
