"""One call of `score`, without input or output: what to send for a part, what an answer adds, what came of it
all.

The rule that this module keeps: all verdicts of one call are made by one verifier. A ref without a digest is
sent as it is until the first answer says which digest it means; every request made after that names the
digest, and an answer of another one is an error. The same holds for a release and its card.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ._decode import read_advisories, read_degraded, read_receipt, read_stats, read_verdicts
from ._errors import (
    ApiError,
    CountermarkClientError,
    VerdictFailedError,
)
from ._items import Part
from ._subject import Answered, Subject, opening, policy_of, read_answered
from ._types import Advisory, JudgeMode, OnFailure, Partial, Receipt, ScoreResult, Stats, Verdict

PART_STATUSES = frozenset({413, 422, 500})
"""Error statuses that concern the items of one request; any other error ends the sending of the call."""


class ScoreCall:
    """The state of one call.

    Args:
        subject: The ref of a verifier, with or without digest, or a task of a release.
        parts: The items, in order.
        on_failure: What a failed item's reward becomes; None leaves it to a release's card.
        receipt: Whether the service is to sign what comes out.
        judge_mode: Where judges' replies come from; None leaves it to the service.

    Raises:
        InvalidInputError: `subject` cannot be sent, or `on_failure` is none of the policies.
    """

    def __init__(
        self,
        subject: Subject,
        parts: Sequence[Part],
        on_failure: OnFailure | None,
        *,
        receipt: bool = False,
        judge_mode: JudgeMode | None = None,
    ) -> None:
        self.subject = subject
        self.on_failure = on_failure
        self.answered: Answered | None = None
        self.stopped = False
        """Whether an error was met that every further request of the call would meet too."""
        self._receipt = receipt
        self._judge_mode = judge_mode
        self._opening = opening(subject, on_failure, judge_mode)
        self._total = parts[-1].indices.stop if parts else 0
        self._verdicts: dict[int, list[Verdict]] = {}
        self._receipts: dict[int, Receipt] = {}
        self._stats: list[Stats] = []
        self._degraded: dict[str, None] = {}
        self._advisories: dict[str, Advisory] = {}
        self._errors: list[CountermarkClientError] = []

    def body(self, part: Part) -> bytes:
        """Return the request for `part`, naming the verifier as exactly as it is known by now."""
        wish = b',"receipt":true' if self._receipt else b""
        head = b'{%b%b,"items":[' % (self._opening, wish)
        return b"".join((head, b",".join(part.pieces), b"]}"))

    def accept(self, part: Part, document: Mapping[str, Any]) -> None:
        """Take the answer to `part`.

        Raises:
            ProtocolError: The answer is not one to this request; nothing of it is taken.
        """
        answered = read_answered(document, self.subject, self.answered, "the answer")
        policy = policy_of(self.on_failure, answered)
        verdicts = read_verdicts(document, answered.verifier.ref, part.ids, policy, start=part.start)
        advisories = read_advisories(document, "the answer")
        stats = read_stats(document.get("stats"), "the answer")
        if self._receipt:
            self._receipts[part.start] = read_receipt(document, part.start, len(part.ids))
        if self.answered is None:
            self._opening = opening(answered.subject, self.on_failure, self._judge_mode)
        self.answered = answered
        self._advisories.update({one.id: one for one in advisories})
        self._verdicts[part.start] = verdicts
        self._stats.append(stats)
        self._degraded.update(dict.fromkeys(read_degraded(document)))

    def fail(self, part: Part, error: CountermarkClientError) -> None:
        """Take note that `part` has no answer."""
        if isinstance(error, ApiError):
            error.locate(part.indices)
        if len(part.ids) < self._total:
            error.items = part.indices
        self._errors.append(error)
        if not (isinstance(error, ApiError) and error.status in PART_STATUSES):
            self.stopped = True

    def result(self) -> ScoreResult:
        """Return the verdicts in order.

        Raises:
            CountermarkClientError: The first error that was noted; its `partial` has what arrived.
            VerdictFailedError: An item failed and the policy is ``raise``.
        """
        if self._errors or self.answered is None:
            error = self._errors[0]
            error.partial = self._partial()
            raise error
        verdicts = tuple(verdict for start in sorted(self._verdicts) for verdict in self._verdicts[start])
        receipts = tuple(self._receipts[start] for start in sorted(self._receipts))
        result = ScoreResult(
            self.answered.verifier,
            verdicts,
            add_stats(self._stats),
            tuple(self._degraded),
            receipts,
            self.answered.release,
            tuple(self._advisories.values()),
        )
        if self.on_failure == "raise" and result.failed:
            raise VerdictFailedError(result.failed, total=len(verdicts), result=result)
        return result

    def _partial(self) -> Partial:
        """Return what arrived, with a hole for every item that has no verdict."""
        verdicts: list[Verdict | None] = [None] * self._total
        for start, part in self._verdicts.items():
            verdicts[start : start + len(part)] = part
        verifier = None if self.answered is None else self.answered.verifier
        return Partial(verifier, tuple(verdicts), tuple(self._errors))


def add_stats(parts: Sequence[Stats]) -> Stats:
    """Return the counts of several requests, added up."""
    return Stats(
        sum(part.items for part in parts),
        sum(part.cached for part in parts),
        sum(part.failed for part in parts),
        sum(part.seconds for part in parts),
    )
