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
    """What any version of the file in the history holds is here, unchanged and in its order. Versions of branches
    that were published side by side are no beginnings of each other."""
    log = _git("log", "--full-history", "--format=%H", "--", "verifiers/published.toml")
    if log is None:
        pytest.skip("no git history here")
    here = tomllib.loads((VERIFIERS / "published.toml").read_text())["bundle"]
    assert len({(one["name"], one["version"]) for one in here}) == len(here)
    for commit in log.split():
        try:
            before = tomllib.loads(_git("show", f"{commit}:verifiers/published.toml") or "").get("bundle", [])
        except tomllib.TOMLDecodeError:  # a merge that ran two entries into one, which the next commit parted
            continue
        rest = iter(here)
        assert all(one in rest for one in before), commit


def _git(*words: str) -> str | None:
    done = subprocess.run(["git", "-C", str(REPOSITORY), *words], capture_output=True, text=True, check=False)
    return done.stdout if done.returncode == 0 else None
