"""Fetching says why it could not, and in CI that is no reason to go on."""

from pathlib import Path

import pytest

from tests.conformance.frameworks.fetched import (
    OTHER_VERSIONS,
    Package,
    UnfetchableError,
    fetch,
    fetched_or_skipped,
)

NOBODY = Package("nobody", alone=("countermark-there-is-no-such-package==0.0.1",))


def test_what_cannot_be_had_is_skipped_with_the_reason_and_leaves_nothing_half_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="countermark-there-is-no-such-package"):
        fetched_or_skipped(NOBODY, tmp_path)
    with pytest.raises(UnfetchableError):
        fetch(NOBODY, tmp_path)


def test_in_ci_nothing_may_be_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "1")
    with pytest.raises(pytest.fail.Exception, match="must be had in CI"):
        fetched_or_skipped(NOBODY, tmp_path)


def test_another_version_is_taken_where_one_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(OTHER_VERSIONS, "other==2.0 nobody==9.9.9")
    with pytest.raises(UnfetchableError, match=r"countermark-there-is-no-such-package==9\.9\.9"):
        fetch(NOBODY, tmp_path)
