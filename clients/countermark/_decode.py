"""Answers of the service, checked and turned into values.

A reward is trained on, so an answer that is wrong in a small way is worse than none: verdicts without a score
that carry a reward, scores outside [0, 1], ids in another order, a missing verdict all raise `ProtocolError`.
Unknown fields are ignored.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ._errors import ApiError, ProtocolError, api_error
from ._types import (
    Advisory,
    OnFailure,
    Outcome,
    Receipt,
    ReleaseDetail,
    ReleaseInfo,
    ReleaseSummary,
    Stats,
    Verdict,
    VerifierDetail,
    VerifierInfo,
    VerifierSummary,
)

EXCERPT = 200
"""Characters of an unreadable answer that an error quotes."""

OUTCOMES: Mapping[str, Outcome] = {outcome.value: outcome for outcome in Outcome}
FAILURES = frozenset({Outcome.BAD_REFERENCE, Outcome.TIMEOUT, Outcome.ERROR, Outcome.ABSTAIN})
"""Outcomes that come without a score."""


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


_loads = json.JSONDecoder(parse_constant=_refuse_constant).decode


def read_json(data: bytes, where: str) -> dict[str, Any]:
    """Return the JSON object in `data`.

    Raises:
        ProtocolError: `data` is no JSON object; `where` says in the message what was read.
    """
    try:
        document = _loads(data.decode())
    except (ValueError, RecursionError) as exc:
        raise ProtocolError(f"{where} is not JSON: {excerpt(data)!r}") from exc
    if not isinstance(document, dict):
        raise ProtocolError(f"{where} is a JSON {type(document).__name__}, not an object")
    return document


def read_error(status: int, data: bytes, *, retry_after: float | None) -> ApiError:
    """Return the error in an answer, whether it is a problem document or a proxy's page."""
    try:
        problem = read_json(data, "the answer")
    except ProtocolError:
        problem = {}
    return api_error(status, problem, excerpt(data) or "no further explanation", retry_after=retry_after)


def read_verifier(document: Mapping[str, Any], where: str) -> VerifierInfo:
    """Return the verifier that `document`, an answer or a summary line, names."""
    fields = document.get("verifier")
    if not isinstance(fields, dict):
        raise ProtocolError(f"{where} does not name the verifier")
    return VerifierInfo(**_identity(fields, f"{where}: verifier"))


def read_stats(fields: Any, where: str) -> Stats:
    """Return counts from the ``stats`` of an answer or from a stream's summary."""
    try:
        stats = Stats(
            int(fields["items"]), int(fields["cached"]), int(fields["failed"]), float(fields["seconds"])
        )
    except (KeyError, TypeError, ValueError, OverflowError) as exc:
        raise ProtocolError(f"{where} has no usable counts: {fields!r:.200}") from exc
    return stats


def read_release(document: Mapping[str, Any], where: str) -> ReleaseInfo:
    """Return the release that an answer or a summary line names."""
    fields = document.get("release")
    if not isinstance(fields, dict):
        raise ProtocolError(f"{where} does not name the release that was asked for")
    where = f"{where}: release"
    on_failure = fields.get("on_failure")
    if on_failure not in ("null", "zero", "raise"):
        raise ProtocolError(f"{where} has the on_failure {on_failure!r:.40}")
    return ReleaseInfo(**_identity(fields, where), **_texts(fields, ("task",), where), on_failure=on_failure)


def read_advisories(document: Mapping[str, Any], where: str) -> tuple[Advisory, ...]:
    """Return what stands against what answered; none where the field is absent."""
    needed, optional = ("id", "kind", "pin", "reason", "date"), ("replacement", "url")
    return tuple(
        Advisory(
            **_texts(one, needed, f"{where}: advisory {i}"),
            **{name: one[name] for name in optional if isinstance(one.get(name), str)},
        )
        for i, one in enumerate(_of_type(document, "advisories", list, where))
    )


def read_release_summaries(document: Mapping[str, Any]) -> list[ReleaseSummary]:
    """Return the list of releases."""
    lines = document.get("releases")
    if not isinstance(lines, list):
        raise ProtocolError("the list of releases is missing from the answer")
    return [read_release_summary(line, f"release {i} of the list") for i, line in enumerate(lines)]


def read_release_summary(fields: Any, where: str = "the answer about the release") -> ReleaseSummary:
    """Return one release of a list."""
    return ReleaseSummary(**_release(fields, where))


def read_release_detail(document: Mapping[str, Any]) -> ReleaseDetail:
    """Return everything that the service tells about one release."""
    where = "the answer about the release"
    return ReleaseDetail(
        **_release(document, where),
        card=_of_type(document, "card", dict, where),
        completeness=_of_type(document, "completeness", dict, where),
        advisories=read_advisories(document, where),
    )


def read_degraded(document: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what the service had to do without."""
    notes = document.get("degraded")
    return tuple(str(note) for note in notes) if isinstance(notes, list) else ()


def read_receipt(document: Mapping[str, Any], start: int, items: int) -> Receipt:
    """Return the receipt of a batch answer that was asked for one.

    Args:
        document: The answer.
        start: Position of the first item in the caller's input.
        items: How many items were sent.

    Raises:
        ProtocolError: It is missing, or about another number of items.
    """
    receipt = document.get("receipt")
    leaves = receipt.get("leaves") if isinstance(receipt, dict) else None
    if not isinstance(receipt, dict) or not isinstance(receipt.get("envelope"), dict):
        raise ProtocolError("a receipt was asked for, and the answer has none")
    if not isinstance(leaves, list) or len(leaves) != items:
        raise ProtocolError(f"the receipt in the answer is not about the {items} items that were sent")
    return Receipt(receipt, start, items)


def read_verdicts(
    document: Mapping[str, Any],
    pin: str,
    ids: Sequence[str | int | None],
    on_failure: OnFailure,
    *,
    start: int,
) -> list[Verdict]:
    """Return the verdicts of a batch answer, one for each of `ids`, in order.

    Args:
        document: The answer.
        pin: The verifier that made them.
        ids: The ids of the items that were sent.
        on_failure: The policy that was sent.
        start: Position of the first item in the caller's input, for messages.

    Raises:
        ProtocolError: Count, order or form is wrong.
    """
    verdicts = document.get("verdicts")
    if not isinstance(verdicts, list) or len(verdicts) != len(ids):
        found = f"{len(verdicts)} verdicts" if isinstance(verdicts, list) else "no verdicts"
        raise ProtocolError(f"the answer has {found} for {len(ids)} items")
    return [
        read_verdict(verdict, pin, identity, on_failure, index=start + offset)
        for offset, (verdict, identity) in enumerate(zip(verdicts, ids, strict=True))
    ]


def read_verdict(
    fields: Any, pin: str, identity: str | int | None, on_failure: OnFailure, *, index: int
) -> Verdict:
    """Return one verdict; the arguments are those of `read_verdicts`."""
    try:
        outcome = OUTCOMES[fields["outcome"]]
        score, reward = _number(fields["score"]), _number(fields["reward"])
        detail, surroundings = fields.get("detail") or {}, fields.get("surroundings") or {}
        verdict = Verdict(
            fields.get("id"), outcome, score, reward, fields["cached"], detail, surroundings, pin
        )
    except (KeyError, TypeError, AttributeError, OverflowError) as exc:
        raise ProtocolError(f"the verdict on item {index} cannot be read: {fields!r:.200}") from exc
    if not (
        (score is None or 0.0 <= score <= 1.0)
        and (reward is None or 0.0 <= reward <= 1.0)
        and type(verdict.cached) is bool
        and type(detail) is dict
        and type(surroundings) is dict
    ):
        raise ProtocolError(f"the verdict on item {index} cannot be read: {fields!r:.200}")
    if verdict.id != identity:
        raise ProtocolError(f"the verdict on item {index} carries the id {verdict.id!r}, not {identity!r}")
    if (score is None) != (outcome in FAILURES):
        raise ProtocolError(f"the verdict on item {index} is {outcome.value} with the score {score}")
    if score is None and reward is not None and on_failure != "zero":
        raise ProtocolError(
            f"item {index} has no score and yet a reward of {reward}; a failure is never a zero"
        )
    return verdict


def read_summaries(document: Mapping[str, Any]) -> list[VerifierSummary]:
    """Return the list of verifiers."""
    lines = document.get("verifiers")
    if not isinstance(lines, list):
        raise ProtocolError("the list of verifiers is missing from the answer")
    return [VerifierSummary(**_summary(line, f"verifier {i} of the list")) for i, line in enumerate(lines)]


def read_detail(document: Mapping[str, Any]) -> VerifierDetail:
    """Return everything that the service tells about one verifier."""
    where = "the answer about the verifier"
    description = document.get("description")
    return VerifierDetail(
        **_summary(document, where),
        description=description if isinstance(description, str) else "",
        parameters=_of_type(document, "parameters", dict, where),
        vectors=tuple(_of_type(document, "vectors", list, where)),
        advisories=read_advisories(document, where),
        document=document,
    )


def read_seconds(value: Any) -> float | None:
    """Return a time span that counts only where it is one; None for what is no number, or beyond every float."""
    try:
        return _number(value)
    except (TypeError, OverflowError):
        return None


def excerpt(data: bytes) -> str:
    """Return the beginning of an answer that could not be read, on one line."""
    return " ".join(data[: 4 * EXCERPT].decode(errors="replace").split())[:EXCERPT]


def _number(value: Any) -> float | None:
    """Return a score or reward.

    Raises:
        TypeError: It is neither null nor a number.
        OverflowError: It is beyond every float.
    """
    if value is None or type(value) is float:
        return value
    if type(value) is int:
        return float(value)
    raise TypeError(value)


def _summary(fields: Any, where: str) -> dict[str, str]:
    return {**_identity(fields, where), **_texts(fields, ("runtime", "summary"), where)}


def _release(fields: Any, where: str) -> dict[str, Any]:
    tasks = _of_type(fields, "tasks", list, where) if isinstance(fields, dict) else []
    summary = fields.get("summary") if isinstance(fields, dict) else None
    return {
        **_identity(fields, where),
        **_texts(fields, ("grade",), where),
        "tasks": tuple(task for task in tasks if isinstance(task, str)),
        "summary": summary if isinstance(summary, str) else None,
    }


def _identity(fields: Any, where: str) -> dict[str, str]:
    """Return the four fields that name a verifier, ``ref`` with its digest.

    Raises:
        ProtocolError: One is missing, or ``ref`` carries another digest than ``digest``.
    """
    texts = _texts(fields, ("ref", "name", "version", "digest"), where)
    name, _, digest = texts["ref"].partition("@")
    if digest not in ("", texts["digest"]):
        raise ProtocolError(f"{where} names two digests: ref {texts['ref']}, digest {texts['digest']}")
    return {**texts, "ref": f"{name}@{texts['digest']}"}


def _texts(fields: Any, names: Sequence[str], where: str) -> dict[str, str]:
    """Return the string fields `names` of a JSON object."""
    if not isinstance(fields, dict):
        raise ProtocolError(f"{where} is no object")
    texts: dict[str, str] = {}
    for name in names:
        text = fields.get(name)
        if not isinstance(text, str):
            raise ProtocolError(f"{where} has no {name}")
        texts[name] = text
    return texts


def _of_type(document: Mapping[str, Any], name: str, kind: type[Any], where: str) -> Any:
    """Return a field, or an empty value of `kind` if it is absent."""
    value = document.get(name, kind())
    if not isinstance(value, kind):
        raise ProtocolError(f"{where} has {name} of type {type(value).__name__}, not {kind.__name__}")
    return value
