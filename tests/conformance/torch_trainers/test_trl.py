"""TRL's own `GRPOTrainer` and `RLOOTrainer`, training on the CPU with two Countermark rewards."""

import itertools
import signal
import threading
import time
from typing import Any

import pytest

from tests.conformance.torch_trainers.conftest import Run, direct
from tests.support import ServiceProcess

ROWS = [
    {"prompt": "1 2", "solution": "3", "allowed": "[02468]"},
    {"prompt": "3 4", "solution": "7", "allowed": "("},  # no pattern: no verdict of the second reward
    {"prompt": "5 6", "solution": "none", "allowed": "[13579]"},  # no number: none of the first
    {"prompt": "7 8", "solution": "none", "allowed": "("},  # neither has a verdict
]
REWARDS = ("gsm8k-answer:1.0.0", "regex:1.0.0")


def trained(
    run: Run, url: str, *, before_scoring: Any = lambda number: None, steps: int = 4, **task: Any
) -> tuple[list[dict[str, Any]], int, str]:
    """Train; return what the program told, its exit code and its standard error."""
    told = {"rows": ROWS, "steps": steps, "trainer": "grpo", "conversational": False, "options": {}, **task}
    program = run("train_trl.py", told, url)
    came, scorings = [], 0
    for event in program.events():
        came.append(event)
        if event["event"] == "scoring":
            before_scoring(scorings)
            scorings += 1
            program.say("go")
    return came, *program.end()


def hold_to_the_service(url: str, came: list[dict[str, Any]]) -> int:
    """Compare every reward that TRL had with the service's own; return how many there were."""
    compared = 0
    for event in came:
        if event["event"] == "scored":
            for place, (ref, column) in enumerate(zip(REWARDS, ("solution", "allowed"), strict=True)):
                expected = direct(url, ref, event["completions"], event[column])
                assert [row[place] for row in event["rewards"]] == expected
                compared += len(expected)
    return compared


@pytest.mark.slow
@pytest.mark.parametrize(("trainer", "conversational"), [("grpo", False), ("grpo", True), ("rloo", False)])
def test_the_trainer_has_the_services_rewards_sample_by_sample(
    run: Run, own_service: ServiceProcess, trainer: str, *, conversational: bool
) -> None:
    came, code, errors = trained(run, own_service.url, conversational=conversational, trainer=trainer)
    assert code == 0, errors[-4000:]
    compared = hold_to_the_service(own_service.url, came)
    assert compared == 4 * 8 * 2
    scored = [event for event in came if event["event"] == "scored"]
    every = [reward for event in scored for row in event["rewards"] for reward in row]
    assert set(every) >= {0.0, 1.0, None}
    done = came[-1]
    assert (done["event"], done["changed"], done["finite"]) == ("done", True, True)
    names = {name for log in done["logs"] for name in log}
    assert {"rewards/gsm8k-answer-1.0.0/mean", "rewards/allowed/mean", "allowed/failed"} <= names
    shown = {name: done["logs"][0][name] for name in sorted(names) if "reward" in name or "failed" in name}
    print(f"\n{trainer}: {compared} rewards equal to the service's; first step: {shown}")


@pytest.mark.slow
def test_what_no_reward_can_judge_has_no_advantage(run: Run, own_service: ServiceProcess) -> None:
    came, code, errors = trained(run, own_service.url)
    assert code == 0, errors[-4000:]
    blank = 0
    for scored, then in itertools.pairwise(came):
        if scored["event"] == "scored":
            assert then["event"] == "advantages"
            for row, advantage in zip(scored["rewards"], then["advantages"], strict=True):
                if row == [None, None]:
                    assert advantage == 0.0
                    blank += 1
    assert blank >= 4
    assert "All reward functions returned None" in errors


@pytest.mark.slow
def test_a_service_that_is_killed_and_started_again_costs_no_reward(
    run: Run, own_service: ServiceProcess
) -> None:
    returns: list[threading.Timer] = []

    def before_scoring(number: int) -> None:
        """Kill the service; the trainer goes on at once, and the service is back only some time later."""
        if number in (1, 3):
            own_service.stop(signal.SIGKILL)
            returns.append(threading.Timer(1.5, own_service.start))
            returns[-1].start()

    came, code, errors = trained(run, own_service.url, before_scoring=before_scoring, steps=5)
    for each in returns:
        each.join()
    assert code == 0, errors[-4000:]
    assert len(returns) == 2
    assert "attempt 4 failed" in errors  # it did meet a service that was away
    assert hold_to_the_service(own_service.url, came) == 5 * 8 * 2


@pytest.mark.slow
def test_a_service_that_hangs_ends_the_training_at_the_deadline(
    run: Run, own_service: ServiceProcess
) -> None:
    moments: list[float] = []

    def before_scoring(number: int) -> None:
        if number == 1:
            own_service.process.send_signal(signal.SIGSTOP)
            moments.append(time.monotonic())

    try:
        came, code, errors = trained(
            run,
            own_service.url,
            before_scoring=before_scoring,
            options={"deadline": 3.0, "on_failure": "zero"},
        )
    finally:
        own_service.process.send_signal(signal.SIGCONT)
    assert code != 0
    assert "DeadlineExceededError" in errors
    assert time.monotonic() - moments[0] < 60
    assert [event["event"] for event in came].count("scored") == 1
