"""What a test would skip where a context manager took an exception, by the shape of the block."""

import asyncio
from types import TracebackType
from typing import Any

import pytest

from countermark_service.sandbox.code.inside.skipped import skips_assertions


class Manager:
    """Takes everything, and keeps what it is told that this skips."""

    skipped: bool | None = None

    def __enter__(self) -> "Manager":
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: TracebackType | None) -> bool:
        if error is not None and trace is not None:
            self.skipped = skips_assertions(error, trace)
        return True

    async def __aenter__(self) -> "Manager":
        return self

    async def __aexit__(self, kind: Any, error: BaseException | None, trace: TracebackType | None) -> bool:
        return self.__exit__(kind, error, trace)


def fails() -> None:
    raise KeyError


def holds(value: object) -> None:
    assert value == 3


class Case:
    """Has an assertion as a method, as unittest does."""

    def assertEqual(self, one: object, other: object) -> None:  # noqa: N802 - that is what it looks for
        assert one == other


BLOCKS = {
    "assert m is None": True,
    "fails(); assert m": True,
    "assert fails() == 3, 'x'": True,
    "assert 3 == 4, f'{m}'": True,
    "holds(2)": True,
    "Case().assertEqual(1, 2)": True,
    "Case().assertEqual(fails(), 2)": True,
    "Case().assertEqual(\n            fails(),\n            2)": True,
    "fails(); Case().assertEqual(1, 1)": True,
    "for i in range(2):\n            assert i == 0": True,
    "try:\n            fails()\n        except ValueError: pass\n        assert m": True,
    "with open('/dev/null') as f:\n            fails()\n            assert f": True,
    "x = [fails() for _ in range(3)]\n        assert x": True,
    "fails()": False,
    "raise ValueError": False,
    "assert False": False,
    "raise AssertionError": False,
    "raise AssertionError('x')": False,
    "assert m; fails()": False,
    "fails(); assert False, 'never reached'": False,
    "try:\n            fails()\n        finally:\n            x = 1": False,
}


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("word", ["", "async "], ids=["plain", "async"])
def test_an_exception_skips_the_assertions_that_are_left_in_its_block(block: str, word: str) -> None:
    manager = Manager()
    names: dict[str, Any] = {"manager": manager, "fails": fails, "holds": holds, "Case": Case}
    exec(f"{word}def test():\n    {word}with manager as m:\n        {block}\n    assert 1 == 1\n", names)
    made = names["test"]()
    if word:
        asyncio.run(made)
    assert manager.skipped is BLOCKS[block]
