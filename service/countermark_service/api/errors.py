"""Which status each error has, and the one shape of every error answer (RFC 9457)."""

from collections.abc import Mapping
from typing import Any

import msgspec
import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Match

from countermark_service.api.document import PROBLEM_JSON
from countermark_service.errors import (
    BundleError,
    CountermarkError,
    DigestMismatchError,
    ForbiddenError,
    RefError,
    RequestError,
    SaturatedError,
    TooLargeError,
    UnauthorizedError,
    UnavailableError,
    UnknownVerifierError,
    VerdictFailedError,
)
from countermark_service.receipts.errors import NoSigningKeyError, SigningKeysError
from countermark_service.registry import YankedError
from countermark_service.releases import (
    CardError,
    ReleaseConflictError,
    ReleaseMismatchError,
    ReleaseRefError,
    ReleaseVersionRequiredError,
    UnknownReleaseError,
    UnknownTaskError,
)
from countermark_service.store.access_keys import AccessKeysError


class UnsupportedContentError(RequestError):
    """A body of a kind that this route does not read."""

    code = "unsupported_content_type"


class InternalError(CountermarkError):
    """A bug, as it is told outside: the log has the details."""

    code = "internal"

    def __init__(self) -> None:
        super().__init__("the service met an error that it does not know; its log has the details.")


STATUSES: Mapping[type[CountermarkError], int] = {
    RefError: 400,
    ReleaseRefError: 400,
    ReleaseVersionRequiredError: 400,
    TooLargeError: 413,
    UnsupportedContentError: 415,
    RequestError: 422,
    UnauthorizedError: 401,
    ForbiddenError: 403,
    CardError: 422,
    UnknownVerifierError: 404,
    UnknownReleaseError: 404,
    UnknownTaskError: 404,
    ReleaseConflictError: 409,
    ReleaseMismatchError: 409,
    NoSigningKeyError: 409,  # asking again does not help, as 503 would have it
    YankedError: 410,
    DigestMismatchError: 409,
    BundleError: 409,
    VerdictFailedError: 424,
    SaturatedError: 429,
    UnavailableError: 503,
    InternalError: 500,
    CountermarkError: 503,
}
"""Status by error class, most specific first; the order is the rule."""

_ABOUT_FILES = (AccessKeysError, SigningKeysError)
"""Errors whose sentence is for the operator: it says which file on this machine is damaged, and how."""

_TITLES = {
    400: "Bad request", 401: "Key required", 403: "Not allowed", 404: "Not found", 405: "Method not allowed",
    409: "Conflict", 410: "Yanked", 413: "Too large", 415: "Unsupported content type", 422: "Invalid request",
    424: "Items without a score", 429: "Saturated", 431: "Headers too large", 500: "Internal error", 503: "Unavailable",
}  # fmt: skip
_CODES = {404: "not_found", 405: "method_not_allowed"}

_log = structlog.get_logger("countermark.api")


def problem(status: int, code: str, detail: str, values: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the body of an error answer: the standard members, then the error's values."""
    body: dict[str, Any] = {
        "type": f"urn:countermark:error:{code}",
        "title": _TITLES.get(status, "Error"),
        "status": status,
        "detail": detail,
        "code": code,
    }
    return body | {name: value for name, value in (values or {}).items() if name not in body}


def problem_of(error: CountermarkError) -> dict[str, Any]:
    """Return the body for a domain error; what only the operator can mend goes to the log, where it names files."""
    if isinstance(error, _ABOUT_FILES):
        _log.error("keys cannot be read", code=error.code, problem=str(error))
        detail = "keys of this service cannot be read; its log has the details."
        return problem(status_of(error), error.code, detail)
    return problem(status_of(error), code_of(error), str(error), error.values())


def code_of(error: CountermarkError) -> str:
    """Return the stable code of an error."""
    return error.kind if isinstance(error, TooLargeError) else error.code


def answer(body: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> Response:
    """Return the response for a problem's body."""
    headers = dict(headers or {})
    if "retry_after" in body:
        headers["Retry-After"] = str(max(1, round(body["retry_after"])))
    if body["status"] == 401:
        headers["WWW-Authenticate"] = "Bearer"
    content = msgspec.json.encode(body, enc_hook=str)
    return Response(content, status_code=body["status"], media_type=PROBLEM_JSON, headers=headers)


def bug(path: str, exc: BaseException) -> InternalError:
    """Log a bug with its traceback, and return the error that tells of it without one."""
    _log.error("unexpected", path=path, exc_info=exc)
    return InternalError()


def install(app: FastAPI) -> None:
    """Have every error that is known answered in the one shape; `Observe` answers the others."""

    @app.exception_handler(CountermarkError)
    async def domain(request: Request, exc: CountermarkError) -> Response:
        return answer(problem_of(exc))

    @app.exception_handler(RequestValidationError)
    async def validation(request: Request, exc: RequestValidationError) -> Response:
        first = exc.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        return answer(problem(422, "invalid_request", f"{where}: {first['msg']}", {"field": where}))

    @app.exception_handler(HTTPException)
    async def framework(request: Request, exc: HTTPException) -> Response:
        code = _CODES.get(exc.status_code, "http_error")
        headers = dict(exc.headers or {})
        if exc.status_code == 405:
            headers["Allow"] = ", ".join(_methods(request, headers.get("Allow", "")))
        text = f"{request.method} {request.url.path[:200]}: {_told(request, exc, headers)}"
        return answer(problem(exc.status_code, code, text), headers)

    @app.exception_handler(ClientDisconnect)
    async def gone(request: Request, exc: ClientDisconnect) -> Response:
        # Nobody reads this; it is an answer so that the log says 400 and not that there is a bug.
        return answer(problem(400, "client_gone", "the client went away before its request was whole."))


def _told(request: Request, exc: HTTPException, headers: Mapping[str, str]) -> str:
    """Return what is wrong with a path or its method, and what to do."""
    if exc.status_code == 405:
        taken = [method for method in headers["Allow"].split(", ") if method != "HEAD"]
        return f"this path takes {' and '.join(taken)}."
    if exc.status_code != 404:
        return str(exc.detail)
    name = request.url.path.split("/")[1]
    if name in request.app.state.facades_off:
        return f"the facade {name!r} is switched off here (setting `facades`, COUNTERMARK_FACADES)."
    return (
        "nothing is served there. GET /openapi.json has the routes; those of the facades are in facades.md."
    )


def _methods(request: Request, first: str) -> list[str]:
    """Return what a path takes; the framework tells of the `first` of its routes, and each has one method."""
    found = {method for method in first.split(", ") if method}
    for route in request.app.state.native_routes:
        if route.matches(request.scope)[0] is not Match.NONE:
            found |= route.methods or set()
    return sorted(found | ({"HEAD"} if "GET" in found else set()))


def status_of(error: CountermarkError) -> int:
    """Return the status of an error on the native API."""
    return next(status for kind, status in STATUSES.items() if isinstance(error, kind))
