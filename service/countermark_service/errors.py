"""What can go wrong, as one tree, without a word of HTTP.

Every error that a person or a program outside can meet has a stable `code`, a
sentence that says what happened, with which value and what to do now, and the
values as attributes (`values()`), so that a client need not parse prose.

    CountermarkError
    ├── RefError                    invalid_ref
    │   └── VersionRequiredError    version_required
    ├── BundleError                 invalid_bundle
    │   ├── ManifestError           invalid_manifest
    │   ├── VectorsError            invalid_vectors
    │   └── DigestMismatchError     digest_mismatch
    ├── UnknownVerifierError        unknown_verifier
    ├── RequestError                invalid_request
    │   └── TooLargeError           body_too_large, too_many_items, response_too_large, reference_too_large
    ├── VerdictFailedError          verdict_failed
    ├── AccessError
    │   ├── UnauthorizedError       unauthorized
    │   └── ForbiddenError          forbidden
    ├── SaturatedError              saturated
    ├── UnavailableError            unavailable
    └── SettingsError               invalid_settings

A room adds subclasses beside the code that raises them (`EnvironmentBuildError`
in the engine, `StoreUnavailableError` in the store). An item that fails is not
an error of this tree: it is a verdict whose outcome says so.
"""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any, ClassVar


class CountermarkError(Exception):
    """Base of every error that Countermark raises on purpose."""

    code: ClassVar[str] = "error"

    def values(self) -> Mapping[str, Any]:
        """Return the error's values, JSON-able, under stable names."""
        return {k: v for k, v in vars(self).items() if not k.startswith("_") and k != "args"}


class RefError(CountermarkError):
    """A text that is not a verifier reference."""

    code = "invalid_ref"

    def __init__(self, ref: str, problem: str) -> None:
        shown = ref if len(ref) <= 120 else ref[:117] + "..."
        super().__init__(
            f"{shown!r} is not a verifier reference: {problem}. "
            "Write [namespace/]name:version, or with the pin [namespace/]name:version@sha256:<64 hex digits>."
        )
        self.ref = shown


class VersionRequiredError(RefError):
    """A reference without a version; there is no `latest`."""

    code = "version_required"

    def __init__(self, name: str, versions: Iterable[str]) -> None:
        self.ref = name
        self.versions = list(versions)
        known = ", ".join(self.versions)
        CountermarkError.__init__(
            self,
            f"{name!r} names no version, and there is no default one: the version decides the verdict. "
            + (f"Write one of: {known}." if known else "No version of that name is here."),
        )


class BundleError(CountermarkError):
    """A bundle folder that cannot be used."""

    code = "invalid_bundle"


class ManifestError(BundleError):
    """A manifest that does not say what it must."""

    code = "invalid_manifest"

    def __init__(self, file: str, key: str, value: object, problem: str) -> None:
        shown = repr(value)
        if len(shown) > 100:
            shown = shown[:97] + "..."
        super().__init__(f"{file}: key `{key}` is {shown}: {problem}.")
        self.file, self.key, self.value, self.problem = file, key, shown, problem


class VectorsError(BundleError):
    """A line of `vectors.jsonl` that cannot be read."""

    code = "invalid_vectors"

    def __init__(self, file: str, line: int, problem: str) -> None:
        super().__init__(f"{file}, line {line}: {problem}.")
        self.file, self.line, self.problem = file, line, problem


class DigestMismatchError(BundleError):
    """The content of a bundle is not what a pin or the published list names."""

    code = "digest_mismatch"

    def __init__(self, ref: str, *, pinned: str, found: str, pinned_by: str) -> None:
        super().__init__(
            f"bundle {ref} does not match {pinned_by}: pinned {pinned}, found {found}. "
            "Published versions never change: restore the files, or publish the change as a new version."
        )
        self.ref, self.pinned, self.found = ref, pinned, found


class UnknownVerifierError(CountermarkError):
    """No bundle of that name and version is here."""

    code = "unknown_verifier"

    def __init__(self, ref: str, *, versions: Iterable[str] = (), names: Iterable[str] = ()) -> None:
        self.ref = ref
        self.versions = list(versions)
        if self.versions:
            hint = f"Versions here: {', '.join(self.versions)}."
        else:
            self.names = list(names)
            hint = f"Verifiers here: {', '.join(self.names) or 'none'}."
            if near := _near(ref.partition(":")[0], self.names):
                hint = f"Did you mean {near}? {hint}"
        super().__init__(f"no verifier {ref!r} is here. {hint}")


def _near(name: str, names: list[str]) -> str:
    """Return the name that somebody who wrote `name` most likely meant, or nothing."""
    inside = [known for known in names if known.rpartition("/")[2] == name]
    return next(iter(inside or get_close_matches(name, names, 1, 0.75)), "")


class RequestError(CountermarkError):
    """A request that cannot be understood; nothing of it was scored."""

    code = "invalid_request"

    def __init__(self, message: str, *, item: int | None = None, field: str | None = None) -> None:
        super().__init__(message)
        if item is not None:
            self.item = item
        if field is not None:
            self.field = field


class TooLargeError(RequestError):
    """A request, or a part of it, that is over a limit of the settings."""

    code = "too_large"

    def __init__(self, kind: str, message: str, *, limit: int, item: int | None = None) -> None:
        super().__init__(message, item=item)
        self._kind = kind
        self.limit = limit

    @property
    def kind(self) -> str:
        """The stable code of this limit, such as ``too_many_items``."""
        return self._kind


class VerdictFailedError(CountermarkError):
    """`on_failure` is ``raise``, or a client knows nothing but scores, and some items have none."""

    code = "verdict_failed"

    def __init__(self, failed: list[dict[str, Any]], total: int, advice: str | None = None) -> None:
        first = failed[0]
        detail = first.get("detail", {})
        why = detail.get("message") or detail.get("reason")
        super().__init__(
            f"{len(failed)} of {total} items have no score, the first at index {first['index']} "
            f"(outcome {first['outcome']}{f': {str(why)[:300]}' if why else ''}). "
            + (
                advice
                or "The request asked for on_failure=raise; the other verdicts are kept in the store, so "
                "asking again with on_failure=null costs little."
            )
        )
        self.failed = failed[:32]
        self.count, self.total = len(failed), total


class AccessError(CountermarkError):
    """The caller may not do this."""

    code = "forbidden"


class UnauthorizedError(AccessError):
    """No key, or one that is not known."""

    code = "unauthorized"

    def __init__(self) -> None:
        super().__init__(
            "this service wants a key: send `Authorization: Bearer <key>` with one that it knows."
        )


class ForbiddenError(AccessError):
    """A known key without the scope that the route needs."""

    code = "forbidden"

    def __init__(self, scope: str, granted: Iterable[str]) -> None:
        self.scope, self.granted = scope, sorted(granted)
        super().__init__(f"this key lacks the scope {scope!r}; it has: {', '.join(self.granted) or 'none'}.")


class SaturatedError(CountermarkError):
    """The queue is full, so that nothing of the request was started; or no turn came in time."""

    code = "saturated"

    def __init__(self, *, pending: int, limit: int, retry_after: float, waited: float | None = None) -> None:
        why = "the queue is full" if waited is None else f"nothing came out within {waited:g} s"
        super().__init__(
            f"{why} ({pending} of {limit} items wait): ask again in {retry_after:.0f} s or later."
        )
        self.pending, self.limit, self.retry_after = pending, limit, retry_after


class UnavailableError(CountermarkError):
    """A part that this request needs is not to be had here and now."""

    code = "unavailable"


class SettingsError(CountermarkError):
    """A setting that cannot be used."""

    code = "invalid_settings"

    def __init__(self, source: str, key: str, value: object, problem: str) -> None:
        shown = repr(value)
        shown = shown if len(shown) <= 200 else f"{shown[:200]}…"
        super().__init__(f"{source}: `{key}` is {shown}: {problem}.")
        self.source, self.key, self.problem = source, key, problem
