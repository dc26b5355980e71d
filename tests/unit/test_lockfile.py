"""A lock pins every distribution by version and hash, and says nothing else."""

import pytest

from countermark_service.engine.lockfile import LockError, applicable, read_lock

A, B = "a" * 64, "b" * 64


def test_a_lock_as_uv_writes_it_is_read() -> None:
    lock = f"""\
# written by a tool
Tiny_Fruit==1.0 \\
    --hash=sha256:{A} \\
    --hash=sha256:{B}
    # via something
tiny-root[extra]==2.0.post1 ; python_version >= '3.11'  --hash=sha256:{A}  # a comment
"""
    fruit, root = read_lock(lock.encode())
    assert (fruit.name, str(fruit.version)) == ("tiny-fruit", "1.0")
    assert fruit.hashes == {A, B}
    assert str(root) == "tiny-root==2.0.post1"
    assert str(root.marker) == 'python_version >= "3.11"'


@pytest.mark.parametrize(
    "lock", [b"", b"\n\n", b"# nothing\n   # at all", b"# lines\r\n# of another system\r\n"]
)
def test_a_lock_of_comments_is_empty(lock: bytes) -> None:
    assert read_lock(lock) == ()


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("fruit==1.0", "has no `--hash=sha256:...`"),
        (f"fruit>=1.0 --hash=sha256:{A}", "one exact version"),
        (f"fruit==1.* --hash=sha256:{A}", "one exact version"),
        (f"fruit==1.0,!=1.1 --hash=sha256:{A}", "one exact version"),
        (f"fruit --hash=sha256:{A}", "one exact version"),
        (f"fruit @ https://example.org/fruit-1.0-py3-none-any.whl --hash=sha256:{A}", "one exact version"),
        (f"fruit==1.0 --hash=md5:{A[:32]}", "64 lowercase hex digits"),
        (f"fruit==1.0 --hash=sha256:{A.upper()}", "64 lowercase hex digits"),
        (f"fruit==1.0 --hash=sha256:{A} --no-binary fruit", "is an option"),
        ("--index-url https://example.org/simple", "is an option"),
        ("-e ./fruit", "is an option"),
        ("-r other.txt", "is an option"),
        (f"./fruit-1.0-py3-none-any.whl --hash=sha256:{A}", "is no requirement"),
        (f"fruit==1.0 ; python == 3 --hash=sha256:{A}", "is no requirement"),
    ],
)
def test_a_line_that_pins_nothing_is_refused_with_its_number(line: str, problem: str) -> None:
    with pytest.raises(LockError) as caught:
        read_lock(f"# first\n{line}\n".encode(), file="fruit/1.0/requirements.lock")
    assert str(caught.value).startswith("fruit/1.0/requirements.lock, line 2: ")
    assert problem in str(caught.value)
    assert (caught.value.code, caught.value.line) == ("invalid_lock", 2)


def test_bytes_that_are_no_text_are_refused() -> None:
    with pytest.raises(LockError, match="not UTF-8"):
        read_lock(b"fruit==1.0\xff")


def test_a_continuation_at_the_end_of_the_file_is_read() -> None:
    [fruit] = read_lock(f"fruit==1.0 \\\n --hash=sha256:{A} \\".encode())
    assert str(fruit) == "fruit==1.0"


def test_markers_are_those_of_the_interpreter_that_is_asked_for() -> None:
    """The service may run on another Python than the bundle."""
    lock = f"""\
always==1.0 --hash=sha256:{A}
backport==1.0 ; python_version < "3.12" --hash=sha256:{A}
patched==1.0 ; python_full_version >= "3.12.4" --hash=sha256:{A}
elsewhere==1.0 ; sys_platform == "win32" --hash=sha256:{A}
optional==1.0 ; extra == "more" --hash=sha256:{A}
other==1.0 ; implementation_name == "pypy" --hash=sha256:{A}
"""
    requirements = read_lock(lock.encode())
    assert [r.name for r in applicable(requirements, "3.11.2")] == ["always", "backport"]
    assert [r.name for r in applicable(requirements, "3.12.10")] == ["always", "patched"]
