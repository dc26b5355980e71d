"""Receipts of real services: asked for, checked there and offline, and not taken from one another."""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from countermark_service.receipts import Keyring, Ledger, ReceiptError
from tests.support import REPOSITORY, ServiceProcess

BODY: dict[str, Any] = {
    "verifier": "numeric:1.0.0",
    "items": [
        {"id": "right", "response": "so it is 4", "reference": "4"},
        {"id": "wrong", "response": [{"role": "assistant", "content": "so it is 5"}], "reference": "4"},
        {"id": "none", "response": "I do not know", "reference": "4", "prompt": "2 + 2?"},
        {"id": "failed", "response": "so it is 4", "reference": "four"},
    ],
}


@pytest.fixture(scope="module")
def services(shared_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[ServiceProcess]]:
    """Two services, each with a signing key of its own."""
    (shared_root / "environments").mkdir(exist_ok=True)
    started = []
    for name in ("one", "two"):
        data = tmp_path_factory.mktemp(name)
        (data / "environments").symlink_to(shared_root / "environments")
        Keyring(data / "signing").make(label=name)
        started.append(ServiceProcess(data).start())
    yield started
    for service in started:
        service.stop()


def score(service: ServiceProcess, **more: Any) -> dict[str, Any]:
    answer = httpx.post(f"{service.url}/v1/score", json={**BODY, "receipt": True, **more}, timeout=120)
    assert answer.status_code == 200, answer.text
    reply: dict[str, Any] = answer.json()
    return reply


def verify(service: ServiceProcess, **body: Any) -> dict[str, Any]:
    answer = httpx.post(f"{service.url}/v1/receipts/verify", json=body, timeout=300)
    assert answer.status_code == 200, answer.text
    finding: dict[str, Any] = answer.json()
    return finding


def offline(*arguments: str | Path, data: Path) -> "subprocess.CompletedProcess[str]":
    """Run `countermark receipt` in a data folder that knows no service and no key."""
    return subprocess.run(
        [sys.executable, "-m", "countermark_service", "receipt", *map(str, arguments), "--data", str(data)],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


def test_a_reply_has_a_receipt_only_where_it_was_asked_for(services: list[ServiceProcess]) -> None:
    for wanted in ({}, {"receipt": False}):
        answer = httpx.post(f"{services[0].url}/v1/score", json={**BODY, **wanted}, timeout=120).json()
        assert "receipt" not in answer
    reply = score(services[0])
    assert [leaf["outcome"] for leaf in reply["receipt"]["leaves"]] == [
        verdict["outcome"] for verdict in reply["verdicts"]
    ]


def test_the_service_confirms_its_own_receipt_with_items_and_verdicts(services: list[ServiceProcess]) -> None:
    reply = score(services[0])
    finding = verify(services[0], receipt=reply["receipt"], items=BODY["items"], verdicts=reply["verdicts"])
    assert (finding["valid"], finding["items_checked"], finding["verdicts_checked"]) == (True, True, True)
    predicate = finding["statement"]["predicate"]
    assert predicate["verifier"]["ref"] == reply["verifier"]["ref"]
    assert (predicate["items"], predicate["failed"]) == (4, 1)


def test_the_service_says_what_does_not_fit(services: list[ServiceProcess]) -> None:
    reply = score(services[0])
    items = [*BODY["items"][:2], {**BODY["items"][2], "response": "I do know"}, BODY["items"][3]]
    finding = verify(services[0], receipt=reply["receipt"], items=items)
    assert (finding["valid"], finding["code"]) == (False, "items_differ")
    assert "the first is item 2" in finding["detail"]

    reply["verdicts"][3] |= {"outcome": "scored", "score": 0.0}
    finding = verify(services[0], receipt=reply["receipt"], verdicts=reply["verdicts"])
    assert finding["code"] == "verdicts_differ"


def test_what_a_trainer_makes_of_a_failure_does_not_change_what_is_signed(
    services: list[ServiceProcess],
) -> None:
    replies = [score(services[0], on_failure=policy) for policy in ("null", "zero")]
    assert [reply["verdicts"][3]["reward"] for reply in replies] == [None, 0.0]
    leaves = [reply["receipt"]["leaves"] for reply in replies]
    assert leaves[0] == leaves[1]
    assert leaves[0][3]["score"] is None


def test_a_receipt_is_checked_offline_with_published_keys(
    services: list[ServiceProcess], tmp_path: Path
) -> None:
    reply, keys, items, proof = (
        tmp_path / name for name in ("reply.json", "keys.json", "items.jsonl", "one.json")
    )
    reply.write_text(json.dumps(score(services[0])))
    keys.write_bytes(httpx.get(f"{services[0].url}/v1/receipts/keys", timeout=300).content)
    items.write_text("".join(json.dumps(item) + "\n" for item in BODY["items"]))

    done = offline("verify", reply, "--keys", keys, "--items", items, data=tmp_path / "data")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("The receipt holds; the items and verdicts are those that were signed.\n")
    assert "4 (2 scored, 1 no_answer, 1 bad_reference; 1 without a score)" in done.stdout

    drawn = subprocess.run(
        [sys.executable, "-m", "countermark_service", "receipt", "prove", reply, "--index", "3", "--out", proof],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert drawn.returncode == 0, drawn.stderr
    done = offline("verify", proof, "--keys", keys, "--items", items, "--json", data=tmp_path / "data")
    assert (json.loads(done.stdout)["valid"], json.loads(done.stdout)["verdicts"]) == (True, 1)


def test_a_changed_receipt_ends_with_1_and_a_sentence(services: list[ServiceProcess], tmp_path: Path) -> None:
    reply, keys = tmp_path / "reply.json", tmp_path / "keys.json"
    document = score(services[0])
    document["receipt"]["leaves"][1]["score"] = 1
    reply.write_text(json.dumps(document))
    keys.write_bytes(httpx.get(f"{services[0].url}/v1/receipts/keys", timeout=300).content)

    done = offline("verify", reply, "--keys", keys, data=tmp_path / "data")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("countermark: the 4 items here do not lead to the root that was signed")
    done = offline("verify", reply, "--keys", keys, "--json", data=tmp_path / "data")
    assert done.returncode == 1
    assert json.loads(done.stdout)["code"] == "wrong_proof"


def test_one_service_does_not_vouch_for_another(services: list[ServiceProcess], tmp_path: Path) -> None:
    one, two = services
    reply = score(one)
    assert verify(two, receipt=reply["receipt"])["code"] == "unknown_signing_key"

    file = tmp_path / "reply.json"
    file.write_text(json.dumps(reply))
    keys = []
    for service in services:
        keys.append(tmp_path / f"{service.port}.json")
        keys[-1].write_bytes(httpx.get(f"{service.url}/v1/receipts/keys", timeout=300).content)
    assert offline("verify", file, "--keys", keys[1], data=tmp_path / "data").returncode == 1
    assert (
        offline("verify", file, "--keys", keys[1], "--keys", keys[0], data=tmp_path / "data").returncode == 0
    )
    assert verify(one, receipt=reply["receipt"])["valid"]


def test_both_services_give_equal_leaves_to_equal_items(services: list[ServiceProcess]) -> None:
    one, two = (score(service)["receipt"]["leaves"] for service in services)
    assert one == two


def test_a_rotation_is_noticed_by_a_service_that_runs(services: list[ServiceProcess]) -> None:
    service = services[1]
    before = score(service)["receipt"]
    new = Keyring(service.data / "signing").rotate()
    after = score(service)["receipt"]
    assert after["envelope"]["signatures"][0]["keyid"] == new.keyid
    assert verify(service, receipt=before)["valid"]
    assert verify(service, receipt=after)["valid"]


def test_what_was_issued_is_found_by_the_verifiers_digest(services: list[ServiceProcess]) -> None:
    reply = score(services[0])
    with closing(Ledger(services[0].data / "receipts.sqlite")) as ledger:
        issued = ledger.receipts_naming(reply["verifier"]["digest"])
    assert json.loads(issued[-1].envelope) == reply["receipt"]["envelope"]


@pytest.mark.parametrize(
    ("verifier", "asks", "item"),
    [
        (
            "composite/boxed-numeric:1.0.0",
            ["regex:1.0.0", "numeric:1.0.0"],
            {"response": "so \\boxed{4}", "reference": "4"},
        ),
        (
            "python-call:1.0.0",
            [],
            {
                "response": "```python\ndef add(a, b):\n    return a + b\n```",
                "reference": {"entry_point": "add", "tests": [{"args": [1, 2.0], "expected": 3.0}]},
            },
        ),
    ],
)
def test_verifiers_of_every_kind_have_receipts(
    services: list[ServiceProcess], verifier: str, asks: list[str], item: dict[str, Any]
) -> None:
    reply = score(services[0], verifier=verifier, items=[item])
    finding = verify(services[0], receipt=reply["receipt"], items=[item], verdicts=reply["verdicts"])
    assert finding["valid"], finding
    predicate = finding["statement"]["predicate"]
    assert predicate["surroundings"] == [reply["verdicts"][0]["surroundings"]]
    children = [child["ref"].partition("@")[0] for child in predicate["verifier"].get("children", [])]
    assert children == asks


def test_a_release_is_named_in_the_receipts_of_what_was_scored_by_it(services: list[ServiceProcess]) -> None:
    """Its parameters are part of the items; whoever checks them need not know them."""
    pin = httpx.get(f"{services[0].url}/v1/verifiers/numeric:1.0.0", timeout=300).json()["ref"]
    routes = [{"task": "sums", "verifier": pin, "params": {"relative_tolerance": 0.0}}]
    card = {"schema_version": 1, "name": "lab/sums", "version": "1.0", "verifier": {"routes": routes}}
    registered = httpx.post(f"{services[0].url}/v1/releases", json=card, timeout=300)
    assert registered.status_code in (200, 201), registered.text
    body = {"release": "lab/sums:1.0", "task": "sums", "items": BODY["items"], "receipt": True}
    reply = httpx.post(f"{services[0].url}/v1/score", json=body, timeout=300).json()

    finding = verify(services[0], receipt=reply["receipt"], items=BODY["items"], verdicts=reply["verdicts"])
    assert finding["valid"], finding
    named = finding["statement"]["predicate"]["release"]
    assert (named["ref"], named["task"]) == (reply["release"]["ref"], "sums")
    with closing(Ledger(services[0].data / "receipts.sqlite")) as ledger:
        issued = ledger.receipts_naming(reply["release"]["digest"])
    assert [one.items for one in issued] == [4]


def test_without_a_signing_key_a_receipt_is_refused_before_anything_is_scored(
    service: ServiceProcess,
) -> None:
    answer = httpx.post(f"{service.url}/v1/score", json={**BODY, "receipt": True}, timeout=300)
    assert (answer.status_code, answer.json()["code"]) == (409, "no_signing_key")
    assert "countermark keys new" in answer.json()["detail"]
    assert httpx.get(f"{service.url}/v1/receipts/keys", timeout=300).json()["keys"] == []


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"{}", "missing required field `receipt`"),
        (b'{"receipt": 1, "receipt": 2}', "given twice"),
        (b'{"receipt": {}, "item": []}', "unknown field `item`"),
        (b'{"receipt": {}, "items": [{}]}', "missing required field `response`"),
        (b'{"receipt": {}, "verdicts": [{}, 1]}', "field `verdicts[1]`: must be an object"),
        (b"{", "truncated"),
    ],
)
def test_a_request_that_cannot_be_read_is_refused_with_its_place(
    service: ServiceProcess, body: bytes, said: str
) -> None:
    answer = httpx.post(
        f"{service.url}/v1/receipts/verify",
        content=body,
        headers={"Content-Type": "application/json"},
        timeout=300,
    )
    assert answer.status_code == 422
    assert said in answer.json()["detail"]


def test_the_page_on_receipts_runs_as_it_stands(services: list[ServiceProcess], tmp_path: Path) -> None:
    """Its request is sent, its commands are run, in its order; the table has every code there is."""
    page = (REPOSITORY / "service/docs/receipts.md").read_text()
    body = json.loads(re.findall(r"^```json\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)[0])
    answer = httpx.post(f"{services[0].url}/v1/score", json=body, timeout=300)
    (tmp_path / "reply.json").write_bytes(answer.content)
    (tmp_path / "items.jsonl").write_text("".join(json.dumps(item) + "\n" for item in body["items"]))
    commands = [
        line.removeprefix("countermark ") for line in page.splitlines() if line.startswith("countermark ")
    ]
    assert len(commands) == 4
    for command in commands[1:]:  # the first makes a key, which the service has
        done = subprocess.run(
            [sys.executable, "-m", "countermark_service", *shlex.split(command)],
            capture_output=True, text=True, timeout=300, check=False, cwd=tmp_path,
            env={**os.environ, "COUNTERMARK_DATA": str(services[0].data)},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "one.json").exists()
    kinds: list[type[ReceiptError]] = [ReceiptError, *ReceiptError.__subclasses__()]
    for kind in kinds:
        assert f"| `{kind.code}` |" in page
