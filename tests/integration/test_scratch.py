"""What processes leave behind when they are killed, and what of it goes."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from countermark_service.sandbox.code.inside import kernel
from countermark_service.sandbox.scratch import Scratch, remove_left_behind
from tests.integration.api.parts import Caller, item, service_environment, wait_until, write_subjects
from tests.support import ServiceProcess

HOLDER = """
import sys
from pathlib import Path
from countermark_service.sandbox.scratch import Scratch
scratch = Scratch(Path(sys.argv[1]))
folder = scratch.new("held")
(folder / "file").write_text("here")
print(folder, flush=True)
sys.stdin.read()
"""
"""Holds a folder until its standard input ends, and closes nothing then."""
COMER = """
import sys
from pathlib import Path
from countermark_service.sandbox.scratch import Scratch
for _ in range(100):
    scratch = Scratch(Path(sys.argv[1]))
    files = [scratch.new("one") / "file" for _ in range(2)]
    for file in files:
        file.write_text("here")
    assert [file.read_text() for file in files] == ["here"] * 2
    if "forget" in sys.argv:
        scratch._let_go()  # as its end would
    else:
        scratch.close()
"""
"""Comes and goes a hundred times; what it was given must stay for as long as it is there."""
LEFT = "countermark-scratch-0123456789abcdef"


def started(program: str, *arguments: object) -> subprocess.Popen[str]:
    """Start a Python program."""
    return subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


def holder(place: Path) -> tuple[subprocess.Popen[str], Path]:
    """Start a process that holds a folder in `place`; return both."""
    process = started(HOLDER, place)
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def end(process: subprocess.Popen[str]) -> None:
    """Kill a process."""
    process.kill()
    process.communicate()


@pytest.fixture
def left(tmp_path: Path) -> Path:
    """A folder that a killed process has left."""
    process, folder = holder(tmp_path)
    end(process)
    assert (folder / "file").exists()
    return folder


def test_the_next_to_come_removes_what_a_killed_process_left_and_nothing_of_one_that_lives(
    tmp_path: Path, left: Path
) -> None:
    living, folder = holder(tmp_path)
    try:
        assert not left.parent.exists()
        with Scratch(tmp_path) as scratch:
            scratch.new("mine")
            assert len(list(tmp_path.iterdir())) == 2
        assert list(tmp_path.iterdir()) == [folder.parent]
        assert (folder / "file").read_text() == "here"
    finally:
        end(living)
    remove_left_behind(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_folders_that_nobody_can_walk_go_too(tmp_path: Path, left: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "file").touch()
    (left / "link").symlink_to(kept)
    (left / "dangling").symlink_to(left / "nothing")
    (left / "locked" / "inner").mkdir(parents=True)
    (left / "locked").chmod(0)
    deep = os.open(left, os.O_RDONLY)
    for _ in range(3000):  # deeper than Python recurses and than paths go
        os.mkdir("d", dir_fd=deep)
        inner = os.open("d", os.O_RDONLY, dir_fd=deep)
        os.close(deep)
        deep = inner
    os.close(deep)

    remove_left_behind(tmp_path)
    assert list(tmp_path.iterdir()) == [kept]
    assert (kept / "file").exists()


def test_what_only_looks_like_it_stays(tmp_path: Path) -> None:
    """Anybody may put anything into a /tmp."""
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "lock").touch()
    (kept / "file").touch()
    place = tmp_path / "place"
    place.mkdir()
    names = [f"{LEFT[:-1]}{digit}" for digit in "0123456789"]
    (place / names[0]).symlink_to(kept)
    (place / names[1]).write_text("a file")
    os.mkfifo(place / names[2])
    (place / names[3]).mkdir()
    (place / names[3] / "no lock in it").touch()
    for number, lock in ((4, "link"), (5, "folder"), (6, "pipe")):
        folder = place / names[number]
        folder.mkdir()
        (folder / "file").touch()
        if lock == "link":
            (folder / "lock").symlink_to(kept / "lock")
        elif lock == "folder":
            (folder / "lock").mkdir()
    for name in ("countermark-data", "countermark-scratch-mine", f"{LEFT}0", f"x{LEFT}"):
        (place / name).mkdir()
        (place / name / "lock").touch()
    before = sorted(place.iterdir())

    remove_left_behind(place)
    assert sorted(place.iterdir()) == before
    assert (kept / "file").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to another user")
def test_another_users_folder_stays(tmp_path: Path, left: Path) -> None:
    os.chown(left.parent, 65534, 65534)
    remove_left_behind(tmp_path)
    assert (left / "file").exists()


def test_a_place_that_is_not_there_or_no_folder_holds_nothing_to_remove(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    remove_left_behind(tmp_path / "nowhere")
    remove_left_behind(tmp_path / "file")
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]


def test_whoever_tidies_up_old_temporary_files_stops_nobody(tmp_path: Path) -> None:
    with Scratch(tmp_path / "place") as scratch:
        first = scratch.new("first")
        subprocess.run(["rm", "-r", tmp_path / "place"], check=True)
        second = scratch.new("second")
        assert second.is_dir()
        assert second.parent != first.parent
    assert list((tmp_path / "place").iterdir()) == []


def test_a_forked_process_removes_nothing_of_its_parents(tmp_path: Path) -> None:
    with Scratch(tmp_path) as scratch:
        folder = scratch.new("mine")
        child = os.fork()
        if child == 0:
            scratch.close()
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        assert folder.is_dir()
        remove_left_behind(tmp_path)
        assert folder.is_dir()
    assert list(tmp_path.iterdir()) == []


def test_many_come_and_go_at_once_and_none_loses_what_it_was_given(tmp_path: Path) -> None:
    processes = [started(COMER, tmp_path, *(["forget"] if n % 2 else [])) for n in range(6)]
    assert [process.communicate()[0] for process in processes] == [""] * 6
    assert [process.returncode for process in processes] == [0] * 6
    remove_left_behind(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def temporary() -> Iterator[Path]:
    """A folder of temporary files that candidates may go through; pytest's own is closed to their user."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.mark.skipif(
    kernel.landlock_abi() < kernel.LANDLOCK_SCOPED_ABI, reason="the kernel's Landlock has no scopes"
)
def test_the_next_service_removes_what_a_killed_one_left_beside_one_that_goes_on(
    tmp_path: Path, temporary: Path, shared_root: Path
) -> None:
    """At level `landlock`, where candidates' scratches are folders among the temporary files."""
    bundles = write_subjects(tmp_path / "bundles")
    data = tmp_path / "data"
    data.mkdir()
    (shared_root / "environments").mkdir(exist_ok=True)
    (data / "environments").symlink_to(shared_root / "environments")
    settings = service_environment(bundles, sandbox_best="landlock", sandbox_level="landlock")
    services = [ServiceProcess(data, {**settings, "TMPDIR": str(temporary)}) for _ in range(3)]
    places = (temporary, data / "scratch")

    def use(caller: Caller, text: str) -> None:
        ran = caller.post(
            {"language": "python", "code": f"open('x', 'w').write('x')\nprint({text!r})"}, path="/v1/run"
        )
        assert ran.json()["stdout"] == f"{text}\n", ran.text
        assert [one["score"] for one in caller.verdicts([item(f"{text} right"), item(text)])] == [1.0, 0.0]

    def folders() -> set[Path]:
        return {folder for place in places for folder in place.iterdir()}

    living, killed, fresh = services
    try:
        with Caller(living.start()) as caller:
            use(caller, "before")
            of_the_living = folders()
            with Caller(killed.start()) as other, ThreadPoolExecutor(1) as together:
                use(other, "once")
                lost = together.submit(other.score, [item(f"work 10 lost {n}") for n in range(500)])
                wait_until(lambda: other.metric("countermark_slots_busy") == 2, "a batch is under way")
                left = folders() - of_the_living
                killed.stop(signal.SIGKILL)
                assert lost.exception() is not None
            assert {folder.parent for folder in left} == set(places)
            assert folders() == of_the_living | left

            with Caller(fresh.start()) as other:
                assert folders() == of_the_living
                use(other, "afterwards")
            use(caller, "still")
            assert of_the_living <= folders()
    finally:
        for service in services:
            service.stop()
    assert folders() == set()
