"""verl's own reward managers, with the lines that a user pastes into its configuration."""

import signal
import threading
from collections.abc import Callable
from typing import Any

import pytest

from tests.conformance.torch_trainers.conftest import Run, direct
from tests.support import ServiceProcess

PASTED = [
    "reward.custom_reward_function.path=pkg://countermark.adapters.verl",
    "+reward.custom_reward_function.reward_kwargs.verifier=gsm8k-answer:1.0.0",
]
ROWS: list[dict[str, Any]] = [
    {"data_source": "sums", "response": f"{n % 10} . yes {n % 7} .", "ground_truth": str(n % 5)}
    for n in range(200)
]
KEYS = {"score", "acc", "countermark_failed", "countermark_outcome", "countermark_verifier"}


def told(
    run: Run,
    url: str,
    rows: list[dict[str, Any]],
    *lines: str,
    manager: str = "loop",
    before_scoring: Callable[[], object] = lambda: None,
) -> tuple[dict[str, Any] | None, int, str]:
    """Run a manager; return what it made of the rows, its exit code and its standard error."""
    program = run("score_verl.py", {"rows": rows, "lines": [*PASTED, *lines], "manager": manager}, url)
    found = None
    for event in program.events():
        if event.get("event") == "ready":
            before_scoring()
            program.say("go")
        else:
            found = event
    return found, *program.end()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("manager", "function"),
    [("loop", "compute_score"), ("batch", "compute_score_batch"), ("older", "compute_score_sync")],
)
def test_every_manager_has_the_services_rewards_sample_by_sample(
    run: Run, own_service: ServiceProcess, manager: str, function: str
) -> None:
    lines = [] if function == "compute_score" else [f"reward.custom_reward_function.name={function}"]
    rows = ROWS if manager != "older" else ROWS[:20]
    found, code, errors = told(run, own_service.url, rows, *lines, manager=manager)
    assert code == 0, errors[-4000:]
    assert found is not None
    expected = direct(
        own_service.url, "gsm8k-answer:1.0.0", found["texts"], [row["ground_truth"] for row in rows]
    )
    assert found["rewards"] == found["extra"]["score"] == expected
    assert set(expected) == {0.0, 1.0}
    assert set(found["extra"]) >= KEYS
    assert {key: found["kinds"][key] for key in KEYS} == {
        "score": "f", "acc": "f", "countermark_failed": "f", "countermark_outcome": "U", "countermark_verifier": "U"
    }  # fmt: skip
    print(
        f"\n{manager}: {len(expected)} rewards equal to the service's, {sum(map(bool, expected))} of them 1"
    )


@pytest.mark.slow
def test_pins_by_row_and_by_data_source(run: Run, own_service: ServiceProcess) -> None:
    rows: list[dict[str, Any]] = [
        {"data_source": "sums", "response": "7", "ground_truth": "7"},
        {"data_source": "words", "response": "yes", "ground_truth": "^yes$"},
        {
            "data_source": "sums",
            "response": "no",
            "ground_truth": "n.",
            "extra_info": {"verifier": "regex:1.0.0"},
        },
    ]
    line = "+reward.custom_reward_function.reward_kwargs.verifiers={words: 'regex:1.0.0'}"
    found, code, errors = told(run, own_service.url, rows, line)
    assert code == 0, errors[-4000:]
    assert found is not None
    assert found["rewards"] == [1.0, 1.0, 1.0]
    names = [pin.partition(":")[0] for pin in found["extra"]["countermark_verifier"]]
    assert names == ["gsm8k-answer", "regex", "regex"]


@pytest.mark.slow
def test_an_item_without_a_verdict_ends_the_run_unless_a_number_was_said(
    run: Run, own_service: ServiceProcess
) -> None:
    rows = [*ROWS[:5], {"data_source": "sums", "response": "7", "ground_truth": "no number"}]
    found, code, errors = told(run, own_service.url, rows)
    assert (found, code != 0) == (None, True)
    assert "VerdictFailedError" in errors
    line = "+reward.custom_reward_function.reward_kwargs.on_failure=-1"
    found, code, errors = told(run, own_service.url, rows, line)
    assert code == 0, errors[-4000:]
    assert found is not None
    assert found["rewards"][-1] == -1.0
    assert found["extra"]["countermark_failed"] == [0.0] * 5 + [1.0]


@pytest.mark.slow
def test_a_service_that_is_started_again_costs_no_reward(run: Run, own_service: ServiceProcess) -> None:
    returns: list[threading.Timer] = []

    def before_scoring() -> None:
        own_service.stop(signal.SIGKILL)
        returns.append(threading.Timer(2.0, own_service.start))
        returns[0].start()

    found, code, errors = told(run, own_service.url, ROWS, before_scoring=before_scoring)
    returns[0].join()
    assert code == 0, errors[-4000:]
    assert found is not None
    assert "attempt 4 failed" in errors  # it did meet a service that was away
    truths = [row["ground_truth"] for row in ROWS]
    assert found["rewards"] == direct(own_service.url, "gsm8k-answer:1.0.0", found["texts"], truths)
