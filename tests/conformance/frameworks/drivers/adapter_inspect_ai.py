"""Runs evaluations of Inspect with a model that answers from the rows, and reads the logs back from disk.

Told, beside the usual, ``logs``, a folder. Says: for each evaluation its status, its metrics, and each sample's score.
"""

import os
from pathlib import Path
from typing import Any

from asking import attempt, paste, say, told  # type: ignore[import-not-found]
from inspect_ai import Task  # type: ignore[import-not-found]
from inspect_ai import eval as evaluate
from inspect_ai.dataset import Sample  # type: ignore[import-not-found]
from inspect_ai.log import read_eval_log  # type: ignore[import-not-found]
from inspect_ai.model import ModelOutput, ModelUsage, get_model  # type: ignore[import-not-found]
from inspect_ai.solver import generate  # type: ignore[import-not-found]

from countermark.adapters.inspect_ai import countermark_scorer

LOGS = Path()


def shown(value: Any) -> Any:
    """Return a number, NaN as a text."""
    return "nan" if isinstance(value, float) and value != value else value


def evaluated(samples: list[Sample], responses: list[str], scorer: Any, **more: Any) -> Any:
    """Evaluate samples with a scorer."""
    return run(Task(dataset=samples, solver=generate(), scorer=scorer), responses, **more)


def run(task: Task, responses: list[str], **more: Any) -> Any:
    """Return what the log of one evaluation says, read from its file."""

    def answer(messages: Any, *_: Any) -> Any:
        """Return the response to a sample, which its question numbers."""
        output = ModelOutput.from_content("mockllm/model", responses[int(messages[-1].text)])
        output.usage = ModelUsage()  # which Inspect would count with a tokenizer that it downloads
        return output

    model = get_model("mockllm/model", custom_outputs=answer, memoize=False)
    (log,) = evaluate(
        task,
        model=model, display="none", log_dir=str(LOGS), log_format="eval", **more,
    )  # fmt: skip
    log = read_eval_log(log.location)
    scores = [next(iter((sample.scores or {}).values()), None) for sample in log.samples or []]
    return {
        "status": log.status,
        "metrics": {
            name: shown(metric.value)
            for score in (log.results.scores if log.results else [])
            for name, metric in score.metrics.items()
        },
        "scores": [
            score
            and {
                **score.model_dump(include={"explanation", "metadata", "reason"}),
                "value": shown(score.value),
            }
            for score in scores
        ],
        "errors": [sample.error.message if sample.error else None for sample in log.samples or []],
    }


def samples_of(rows: list[dict[str, Any]], **more: Any) -> list[Sample]:
    """Return the samples of rows; a question is the number of its row."""
    return [Sample(input=str(n), target=row["reference"], **more) for n, row in enumerate(rows)]


def main() -> None:
    """Evaluate everything."""
    global LOGS
    facts = told()
    LOGS = Path(facts["logs"])
    verifier, rows, many = facts["verifier"], facts["rows"], facts["many"]
    responses = [row["response"] for row in rows]
    several = [Sample(input="0", target=["Rome", "Paris"]), Sample(input="0", target=["Rome", ""])]
    in_metadata = [Sample(input="0", metadata={"gold": "Paris", "verifier": verifier})]
    page = paste(facts["page"], Task=Task, generate=generate, dataset=samples_of(rows))
    said = {
        "rows": run(page["evaluation"], responses),
        "epochs": evaluated(samples_of(rows), responses, countermark_scorer(verifier), epochs=2),
        "raise": evaluated(samples_of(rows), responses, countermark_scorer(verifier, on_failure="raise")),
        "several": evaluated(several, responses, countermark_scorer(verifier)),
        "in_metadata": evaluated(in_metadata, responses, countermark_scorer(gold="gold")),
        "many": evaluated(samples_of(many), [row["response"] for row in many], countermark_scorer(verifier)),
    }
    said["key"] = attempt(lambda: countermark_scorer(verifier, api_key="cmk_secret"))
    os.environ["COUNTERMARK_URL"] = facts["hung"]
    said["hung"] = evaluated(samples_of(rows[:1]), responses, countermark_scorer(verifier, deadline=1.0))
    say(said)


main()
