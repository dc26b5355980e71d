"""Two builders, killed builders, full disks and bad wheels leave a whole environment or none."""

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from countermark_service.engine.environment import (
    EnvironmentBuildError,
    EnvironmentCache,
    EnvironmentDiskFullError,
    IndexUnreachableError,
    WheelHashMismatchError,
    WheelUnavailableError,
)
from countermark_service.engine.uv_command import find_uv

Bake = Callable[..., bytes]
PYTHON = f"{sys.version_info[0]}.{sys.version_info[1]}"
BUILDER = """
import json, sys
from pathlib import Path
from countermark_service.engine.environment import EnvironmentBuildError, EnvironmentCache

order = json.loads(sys.argv[1])
cache = EnvironmentCache(Path(order["root"]), wheelhouses=[Path(order["shelf"])], uv=Path(order["uv"]))
print("ready", flush=True)
for lock in order["locks"]:
    try:
        print("built", cache.ensure(lock.encode(), order["python"]).path.name, flush=True)
    except EnvironmentBuildError as exc:
        print("failed", json.dumps([exc.code, str(exc)]), flush=True)
    print("left", json.dumps(sorted(p.name for p in cache.root.iterdir())), flush=True)
"""


def builder(root: Path, shelf: Path, *locks: bytes, uv: Path | None = None) -> list[str]:
    """Return the command of a process that builds `locks` one after the other and tells how it went."""
    order = {
        "root": str(root),
        "shelf": str(shelf),
        "uv": str(uv or find_uv()),
        "locks": [lock.decode() for lock in locks],
        "python": PYTHON,
    }
    return [sys.executable, "-c", BUILDER, json.dumps(order)]


def told(output: str, word: str) -> list[str]:
    """Return what a builder said after `word`, line by line."""
    return [line.partition(" ")[2] for line in output.splitlines() if line.startswith(word + " ")]


def remains(root: Path) -> list[str]:
    """Return what is below `root` besides lock files, which stay."""
    return sorted(path.name for path in root.iterdir() if path.suffix != ".lock")


@dataclass
class Gate:
    """The real uv behind a door: it tells when it is to install, and waits until the door is opened."""

    uv: Path
    calls: Path
    reached: Path
    opened: Path

    def wait(self) -> int:
        """Wait until uv stands at the door; returns its process group."""
        return int(self.reached.read_text())

    def open(self) -> None:
        """Let uv through."""
        self.opened.write_text("go\n")


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    """A closed door in front of `uv pip sync`."""
    door = Gate(*(tmp_path / name for name in ("uv", "calls", "reached", "opened")))
    os.mkfifo(door.reached)
    os.mkfifo(door.opened)
    door.uv.write_text(
        f"#!/bin/sh\n"
        f'echo "$$ $1 $2" >> {door.calls}\n'
        f'if [ "$1 $2" = "pip sync" ]; then echo $$ > {door.reached}; read line < {door.opened}; fi\n'
        f'exec {find_uv()} "$@"\n'
    )
    door.uv.chmod(0o755)
    yield door
    for line in door.calls.read_text().splitlines():  # nobody opens the door to one that still waits
        group = line.split()[0]
        with contextlib.suppress(FileNotFoundError):
            if str(door.uv) in Path(f"/proc/{group}/cmdline").read_text():
                os.killpg(int(group), signal.SIGKILL)


@contextlib.contextmanager
def started(command: list[str]) -> Iterator[subprocess.Popen[str]]:
    """Run a builder; whatever is left of it at the end is killed."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def test_of_two_builders_one_builds_and_both_get_it(root: Path, shelf: Path, bake: Bake, gate: Gate) -> None:
    lock = bake(shelf, "tinyfruit")
    command = builder(root, shelf, lock, uv=gate.uv)
    with started(command) as first, started(command) as second:
        gate.wait()  # one is half way, and the other has nobody to wait for but it
        for process in (first, second):
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        gate.open()
        outputs = [process.communicate(timeout=300)[0] for process in (first, second)]
    key = EnvironmentCache(root).key(lock, PYTHON)
    assert [told(output, "built") for output in outputs] == [[key], [key]]
    assert gate.calls.read_text().count(" pip sync\n") == 1
    assert remains(root) == [key]


def test_a_killed_builder_leaves_nothing_that_is_found_and_the_next_one_waits_for_its_uv(
    root: Path, shelf: Path, bake: Bake, gate: Gate
) -> None:
    lock = bake(shelf, "tinyfruit")
    cache = EnvironmentCache(root, wheelhouses=[shelf])
    with started(builder(root, shelf, lock, uv=gate.uv)) as process:
        gate.wait()
        process.kill()
        process.wait()
    assert cache.find(lock, PYTHON) is None
    assert [name.startswith(".building-") for name in remains(root)] == [True]
    hasty = EnvironmentCache(root, wheelhouses=[shelf], build_seconds=0.2)
    with pytest.raises(EnvironmentBuildError, match="another process has been building it"):
        hasty.ensure(lock, PYTHON)

    gate.open()

    environment = cache.ensure(lock, PYTHON)
    assert remains(root) == [environment.key]


def ends(group: int) -> bool:
    """Wait until no process of a group is left; False where one stays. Who reaps them is not us."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.02)
    return False


def test_after_a_builder_and_its_uv_were_killed_the_next_one_sweeps_and_builds(
    root: Path, shelf: Path, bake: Bake, gate: Gate
) -> None:
    lock, other = bake(shelf, "tinyfruit"), bake(shelf, "tinyroot")
    cache = EnvironmentCache(root, wheelhouses=[shelf])
    with started(builder(root, shelf, lock, uv=gate.uv)) as process:
        group = gate.wait()
        process.kill()
        process.wait()
        os.killpg(group, signal.SIGKILL)
    assert ends(group)
    left = remains(root)
    assert [name.startswith(".building-") for name in left] == [True]

    built = cache.ensure(other, PYTHON)  # another environment: its builder sweeps too
    assert remains(root) == [built.key]
    assert cache.ensure(lock, PYTHON).key in remains(root)


def test_a_folder_whose_builder_lives_is_not_swept(root: Path, shelf: Path, bake: Bake) -> None:
    cache = EnvironmentCache(root, wheelhouses=[shelf])
    root.mkdir()
    busy = f".building-{'a' * 64}-1234"
    (root / busy).mkdir()
    with (root / f"{'a' * 64}.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        first = cache.ensure(bake(shelf, "tinyfruit"), PYTHON)
        assert remains(root) == sorted([busy, first.key])
    second = cache.ensure(bake(shelf, "tinyroot"), PYTHON)
    assert remains(root) == sorted([first.key, second.key])


def test_an_interrupted_builder_takes_its_uv_and_its_folder_with_it(
    root: Path, shelf: Path, bake: Bake, gate: Gate
) -> None:
    lock = bake(shelf, "tinyfruit")
    with started(builder(root, shelf, lock, uv=gate.uv)) as process:
        group = gate.wait()
        process.send_signal(signal.SIGINT)
        process.wait()
    assert remains(root) == []
    assert ends(group)


def test_a_build_that_takes_too_long_is_stopped(root: Path, shelf: Path, bake: Bake, gate: Gate) -> None:
    reader = os.open(gate.reached, os.O_RDWR)  # so that uv does not wait for us but at the door
    cache = EnvironmentCache(root, wheelhouses=[shelf], uv=gate.uv, build_seconds=1.0)
    with pytest.raises(EnvironmentBuildError, match="was stopped because it took too long"):
        cache.ensure(bake(shelf, "tinyfruit"), PYTHON)
    os.close(reader)
    assert remains(root) == []


def test_a_tampered_wheel_is_refused_with_both_hashes(root: Path, shelf: Path, bake: Bake) -> None:
    lock = bake(shelf, "tinyfruit")
    wheel = next(shelf.iterdir())
    expected = hashlib.sha256(wheel.read_bytes()).hexdigest()
    with zipfile.ZipFile(wheel, "a") as archive:
        archive.writestr("surprise.py", "import os\n")
    computed = hashlib.sha256(wheel.read_bytes()).hexdigest()

    with pytest.raises(WheelHashMismatchError, match=r"^fruit:1\.0: a wheel of tinyfruit==1\.0") as caught:
        EnvironmentCache(root, wheelhouses=[shelf]).ensure(lock, PYTHON, label="fruit:1.0")

    error = caught.value
    assert error.code == "wheel_hash_mismatch"
    assert (error.expected, error.computed) == ([f"sha256:{expected}"], f"sha256:{computed}")
    assert f"expected sha256:{expected}, computed sha256:{computed}" in str(error)
    assert remains(root) == []


def test_a_file_that_is_not_what_its_wheel_recorded_is_refused(root: Path, shelf: Path, bake: Bake) -> None:
    """What a damaged cache of uv looks like: the hash of the wheel was right once, a file is not now."""
    lock = bake(shelf, "tinyfruit", record_says={"tinyfruit.py": b"something else"})
    with pytest.raises(
        EnvironmentBuildError, match=r"tinyfruit\.py of tinyfruit-1\.0\.dist-info is not the file"
    ):
        EnvironmentCache(root, wheelhouses=[shelf]).ensure(lock, PYTHON)
    assert remains(root) == []


def test_a_missing_wheel_is_named_offline(root: Path, shelf: Path, bake: Bake) -> None:
    lock = bake(shelf, "tinyfruit") + b"missingroot==2.0 --hash=sha256:" + b"0" * 64 + b"\n"
    cache = EnvironmentCache(root, wheelhouses=[shelf, shelf / "none"], offline=True)
    with pytest.raises(WheelUnavailableError, match=r"no wheel of missingroot==2\.0") as caught:
        cache.ensure(lock, PYTHON)
    assert caught.value.requirement == "missingroot==2.0"
    assert "Traceback" not in str(caught.value)
    assert remains(root) == []


def test_a_source_distribution_is_no_wheel(root: Path, shelf: Path) -> None:
    source = shelf / "tinyfruit-1.0.tar.gz"
    source.write_bytes(b"never opened")
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    cache = EnvironmentCache(root, wheelhouses=[shelf], offline=True)
    with pytest.raises(WheelUnavailableError, match=r"tinyfruit==1\.0"):
        cache.ensure(f"tinyfruit==1.0 --hash=sha256:{digest}\n".encode(), PYTHON)


def test_an_index_that_does_not_answer_is_said_to(root: Path, shelf: Path) -> None:
    lock = b"missingroot==2.0 --hash=sha256:" + b"0" * 64 + b"\n"
    with pytest.raises(IndexUnreachableError, match="the index does not answer") as caught:
        EnvironmentCache(root, wheelhouses=[shelf]).ensure(lock, PYTHON)
    assert caught.value.code == "index_unreachable"
    assert "127.0.0.1:9" in str(caught.value), "the words of uv name what did not answer"
    assert remains(root) == []


def in_own_mounts(root: Path, mount: str, command: list[str]) -> subprocess.CompletedProcess[str]:
    """Run `command` where `mount` has changed what `root` is; skips where mounts are not allowed."""
    probe = ["unshare", "--user", "--map-root-user", "--mount"]
    try:
        allowed = subprocess.run([*probe, "true"], capture_output=True).returncode == 0
    except FileNotFoundError:
        allowed = False
    if not allowed:
        pytest.skip("this machine gives no user namespace to mount in")
    script = f'{mount} && shift && exec "$@"'
    return subprocess.run(
        [*probe, "sh", "-ec", script, "sh", str(root), *command], capture_output=True, text=True, check=True
    )


def test_a_full_disk_leaves_nothing_and_room_for_something_smaller(
    root: Path, shelf: Path, bake: Bake
) -> None:
    big = bake(shelf, "tinyfruit", files={"seeds.bin": bytes(2 << 20)})
    small = bake(shelf, "tinyroot")
    root.mkdir()
    ended = in_own_mounts(root, 'mount -t tmpfs -o size=1m tmpfs "$1"', builder(root, shelf, big, small))
    code, message = json.loads(told(ended.stdout, "failed")[0])
    assert code == EnvironmentDiskFullError.code
    assert os.strerror(errno.ENOSPC) in message
    cache = EnvironmentCache(root)
    left = [set(json.loads(line)) for line in told(ended.stdout, "left")]
    locks = [f"{cache.key(big, PYTHON)}.lock", f"{cache.key(small, PYTHON)}.lock"]
    assert left == [{locks[0]}, {*locks, cache.key(small, PYTHON)}]


def test_a_disk_that_is_full_of_byte_code_leaves_nothing(root: Path, shelf: Path, bake: Bake) -> None:
    source = b"".join(b"def f%d(): return %d\n" % (n, n) for n in range(3000))  # 70 KB, 5 times that compiled
    lock = bake(shelf, "tinyfruit", files={f"orchard/tree{n}.py": source for n in range(4)})
    root.mkdir()
    ended = in_own_mounts(root, 'mount -t tmpfs -o size=800k tmpfs "$1"', builder(root, shelf, lock))
    code, message = json.loads(told(ended.stdout, "failed")[0])
    assert code == EnvironmentDiskFullError.code
    assert "Errno 28" in message
    assert told(ended.stdout, "left") == [json.dumps([f"{EnvironmentCache(root).key(lock, PYTHON)}.lock"])]


def test_a_limit_on_file_sizes_leaves_nothing(root: Path, shelf: Path, bake: Bake) -> None:
    """Needs no rights: the kernel ends a program that writes past the limit, or fails its write."""
    lock = bake(shelf, "tinyfruit", files={"seeds.bin": bytes(4 << 20)})
    limited = ["sh", "-c", 'ulimit -f 4096 && exec "$@"', "sh"]  # blocks of 512 bytes
    ended = subprocess.run([*limited, *builder(root, shelf, lock)], capture_output=True, text=True)
    code, _ = json.loads(told(ended.stdout, "failed")[0])
    assert code == EnvironmentDiskFullError.code
    assert remains(root) == []


def test_a_read_only_folder_serves_what_it_has_and_says_why_it_cannot_have_more(
    root: Path, shelf: Path, bake: Bake
) -> None:
    present, absent = bake(shelf, "tinyfruit"), bake(shelf, "tinyroot")
    key = EnvironmentCache(root, wheelhouses=[shelf]).ensure(present, PYTHON).key
    read_only = 'mount --bind "$1" "$1" && mount -o remount,bind,ro "$1"'
    ended = in_own_mounts(root, read_only, builder(root, shelf, present, absent))
    assert told(ended.stdout, "built") == [key]
    code, message = json.loads(told(ended.stdout, "failed")[0])
    assert code == EnvironmentBuildError.code
    assert os.strerror(errno.EROFS) in message
    assert f"The folder {root} must be there and writable" in message


def test_a_file_where_the_folder_should_be_is_an_error_that_names_it(root: Path) -> None:
    root.write_text("")
    with pytest.raises(EnvironmentBuildError, match=str(root)):
        EnvironmentCache(root).ensure(b"", PYTHON)
