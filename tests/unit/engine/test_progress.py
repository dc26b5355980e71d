"""What the service reads of a worker's progress while the worker writes it."""

import importlib.util
import mmap
import os
from pathlib import Path
from typing import Any

import pytest

from countermark_service.engine import worker as worker_module
from countermark_service.engine.worker import Worker
from tests.unit.engine.test_worker_pipe import Heard


def harness() -> Any:
    """Return the worker's program as a module; it is started by path otherwise."""
    file = Path(worker_module.__file__).with_name("harness.py")
    spec = importlib.util.spec_from_file_location("countermark_harness", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SECOND = 10**9
MARKS = [
    ((7, 255, 3 * SECOND), (8, 0, 12 * SECOND)),
    ((8, 0, 12 * SECOND), (8, 1, 12 * SECOND + 1_000_000)),
    ((0x1FF, 3, 0xFFFFFFFF), (0x200, 0, 0x100000000)),
]


@pytest.mark.parametrize(("before", "after"), MARKS)
async def test_half_written_progress_is_never_taken_for_an_item(
    before: tuple[int, int, int], after: tuple[int, int, int]
) -> None:
    """The worker may lose its processor at any byte; an item must not get another one's start."""
    mark = harness()._mark
    requests_read, requests = os.pipe()
    verdicts, verdicts_write = os.pipe()
    page = mmap.mmap(-1, mmap.PAGESIZE)
    worker = Worker(1, requests, verdicts, page, Heard())
    try:
        assert worker.progress() == (0, 0, 0)
        old, new = mark(*before), mark(*after)
        size = len(new)
        for left in (old, bytes(size)):  # as it was before, or cleared first
            for cut in range(size + 1):
                for content in (new[:cut] + left[cut:], left[:cut] + new[cut:]):
                    page[:size] = content
                    assert worker.progress() in {before, after, (0, 0, 0)}

        page[:size] = new
        assert worker.progress() == after
        worker.take_back(after[0])
        assert worker.progress() == after
    finally:
        worker.close()
        for descriptor in (requests_read, verdicts_write):
            os.close(descriptor)
