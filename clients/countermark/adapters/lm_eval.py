"""Scores for lm-eval (the LM Evaluation Harness), by a function that a task's YAML names.

    # utils.py                                                     # task.yaml beside it
    from countermark.adapters.lm_eval import processor             process_results: !function utils.score
    score = processor("math-verify:0.9.0-r2", gold="answer")          metric_list:
                                                                     - metric: countermark
                                                                       aggregation: nanmean

**What a failed verdict becomes.** NaN, which ``nanmean`` leaves out and ``mean`` passes on, so that no average
hides it; ``countermark_failed`` is 1 for it and 0 for the others. That no service could be reached ends the
evaluation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from .._errors import InvalidInputError
from ._rows import Fields, gold_by_environment
from ._scoring import FailurePolicy, RewardSource, check_policy, environment_options
from ._several import best, mean, settled

Processor: TypeAlias = Callable[[Mapping[str, Any], Sequence[Any]], dict[str, float]]
"""What lm-eval calls with a document and the model's responses to it."""
Metric: TypeAlias = Callable[..., float]
"""What lm-eval calls with lists of references and predictions."""

NAME = "countermark"
FAILED = "countermark_failed"
GOLD = "answer"


def processor(
    verifier: str | None = None, gold: str = GOLD, *, on_failure: FailurePolicy = "null", **options: Any
) -> Processor:
    """Return a function for a task's ``process_results``.

    Its metrics are ``countermark``, the score, and ``countermark_failed``. Where a document has several responses
    (``repeats`` without a filter that takes one), the score is their mean.

    Args:
        verifier: Ref or pin of the verifier; a document's field ``verifier`` counts more.
        gold: Field of the document that a response is held against.
        on_failure: ``null`` (NaN), ``raise``, ``zero``, or a number.
        options: The other fields of `RewardSource`.

    Raises:
        InvalidInputError: A setting cannot be used.
    """
    fields = Fields(gold=gold)
    source = RewardSource(verifier=verifier, on_failure=on_failure, **options)

    def countermark(doc: Mapping[str, Any], results: Sequence[Any]) -> dict[str, float]:
        """Return the metrics of one document."""
        verdicts = source.verdicts(fields.ask(source, text, doc) for text in _texts(results))
        return {
            NAME: mean(verdict.reward for verdict in verdicts),
            FAILED: mean(float(verdict.failed) for verdict in verdicts),
        }

    return countermark


def score(doc: Mapping[str, Any], results: Sequence[Any]) -> dict[str, float]:
    """Return the metrics of one document, for ``process_results: !function countermark.adapters.lm_eval.score``.

    Settings by environment: ``COUNTERMARK_VERIFIER``, ``COUNTERMARK_GOLD`` (``answer``), and those of
    `environment_options`.

    Raises:
        InvalidInputError: The document has no reference, or nothing names a verifier.
        CountermarkClientError: No service, or a failed verdict and the policy ``raise``.
    """
    return processor(gold=gold_by_environment(GOLD), **environment_options(on_failure="null"))(doc, results)


def metric(verifier: str | None = None, *, on_failure: FailurePolicy = "raise", **options: Any) -> Metric:
    """Return a function for a task's ``metric_list``, which is called with the target and the response.

    ``- metric: !function utils.countermark``. A task whose documents name their verifiers, or whose references are
    no texts, needs `processor`: a metric does not see the document.

    Args:
        verifier: Ref or pin of the verifier.
        on_failure: ``raise``, ``zero``, or a number. Not ``null``: of several targets lm-eval takes any value
            that is not 0 for a right answer, NaN too.
        options: The other fields of `RewardSource`.

    Raises:
        InvalidInputError: A setting cannot be used.
    """
    policy = check_policy(on_failure, null=False)
    source = RewardSource(verifier=verifier, on_failure="null", **options)

    def countermark(references: Sequence[Any], predictions: Sequence[Any], **_: Any) -> float:
        """Return the reward of a prediction against the reference that fits best."""
        rewards = []
        for text in _texts(predictions):
            verdicts = source.verdicts(source.ask(text, reference) for reference in references)
            rewards.append(settled(best(verdicts), policy).reward)
        return mean(rewards)

    return countermark


def _texts(results: Iterable[Any]) -> list[str]:
    """Return the responses, whether a filter left one of each request or a list of them.

    Raises:
        InvalidInputError: They are no texts, as those of tasks that compare likelihoods are not.
    """
    texts: list[str] = []
    for result in results:
        found = list(result) if isinstance(result, (list, tuple)) else [result]
        for text in found:
            if not isinstance(text, str):
                raise InvalidInputError(
                    f"a response is a {type(text).__name__}, not a text. Verifiers score what a model wrote: the "
                    f"task's output_type must be generate_until."
                )
            texts.append(text)
    return texts
