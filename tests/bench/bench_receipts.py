"""A receipt for 4,096 distinct verdicts: everything that a request pays for it, against what the batch costs.

"made" is `Issuer.issue`, the ledger's write included. "asked for" is the CPU time of a whole service for a
batch of 4,096 stored verdicts with a receipt, beside the same batch without one. Both are CPU milliseconds.
"""

import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import httpx

from countermark_service.model import Item, Outcome, Verdict
from countermark_service.receipts import Issuer, Keyring, KeySet, Ledger, check, read
from countermark_service.registry import Registry, bundle_roots
from tests.bench.measure import cpu_seconds, interleaved, report
from tests.support import ServiceProcess

ITEMS = 4096
REQUESTS = 5
REF = "gsm8k-answer:1.0.0"
SURROUNDINGS = b'{"python":"3.11.7","platform":"linux-x86_64","containment":"namespaces"}'


def made(folder: Path) -> Callable[[], float]:
    """Return a measure of one receipt."""
    bundle = Registry(bundle_roots()).resolve(REF)
    keyring = Keyring(folder / "signing")
    keyring.make()
    issuer = Issuer(keyring, Ledger(folder / "receipts.sqlite"), version="bench")
    items = [Item(f"The answer is {n}", str(n % 7)) for n in range(ITEMS)]
    verdicts = [
        Verdict.made(
            Outcome.SCORED,
            float(n % 7 == 0),
            b'{"answer": "%d", "by": "value", "weight": 0.5}' % n,
            SURROUNDINGS,
        )
        for n in range(ITEMS)
    ]
    issuer.issue(bundle, bundle.digest_bytes, items[:1], verdicts[:1])  # loads what it needs

    def measure() -> float:
        before = time.process_time()
        for _ in range(REQUESTS):
            issuer.issue(bundle, bundle.digest_bytes, items, verdicts)
        return (time.process_time() - before) / REQUESTS * 1e3

    return measure


def asked_for(client: httpx.Client, service: ServiceProcess, *, receipt: bool) -> Callable[[], float]:
    """Return a measure of one request."""
    items = [{"response": f"The answer is {n}", "reference": f"{n % 7}"} for n in range(ITEMS)]
    body = json.dumps({"verifier": REF, "items": items, "receipt": receipt}, separators=(",", ":")).encode()

    def measure() -> float:
        before = cpu_seconds(service.process.pid)
        for _ in range(REQUESTS):
            answer = client.post(
                f"{service.url}/v1/score", content=body, headers={"content-type": "application/json"}
            )
            if answer.status_code != 200:
                raise SystemExit(answer.text)
        return (cpu_seconds(service.process.pid) - before) / REQUESTS * 1e3

    return measure


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as temporary, httpx.Client(timeout=120) as client:
        folder = Path(temporary)
        keyring = Keyring(folder / "service" / "signing")
        keyring.make()
        service = ServiceProcess(folder / "service").start()
        try:
            plain, signed = (asked_for(client, service, receipt=wanted) for wanted in (False, True))
            plain()
            alone, without, with_receipt = interleaved([made(folder / "alone"), plain, signed])
            report(
                "a receipt of 4,096 verdicts, made",
                alone,
                "CPU ms",
                without,
                "batch without",
                goal="<= 20 ms",
            )
            report(
                "a batch of 4,096 with a receipt, asked for", with_receipt, "CPU ms", without, "batch without",
                goal="<= 20 ms more",
            )  # fmt: skip
            check_cost(client, service, keyring.public())
        finally:
            service.stop()


def check_cost(client: httpx.Client, service: ServiceProcess, keys: KeySet) -> None:
    """Print what checking a whole reply costs."""
    items = [{"response": f"The answer is {n}", "reference": f"{n % 7}"} for n in range(ITEMS)]
    reply = client.post(
        f"{service.url}/v1/score", json={"verifier": REF, "items": items, "receipt": True}
    ).content

    def checking() -> float:
        before = time.process_time()
        check(read(reply), keys)
        return (time.process_time() - before) * 1e3

    def reading() -> float:
        before = time.process_time()
        json.loads(reply)
        return (time.process_time() - before) * 1e3

    cost, parse = interleaved([checking, reading])
    report("a reply of 4,096 verdicts, checked", cost, "CPU ms", parse, "json.loads of it", goal="-")


if __name__ == "__main__":
    main()
