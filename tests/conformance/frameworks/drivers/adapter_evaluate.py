"""Loads the metric for Hugging Face's evaluate from its file, as its users do, and computes it."""

import os
from typing import Any

import evaluate  # type: ignore[import-not-found]
from asking import attempt, say, told  # type: ignore[import-not-found]

from countermark.adapters import evaluate as countermark_metric


def main() -> None:
    """Compute everything."""
    facts = told()
    metric = evaluate.load(countermark_metric.__file__)
    verifier, rows = facts["verifier"], facts["rows"]

    def computed(rows: list[dict[str, Any]], **more: Any) -> Any:
        found = metric.compute(
            predictions=[row["response"] for row in rows],
            references=[row["reference"] for row in rows],
            **more,
        )
        return {key: "nan" if value != value else value for key, value in found.items()}

    metric.add_batch(predictions=["Paris", "Rome"], references=["Paris", "Paris"])
    said = {
        "added": metric.compute(verifier=verifier),
        "rows": computed(rows, verifier=verifier),
        "failed": computed([rows[3]], verifier=verifier),
        "zero": computed(rows, verifier=verifier, on_failure="zero"),
        "raise": attempt(lambda: computed(rows, verifier=verifier, on_failure="raise")),
        "unnamed": attempt(lambda: computed(rows)),
    }
    os.environ["COUNTERMARK_URL"] = facts["hung"]
    said["hung"] = attempt(lambda: computed(rows, verifier=verifier, deadline=1.0))
    say(said)


main()
