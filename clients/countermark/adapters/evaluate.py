"""A metric for Hugging Face's evaluate, which loads it from this file.

>>> from countermark.adapters import evaluate as countermark_metric
>>> metric = evaluate.load(countermark_metric.__file__)
>>> metric.compute(predictions=texts, references=golds, verifier="math-verify:0.9.0-r2")
{'countermark': 0.75, 'failed': 1, 'scores': [1.0, 1.0, 0.0, 1.0, None], 'verifier': ['math-verify:0.9.0-r2@sha256:…']}

**What a failed verdict becomes.** None in ``scores``, counted in ``failed`` and left out of the mean; a batch without
a single verdict has the mean NaN. ``on_failure="raise"`` raises instead. That no service could be reached raises.

evaluate copies this file and imports the copy, which is why it names what it uses in full.
"""

import math
from typing import Any

import datasets  # type: ignore[import-not-found]
import evaluate  # type: ignore[import-not-found]

from countermark.adapters._scoring import FailurePolicy, RewardSource

_DESCRIPTION = "Scores responses with a verifier that is pinned by the digest of its code and dependencies."
_INPUTS = """
Args:
    predictions: Texts that a model wrote.
    references: One text for each prediction.
    verifier: Ref or pin of the verifier; else COUNTERMARK_VERIFIER.
    on_failure: null (left out), raise, zero, or a number.
    options: The other fields of RewardSource; reference_format="json" where references are JSON texts.
Returns:
    countermark: mean of the scores; failed: how many have none; scores: one for each prediction, None where there is
    no verdict; verifier: the pins that judged.
"""


class Countermark(evaluate.Metric):  # type: ignore[misc]
    """Scores texts against texts, in one request for all."""

    def _info(self) -> Any:
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation="",
            inputs_description=_INPUTS,
            features=datasets.Features(
                {"predictions": datasets.Value("string"), "references": datasets.Value("string")}
            ),
        )

    def _compute(
        self,
        predictions: list[str],
        references: list[str],
        verifier: str | None = None,
        on_failure: FailurePolicy = "null",
        **options: Any,
    ) -> dict[str, Any]:
        source = RewardSource(verifier=verifier, on_failure=on_failure, **options)
        verdicts = source.verdicts(
            source.ask(text, reference) for text, reference in zip(predictions, references, strict=True)
        )
        rewards = [verdict.reward for verdict in verdicts]
        known = [reward for reward in rewards if reward is not None]
        return {
            "countermark": math.fsum(known) / len(known) if known else math.nan,
            "failed": sum(verdict.failed for verdict in verdicts),
            "scores": rewards,
            "verifier": sorted({verdict.pin for verdict in verdicts}),
        }
