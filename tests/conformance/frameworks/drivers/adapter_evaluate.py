"""Loads the metric for Hugging Face's evaluate from its file, as its users do, and computes it."""

import os
from typing import Any

from asking import attempt, paste, say, told  # type: ignore[import-not-found]


def main() -> None:
    """Compute everything."""
    facts = told()
    verifier, rows = facts["verifier"], facts["rows"]
    page = paste(facts["page"], predictions=["Paris", "Rome"], references=["Paris", "Paris"])
    metric = page["metric"]

    def computed(rows: list[dict[str, Any]], **more: Any) -> Any:
        found = metric.compute(
            predictions=[row["response"] for row in rows],
            references=[row["reference"] for row in rows],
            **more,
        )
        return {key: "nan" if value != value else value for key, value in found.items()}

    metric.add_batch(predictions=["Paris", "Rome"], references=["Paris", "Paris"])
    said = {
        "page": page["found"],
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
