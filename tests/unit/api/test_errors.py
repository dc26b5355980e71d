"""Every error has one status, one stable code, and a body that is JSON whatever its values are."""

import importlib
import json
import pkgutil
import re

import pytest

import countermark_service
from countermark_service import errors
from countermark_service.api.errors import STATUSES, UnsupportedContentError, answer, problem_of
from countermark_service.errors import CountermarkError, RequestError, SaturatedError, TooLargeError


def kinds(kind: type[CountermarkError] = CountermarkError) -> set[type[CountermarkError]]:
    """Return a class and all that derive from it, of every room that can be imported."""
    return {kind}.union(*(kinds(one) for one in kind.__subclasses__()))


@pytest.fixture(scope="module", autouse=True)
def every_room() -> None:
    """Import every module but those that are programs, so that all errors are known."""
    for module in pkgutil.walk_packages(countermark_service.__path__, "countermark_service."):
        if not re.search(r"\.(__main__|inside|harness)|\.scaffold", module.name):
            importlib.import_module(module.name)


def test_the_drawn_tree_is_the_tree() -> None:
    drawn = set(re.findall(r"^    [│ ]*[├└]── (\w+)", errors.__doc__ or "", flags=re.MULTILINE))
    here = {kind.__name__ for kind in kinds() if kind.__module__ == errors.__name__}
    assert drawn == here - {"CountermarkError"}


def test_the_drawn_codes_are_the_codes() -> None:
    drawn = dict(re.findall(r"── (\w+) +([a-z_]+)$", errors.__doc__ or "", flags=re.MULTILINE))
    assert len(drawn) > 10
    assert {name: getattr(errors, name).code for name in drawn} == drawn


def test_every_error_has_a_code_of_its_own_shape() -> None:
    for kind in kinds() - {CountermarkError}:
        assert re.fullmatch(r"[a-z]+(_[a-z0-9]+)*", kind.code), kind


def test_the_most_specific_status_comes_first() -> None:
    order = list(STATUSES)
    for number, kind in enumerate(order):
        assert not any(issubclass(kind, earlier) for earlier in order[:number]), kind


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (errors.RefError("X", "no"), 400, "invalid_ref"),
        (errors.VersionRequiredError("x", ["1"]), 400, "version_required"),
        (errors.UnauthorizedError(), 401, "unauthorized"),
        (errors.ForbiddenError("score", ["audit"]), 403, "forbidden"),
        (errors.UnknownVerifierError("x:1"), 404, "unknown_verifier"),
        (errors.DigestMismatchError("x:1", pinned="a", found="b", pinned_by="c"), 409, "digest_mismatch"),
        (errors.ManifestError("f", "k", "v", "p"), 409, "invalid_manifest"),
        (errors.VectorsError("f", 3, "p"), 409, "invalid_vectors"),
        (TooLargeError("too_many_items", "no", limit=3), 413, "too_many_items"),
        (UnsupportedContentError("no"), 415, "unsupported_content_type"),
        (RequestError("no", item=3, field="x"), 422, "invalid_request"),
        (errors.VerdictFailedError([{"index": 0, "outcome": "error"}], 1), 424, "verdict_failed"),
        (SaturatedError(pending=1, limit=1, retry_after=2.0), 429, "saturated"),
        (errors.UnavailableError("no"), 503, "unavailable"),
    ],
)
def test_an_error_becomes_a_problem_with_its_values(error: CountermarkError, status: int, code: str) -> None:
    response = answer(problem_of(error))
    body = json.loads(bytes(response.body))

    assert (response.status_code, response.media_type) == (status, "application/problem+json")
    assert (body["status"], body["code"], body["detail"]) == (status, code, str(error))
    assert body["type"] == f"urn:countermark:error:{code}"
    assert body["title"] not in ("", "Error")
    assert dict(error.values()).items() <= body.items()


def test_a_value_cannot_take_the_place_of_a_standard_member() -> None:
    error = RequestError("no")
    vars(error).update(status=200, title="Fine", detail="nothing happened", item=3)
    body = problem_of(error)
    assert (body["status"], body["title"], body["detail"]) == (422, "Invalid request", "no")
    assert body["item"] == 3


@pytest.mark.parametrize(("seconds", "header"), [(0.2, "1"), (1.4, "1"), (17.0, "17")])
def test_who_is_turned_away_is_told_for_how_many_whole_seconds(seconds: float, header: str) -> None:
    response = answer(problem_of(SaturatedError(pending=1, limit=1, retry_after=seconds)))
    assert response.headers["Retry-After"] == header


def test_values_that_json_does_not_know_are_written_as_texts() -> None:
    error = RequestError("no")
    vars(error).update(strange={1: object}, folder=countermark_service.__path__)
    assert json.loads(bytes(answer(problem_of(error)).body))["code"] == "invalid_request"
