"""A work file in which every text of strangers attacks whoever reads the report."""

from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from countermark_service.audit import AuditVerifier, Input, OutputRow, Unusable, WorkFile
from countermark_service.audit.receipt_files import keep_keys
from countermark_service.audit.work_file import NewVerdict, Route, StoredReceipt
from countermark_service.model import BundleRef
from countermark_service.receipts import KeySet, SigningKey
from countermark_service.receipts.keys import KEY_TYPE, KeyValue, named

SCRIPT = "<script>window.attacked = 1</script>"
HANDLER = "<img src=x onerror='window.attacked = 1'><svg onload='window.attacked = 1'><path/></svg>"
CLOSING = "</span></pre></style></title></head></dd></table><iframe srcdoc='<script>1</script>'></iframe>"
LINK = "<a href='javascript:window.attacked = 1'>click</a> [click](javascript:alert(1))"
REMOTE = "<link rel=stylesheet href=//evil.invalid/x.css><img src=http://evil.invalid/p.png>url(http://evil.invalid)"
TEMPLATE = "{{ 7 * 7 }} {% raw %} {# no #} ${7*7} %s {0}"
BIDI = "\u202e39\u202c \u2066x\u2069 \u200f\u061c"
HIDDEN = "\x00\x01\x1b[31m\x7f\u200b\u200b\u200b\ufeff\u00ad\u3164\U000e0041"
PILE = "a" + "\u0301" * 400
LONG = "W" * 4000
ATTACKS = (SCRIPT, HANDLER, CLOSING, LINK, REMOTE, TEMPLATE, BIDI, HIDDEN, PILE, LONG)

ONE = BundleRef("one", "1.0.0", "sha256:" + "1" * 64)
TWO = BundleRef("two-with-a-rather-long-name-for-a-verifier", "2.0.0-rc.1", "sha256:" + "2" * 64)


def make_hostile_work_file(path: Path, rows: int = 240) -> WorkFile:
    """Make a work file with many kinds of disagreement whose texts are `ATTACKS`, one or several each."""
    work = WorkFile.create(path)
    everything = "".join(ATTACKS)
    with work.transaction():
        for file in ("outputs<b>.jsonl", f"x{SCRIPT}{LONG[:300]}.jsonl"):
            work.add_input(Input(file, 10**9, "f" * 64, "jsonl", rows))
        work.set_verifiers([AuditVerifier(ONE, "card"), AuditVerifier(TWO, "asked")])
        work.set_meta(
            "command", ["countermark", "audit", f"--task={SCRIPT}", BIDI, "--verifier", "one:1.0.0"]
        )
        tasks = [f"task {attack[:200]}" for attack in ATTACKS]
        for task in tasks:
            work.add_routes(task, [Route(0, {"x": SCRIPT}, "null"), Route(1, {}, "null")])
        for index in range(rows):
            attack = ATTACKS[index % len(ATTACKS)]
            row = OutputRow(
                index=index, file="outputs<b>.jsonl", line=index + 1, task=tasks[index % len(tasks)],
                variant=attack[:80] if index % 3 == 0 else "", model=f"model {attack[:300]}",
                sample=f"{index // 2} {attack[:100]}", generation=index % 2, prompt=attack + everything,
                response=everything + attack + " \\boxed{7}", reference={"value": attack}, metric=attack[:50],
                published=float(index % 3 == 0), extras={"extracted": attack},
            )  # fmt: skip
            work.add_rows([row])
            work.add_verdicts(_verdicts(index, attack))
        work.add_unusable([Unusable("outputs<b>.jsonl", 1, SCRIPT, everything)])
        work.add_note("outputs<b>.jsonl", 2, HANDLER, everything, 3)
        keys = _keys()
        for number, key in enumerate(keys.keys):
            work.add_receipt(StoredReceipt(number % 2, [number], f"{number:064x}", key, b"{}"))
        keep_keys(work, keys)
        work.set_meta("state", "scored")
    return work


def _keys() -> KeySet:
    """Return keys whose owners call themselves what attacks."""
    times = "2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z"
    made = []
    for attack in ATTACKS:
        keyid, public = named(Ed25519PrivateKey.generate().public_key().public_bytes_raw())
        made.append(SigningKey(keyid, KEY_TYPE, KEY_TYPE, KeyValue(public), *times, label=attack))
    return KeySet.of(made)


def _verdicts(index: int, attack: str) -> list[NewVerdict]:
    """Return two verdicts that disagree, each kind in turn."""
    right = msgspec.json.encode({"answer": ["7", attack], "gold": ["7"]})
    failure = msgspec.json.encode({"code": attack[:60], "message": attack})
    other: tuple[str, float | None, bytes] = {
        0: ("scored", 0.0, msgspec.json.encode({"answer": ["7"], "gold": ["7"]})),
        1: ("scored", 0.0, msgspec.json.encode({"answer": [attack[::-1]]})),
        2: ("no_answer", 0.0, failure),
        3: ("timeout", None, failure),
        4: ("error", None, failure),
        5: ("bad_reference", None, failure),
        6: ("scored", 0.25, b"{}"),
    }[index % 7]
    surroundings = msgspec.json.encode({"python": SCRIPT, attack[:40]: BIDI})
    return [
        NewVerdict(index, 0, "scored", 1.0, 1.0, False, right, surroundings),
        NewVerdict(index, 1, other[0], other[1], other[1], False, other[2], surroundings),
    ]
