"""A metric for lighteval.

>>> from countermark.adapters.lighteval import metric
>>> LightevalTaskConfig(name="my_task", metrics=[metric("math-verify:0.9.0-r2")], ...)

**What a failed verdict becomes.** NaN in the details, which the mean over the corpus leaves out; its standard error
is NaN then, as lighteval computes that one itself. A corpus without a single verdict has no mean: NaN. That no
service could be reached ends the evaluation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

from lighteval.metrics.metrics_sample import SampleLevelComputation  # type: ignore[import-not-found]
from lighteval.metrics.utils.metric_utils import SampleLevelMetric  # type: ignore[import-not-found]
from lighteval.tasks.requests import SamplingMethod  # type: ignore[import-not-found]

from .._types import Verdict
from ._rows import Fields, value_of
from ._scoring import Ask, FailurePolicy, RewardSource, check_policy
from ._several import best, mean, settled


def metric(
    verifier: str | None = None,
    gold: str | None = None,
    *,
    on_failure: FailurePolicy = "null",
    name: str = "countermark",
    **options: Any,
) -> SampleLevelMetric:
    """Return a metric. Where a sample has several responses, its value is their mean.

    Args:
        verifier: Ref or pin of the verifier; a ``verifier`` in the document's ``specific`` counts more.
        gold: Where in the document's ``specific`` the reference is; None for its gold choices, of which the best
            verdict counts, as in lighteval's own metrics.
        on_failure: ``null`` (NaN), ``raise``, ``zero``, or a number.
        name: Of the metric.
        options: The other fields of `RewardSource`.

    Raises:
        InvalidInputError: A setting cannot be used.
    """
    return SampleLevelMetric(
        metric_name=name,
        higher_is_better=True,
        category=SamplingMethod.GENERATIVE,
        sample_level_fn=CountermarkComputation(verifier, gold, on_failure, options),
        corpus_level_fn=mean_of_judged,
        batched_compute=_hands_out_batches(),
    )


class CountermarkComputation(SampleLevelComputation):  # type: ignore[misc]
    """Scores a whole batch of documents at once; the arguments are those of `metric`."""

    def __init__(
        self, verifier: str | None, gold: str | None, on_failure: FailurePolicy, options: dict[str, Any]
    ) -> None:
        self._policy = check_policy(on_failure)
        self._gold = gold
        self._fields = Fields(gold="reference")
        # Only all golds of a document together say whether it failed, so the policy comes after them.
        self._source = RewardSource(verifier=verifier, on_failure="null", **options)

    def compute(
        self,
        doc: Any = None,
        model_response: Any = None,
        *,
        docs: Sequence[Any] | None = None,
        responses: Sequence[Any] | None = None,
        **_: Any,
    ) -> Any:
        """Return the value of one document, or of each of a batch, in order.

        Raises:
            InvalidInputError: A document has no reference, or nothing names a verifier.
            CountermarkClientError: No service, or a failed verdict and the policy ``raise``.
        """
        if docs is None or responses is None:
            return self._values([doc], [model_response])[0]
        return self._values(docs, responses)

    def _values(self, docs: Sequence[Any], responses: Sequence[Any]) -> list[float]:
        """Return one value for each document, from one request for all."""
        asks: list[Ask] = []
        shapes = []
        for doc, response in zip(docs, responses, strict=True):
            texts, golds = list(response.final_text), self._golds(doc)
            shapes.append((len(texts), len(golds)))
            asks += [self._ask(doc, text, reference) for text in texts for reference in golds]
        verdicts = iter(self._source.verdicts(asks))
        return [
            mean(self._reward([next(verdicts) for _ in range(golds)]) for _ in range(texts))
            for texts, golds in shapes
        ]

    def _golds(self, doc: Any) -> list[Any]:
        return list(doc.get_golds()) if self._gold is None else [value_of(doc.specific or {}, self._gold)]

    def _ask(self, doc: Any, text: str, reference: Any) -> Ask:
        row = {**(doc.specific or {}), self._fields.gold: reference}
        return self._fields.ask(self._source, text, row, prompt=doc.query)

    def _reward(self, verdicts: Sequence[Verdict]) -> float | None:
        return settled(best(verdicts), self._policy).reward


def _hands_out_batches() -> bool:
    """Say whether this lighteval can take the values of a batch apart again; up to 0.12 it could not."""
    major, minor = version("lighteval").split(".")[:2]
    return (int(major), int(minor)) >= (0, 13)


def mean_of_judged(values: Sequence[float]) -> float:
    """Return the mean of the values that are numbers, NaN if there is none."""
    judged = [value for value in values if not math.isnan(value)]
    return math.fsum(judged) / len(judged) if judged else math.nan
