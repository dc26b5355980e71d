"""Replies of the hot routes, put together from verdicts that are JSON already."""

from collections.abc import Sequence
from typing import Any

import msgspec

from countermark_service.bundles import Bundle
from countermark_service.errors import VerdictFailedError
from countermark_service.model import Item, OnFailure
from countermark_service.scoring import Run, Scored, reward_of

_encode = msgspec.json.encode


def verdict_json(
    scored: Scored, item_id: str | int | None, on_failure: OnFailure, *, index: int | None = None
) -> bytes:
    """Return one verdict as JSON, with the caller's id and the reward that it chose."""
    verdict, cached = scored
    reward = verdict.score if on_failure is OnFailure.NULL else reward_of(verdict, on_failure)
    return b'{%b"id":%b,"reward":%b,"cached":%b,%b' % (
        b"" if index is None else b'"index":%d,' % index,
        b"null" if item_id is None else _encode(item_id),
        _NUMBERS.get(reward) or _encode(reward),
        b"true" if cached else b"false",
        verdict.json[1:],
    )


def batch_json(
    bundle: Bundle, items: Sequence[Item], scored: Sequence[Scored], on_failure: OnFailure, run: Run
) -> bytes:
    """Return the reply to a batch: one verdict per item, in order."""
    verdicts = b",".join(
        [verdict_json(one, item.id, on_failure) for one, item in zip(scored, items, strict=True)]
    )
    tail = b',"degraded":%b' % _encode(sorted(run.degraded)) if run.degraded else b""
    head = _encode(verifier_of(bundle))
    return b'{"verifier":%b,"verdicts":[%b],"stats":%b%b}' % (head, verdicts, _encode(stats_of(run)), tail)


def summary_json(bundle: Bundle, run: Run) -> bytes:
    """Return the last line of a stream."""
    degraded = {"degraded": sorted(run.degraded)} if run.degraded else {}
    return _encode({"summary": {"verifier": verifier_of(bundle), **stats_of(run), **degraded}})


def verifier_of(bundle: Bundle) -> dict[str, str]:
    """Return how a reply names the verifier that made its verdicts."""
    manifest = bundle.manifest
    return {
        "ref": str(bundle.ref),
        "name": manifest.name,
        "version": manifest.version,
        "digest": bundle.digest,
    }


def stats_of(run: Run) -> dict[str, Any]:
    """Return the figures of a run."""
    return {"items": run.items, "cached": run.cached, "failed": run.failed, "seconds": round(run.seconds, 6)}


def refuse_failures(items: Sequence[Item], scored: Sequence[Scored], *, advice: str | None = None) -> None:
    """Apply `on_failure: raise`; `advice` is as in `VerdictFailedError`.

    Raises:
        VerdictFailedError: Some verdicts have no score.
    """
    failed = [
        {"index": index, "id": items[index].id, "outcome": verdict.outcome.value, "detail": verdict.detail()}
        for index, (verdict, _) in enumerate(scored)
        if verdict.score is None
    ]
    if failed:
        raise VerdictFailedError(failed, len(scored), advice)


_NUMBERS: dict[float | None, bytes] = {None: b"null", 0.0: b"0.0", 1.0: b"1.0"}
"""The rewards that most replies carry, encoded."""
