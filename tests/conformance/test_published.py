"""What was published is still there, byte for byte, and what is shipped was published."""

import subprocess
import tomllib
from pathlib import Path

import pytest

from countermark_service.bundles import read_bundle
from countermark_service.registry import read_published
from tests.support import REPOSITORY

VERIFIERS = REPOSITORY / "verifiers"
PUBLISHED = read_published(VERIFIERS)
FOLDERS = sorted(manifest.parent for manifest in VERIFIERS.glob("**/verifier.toml"))


def test_something_is_published() -> None:
    assert PUBLISHED


@pytest.mark.parametrize("key", PUBLISHED, ids=lambda key: ":".join(key))
def test_a_published_version_is_what_it_was(key: tuple[str, str]) -> None:
    name, version = key
    assert read_bundle(VERIFIERS / name / version).digest == PUBLISHED[key]


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: str(folder.relative_to(VERIFIERS)))
def test_every_shipped_bundle_is_published_with_its_vectors(folder: Path) -> None:
    bundle = read_bundle(folder)
    runs_code = bundle.manifest.runtime in ("python", "sandbox")

    assert (bundle.manifest.name, bundle.manifest.version) in PUBLISHED
    assert len(bundle.vectors) >= (25 if runs_code else 5)


def test_the_list_only_ever_grew() -> None:
    """Every entry that any commit had stands in the list still, as it was and in the order in which it was.

    Two branches that published at once put their entries beside each other, so no commit's list need be the
    beginning of the next. A merge that left the file unreadable published nothing.
    """
    log = _git("log", "--full-history", "--format=%H", "--", "verifiers/published.toml")
    if log is None:
        pytest.skip("no git history here")
    today = tomllib.loads((VERIFIERS / "published.toml").read_text())["bundle"]
    lists = [_entries(_git("show", f"{commit}:verifiers/published.toml") or "") for commit in log.split()]
    assert not log.split() or any(lists)
    for entries in lists:
        places = [today.index(entry) for entry in entries]
        assert places == sorted(places)


def _entries(text: str) -> list[object]:
    try:
        return list(tomllib.loads(text).get("bundle", []))
    except tomllib.TOMLDecodeError:
        return []


def _git(*words: str) -> str | None:
    done = subprocess.run(["git", "-C", str(REPOSITORY), *words], capture_output=True, text=True, check=False)
    return done.stdout if done.returncode == 0 else None
