"""Verifiers for open-instruct's table of verifier functions.

>>> from countermark.adapters import open_instruct
>>> open_instruct.register("math-verify:0.9.0-r2")                          # rows with dataset "math-verify:0.9.0-r2"
>>> open_instruct.register("math-verify:0.9.0-r2@sha256:…", name="math")    # rows with dataset "math"

before open-instruct builds its table (`build_all_verifiers`), which takes every subclass of `VerifierFunction`
that there is. A row's ``dataset`` names the verifier and its ``ground_truth`` is the reference, so a data set pins
its verifiers row by row. For programs there is also the service's ``/open-instruct/test_program``, which needs a
URL only.

**What a failed verdict becomes.** An exception, which ends the run: open-instruct's own verifiers answer 0.0 to
whatever goes wrong, and it has no reward that means "none". The alternative is a number that the user names,
``on_failure=0.5``.
"""

from __future__ import annotations

from typing import Any, ClassVar

from open_instruct import ground_truth_utils  # type: ignore[import-not-found]

from .._errors import InvalidInputError
from .._types import Verdict
from ._scoring import Ask, FailurePolicy, RewardSource, check_policy, check_ref

_registered: dict[str, type] = {}
"""By name. A class does not keep its subclasses alive, and open-instruct finds these through theirs."""


def register(
    verifier: str | None = None,
    *,
    name: str | None = None,
    on_failure: FailurePolicy = "raise",
    **options: Any,
) -> type:
    """Make a verifier known to open-instruct and return its class.

    Args:
        verifier: Ref or pin of the verifier, unless `options` name a ``release`` and its ``task``.
        name: What rows call it in ``dataset``; None for the ref as it is written. Case does not count.
        on_failure: ``raise``, ``zero``, or the number that a failed verdict becomes.
        options: The other fields of `RewardSource`; ``reference_format="json"`` where ``ground_truth`` holds
            JSON texts.

    Raises:
        InvalidInputError: A setting cannot be used, or the name is taken by another verifier.
    """
    called = check_ref("name", verifier if name is None else name)
    source = RewardSource(verifier=verifier, on_failure=check_policy(on_failure, null=False), **options)
    known = _registered.get(called.lower())
    if known is not None and known.source != source:  # type: ignore[attr-defined]
        raise InvalidInputError(
            f"{called!r} is registered already, with other settings. Give one of the two another name."
        )
    if known is not None:
        return known
    facts = {"source": source, "called": called, "__module__": __name__}
    made = type("CountermarkVerifier", (_Judged, ground_truth_utils.VerifierFunction), facts)
    _registered[called.lower()] = made
    return made


class _Judged:
    """What the registered classes share; each is a subclass of open-instruct's class itself, as it asks for."""

    source: ClassVar[RewardSource]
    called: ClassVar[str]

    def __init__(self, verifier_config: Any = None) -> None:
        super().__init__(self.called, verifier_config=verifier_config)  # type: ignore[call-arg]

    def __call__(
        self,
        tokenized_prediction: list[int],
        prediction: str,
        label: Any,
        query: str | None = None,
        rollout_state: dict[str, Any] | None = None,
    ) -> Any:
        """Return the result for one prediction; blocks.

        Raises:
            CountermarkClientError: There is no verdict, or no service.
        """
        return _result(self.source.verdict(self._ask(prediction, label, query)))

    async def async_call(
        self,
        tokenized_prediction: list[int],
        prediction: str,
        label: Any,
        query: str | None = None,
        rollout_state: dict[str, Any] | None = None,
    ) -> Any:
        """Return the result for one prediction; those that are asked for at one time share a request."""
        return _result(await self.source.verdict_async(self._ask(prediction, label, query)))

    def _ask(self, prediction: str, label: Any, query: str | None) -> Ask:
        return self.source.ask(prediction, label, prompt=query)


def _result(verdict: Verdict) -> Any:
    return ground_truth_utils.VerificationResult(
        score=verdict.reward, reasoning=f"{verdict.outcome.value} by {verdict.pin}"
    )
