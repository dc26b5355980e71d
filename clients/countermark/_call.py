"""One call of `score`, without input or output: what to send for a part, what an answer adds, what came of it
all.

The rule that this module keeps: all verdicts of one call are made by one verifier. A ref without a digest is
sent as it is until the first answer says which digest it means; every request made after that names the
digest, and an answer of another one is an error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ._decode import read_degraded, read_receipt, read_stats, read_verdicts, read_verifier
from ._errors import (
    ApiError,
    CountermarkClientError,
    InvalidInputError,
    VerdictFailedError,
    VerifierMismatchError,
)
from ._items import Part, encode_text
from ._types import OnFailure, Partial, Receipt, ScoreResult, Stats, Verdict, VerifierInfo

PART_STATUSES = frozenset({413, 422, 500})
"""Error statuses that concern the items of one request; any other error ends the sending of the call."""


class ScoreCall:
    """The state of one call.

    Args:
        verifier: The ref, with or without digest.
        parts: The items, in order.
        on_failure: What a failed item's reward becomes.
        receipt: Whether the service is to sign what comes out.

    Raises:
        InvalidInputError: `verifier` cannot be sent, or `on_failure` is none of the policies.
    """

    def __init__(
        self, verifier: str, parts: Sequence[Part], on_failure: OnFailure, *, receipt: bool = False
    ) -> None:
        self.verifier = verifier
        self.on_failure = on_failure
        self.answered: VerifierInfo | None = None
        self.stopped = False
        """Whether an error was met that every further request of the call would meet too."""
        self._policy = wire_policy(on_failure)
        self._receipt = receipt
        self._asked = encode_text("verifier", verifier)
        self._total = parts[-1].indices.stop if parts else 0
        self._verdicts: dict[int, list[Verdict]] = {}
        self._receipts: dict[int, Receipt] = {}
        self._stats: list[Stats] = []
        self._degraded: dict[str, None] = {}
        self._errors: list[CountermarkClientError] = []

    def body(self, part: Part) -> bytes:
        """Return the request for `part`, naming the verifier as exactly as it is known by now."""
        verifier = encode_text("verifier", self.answered.ref) if self.answered else self._asked
        wish = b',"receipt":true' if self._receipt else b""
        head = b'{"verifier":%b,"on_failure":%b%b,"items":[' % (verifier, self._policy, wish)
        return b"".join((head, b",".join(part.pieces), b"]}"))

    def accept(self, part: Part, document: Mapping[str, Any]) -> None:
        """Take the answer to `part`.

        Raises:
            ProtocolError: The answer is not one to this request; nothing of it is taken.
        """
        info = read_verifier(document, "the answer")
        check_answer(self.verifier, self.answered, info)
        verdicts = read_verdicts(document, info.ref, part.ids, self.on_failure, start=part.start)
        stats = read_stats(document.get("stats"), "the answer")
        if self._receipt:
            self._receipts[part.start] = read_receipt(document, part.start, len(part.ids))
        self.answered = info
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
        result = ScoreResult(self.answered, verdicts, add_stats(self._stats), tuple(self._degraded), receipts)
        if self.on_failure == "raise" and result.failed:
            raise VerdictFailedError(result.failed, total=len(verdicts), result=result)
        return result

    def _partial(self) -> Partial:
        """Return what arrived, with a hole for every item that has no verdict."""
        verdicts: list[Verdict | None] = [None] * self._total
        for start, part in self._verdicts.items():
            verdicts[start : start + len(part)] = part
        return Partial(self.answered, tuple(verdicts), tuple(self._errors))


def wire_policy(on_failure: OnFailure) -> bytes:
    """Return the policy to send for `on_failure`, as JSON.

    ``raise`` is sent as ``null``: the error is raised here, where it can carry the verdicts that were
    reached.

    Raises:
        InvalidInputError: It is none of the policies.
    """
    if on_failure not in ("null", "zero", "raise"):
        raise InvalidInputError(f"on_failure is {on_failure!r}; it must be 'null', 'zero' or 'raise'.")
    return b'"zero"' if on_failure == "zero" else b'"null"'


def check_answer(asked: str, earlier: VerifierInfo | None, info: VerifierInfo) -> None:
    """Hold the verifier that answered against the ref that was asked for and against earlier answers.

    Raises:
        VerifierMismatchError: It is another one.
    """
    if earlier is not None and info.ref != earlier.ref:
        raise VerifierMismatchError(earlier.ref, info.ref)
    if info.ref != asked and info.ref.partition("@")[0] != asked:
        raise VerifierMismatchError(asked, info.ref)


def add_stats(parts: Sequence[Stats]) -> Stats:
    """Return the counts of several requests, added up."""
    return Stats(
        sum(part.items for part in parts),
        sum(part.cached for part in parts),
        sum(part.failed for part in parts),
        sum(part.seconds for part in parts),
    )
