"""OpenRLHF's and Axolotl's own code, calling rewards of the adapters. What needs torch is in `torch_trainers`."""

from pathlib import Path
from typing import Any

from tests.conformance.frameworks.adapters import MANY, ROWS, VERIFIER, direct, drive, hung_service
from tests.conformance.frameworks.conftest import Fetched
from tests.conformance.frameworks.fetched import Package

OPENRLHF = Package("openrlhf", alone=("openrlhf==0.11.2",), light=("aiohttp",), python="3.11")
OPENRLHF_08 = Package("openrlhf-0.8", alone=("openrlhf==0.8.11",), light=("requests",), python="3.11")
AXOLOTL = Package("axolotl", alone=("axolotl==0.19.0",))
FILE = f'from countermark.adapters.openrlhf import reward\n\nreward_func = reward("{VERIFIER}")\n'


def openrlhf(folder: Path, url: str, files: Path, version: str) -> Any:
    """Run the driver with a reward file as a user writes it, and one with little patience."""
    file, brief = files / "reward.py", files / "brief.py"
    file.write_text(FILE)
    brief.write_text(FILE.replace('")', '", deadline=1.0)'))
    with hung_service() as hung:
        return drive(
            folder, "adapter_openrlhf", url=url, hung=hung, verifier=VERIFIER, rows=ROWS, many=MANY,
            file=str(file), brief=str(brief), version=version,
        )  # fmt: skip


def test_openrlhfs_executor_has_the_services_rewards_and_none_without_a_verdict(
    fetched: Fetched, service_url: str, tmp_path: Path
) -> None:
    said = openrlhf(fetched(OPENRLHF), service_url, tmp_path, "0.11")
    _, scores = direct(service_url, ROWS)
    assert [each["reward"] for each in said["rows"]] == [each["score"] for each in said["rows"]] == scores
    assert None in scores
    assert said["rows"][0]["failed"] == {"countermark_failed": 0.0}
    assert [each["reward"] for each in said["many"]] == direct(service_url, MANY)[1]
    assert [each["reward"] for each in said["hung"]] == [None]


def test_openrlhf_08_has_the_services_rewards_and_an_error_without_a_verdict(
    fetched: Fetched, service_url: str, tmp_path: Path
) -> None:
    said = openrlhf(fetched(OPENRLHF_08), service_url, tmp_path, "0.8")
    assert said["many"] == direct(service_url, MANY)[1]
    assert said["judged"] == direct(service_url, [row for row in ROWS if row["reference"]])[1]
    assert said["rows"]["raised"][0] == "VerdictFailedError"


def test_axolotl_finds_rewards_by_their_path(fetched: Fetched, service_url: str, tmp_path: Path) -> None:
    made = f'reward("{VERIFIER}", gold="solution", on_failure="null")'
    lines = f"from countermark.adapters.axolotl import reward\n\nexact = {made}\n"
    (tmp_path / "my_rewards.py").write_text(lines)
    said = drive(
        fetched(AXOLOTL),
        "adapter_axolotl",
        url=service_url,
        verifier=VERIFIER,
        rows=ROWS,
        own=str(tmp_path),
    )
    _, scores = direct(service_url, ROWS)
    assert said["by_path"] == said["blocking"] == said["own"] == scores
    assert said["kinds"] == [True, False, True]
