"""Makes and steps SkyRL's environment as its generator does: many at once, in a pool of threads.

Told, beside the usual: ``half`` and ``many``, as for verifiers. Says: the outputs of `step`, or its errors.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import skyrl_gym  # type: ignore[import-not-found]
from asking import attempt, mark, paste, say, told  # type: ignore[import-not-found]
from omegaconf import OmegaConf  # type: ignore[import-not-found]

from countermark.adapters.skyrl_gym import register


@dataclass
class Config:
    """A part of a config, as newer trainers have it."""

    verifier: str
    on_failure: str = "raise"


def extras(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row as the generator hands it over."""
    spec = {"method": "rule", "ground_truth": row["reference"], **row.get("spec", {})}
    return {"data_source": "capitals", "reward_spec": spec, "max_turns": 1, "extra_info": {}}


def step(row: dict[str, Any], env_class: str = "countermark", env_config: Any = None) -> Any:
    """Return what one episode ends with."""

    def episode() -> Any:
        env = skyrl_gym.make(env_class, env_config=env_config or {}, extras=extras(row))
        prompt, _ = env.init([{"role": "user", "content": "The capital of France?"}])
        output = dict(env.step(row["response"]))
        env.close()
        return {**output, "metrics": env.get_metrics(), "prompt": prompt}

    return attempt(episode)


def main() -> None:
    """Score everything."""
    facts = told()
    verifier, rows, many = facts["verifier"], facts["rows"], facts["many"]
    paste(facts["page"])
    register(verifier, id="half", on_failure=0.5)
    register(id="by_row")
    said = {
        "rows": [step(row) for row in rows],
        "number": step(rows[3], "half"),
        "by_row": step({**rows[0], "spec": {"verifier": verifier}}, "by_row"),
        "by_config": step(rows[0], "by_row", OmegaConf.create({"verifier": verifier})),
        "by_dataclass": step(rows[0], "by_row", Config(verifier)),
        "wrong_config": step(rows[0], "by_row", 3),
        "unnamed": step(rows[0], "by_row"),
        "no_reference": attempt(
            lambda: skyrl_gym.make("countermark", env_config={}, extras={"reward_spec": {}})
        ),
        "null": attempt(lambda: register(verifier, id="null", on_failure="null")),
    }
    with ThreadPoolExecutor(64) as pool:
        first = list(pool.map(step, many[: len(many) // 2]))
        mark(facts["half"])
        second = list(pool.map(step, many[len(many) // 2 :]))
    said["many"] = [output.get("reward", output) for output in [*first, *second]]
    os.environ["COUNTERMARK_URL"] = facts["hung"]
    said["hung"] = step(rows[0], env_config={"deadline": 1.0})
    say(said)


main()
