"""Replies of the hot routes, put together from verdicts that are JSON already."""

from collections.abc import Sequence
from typing import Any

import msgspec

from countermark_service.bundles import Bundle
from countermark_service.errors import VerdictFailedError
from countermark_service.model import Item, OnFailure
from countermark_service.releases import ReleaseUse
from countermark_service.remembered import Scored
from countermark_service.scoring import Asked, Run, reward_of

_encode = msgspec.json.encode
_encode_lines = msgspec.json.Encoder().encode_lines


def verdict_json(
    scored: Scored, item_id: str | int | None, on_failure: OnFailure, *, index: int | None = None
) -> bytes:
    """Return one verdict as JSON, with the caller's id and the reward that it chose."""
    verdict, cached = scored
    said = _SAID[on_failure is OnFailure.ZERO][cached].get(verdict.score)
    return b'{%b"id":%b%b%b' % (
        b"" if index is None else b'"index":%d,' % index,
        b"null" if item_id is None else _encode(item_id),
        said or _say(reward_of(verdict, on_failure), cached),
        verdict.json[1:],
    )


def batch_json(
    asked: Asked, items: Sequence[Item], scored: Sequence[Scored], run: Run, receipt: bytes | None = None
) -> bytes:
    """Return the reply to a batch: one verdict per item, in order; last the receipt, JSON, where there is one."""
    said = _SAID[asked.on_failure is OnFailure.ZERO]
    # What `verdict_json` says, a kind of piece at a time.
    pieces: list[bytes] = [b',{"id":'] * (4 * len(items))
    pieces[1::4] = _encode_lines([item.id for item in items]).splitlines()  # a JSON text holds no line break
    pieces[2::4] = [
        said[cached].get(verdict.score) or _say(reward_of(verdict, asked.on_failure), cached)
        for verdict, cached in scored
    ]
    pieces[3::4] = [verdict.json[1:] for verdict, _ in scored]
    verdicts = b"".join(pieces)[1:]
    head, stats = _encode(verifier_of(asked.bundle)), _encode(stats_of(run))
    more = _encode(_remarks(asked, run))[1:-1]
    tail = b"," + more if more else b""
    if receipt is not None:
        tail += b',"receipt":' + receipt
    return b'{"verifier":%b,"verdicts":[%b],"stats":%b%b}' % (head, verdicts, stats, tail)


def summary_json(asked: Asked, run: Run) -> bytes:
    """Return the last line of a stream."""
    return _encode(
        {"summary": {"verifier": verifier_of(asked.bundle), **stats_of(run), **_remarks(asked, run)}}
    )


def _remarks(asked: Asked, run: Run) -> dict[str, Any]:
    """Return what a reply says only where there is something to say."""
    said: dict[str, Any] = {}
    if asked.use is not None:
        said["release"] = release_of(asked.use, asked.on_failure)
    if asked.advisories:
        said["advisories"] = [one.document() for one in asked.advisories]
    if run.degraded:
        said["degraded"] = sorted(run.degraded)
    return said


def release_of(use: ReleaseUse, on_failure: OnFailure) -> dict[str, str]:
    """Return how a reply names the release and route that it was made under."""
    card = use.release.card
    return {
        "ref": str(use.release.ref),
        "name": card.name,
        "version": card.version,
        "digest": use.release.digest,
        "task": use.task,
        "on_failure": on_failure.value,
    }


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


def _say(reward: float | None, cached: bool) -> bytes:
    """Return what stands between the caller's id and the verdict."""
    return b',"reward":%b,"cached":%b,' % (_encode(reward), b"true" if cached else b"false")


_SAID = {
    zero: {
        cached: {score: _say(0.0 if zero and score is None else score, cached) for score in (None, 0.0, 1.0)}
        for cached in (False, True)
    }
    for zero in (False, True)
}
"""What `_say` says of the scores that most replies carry, by whether the lack of one is a zero and `cached`."""
