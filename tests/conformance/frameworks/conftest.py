"""What the conformance tests of all frameworks share."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conformance.frameworks.fetched import Package, fetched_or_skipped

Fetched = Callable[[Package], Path]
"""Takes a package and returns the folder with its code, or skips the test."""


@pytest.fixture(scope="session")
def fetched(shared_root: Path) -> Fetched:
    """Fetches the frameworks' packages, once."""
    return lambda package: fetched_or_skipped(package, shared_root)
