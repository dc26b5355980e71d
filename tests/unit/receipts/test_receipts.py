"""What a receipt proves, and that it proves nothing once anything about it is otherwise."""

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
import rfc8785
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from countermark_service.model import Item, Outcome, Verdict
from countermark_service.receipts import ReceiptError, ReleaseMark, check, prove, read
from countermark_service.receipts.keys import KeySet
from countermark_service.receipts.statement import ChildMark, Statement, seal
from tests.support import make_bundle
from tests.unit.receipts.conftest import DAY, ITEMS, VERDICTS, Clock, Desk

TEXTS = [verdict.json for verdict in VERDICTS]


@pytest.fixture
def receipt(desk: Desk) -> bytes:
    """The receipt of the batch."""
    return desk.issue(ITEMS, VERDICTS)


def single(receipt: bytes, index: int) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.to_builtins(prove(read(receipt), index))
    return found


def fault(desk: Desk, document: Any, **beside: Any) -> ReceiptError:
    """Return what is wrong with a document."""
    data = document if isinstance(document, bytes) else json.dumps(document).encode()
    with pytest.raises(ReceiptError) as found:
        check(read(data), desk.keyring.public(), **beside)
    return found.value


def test_a_receipt_can_be_checked_with_a_plain_ed25519_library(desk: Desk, receipt: bytes) -> None:
    """Nothing of Countermark's is used: DSSE's line, RFC 8785, RFC 6962's two prefixes, SHA-256."""
    document = json.loads(receipt)
    (key,) = json.loads(desk.keyring.public().encoded())["keys"]
    envelope = document["envelope"]
    payload = base64.b64decode(envelope["payload"])
    kind = envelope["payloadType"].encode()
    signed = b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)
    public = Ed25519PublicKey.from_public_bytes(bytes.fromhex(key["keyval"]["public"]))
    signature = base64.b64decode(envelope["signatures"][0]["sig"])
    public.verify(signature, signed)
    with pytest.raises(InvalidSignature):
        public.verify(signature, signed + b" ")

    statement = json.loads(payload)
    assert payload == rfc8785.dumps(statement)
    level = [hashlib.sha256(b"\x00" + rfc8785.dumps(leaf)).digest() for leaf in document["leaves"]]
    while len(level) > 1:
        pairs = [level[n : n + 2] for n in range(0, len(level), 2)]
        level = [hashlib.sha256(b"\x01" + b"".join(p)).digest() if len(p) == 2 else p[0] for p in pairs]
    assert statement["subject"] == [{"name": "verdicts", "digest": {"rfc6962Sha256": level[0].hex()}}]

    for item, verdict, leaf in zip(ITEMS, VERDICTS, document["leaves"], strict=True):
        form = rfc8785.dumps(json.loads(verdict.json))
        assert leaf["verdict"] == f"sha256:{hashlib.sha256(form).hexdigest()}"
        # Not RFC 8785: a verifier can tell 0.0 from 0, so the item keeps them apart.
        written = json.dumps(
            [item.response, item.reference, item.params, None], separators=(",", ":"), sort_keys=True
        )
        keyed = desk.bundle.digest_bytes + written.encode()
        assert leaf["item"] == f"sha256:{hashlib.sha256(keyed).hexdigest()}"


def test_the_statement_says_who_judged_what_came_out_where_and_when(desk: Desk) -> None:
    release = ReleaseMark("lab/data:1.0", "sha256:" + "5" * 64, "gsm8k", '{"tolerance":0.0}')
    checked = check(read(desk.issue(ITEMS, VERDICTS, release)), desk.keyring.public())
    statement = checked.summary()["statement"]

    assert (statement["_type"], statement["predicateType"]) == (
        "https://in-toto.io/Statement/v1",
        "urn:countermark:predicate:receipt:v1",
    )
    assert statement["predicate"] == {
        "verifier": {
            "ref": str(desk.bundle.ref), "name": "subject", "version": "1.0.0", "digest": desk.bundle.digest,
            "identity": desk.bundle.digest, "uses_prompt": False,
        },
        "items": 7,
        "outcomes": {
            "scored": 2, "no_answer": 1, "bad_reference": 1, "timeout": 1, "error": 1, "abstain": 1,
        },
        "failed": 4,
        "surroundings": [
            {"containment": "landlock", "python": "3.11.7"}, {"containment": "namespaces", "python": "3.11.7"}, {},
        ],
        "service": {"name": "countermark", "version": "0.1.0"},
        "issued": "2026-11-28T12:00:00Z",
        "release": {"ref": "lab/data:1.0", "digest": "sha256:" + "5" * 64, "task": "gsm8k",
            "params": '{"tolerance":0.0}',
        },
    }  # fmt: skip


def test_items_of_a_release_are_held_against_it_without_the_parameters_of_its_card(desk: Desk) -> None:
    """In the signed form 0.0 is 0, in an item it is not: the parameters survive as text."""
    release = ReleaseMark("lab/data:1.0", "sha256:" + "5" * 64, "gsm8k", '{"tolerance":0.0}')
    receipt = desk.issue(ITEMS, VERDICTS, release)
    bare = [msgspec.structs.replace(item, params={}) for item in ITEMS]
    for items in (bare, ITEMS):
        assert check(read(receipt), desk.keyring.public(), items=items).items


def test_a_receipt_discloses_no_text(receipt: bytes) -> None:
    payload = base64.b64decode(json.loads(receipt)["envelope"]["payload"])
    for text in (b"it is", b"2 + 2", b"exit code", b"not a number"):
        assert text not in receipt + payload


def test_a_failure_is_a_failure_in_the_receipt(receipt: bytes) -> None:
    leaves = json.loads(receipt)["leaves"]
    assert [(leaf["outcome"], leaf["score"]) for leaf in leaves[3:]] == [
        ("bad_reference", None), ("timeout", None), ("error", None), ("abstain", None),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("outcome", "score"), [("timeout", 0), ("error", 1), ("scored", None), ("scored", 2)]
)
def test_a_leaf_that_makes_a_failure_a_score_is_no_leaf(
    desk: Desk, receipt: bytes, outcome: str, score: float | None
) -> None:
    document = json.loads(receipt)
    document["leaves"][0] |= {"outcome": outcome, "score": score}
    assert fault(desk, document).code == "invalid_receipt"


def test_an_item_is_written_as_the_page_says(desk: Desk) -> None:
    numbers = [5, 2**60, 100.0, -0.0, 1e15, 1e16, 0.00001, 1e-6, 1.5e300]
    item = Item('"\\/\x01\n\x7f\u2028', {"\U0001f600": 1, "\uffff": 2, "a": numbers}, {}, "2 + 2?", 0)
    leaf = json.loads(desk.issue([item], VERDICTS[:1]))["leaves"][0]
    written = (
        '["\\"\\\\/\\u0001\\n\x7f\u2028",{"a":[5,1152921504606846976,100.0,-0.0,1000000000000000.0,1e16,0.00001,1e-6,1.5e300],'
        '"\uffff":2,"\U0001f600":1},{},null]'
    )
    assert leaf["item"] == f"sha256:{hashlib.sha256(desk.bundle.digest_bytes + written.encode()).hexdigest()}"


def test_items_and_verdicts_can_be_held_against_it(desk: Desk, receipt: bytes) -> None:
    checked = check(read(receipt), desk.keyring.public(), items=ITEMS, verdicts=TEXTS)
    assert (checked.items, checked.verdicts, len(checked.leaves)) == (True, True, 7)


def test_a_whole_reply_is_held_against_its_own_receipt(desk: Desk, receipt: bytes) -> None:
    verdicts = [{"id": 1, "reward": 9, **json.loads(text)} for text in TEXTS]
    reply = {"verifier": {}, "verdicts": verdicts, "stats": {}, "receipt": json.loads(receipt)}
    assert check(read(json.dumps(reply).encode()), desk.keyring.public()).verdicts

    verdicts[4]["score"] = 0.0
    error = fault(desk, reply)
    assert error.code == "verdicts_differ"
    assert "verdict 4 is not the one that was signed" in str(error)


def test_what_a_document_says_of_its_receipt_is_held_against_it(desk: Desk, receipt: bytes) -> None:
    mark = check(read(receipt), desk.keyring.public()).statement.predicate.verifier
    signed = mark.ref
    whole = {"ref": signed, "name": mark.name, "version": mark.version, "digest": mark.digest}
    rows = list(range(len(ITEMS)))
    for right in ({"verifier": signed, "rows": rows}, {"verifier": whole}, {"lines": rows}, {}):
        document = json.dumps({**right, "receipt": json.loads(receipt)}).encode()
        assert check(read(document), desk.keyring.public())
    for wrong, code in (
        ({"verifier": signed[:-1] + "x", "rows": rows}, "verifier_differs"),
        ({"verifier": {"ref": signed.replace("@", "-r2@")}}, "verifier_differs"),
        ({"verifier": {**whole, "digest": f"sha256:{'0' * 64}"}}, "verifier_differs"),
        ({"verifier": {**whole, "name": "another"}}, "verifier_differs"),
        ({"verifier": {**whole, "version": 9}}, "verifier_differs"),
        ({"verifier": signed, "rows": rows[:-1]}, "wrong_proof"),
        ({"verifier": signed, "lines": "all"}, "invalid_receipt"),
        ({"verifier": ["x"]}, "verifier_differs"),
    ):
        assert fault(desk, {**wrong, "receipt": json.loads(receipt)}).code == code, wrong


def test_every_verdict_can_be_proved_alone(desk: Desk, receipt: bytes) -> None:
    for index in range(len(ITEMS)):
        document = json.dumps(single(receipt, index)).encode()
        for items in ([ITEMS[index]], ITEMS):
            checked = check(read(document), desk.keyring.public(), items=items)
            assert (checked.first, checked.leaves[0].outcome) == (index, VERDICTS[index].outcome)


@pytest.mark.parametrize("of", ["batch", "single"])
def test_no_byte_can_be_changed(desk: Desk, receipt: bytes, of: str) -> None:
    """Each byte is changed in two ways, so that every letter, digit, quote and comma is."""
    data = receipt if of == "batch" else json.dumps(single(receipt, 2), separators=(",", ":")).encode()
    keys, accepted = desk.keyring.public(), []
    for place in range(len(data)):
        for flip in (1, 32):
            changed = data[:place] + bytes([data[place] ^ flip]) + data[place + 1 :]
            try:
                check(read(changed), keys)
            except ReceiptError:
                continue
            accepted.append(changed)
    assert accepted == []


def test_a_receipt_that_is_cut_off_is_refused_at_every_length(desk: Desk, receipt: bytes) -> None:
    for length in range(0, len(receipt), 7):
        assert fault(desk, receipt[:length]).code == "invalid_receipt"


def test_the_proof_of_another_verdict_is_refused(desk: Desk, receipt: bytes) -> None:
    mine, other = single(receipt, 2), single(receipt, 5)
    for changed in (
        {**mine, "proof": other["proof"]},
        {**mine, "leaf": other["leaf"]},
        {**mine, "index": 5},
        {**mine, "index": 7},
        {**mine, "proof": []},
    ):
        error = fault(desk, changed)
        assert error.code == "wrong_proof"
        assert "the proof is one of another verdict" in str(error)


def test_the_envelope_of_another_batch_is_refused(desk: Desk, receipt: bytes) -> None:
    other = json.loads(desk.issue(ITEMS[::-1], VERDICTS))
    for document in (json.loads(receipt), single(receipt, 0)):
        assert fault(desk, {**document, "envelope": other["envelope"]}).code == "wrong_proof"


def test_leaves_that_were_taken_away_added_or_swapped_are_noticed(desk: Desk, receipt: bytes) -> None:
    document = json.loads(receipt)
    leaves = document["leaves"]
    for changed, said in (
        (leaves[:-1], "7 items were signed and 6 are here"),
        ([*leaves, leaves[0]], "7 items were signed and 8 are here"),
        ([leaves[1], leaves[0], *leaves[2:]], "one was changed, or their order was"),
    ):
        error = fault(desk, {**document, "leaves": changed})
        assert error.code == "wrong_proof"
        assert said in str(error)


@pytest.mark.parametrize(
    "change", [{"response": "it is 3"}, {"reference": 4}, {"params": {"tolerance": 0}}, {"params": {}}]
)
def test_an_item_that_was_not_scored_is_named(desk: Desk, receipt: bytes, change: dict[str, Any]) -> None:
    items = [*ITEMS[:3], msgspec.structs.replace(ITEMS[3], **change), *ITEMS[4:]]
    error = fault(desk, receipt, items=items)
    assert error.code == "items_differ"
    assert "1 of 7 items are not what was scored, the first is item 3" in str(error)

    assert fault(desk, single(receipt, 3), items=items).code == "items_differ"
    assert fault(desk, receipt, items=ITEMS[1:]).code == "items_differ"


def test_what_is_no_part_of_an_item_may_differ(desk: Desk, receipt: bytes) -> None:
    items = [msgspec.structs.replace(item, prompt="another", id="x") for item in ITEMS]
    assert check(read(receipt), desk.keyring.public(), items=items).items


def test_a_key_of_somebody_else_is_unknown(desk: Desk, receipt: bytes, tmp_path: Path) -> None:
    other = Desk(tmp_path / "other", desk.bundle, Clock())
    other.keyring.make()
    error = fault(other, receipt)
    assert error.code == "unknown_signing_key"
    assert "none of the 1 known ones" in str(error)
    assert check(
        read(receipt),
        KeySet.of([*other.keyring.public().keys.values(), *desk.keyring.public().keys.values()]),
    )


def test_a_signature_of_another_key_under_a_known_name_is_refused(
    desk: Desk, receipt: bytes, tmp_path: Path
) -> None:
    other = Desk(tmp_path / "other", desk.bundle, Clock())
    other.keyring.make()
    document, forged = json.loads(receipt), json.loads(other.issue(ITEMS, VERDICTS))
    other.ledger.close()
    forged["envelope"]["signatures"][0]["keyid"] = document["envelope"]["signatures"][0]["keyid"]
    assert fault(desk, forged).code == "bad_signature"


def test_what_was_signed_after_the_key_expired_does_not_count(desk: Desk, receipt: bytes) -> None:
    signer = desk.keyring.signer()
    statement = check(read(receipt), desk.keyring.public()).statement
    for issued, said in (
        ("2027-03-09T12:00:00Z", "expired at 2027-03-08T12:00:00Z"),
        ("2026-11-28T11:59:59Z", "is valid only from 2026-11-28T12:00:00Z"),
    ):
        predicate = msgspec.structs.replace(statement.predicate, issued=issued)
        envelope = seal(Statement.about(statement.root, predicate), signer)
        document = {**json.loads(receipt), "envelope": msgspec.to_builtins(envelope)}
        error = fault(desk, document)
        assert error.code == "key_not_valid"
        assert said in str(error)


def test_a_receipt_outlives_its_key(desk: Desk, receipt: bytes) -> None:
    desk.clock.now += 10 * DAY
    desk.keyring.rotate()
    later = desk.issue(ITEMS, VERDICTS)
    desk.clock.now += 1000 * DAY
    keys = desk.keyring.public()
    assert check(read(receipt), keys).keyid != check(read(later), keys).keyid


def test_a_compromised_key_takes_its_receipts_back(desk: Desk, receipt: bytes) -> None:
    (keyid,) = desk.keyring.public().keys
    desk.keyring.retire(keyid, compromised=True)
    error = fault(desk, receipt)
    assert error.code == "key_not_valid"
    assert "marked as compromised" in str(error)


def test_counts_that_the_items_do_not_bear_out_are_refused_though_they_are_signed(
    desk: Desk, receipt: bytes
) -> None:
    statement = check(read(receipt), desk.keyring.public()).statement
    miscounts: list[dict[str, Any]] = [{"failed": 0}, {"outcomes": {Outcome.SCORED: 7}}]
    for changes in miscounts:
        predicate = msgspec.structs.replace(statement.predicate, **changes)
        envelope = seal(Statement.about(statement.root, predicate), desk.keyring.signer())
        error = fault(desk, {**json.loads(receipt), "envelope": msgspec.to_builtins(envelope)})
        assert "did not count right" in str(error)


@pytest.mark.parametrize(
    "data", [b"", b"null", b"[]", b"{}", b"\xff", b'{"receipt": 1}', b"[" * 5000, b'{"leaf": 1}']
)
def test_what_is_no_receipt_is_refused_in_a_sentence(desk: Desk, data: bytes) -> None:
    error = fault(desk, data)
    assert error.code == "invalid_receipt"
    assert "this is no receipt" in str(error)


def test_a_statement_of_another_kind_is_not_taken_for_a_receipt(desk: Desk, receipt: bytes) -> None:
    signer = desk.keyring.signer()
    statement = check(read(receipt), desk.keyring.public()).statement
    others: list[dict[str, Any]] = [{"predicate_type": "https://slsa.dev/provenance/v1"}, {"subject": []}]
    for changes in others:
        envelope = seal(msgspec.structs.replace(statement, **changes), signer)
        document = {**json.loads(receipt), "envelope": msgspec.to_builtins(envelope)}
        assert "no receipt that this Countermark can read" in str(fault(desk, document))


def test_an_empty_batch_has_a_receipt(desk: Desk) -> None:
    assert check(read(desk.issue([], [])), desk.keyring.public(), items=[], verdicts=[]).leaves == []


def test_one_of_one_is_proved_by_the_root_itself(desk: Desk) -> None:
    receipt = desk.issue([Item("4", "4")], [Verdict.made(Outcome.SCORED, 1.0, b"{}", b"{}")])
    document = single(receipt, 0)
    assert document["proof"] == []
    assert check(read(json.dumps(document).encode()), desk.keyring.public(), items=[Item("4", "4")])


def test_receipts_are_found_by_the_digests_that_they_name(desk: Desk) -> None:
    release = ReleaseMark("lab/data:1.0", "sha256:" + "5" * 64, "gsm8k", '{"tolerance":0.0}')
    assert desk.ledger.receipts_naming(desk.bundle.digest) == []
    desk.issue(ITEMS, VERDICTS)
    receipt = json.loads(desk.issue(ITEMS[:3], VERDICTS[:3], release))

    plain, released = desk.ledger.receipts_naming(desk.bundle.digest)
    assert (plain.items, plain.failed, plain.release) == (7, 4, None)
    assert desk.ledger.receipts_naming(release.digest) == [released]
    assert (released.items, released.release, released.issued) == (3, "lab/data:1.0", "2026-11-28T12:00:00Z")
    assert json.loads(released.envelope) == receipt["envelope"]
    assert desk.ledger.receipts_naming("sha256:" + "0" * 64) == []


def test_the_receipt_of_a_composite_names_what_it_asks_and_is_found_by_it(desk: Desk, tmp_path: Path) -> None:
    child = make_bundle(tmp_path / "children", "def verify(item): return 1", name="tests/child")
    identity = desk.bundle.digest_bytes

    issued = desk.issuer.issue(desk.bundle, identity, ITEMS, VERDICTS, below=[child])

    checked = check(read(issued.json), desk.keyring.public())
    assert checked.statement.predicate.verifier.children == [ChildMark(str(child.ref), child.digest)]
    (found,) = desk.ledger.receipts_naming(child.digest)
    assert found.root == issued.root
    assert child.digest.encode() in base64.b64decode(json.loads(issued.json)["envelope"]["payload"])


def test_a_receipt_without_children_has_the_bytes_that_it_had_before_they_stood_in_one(desk: Desk) -> None:
    """So receipts that were signed earlier are read by the same rules, and earlier readers read these."""
    receipt = desk.issue(ITEMS, VERDICTS)

    verifier = json.loads(base64.b64decode(json.loads(receipt)["envelope"]["payload"]))["predicate"][
        "verifier"
    ]

    assert set(verifier) == {"ref", "name", "version", "digest", "identity", "uses_prompt"}
    assert check(read(receipt), desk.keyring.public()).statement.predicate.verifier.children == []


def test_a_ledger_that_cannot_be_written_costs_no_receipt(desk: Desk) -> None:
    (desk.folder / "receipts.sqlite").write_bytes(
        b"of another program, and long enough to be told from one of ours"
    )
    identity = desk.bundle.digest_bytes
    issued = desk.issuer.issue(desk.bundle, identity, ITEMS[:1], VERDICTS[:1])
    assert not issued.recorded
    assert check(read(issued.json), desk.keyring.public())
