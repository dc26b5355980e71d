"""Everything that can go wrong in a call, as one tree.

* CountermarkClientError
  x InvalidInputError             refused here, before anything was sent (also a ValueError)
    - InvalidItemError            one item cannot be sent as JSON
  x TransportError                no usable answer came
    - ConnectError                the connection could not be made, or broke
    - DeadlineExceededError       the call's time ran out
    - ProtocolError               the answer is not what the service promises
      - VerifierMismatchError     the answer was made by another verifier than the one asked for
  x ApiError                      the service answered with an error status
    - UnauthorizedError           401 unauthorized
    - ForbiddenError              403 forbidden
    - UnknownVerifierError        404 unknown_verifier
    - UnknownReleaseError         404 unknown_release, unknown_task
    - VersionRequiredError        400 version_required, release_version_required
    - DigestMismatchError         409 digest_mismatch, release_digest_mismatch
    - ReleaseConflictError        409 release_conflict
    - YankedError                 410 yanked
    - TooLargeError               413 body_too_large, too_many_items, response_too_large, reference_too_large
    - InvalidRequestError         422 invalid_request, invalid_card, release_contradicted, 400 invalid_ref,
                                  invalid_release_ref
    - SaturatedError              429 saturated
    - UnavailableError            502, 503, 504
  x VerdictFailedError            on_failure="raise", and a verifier did not reach a verdict

A call that was sent in several requests may fail in one of them. The error of that request is raised, and its
`partial` holds the verdicts that did arrive. No error text ever contains the API key. Errors survive
pickling, because trainers hand them from process to process.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from ._types import IndexedVerdict, Partial, ScoreResult

LISTED_FAILURES = 5
"""How many failed items the text of `VerdictFailedError` names."""


CONCEALED = "[api key]"
"""What stands in a text where the API key was."""


def _conceal(value: Any, secret: str) -> Any:
    """Return a JSON value with `secret` taken out of its texts."""
    if isinstance(value, str):
        return value.replace(secret, CONCEALED)
    if isinstance(value, dict):
        return {key: _conceal(below, secret) for key, below in value.items()}
    if isinstance(value, list):
        return [_conceal(below, secret) for below in value]
    return value


def _restore(kind: type[CountermarkClientError], args: tuple[Any, ...]) -> CountermarkClientError:
    """Rebuild a pickled error without its constructor, whose parameters differ from class to class."""
    return kind.__new__(kind, *args)


class CountermarkClientError(Exception):
    """Base of every error that this package raises on purpose."""

    code: str = "client_error"
    """Stable, machine-readable name of what happened."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message
        self.attempts = 0
        """How many requests were made before this error was raised; 0 where none was."""
        self.items: range | None = None
        """Positions of the items that the failed request carried, where a call was split in several."""
        self.item: int | None = None
        """Position in the input of the item that the service named as the cause, if it named one."""
        self.partial: Partial | None = None
        """The verdicts that arrived although the call as a whole failed."""

    def conceal(self, secret: str | None) -> None:
        """Take `secret` out of every text of this error; proxies have been seen to print what they refuse."""
        if secret:
            self.message = self.message.replace(secret, CONCEALED)
            self.args = tuple(_conceal(argument, secret) for argument in self.args)

    def __str__(self) -> str:
        notes = []
        if self.items and self.item is not None:
            notes.append(f"item {self.item} of the input")
        if self.items:
            notes.append(f"items {self.items[0]} to {self.items[-1]}")
        if self.attempts > 1:
            notes.append(f"after {self.attempts} attempts")
        if self.partial is not None and self.partial.arrived:
            notes.append(f"{self.partial.arrived} of {len(self.partial.verdicts)} verdicts are in `partial`")
        return f"{self.message} [{'; '.join(notes)}]" if notes else self.message

    def __reduce__(self) -> tuple[Any, ...]:
        # The state is apart from what the object is made of: `partial` leads back to the error itself.
        return _restore, (type(self), self.args), self.__dict__


class InvalidInputError(CountermarkClientError, ValueError):
    """An argument was refused before anything was sent."""

    code = "invalid_input"


class InvalidItemError(InvalidInputError):
    """One item cannot be sent; no item of the call was."""

    code = "invalid_item"

    def __init__(self, index: int, field: str, reason: str) -> None:
        super().__init__(f"item {index} cannot be sent: {field} {reason}. Repair the item or leave it out.")
        self.index = index
        """Position of the item in the input, from 0."""
        self.field = field
        """Where in the item, e.g. ``reference.tests[0]``."""


class TransportError(CountermarkClientError):
    """No usable answer came."""

    code = "transport"


class ConnectError(TransportError):
    """The connection could not be made, or broke before the answer was whole."""

    code = "connect"

    def __init__(self, base_url: str, reason: str) -> None:
        super().__init__(
            f"no whole answer from {base_url}: {reason}. Check that a Countermark service runs at that "
            f"address (base_url or COUNTERMARK_URL)."
        )


class DeadlineExceededError(TransportError):
    """The call's time ran out before every verdict was there."""

    code = "deadline_exceeded"

    def __init__(self, what: str, seconds: float) -> None:
        super().__init__(
            f"{what} was not finished within its deadline of {seconds:g} s. Scoring again is safe, and the "
            f"service keeps the verdicts it has reached; pass a longer deadline or send fewer items."
        )
        self.seconds = seconds
        """The deadline that was set, in seconds."""


class ProtocolError(TransportError):
    """The answer is not what the service promises, so no part of it is believed."""

    code = "protocol"

    def __init__(self, what: str) -> None:
        super().__init__(
            f"{what}. Check that base_url is the address of a Countermark service and that client and "
            f"service are of compatible versions."
        )


class VerifierMismatchError(ProtocolError):
    """The answer was made by another verifier than the one asked for, or two parts by different ones."""

    code = "verifier_mismatch"

    def __init__(self, asked: str, answered: str) -> None:
        CountermarkClientError.__init__(
            self,
            f"asked for {asked}, answered by {answered}. Verdicts of different pins are never mixed: check "
            f"which services answer at this address and which bundles they hold.",
        )
        self.asked, self.answered = asked, answered


class ApiError(CountermarkClientError):
    """The service answered with an error status."""

    code = "api_error"
    advice: ClassVar[str] = "The service's log has the request."
    """What to do now, as the end of the message."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        problem: Mapping[str, Any],
        *,
        retry_after: float | None = None,
    ) -> None:
        advice = "" if self.advice in detail else f" {self.advice}"  # the service may have said it already
        super().__init__(f"the service answered {status} {code}: {detail.rstrip('.')}.{advice}")
        self.status = status
        """HTTP status."""
        self.code = code
        """The service's stable code, or ``http_<status>`` if the answer had none (a proxy's page, say)."""
        self.detail = detail
        """What the service said, for people."""
        self.problem = dict(problem)
        """The whole problem document; empty if there was none."""
        self.retry_after = retry_after
        """Seconds that the service asked to wait, or None."""

    def locate(self, sent: Sequence[int]) -> None:
        """Set `item`, given the positions of the items that the refused request carried.

        The service counts from the first item of the request, and so does its detail.
        """
        place = self.problem.get("item")
        if type(place) is int and 0 <= place < len(sent):
            self.item = sent[place]

    def conceal(self, secret: str | None) -> None:
        """Take `secret` out of message, detail and problem document."""
        super().conceal(secret)
        if secret:
            self.detail = self.detail.replace(secret, CONCEALED)
            self.problem = _conceal(self.problem, secret)


class UnauthorizedError(ApiError):
    """The API key is missing or not known."""

    code = "unauthorized"
    advice = "Pass api_key or set COUNTERMARK_API_KEY."


class ForbiddenError(ApiError):
    """The API key does not have the scope that this call needs."""

    code = "forbidden"
    advice = "Ask the operator for a key with the scope this call needs."


class UnknownVerifierError(ApiError):
    """The service has no such verifier."""

    code = "unknown_verifier"
    advice = "Client.verifiers() lists what this service has."


class UnknownReleaseError(ApiError):
    """The service has no such release, or its card has no such task."""

    code = "unknown_release"
    advice = "Client.releases() lists what this service has, with the tasks."


class ReleaseConflictError(ApiError):
    """Another card is registered under this name and version."""

    code = "release_conflict"
    advice = "A registered release never changes: give the new card a new version."


class YankedError(ApiError):
    """The verifier or release is yanked, and this service refuses what is."""

    code = "yanked"
    advice = "The problem document's `advisories` say why and what to use instead."


class VersionRequiredError(ApiError):
    """The ref names no version, and there is no default one."""

    code = "version_required"
    advice = "Name one of the versions; there is no latest."

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        problem: Mapping[str, Any],
        *,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(status, code, detail, problem, retry_after=retry_after)
        versions = problem.get("versions")
        self.versions: tuple[str, ...] = tuple(versions) if isinstance(versions, list) else ()
        """The versions that the service has."""
        listed = ", ".join(self.versions)
        if listed and listed not in detail:
            self.message += f" Versions: {listed}."


class DigestMismatchError(ApiError):
    """The service's bundle of that name and version has another digest than the pin."""

    code = "digest_mismatch"
    advice = "The bundle there is not the one that was pinned; do not mix its verdicts with earlier ones."


class TooLargeError(ApiError):
    """The request, or one response in it, is over a limit of the service."""

    code = "body_too_large"
    advice = "Lower max_items_per_request or max_bytes_per_request, or cut the oversized response."


class InvalidRequestError(ApiError):
    """The service could not read the request; `item` says which item is the cause, if one is."""

    code = "invalid_request"
    advice = "Correct the field that the detail names."


class SaturatedError(ApiError):
    """The service's queue stayed full for as long as this call could wait."""

    code = "saturated"
    advice = "Send less at a time, allow a longer deadline, or give the service more workers."


class UnavailableError(ApiError):
    """The service, or a proxy before it, could not answer now."""

    code = "unavailable"
    advice = "Client.readyz() says whether the service is ready; its log says why not."


class VerdictFailedError(CountermarkClientError):
    """Items have no verdict, and the caller asked for an error in that case.

    A failure is never a zero: these items' scores are null.
    """

    code = "verdict_failed"

    def __init__(
        self, failed: tuple[IndexedVerdict, ...], *, total: int, result: ScoreResult | None = None
    ) -> None:
        named = "; ".join(_name(index, verdict) for index, verdict in failed[:LISTED_FAILURES])
        more = f"; and {len(failed) - LISTED_FAILURES} more" if len(failed) > LISTED_FAILURES else ""
        super().__init__(
            f"{len(failed)} of {total} items have no verdict from {failed[0].verdict.pin}: {named}{more}. "
            f"They are failures, not zeros: score them again, or choose on_failure='null' and leave them out."
        )
        self.failed = failed
        """The failed items with their positions in the input."""
        self.result = result
        """Every verdict of the call, the good ones included; None from a stream, which gave them out."""


def _name(index: int, verdict: Any) -> str:
    """Name one failed item for a message: its index, id, outcome and the service's code."""
    identity = f" (id {verdict.id!r})" if verdict.id is not None else ""
    code = verdict.detail.get("code")
    return f"item {index}{identity}: {verdict.outcome}" + (f", {code}" if code else "")


BY_CODE: Mapping[str, type[ApiError]] = {
    **{
        kind.code: kind
        for kind in (
            UnauthorizedError,
            ForbiddenError,
            UnknownVerifierError,
            UnknownReleaseError,
            VersionRequiredError,
            DigestMismatchError,
            ReleaseConflictError,
            YankedError,
            TooLargeError,
            InvalidRequestError,
            SaturatedError,
            UnavailableError,
        )
    },
    "too_many_items": TooLargeError,
    "response_too_large": TooLargeError,
    "reference_too_large": TooLargeError,
    "invalid_ref": InvalidRequestError,
    "invalid_release_ref": InvalidRequestError,
    "invalid_card": InvalidRequestError,
    "release_contradicted": InvalidRequestError,
    "unknown_task": UnknownReleaseError,
    "release_version_required": VersionRequiredError,
    "release_digest_mismatch": DigestMismatchError,
}
"""Which class stands for which code of the service."""

BY_STATUS: Mapping[int, type[ApiError]] = {
    401: UnauthorizedError,
    403: ForbiddenError,
    413: TooLargeError,
    422: InvalidRequestError,
    429: SaturatedError,
    502: UnavailableError,
    503: UnavailableError,
    504: UnavailableError,
}
"""Which class stands for a status whose code is unknown here or absent."""


def api_error(
    status: int, problem: Mapping[str, Any], fallback: str, *, retry_after: float | None = None
) -> ApiError:
    """Return the error for an answer of `status`.

    Args:
        status: HTTP status, 300 or more.
        problem: The problem document, empty if the answer held none.
        fallback: What to say in place of a missing ``detail``.
        retry_after: Seconds that the answer asked to wait.
    """
    code = problem.get("code")
    code = code if isinstance(code, str) and code else f"http_{status}"
    detail = problem.get("detail") or problem.get("title")
    detail = detail if isinstance(detail, str) and detail else fallback
    kind = BY_CODE.get(code) or BY_STATUS.get(status, ApiError)
    return kind(status, code, detail, problem, retry_after=retry_after)
