"""Signed batches of audits and of `countermark score`: made here and by a service, killed, and changed afterwards."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path

import pytest

from countermark_service.receipts import Keyring
from tests.integration.cli.conftest import SECONDS, Cli, Ended
from tests.support import ServiceProcess, write_bundle

SUBJECT = '''
"""Takes its time, and crashes where it is told to."""
import os, time

def verify(item):
    time.sleep(0.02)
    if item["response"] == "crash":
        os._exit(3)
    return {"outcome": "scored", "score": float(item["reference"] in item["response"]), "detail": {"ü": 1e21}}
'''
VERIFIER = "subject:1.0.0"

Run = Callable[..., Ended]


@pytest.fixture(scope="module")
def own_bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the verifier of these tests."""
    folder = tmp_path_factory.mktemp("bundles")
    write_bundle(folder, SUBJECT)
    return folder


@pytest.fixture(scope="module")
def auditor(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder of an auditor who has a signing key."""
    folder = tmp_path_factory.mktemp("auditor")
    (data / "environments").mkdir(exist_ok=True)
    (folder / "environments").symlink_to(data / "environments")
    Keyring(folder / "signing").make(label="the auditor")
    return folder


@pytest.fixture(scope="module")
def settings(variables: dict[str, str], auditor: Path, own_bundles: Path) -> dict[str, str]:
    """The environment of the auditor's commands."""
    return {**variables, "COUNTERMARK_DATA": str(auditor), "COUNTERMARK_BUNDLES": str(own_bundles)}


@pytest.fixture(scope="module")
def unsigned(
    data: Path, own_bundles: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServiceProcess]:
    """A service in another data folder, which has no signing key."""
    folder = tmp_path_factory.mktemp("service")
    (data / "environments").mkdir(exist_ok=True)
    (folder / "environments").symlink_to(data / "environments")
    process = ServiceProcess(folder, {"COUNTERMARK_BUNDLES": str(own_bundles)}).start()
    yield process
    process.stop()


@pytest.fixture
def signing(unsigned: ServiceProcess) -> Iterator[ServiceProcess]:
    """The service with a signing key, for as long as a test runs."""
    Keyring(unsigned.data / "signing").make(label="the <b>service</b>")
    yield unsigned
    shutil.rmtree(unsigned.data / "signing")


@pytest.fixture
def run(cli: Cli, settings: dict[str, str]) -> Run:
    """Run `countermark` as the auditor."""

    def command(*arguments: str | Path, env: Mapping[str, str] | None = None) -> Ended:
        return cli(*arguments, env={**settings, **(env or {})})

    return command


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty published outputs, every other one right."""
    return write_outputs(tmp_path_factory.mktemp("outputs") / "rows.jsonl", 20)


@pytest.fixture(scope="module")
def made(outputs: Path, settings: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a signed audit, which is only read."""
    folder = tmp_path_factory.mktemp("made") / "a"
    done = subprocess.run(
        [sys.executable, "-m", "countermark_service", *map(str, audit(outputs, out=folder))],
        env=settings, capture_output=True, text=True, timeout=SECONDS, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder


def write_outputs(path: Path, count: int, word: str = "so") -> Path:
    records = [
        {"id": n, "response": f"{word} it is {n + n % 2} — ✓", "reference": str(n), "score": 1.0}
        for n in range(count)
    ]
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def audit(*arguments: str | Path, out: str | Path = "a", batch: int = 8) -> list[str | Path]:
    return ["audit", *arguments, "--verifier", VERIFIER, "--out", out, "--batch", str(batch), "--receipts"]


def receipts_in(folder: Path) -> list[Path]:
    return sorted((folder / "receipts").iterdir())


def signed_rows(folder: Path) -> list[int]:
    """The rows that the receipts of an audit are over."""
    return sorted(row for file in receipts_in(folder) for row in json.loads(file.read_text())["rows"])


def test_every_verdict_of_an_audit_is_under_a_receipt_that_holds_offline(
    run: Run, outputs: Path, tmp_path: Path
) -> None:
    ended = run(*audit(outputs, "--verifier", "exact:1.0.0", "--no-report"))

    assert ended.code == 0, ended.err
    folder = tmp_path / "a"
    names = [path.name.rsplit(".", 2)[0] for path in receipts_in(folder)]
    assert names == [
        f"rows-{span}.{verifier}-1.0.0"
        for span in ("0000000-0000007", "0000008-0000015", "0000016-0000019")
        for verifier in ("exact", "subject")
    ]
    assert signed_rows(folder) == sorted([*range(20), *range(20)])
    own = run("receipt", "verify", *receipts_in(folder))
    assert own.code == 0, own.err
    assert "6 of 6 receipts hold." in own.out
    stranger = {"COUNTERMARK_DATA": str(tmp_path / "nobody")}
    there = ("receipt", "verify", folder / "receipts", "--json")
    told = run(*there, "--keys", folder / "receipt-keys.json", env=stranger)
    assert told.code == 0, told.err
    said = told.json
    assert said["valid"] is True
    assert sum(one["verdicts"] for one in said["receipts"]) == 40
    assert run(*there, env=stranger).code == 1, "who has no key has no proof"


def test_the_document_and_the_report_say_how_many_whose_key_and_how_to_check(
    run: Run, made: Path, auditor: Path
) -> None:
    document = json.loads((made / "audit.json").read_text())

    listed = document["receipts"]
    assert [made / one["path"] for one in listed] == receipts_in(made)
    assert [one["verdicts"] for one in listed] == [8, 8, 4]
    key = Keyring(auditor / "signing").signer().keyid
    assert document["receipt_keys"] == [{"key": key, "label": "the auditor", "receipts": 3}]
    checked = json.loads(run("receipt", "verify", made / "receipts", "--json").out)["receipts"]
    for one, held in zip(listed, checked, strict=True):
        (subject,) = held["statement"]["subject"]
        assert (held["key"], subject["digest"]["rfc6962Sha256"]) == (one["key"], one["root"])
        assert held["statement"]["predicate"]["verifier"]["ref"] == one["verifier"]
    assert not any("no signed receipt" in note for note in document["notes"])
    report = (made / "report.html").read_text()
    assert "3 signed statements over 20 verdicts" in report
    assert f"{key}</span>, which calls itself the auditor, signed 3" in report
    assert "countermark receipt verify receipts --keys receipt-keys.json" in report


def test_a_signed_verdict_is_the_one_in_the_file_of_verdicts(run: Run, made: Path, tmp_path: Path) -> None:
    verdicts = [json.loads(line) for line in (made / "verdicts.jsonl").read_text().splitlines()]
    signed = json.loads(receipts_in(made)[1].read_text())
    signed["verdicts"] = [verdicts[row]["verdicts"][0] for row in signed["rows"]]
    same, other = tmp_path / "same.json", tmp_path / "other.json"
    same.write_text(json.dumps(signed))
    signed["verdicts"][3]["score"] = 1.0 - signed["verdicts"][3]["score"]
    other.write_text(json.dumps(signed))

    said = json.loads(run("receipt", "verify", same, other, "--json").out)["receipts"]

    assert said[0]["verdicts_checked"] is True
    assert said[1]["code"] == "verdicts_differ"
    assert "verdict 3 " in said[1]["detail"]


def test_a_receipt_is_found_by_the_digest_of_its_verifier(run: Run, made: Path) -> None:
    found = json.loads(run("registry", "who-uses", VERIFIER, "--json").out)["receipts"]

    roots = {one["root"] for one in json.loads((made / "audit.json").read_text())["receipts"]}
    assert len(roots) == 3
    assert roots <= {one["root"] for one in found}


def test_without_a_signing_key_nothing_is_read_or_scored(run: Run, outputs: Path, tmp_path: Path) -> None:
    ended = run(*audit(outputs), "--data", tmp_path / "keyless")

    assert ended.code == 1
    assert "countermark keys new" in ended.err
    assert "Traceback" not in ended.err
    assert not (tmp_path / "a/audit.sqlite").exists()


def test_a_server_without_a_signing_key_is_refused_before_anything_is_read(
    run: Run, outputs: Path, tmp_path: Path, unsigned: ServiceProcess
) -> None:
    ended = run(*audit(outputs, "--server", unsigned.url))

    assert ended.code == 1
    assert f"no receipt can be signed at {unsigned.url}" in ended.err
    assert "countermark keys new" in ended.err
    assert not (tmp_path / "a/audit.sqlite").exists()


def test_a_server_whose_keys_are_all_retired_scores_nothing(
    run: Run, outputs: Path, tmp_path: Path, signing: ServiceProcess
) -> None:
    ring = Keyring(signing.data / "signing")
    ring.retire(ring.signer().keyid)

    ended = run(*audit(outputs, "--server", signing.url))

    assert ended.code == 1
    assert "countermark keys rotate" in ended.err
    with closing(sqlite3.connect(tmp_path / "a/audit.sqlite")) as work:
        assert work.execute("SELECT (SELECT count(*) FROM verdicts), (SELECT count(*) FROM receipts)").fetchone() == (
            0, 0,
        )  # fmt: skip


def test_a_service_signs_what_it_scores_and_its_keys_are_kept_beside(
    run: Run, outputs: Path, tmp_path: Path, signing: ServiceProcess
) -> None:
    ended = run(*audit(outputs, "--server", signing.url))

    assert ended.code == 0, ended.err
    folder = tmp_path / "a"
    assert signed_rows(folder) == list(range(20))
    ours = run("receipt", "verify", *receipts_in(folder))
    assert ours.code == 1, "the auditor's own key did not sign"
    assert "unknown_signing_key" in ours.err
    theirs = run("receipt", "verify", *receipts_in(folder), "--keys", folder / "receipt-keys.json")
    assert theirs.code == 0, theirs.err
    assert (
        "which calls itself the &lt;b&gt;service&lt;/b&gt;, signed 3" in (folder / "report.html").read_text()
    )
    ledger = run("registry", "who-uses", VERIFIER, "--json", "--data", signing.data)
    roots = {one["root"] for one in json.loads(ledger.out)["receipts"]}
    assert {one["root"] for one in json.loads((folder / "audit.json").read_text())["receipts"]} <= roots


@pytest.mark.parametrize("where", ["here", "there"])
def test_a_killed_audit_goes_on_and_signs_every_verdict_once(
    run: Run, tmp_path: Path, settings: dict[str, str], signing: ServiceProcess, where: str
) -> None:
    file = write_outputs(tmp_path / "rows.jsonl", 120, word=where)  # nothing that the other case has judged
    server = ["--server", signing.url] if where == "there" else []
    command = [*map(str, audit(file, *server, out=tmp_path / "a")), "--no-report"]
    work = tmp_path / "a" / "audit.sqlite"
    process = subprocess.Popen(
        [sys.executable, "-m", "countermark_service", *command], env=settings,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    deadline = time.monotonic() + SECONDS
    while len(kept(work)[0]) < 24:
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait(SECONDS)
    before, before_signed = kept(work)
    assert len(before) < 120, "it was stopped in the middle"
    assert before == before_signed, "no verdict without its receipt, and no receipt without its verdicts"
    if where == "there":
        Keyring(signing.data / "signing").rotate()

    ended = run(*command)

    assert ended.code == 0, ended.err
    assert signed_rows(tmp_path / "a") == list(range(120))
    checked = run(
        "receipt", "verify", tmp_path / "a/receipts", "--keys", tmp_path / "a/receipt-keys.json", "--json"
    )
    assert checked.code == 0, checked.out
    assert len({one["key"] for one in checked.json["receipts"]}) == (2 if server else 1)


def kept(work: Path) -> tuple[list[int], list[int]]:
    """Rows that have a verdict in a work file, and rows that its receipts are over."""
    if not work.exists():
        return [], []
    with closing(sqlite3.connect(f"file:{work}?mode=ro", uri=True)) as connection:
        try:
            verdicts, receipts = connection.execute(
                "SELECT (SELECT json_group_array(row) FROM verdicts),"
                " (SELECT json_group_array(json(rows)) FROM receipts)"
            ).fetchone()
        except sqlite3.OperationalError:
            return [], []  # its tables are being made
    return sorted(json.loads(verdicts)), sorted(row for rows in json.loads(receipts) for row in rows)


def test_files_that_were_changed_do_not_hold_and_the_audit_writes_its_own_again(
    run: Run, outputs: Path, made: Path, tmp_path: Path
) -> None:
    shutil.copytree(made, tmp_path / "a")
    first, second, third = receipts_in(tmp_path / "a")
    whole = [file.read_bytes() for file in (first, second, third)]
    leaf = json.loads(whole[0])["receipt"]["leaves"][0]
    first.write_bytes(whole[0].replace(leaf["item"].encode(), b"sha256:" + b"0" * 64, 1))
    second.write_bytes(whole[1][:-100])

    changed = run("receipt", "verify", first, second, third, "--json")
    plain = run("receipt", "verify", tmp_path / "a/receipts")
    again = run(*audit(outputs, "--no-report"))

    assert (changed.code, plain.code) == (1, 1)
    assert changed.json["valid"] is False
    assert [one.get("code") for one in changed.json["receipts"]] == ["wrong_proof", "invalid_receipt", None]
    assert "1 of 3 receipts hold." in plain.out
    assert "(wrong_proof)" in plain.err
    assert "(invalid_receipt)" in plain.err
    assert again.code == 0, again.err
    assert [file.read_bytes() for file in (first, second, third)] == whole


def test_what_is_scored_again_is_signed_again(run: Run, outputs: Path, tmp_path: Path) -> None:
    text = outputs.read_text().splitlines()[:10]
    text[7:9] = [json.dumps({"id": n, "response": "crash", "reference": "1", "score": 1.0}) for n in (7, 8)]
    file = tmp_path / "rows.jsonl"
    file.write_text("\n".join(text) + "\n")
    arguments = audit(file, "--no-report", batch=1)
    run(*arguments)
    before = {path.name for path in receipts_in(tmp_path / "a")}

    again = run(*arguments, "--retry-failed")

    assert "2 verdicts without a score are made again" in again.err
    assert signed_rows(tmp_path / "a") == list(range(10)), "a receipt goes with the last of its verdicts"
    assert len({path.name for path in receipts_in(tmp_path / "a")} & before) >= 8
    held = run("receipt", "verify", tmp_path / "a/receipts", "--json")
    assert held.code == 0, held.out
    failed = [one["statement"]["predicate"]["failed"] for one in held.json["receipts"]]
    assert sum(failed) == 2, "failures are signed as failures"


def test_signed_and_unsigned_verdicts_do_not_mix(run: Run, outputs: Path, made: Path, tmp_path: Path) -> None:
    shutil.copytree(made, tmp_path / "a")
    without = [word for word in audit(outputs) if word != "--receipts"]

    ended = run(*without)

    assert ended.code == 1
    assert "receipts: there signed, here nothing" in ended.err


def test_items_are_held_against_one_receipt_only(run: Run, outputs: Path, made: Path, tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()

    several = run("receipt", "verify", made / "receipts", "--items", outputs)
    none = run("receipt", "verify", tmp_path / "none")

    assert several.code == 2
    assert "not with 3" in several.err
    assert none.code == 1
    assert "has no receipt" in none.err


@pytest.mark.parametrize("where", ["here", "there"])
def test_rows_that_are_only_scored_can_be_signed_too(
    run: Run, outputs: Path, tmp_path: Path, signing: ServiceProcess, where: str
) -> None:
    server = ["--server", signing.url] if where == "there" else []
    arguments = ("score", outputs, "--verifier", VERIFIER, "--batch", "8", "--receipts", "r", *server)

    ended = run(*arguments)

    assert ended.code == 0, ended.err
    signed = [json.loads(file.read_text()) for file in sorted((tmp_path / "r").iterdir())]
    assert [line for one in signed for line in one["lines"]] == list(range(1, 21))
    assert [line["line"] for line in ended.lines] == list(range(1, 21))
    keys = ["--data", str(signing.data)] if where == "there" else []
    held = run("receipt", "verify", tmp_path / "r", *keys, "--json")
    assert held.code == 0, held.out
    assert sum(one["verdicts"] for one in held.json["receipts"]) == 20


def test_rows_are_not_scored_where_no_receipt_can_be_signed_or_written(
    run: Run, outputs: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    arguments = ("score", outputs, "--verifier", VERIFIER, "--receipts")

    keyless = run(*arguments, "r", "--data", tmp_path / "keyless")
    blocked = run(*arguments, "file/r")

    assert (keyless.code, blocked.code) == (1, 1)
    assert (keyless.out, blocked.out) == ("", "")
    assert "countermark keys new" in keyless.err
    assert "file/r cannot be written" in blocked.err
