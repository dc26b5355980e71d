"""A disk that is full: verdicts are given, not kept, and the reply says so."""

import errno
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from countermark_service.engine.snapshot import on_disk
from countermark_service.sandbox.scratch import Scratch
from tests.integration.api.conftest import StartService
from tests.integration.api.parts import ASKING, Caller, item, wait_until
from tests.support import make_bundle


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of two megabytes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(file: Path) -> None:
    """Write to `file` until its disk is full."""
    with file.open("wb", buffering=0) as open_file:
        try:
            while True:
                open_file.write(b"x" * 4096)
        except OSError as exc:
            if exc.errno != errno.ENOSPC:
                raise


def test_a_full_disk_costs_no_verdict_and_writing_goes_on_when_there_is_room(
    small_disk: Path, tmp_path: Path, start_service: StartService
) -> None:
    """On the small disk are the SQLite file and the code of verifiers that start later."""
    data = tmp_path / "data"
    data.mkdir()
    (small_disk / "snapshots").mkdir()
    for name in ("verdicts.sqlite", "snapshots"):
        (data / name).symlink_to(small_disk / name)
    with Caller(start_service(data)) as caller:
        caller.verdicts([item(f"before {n}") for n in range(10)])
        wait_until(
            lambda: caller.metric("countermark_store_events_total", event="written") >= 10, "it is written"
        )
        assert (small_disk / "verdicts.sqlite").stat().st_size > 0

        filler = small_disk / "filler"
        fill(filler)
        full = [item(f"{'x' * 1000} while full {n} {'right' if n % 2 else 'wrong'}") for n in range(500)]
        assert [one["score"] for one in caller.verdicts(full)] == [float(n % 2) for n in range(500)]
        wait_until(lambda: caller.http.get("/readyz").json()["status"] == "degraded", "it is noticed")
        health = caller.http.get("/readyz").json()["store"]
        assert health["degraded"] == "store_not_writable"
        assert "disk is full" in health["problem"]
        body = caller.score([item("one more")]).json()
        assert (body["verdicts"][0]["outcome"], body["degraded"]) == ("scored", ["store_not_writable"])
        found = caller.score([item("before 1"), item("one more")]).json()
        assert [one["cached"] for one in found["verdicts"]] == [True, True]

        filler.unlink()
        assert caller.verdicts([item("right", prompt="right")], verifier=ASKING)[0]["score"] == 1.0
        wait_until(lambda: caller.http.get("/readyz").json()["status"] == "ready", "writing goes on")
        assert "degraded" not in caller.score([item("after")]).json()


def test_a_verifier_starts_on_a_full_disk_where_there_is_room_for_temporary_files(
    small_disk: Path, tmp_path: Path, start_service: StartService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing but a copy of its code and a scratch is needed when its environment is built."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.setenv("TMPDIR", str(elsewhere))
    service = start_service(small_disk)
    with Caller(service) as caller:
        filler = small_disk / "filler"
        fill(filler)
        asked = [item("right", prompt=prompt) for prompt in ("right", "wrong")]
        assert [one["score"] for one in caller.verdicts(asked, verifier=ASKING)] == [1.0, 0.0]
        assert list((small_disk / "snapshots").glob("[!.]*")) == []
        filler.unlink()
    service.stop()
    assert list(elsewhere.iterdir()) == []


def test_where_no_disk_has_room_the_data_folders_is_named(
    small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = make_bundle(small_disk, "def verify(item): ...")
    monkeypatch.setattr("tempfile.tempdir", str(small_disk))
    fill(small_disk / "filler")
    before = set(small_disk.iterdir())
    full = f"No space left on device: '{small_disk}/data'"
    with (
        Scratch(small_disk / "data" / "scratch") as scratch,
        Scratch() as spare,
        pytest.raises(OSError, match=full),
    ):
        on_disk(bundle, small_disk / "data", scratch, spare)
    assert set(small_disk.iterdir()) - before == {small_disk / "data"}
