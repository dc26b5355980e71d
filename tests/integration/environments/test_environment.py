"""An environment is what its lock says, is built once, and is not taken for whole when it is not."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from countermark_service.engine.environment import Environment, EnvironmentCache, WheelHashMismatchError
from countermark_service.engine.lockfile import LockError

Bake = Callable[..., bytes]
PYTHON = f"{sys.version_info[0]}.{sys.version_info[1]}"
NO_UV = Path("/nonexistent/uv")
WHAT_IT_HOLDS = """
import importlib.metadata, json, sys
print(json.dumps({
    "prefix": sys.prefix,
    "base_prefix": sys.base_prefix,
    "distributions": {d.name: d.version for d in importlib.metadata.distributions()},
}))
"""


def said_by(environment: Environment, code: str) -> str:
    """Run `code` as a worker would be run; return what it prints."""
    command = [str(environment.python), "-I", "-B", "-c", code]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_a_lock_becomes_an_environment_with_its_distributions_and_no_others(
    root: Path, shelf: Path, bake: Bake
) -> None:
    lock = bake(shelf, "tinyfruit", "1.0") + bake(shelf, "tinyroot", "2.5.1")
    cache = EnvironmentCache(root, wheelhouses=[shelf])
    assert cache.find(lock, PYTHON) is None

    environment = cache.ensure(lock, PYTHON, label="fruit:1.0")

    holds = json.loads(said_by(environment, WHAT_IT_HOLDS))
    assert holds["distributions"] == {"tinyfruit": "1.0", "tinyroot": "2.5.1"}
    assert holds["prefix"] == str(environment.path)
    assert Path(holds["base_prefix"]).resolve() == environment.base_prefix
    version = said_by(environment, "import platform; print(platform.python_version())")
    assert version == environment.python_version
    assert said_by(environment, "import tinyfruit; print(tinyfruit.__file__)") == str(
        environment.site_packages[0] / "tinyfruit.py"
    )
    assert environment.key == cache.key(lock, PYTHON)
    assert cache.find(lock, PYTHON) == environment
    assert cache.damage(environment) is None
    assert not list(root.glob(".building-*"))


def test_nothing_in_an_environment_names_the_folder_that_it_was_built_in(
    root: Path, shelf: Path, bake: Bake
) -> None:
    files = {
        "tinyfruit-1.0.dist-info/entry_points.txt": b"[console_scripts]\ntinyfruit = tinytool:main\n",
        "tinytool.py": b"def main(): print('ripe')\n",
    }
    environment = EnvironmentCache(root, wheelhouses=[shelf]).ensure(
        bake(shelf, "tinyfruit", files=files), PYTHON
    )
    inside = [path for path in environment.path.rglob("*") if path.is_file() and not path.is_symlink()]
    assert [path for path in inside if b".building-" in path.read_bytes()] == []
    script = str(environment.path / "bin" / "tinyfruit")
    assert subprocess.run([script], capture_output=True, text=True, check=True).stdout == "ripe\n"


def test_a_lock_of_comments_is_an_environment_with_nothing_in_it(root: Path) -> None:
    environment = EnvironmentCache(root).ensure(b"# needs the standard library only\n", PYTHON)
    assert json.loads(said_by(environment, WHAT_IT_HOLDS))["distributions"] == {}


def test_what_a_marker_excludes_is_not_missed(root: Path, shelf: Path, bake: Bake) -> None:
    lock = bake(shelf, "tinyfruit") + (
        b'elsewhere==3.0 ; sys_platform == "win32" --hash=sha256:' + b"0" * 64 + b"\n"
    )
    environment = EnvironmentCache(root, wheelhouses=[shelf]).ensure(lock, PYTHON)
    assert json.loads(said_by(environment, WHAT_IT_HOLDS))["distributions"] == {"tinyfruit": "1.0"}


def test_two_versions_of_one_library_stand_side_by_side(root: Path, shelf: Path, bake: Bake) -> None:
    cache = EnvironmentCache(root, wheelhouses=[shelf])
    old = cache.ensure(bake(shelf, "tinyfruit", "1.0"), PYTHON)
    new = cache.ensure(bake(shelf, "tinyfruit", "2.0"), PYTHON)
    show = "import tinyfruit; print(tinyfruit.VERSION)"
    assert (said_by(old, show), said_by(new, show)) == ("1.0", "2.0")


def test_the_key_is_made_of_every_byte_of_the_lock_and_of_the_minor_version(root: Path) -> None:
    cache = EnvironmentCache(root)
    keys = {cache.key(b"", "3.11"), cache.key(b"\n", "3.11"), cache.key(b"", "3.12")}
    assert len(keys) == 3
    assert cache.key(b"", "3.11") == EnvironmentCache(root / "elsewhere").key(b"", "3.11")


def test_what_is_built_is_found_by_another_process_without_uv(root: Path, shelf: Path, bake: Bake) -> None:
    lock = bake(shelf, "tinyfruit")
    built = EnvironmentCache(root, wheelhouses=[shelf]).ensure(lock, PYTHON)
    assert EnvironmentCache(root, uv=NO_UV).ensure(lock, PYTHON) == built


def test_a_lock_without_hashes_is_refused_before_anything_is_made(root: Path) -> None:
    with pytest.raises(LockError, match=r"fruit:1\.0, line 1: 'tinyfruit==1\.0' has no"):
        EnvironmentCache(root).ensure(b"tinyfruit==1.0\n", PYTHON, label="fruit:1.0")
    assert not root.exists()


def test_settings_of_the_user_have_no_say(
    root: Path, shelf: Path, bake: Bake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = tmp_path / "wrong.txt"
    wrong.write_text("tinyfruit==7.0\n")
    (tmp_path / "uv.toml").write_text("no-index = true\n[pip]\nno-binary = [':all:']\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("UV_CONSTRAINT", str(wrong))
    monkeypatch.setenv("UV_NO_VERIFY_HASHES", "1")
    monkeypatch.setenv("VIRTUAL_ENV", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    cache = EnvironmentCache(root, wheelhouses=[shelf])
    lock = bake(shelf, "tinyfruit")

    environment = cache.ensure(lock, PYTHON)
    assert said_by(environment, "import tinyfruit; print(tinyfruit.VERSION)") == "1.0"
    with pytest.raises(WheelHashMismatchError):
        cache.ensure(lock.replace(lock[-9:-1], b"00000000"), PYTHON)


def test_byte_code_is_there_for_all_but_tests_and_is_checked_by_hash(
    root: Path, shelf: Path, bake: Bake
) -> None:
    files = {
        "orchard/__init__.py": b"",
        "orchard/tests/test_it.py": b"",
        "orchard/template.py": b"{{ name }} =\n",
    }
    environment = EnvironmentCache(root, wheelhouses=[shelf]).ensure(
        bake(shelf, "tinyfruit", files=files), PYTHON
    )
    packages = environment.site_packages[0]
    compiled = {p.relative_to(packages).as_posix().split(".")[0] for p in packages.rglob("*.pyc")}
    assert compiled == {"__pycache__/tinyfruit", "orchard/__pycache__/__init__"}
    flags = next(packages.glob("__pycache__/tinyfruit.*.pyc")).read_bytes()[4:8]
    assert int.from_bytes(flags, "little") == 0b11  # PEP 552: by hash, and checked
    where = said_by(environment, "import tinyfruit; print(tinyfruit.__cached__)")
    assert where.startswith(str(packages))


def test_no_code_of_a_wheel_runs_while_its_environment_is_built(
    root: Path, shelf: Path, bake: Bake, tmp_path: Path
) -> None:
    trace = tmp_path / "it-ran"
    files = {"at_start.pth": f"import pathlib; pathlib.Path({str(trace)!r}).touch()\n".encode()}
    cache = EnvironmentCache(root, wheelhouses=[shelf])
    environment = cache.ensure(bake(shelf, "tinyfruit", files=files), PYTHON)
    assert not trace.exists()
    said_by(environment, "pass")
    assert trace.exists(), "the file would not have run anywhere, so the line above proves nothing"


def delete(environment: Environment) -> None:
    (environment.site_packages[0] / "tinyfruit.py").unlink()


def cut_short(environment: Environment) -> None:
    os.truncate(environment.site_packages[0] / "tinyfruit.py", 3)


def edit(environment: Environment) -> None:
    file = environment.site_packages[0] / "tinyfruit.py"
    file.write_text(file.read_text().replace("1.0", "6.6"))


def add(environment: Environment) -> None:
    (environment.site_packages[0] / "sitecustomize.py").write_text("import os\n")


def replace_link(environment: Environment) -> None:
    environment.python.unlink()
    environment.python.symlink_to("/bin/true")


def lose_seal(environment: Environment) -> None:
    (environment.path / "complete.json").unlink()


def blot_seal(environment: Environment) -> None:
    (environment.path / "complete.json").write_text('{"layout": "one"}')


def move_interpreter(environment: Environment) -> None:
    rewrite_seal(environment, executable="/nonexistent/python")


def another_machine(environment: Environment) -> None:
    rewrite_seal(environment, platform="linux-riscv64-musl")


def rewrite_seal(environment: Environment, **changes: object) -> None:
    file = environment.path / "complete.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


@pytest.fixture(scope="module")
def pattern(tmp_path_factory: pytest.TempPathFactory, bake: Bake) -> tuple[Path, bytes]:
    """A root with one whole environment, to be copied and not to be touched; and its lock."""
    shelf = tmp_path_factory.mktemp("shelf")
    lock = bake(shelf, "tinyfruit")
    root = tmp_path_factory.mktemp("pattern")
    EnvironmentCache(root, wheelhouses=[shelf]).ensure(lock, PYTHON)
    return root, lock


@pytest.mark.parametrize(
    "damage",
    [delete, cut_short, edit, add, replace_link, lose_seal, blot_seal, move_interpreter, another_machine],
)
def test_a_damaged_environment_is_not_found(
    damage: Callable[[Environment], None], pattern: tuple[Path, bytes], root: Path
) -> None:
    whole, lock = pattern
    shutil.copytree(whole, root, symlinks=True)
    cache = EnvironmentCache(root)
    environment = cache.find(lock, PYTHON)
    assert environment is not None
    damage(environment)
    assert cache.find(lock, PYTHON) is None


def test_a_damaged_environment_is_built_anew(
    root: Path, shelf: Path, bake: Bake, caplog: pytest.LogCaptureFixture
) -> None:
    lock = bake(shelf, "tinyfruit")
    cache = EnvironmentCache(root, wheelhouses=[shelf])
    before = cache.ensure(lock, PYTHON, label="fruit:1.0")
    edit(before)
    add(before)

    after = cache.ensure(lock, PYTHON, label="fruit:1.0")

    assert after == before
    assert said_by(after, "import tinyfruit; print(tinyfruit.VERSION)") == "1.0"
    assert not (after.site_packages[0] / "sitecustomize.py").exists()
    assert "environment of fruit:1.0 is built anew: it has" in caplog.text
    assert not list(root.glob(".damaged-*"))


def test_an_edit_that_hides_its_time_is_seen_by_a_thorough_look(root: Path, shelf: Path, bake: Bake) -> None:
    lock = bake(shelf, "tinyfruit")
    cache = EnvironmentCache(root, wheelhouses=[shelf])
    environment = cache.ensure(lock, PYTHON)
    file = environment.site_packages[0] / "tinyfruit.py"
    stat = file.stat()
    edit(environment)
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert cache.find(lock, PYTHON) == environment
    assert cache.damage(environment) == "the content of its files is not what was sealed"


def test_a_copy_with_other_times_is_whole(root: Path, shelf: Path, bake: Bake, tmp_path: Path) -> None:
    """As in a container image, whose layers keep content and not every time."""
    lock = bake(shelf, "tinyfruit")
    EnvironmentCache(root, wheelhouses=[shelf]).ensure(lock, PYTHON)
    image = tmp_path / "image"
    shutil.copytree(root, image, symlinks=True, copy_function=shutil.copyfile)
    shutil.rmtree(root)
    environment = EnvironmentCache(image, uv=NO_UV).ensure(lock, PYTHON)
    assert environment.path.is_relative_to(image)
    code = "import sys, tinyfruit; print(tinyfruit.VERSION, sys.prefix)"
    assert said_by(environment, code) == f"1.0 {environment.path}"


def test_an_interpreter_that_was_updated_in_place_is_asked_again(root: Path, shelf: Path, bake: Bake) -> None:
    lock = bake(shelf, "tinyfruit")
    cache = EnvironmentCache(root, wheelhouses=[shelf])
    environment = cache.ensure(lock, PYTHON)
    rewrite_seal(environment, python_version=f"{PYTHON}.999", executable_stat=[0, 0])
    assert cache.find(lock, PYTHON) == environment, "the version must be the true one, not the sealed one"


def test_an_edit_in_one_environment_reaches_no_other(
    root: Path, shelf: Path, bake: Bake, tmp_path: Path
) -> None:
    """uv may link files to its cache, and a link would carry the edit into what is built next."""
    lock = bake(shelf, "tinyfruit")
    edit(EnvironmentCache(root, wheelhouses=[shelf]).ensure(lock, PYTHON))
    other = EnvironmentCache(tmp_path / "other", wheelhouses=[shelf]).ensure(lock, PYTHON)
    assert said_by(other, "import tinyfruit; print(tinyfruit.VERSION)") == "1.0"
