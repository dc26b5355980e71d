"""Runs tasks of lm-eval, from YAML files, with a model that answers from the rows.

Told, beside the usual, ``tasks``, a folder with the YAML files. Says: for each task its results and its samples.
"""

import os
from pathlib import Path
from typing import Any

from asking import attempt, say, told  # type: ignore[import-not-found]
from lm_eval import evaluator  # type: ignore[import-not-found]
from lm_eval.api.model import LM  # type: ignore[import-not-found]
from lm_eval.tasks import TaskManager  # type: ignore[import-not-found]


class Answers(LM):  # type: ignore[misc]
    """A model that answers from a list; a prompt is the number of its row."""

    def __init__(self, responses: list[str]) -> None:
        super().__init__()
        self._responses = responses

    def generate_until(self, requests: Any, disable_tqdm: bool = False) -> list[str]:
        """Return the responses."""
        return [self._responses[int(request.args[0])] for request in requests]

    def loglikelihood(self, requests: Any, disable_tqdm: bool = False) -> Any:
        """Know no likelihoods."""
        raise NotImplementedError

    loglikelihood_rolling = loglikelihood


def shown(value: Any) -> Any:
    """Return a number, NaN as a text."""
    return "nan" if isinstance(value, float) and value != value else value


def main() -> None:
    """Evaluate every task."""
    facts = told()
    os.environ["COUNTERMARK_VERIFIER"] = facts["verifier"]
    manager = TaskManager(include_path=facts["tasks"], include_defaults=False)
    model = Answers([row["response"] for row in facts["rows"]])

    def evaluated(name: str) -> Any:
        found = evaluator.simple_evaluate(
            model=model, tasks=[name], task_manager=manager, bootstrap_iters=20, log_samples=True
        )
        return {
            "results": {key: shown(value) for key, value in found["results"][name].items()},
            "samples": [
                {key: shown(sample[key]) for key in sample["metrics"]} for sample in found["samples"][name]
            ],
        }

    names = sorted(file.stem for file in Path(facts["tasks"]).glob("*.yaml"))
    said = {name: attempt(lambda name=name: evaluated(name)) for name in names}
    os.environ["COUNTERMARK_URL"] = facts["hung"]
    os.environ["COUNTERMARK_DEADLINE"] = "1"
    said["hung"] = attempt(lambda: evaluated("by_path"))
    say(said)


main()
