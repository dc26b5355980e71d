"""OpenRLHF's and ms-swift's own code, with tensors."""

from pathlib import Path
from typing import Any

import pytest

from tests.conformance.torch_trainers.conftest import Run, direct
from tests.support import ServiceProcess

REF = "exact:1.0.0"
ROWS: list[dict[str, Any]] = [
    {"response": "1 2", "reference": "1 2"},
    {"response": "3", "reference": "4"},
    {"response": "yes", "reference": ""},  # a bad reference: no verdict
    {"response": "no .", "reference": "no ."},
]
EPISODES = [(["1 2"], "1 2"), (["3", "4"], "4"), (["3", "5"], "4")]
"""Right at once; right at the second try; wrong twice."""
REWARD = f'from countermark.adapters.openrlhf import reward\nreward_func = reward("{REF}", special_tokens=["<eos>"])\n'
AGENT = (
    f'from countermark.adapters.openrlhf import agent\nAgentExecutor = agent("{REF}", max_steps=2, '
    f'feedback=" user no assistant ", special_tokens=["<eos>"])\n'
)
PLUGIN = (
    f'from countermark.adapters.ms_swift import async_orm, orm\norms["a_blocking"] = orm("{REF}", on_failure="null")\n'
    f'orms["b_waiting"] = async_orm("{REF}", on_failure="null")\n'
)


@pytest.mark.slow
def test_openrlhf_and_ms_swift_train_on_the_services_rewards(
    run: Run, own_service: ServiceProcess, tmp_path: Path
) -> None:
    files = {"file": REWARD, "agent": AGENT, "plugin": PLUGIN}
    for name, text in files.items():
        (tmp_path / f"{name}.py").write_text(text)
    task = {name: str(tmp_path / f"{name}.py") for name in files}
    program = run("score_others.py", {**task, "rows": ROWS, "episodes": EPISODES}, own_service.url)
    came = list(program.events())
    code, errors = program.end()
    assert code == 0, errors[-4000:]
    (found,) = came
    expected = direct(
        own_service.url, REF, [row["response"] for row in ROWS], [row["reference"] for row in ROWS]
    )
    assert expected == [1.0, 0.0, None, 1.0]

    # OpenRLHF: a sample without a verdict has no reward, and the others what the service said.
    rewards = [single["rewards"] and single["rewards"][0] for single in found["singles"]]
    assert rewards == expected
    assert [single["scores"] and single["scores"][0] for single in found["singles"]] == expected
    assert found["singles"][0]["info"]["countermark_failed"] == [0.0]
    assert [episode["rewards"] for episode in found["episodes"]] == [[1.0], [1.0], [0.0]]
    assert [episode["scores"] for episode in found["episodes"]] == [[1.0], [1.0], [0.0]]

    assert found["swift"] == [[reward, reward] for reward in expected]
    print(f"\n{len(ROWS)} rewards each of OpenRLHF and of two ms-swift classes equal to the service's")
