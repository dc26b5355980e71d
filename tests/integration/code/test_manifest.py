"""What a manifest of the runtime `sandbox` must say, and what it is told where it does not."""

from pathlib import Path

import pytest

from countermark_service.bundles.manifest import read_manifest
from countermark_service.errors import ManifestError
from tests.support import REPOSITORY

GOOD = (REPOSITORY / "verifiers/python-call-sci/1.0.0/verifier.toml").read_text(encoding="utf-8")


def test_a_shipped_manifest_names_what_the_engine_calls() -> None:
    manifest = read_manifest(GOOD.encode())

    assert manifest.functions == {
        "reduce": "verifier:reduce",
        "plan": "verifier:plan",
        "judge": "verifier:judge",
    }
    assert manifest.sandbox is not None
    assert (manifest.sandbox.requirements, manifest.sandbox.preload) == ("candidate.lock", ("numpy",))


@pytest.mark.parametrize(
    ("before", "after", "key", "says"),
    [
        ('language = "python"', 'language = "perl"', "sandbox.language", "'python', 'cpp' or 'javascript'"),
        ('language = "python"', 'language = "cpp"', "sandbox", "for Python"),
        ('plan = "verifier:plan"\n', "", "sandbox.plan", "required"),
        ('judge = "verifier:judge"', 'judge = "verifier"', "sandbox.judge", "module:function"),
        ('judge = "verifier:judge"', 'judge = "elsewhere:judge"', "files", "elsewhere.py"),
        ('requirements = "candidate.lock"', 'requirements = "other.lock"', "files", "other.lock"),
        ('preload = ["numpy"]', 'preload = ["num py"]', "sandbox.preload", "name of a module"),
        ("cpu_seconds = 5.0, memory", "patience = 5.0, memory", "sandbox.limits", "'patience' is no limit"),
        ("cpu_seconds = 5.0, memory", "cpu_seconds = -5.0, memory", "sandbox.limits", "from 0 up"),
        ('reduce = "verifier:reduce"', 'entry = "verifier:verify"', "entry", "for the runtime"),
        ('runtime = "sandbox"', 'runtime = "python"', "sandbox", "belongs to the runtime"),
        ('python = "3.11"\n', "", "python", "needs"),
    ],
)
def test_a_wrong_manifest_is_refused_with_key_and_reason(
    before: str, after: str, key: str, says: str
) -> None:
    assert before in GOOD

    with pytest.raises(ManifestError) as caught:
        read_manifest(GOOD.replace(before, after).encode())

    assert says in str(caught.value)
    assert caught.value.key.startswith(key.partition(".")[0]) or caught.value.key == "(manifest)"


def test_every_code_bundle_lists_all_of_its_files() -> None:
    folders = [file.parent for file in Path(REPOSITORY / "verifiers").glob("*/*/verifier.toml")]
    code = [folder for folder in folders if 'runtime = "sandbox"' in (folder / "verifier.toml").read_text()]

    assert len(code) >= 8
    for folder in code:
        manifest = read_manifest((folder / "verifier.toml").read_bytes())
        assert {file.name for file in folder.iterdir() if file.is_file()} == set(manifest.files)
