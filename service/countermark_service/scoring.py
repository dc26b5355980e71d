"""Resolve, look up, run, record: the one use case that API, CLI and audit share.

The way of a batch: whole-item keys are looked up at once; what is missing is
reduced (where the bundle can) and looked up again under the reductions; equal
items that are in flight anywhere in the service are waited for, not judged twice;
the rest goes to the runtime. Verdicts that the item alone decides are kept, the
others never are. The store may fail at any moment: that costs hits, never verdicts.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import structlog

from countermark_service.bundles import Bundle
from countermark_service.bundles.json_schema import Schema
from countermark_service.errors import RequestError, TooLargeError, UnavailableError
from countermark_service.model import (
    FAILURES,
    Item,
    OnFailure,
    Outcome,
    Verdict,
    item_keys,
    reduced_key,
)
from countermark_service.registry import Advisory, AdvisoryBook, Registry, YankedError, bundles_below
from countermark_service.releases import Release, ReleaseBook, ReleaseUse, UnknownReleaseError, require_pins
from countermark_service.remembered import SMALL_BYTES, Decoded, Familiar, Scored
from countermark_service.runtimes import OwnKeys, Runtime
from countermark_service.store import TieredStore

_log = structlog.get_logger("countermark.scoring")

_REMEMBERED_PARAMS = 1024

OnScored = Callable[[int, Verdict, bool], None]
"""Takes the index of an item, its verdict, and whether it was there already."""


@dataclass(frozen=True)
class ItemLimits:
    """How large the parts of a request may be."""

    items: int = 4096
    """Items of one request."""
    response_bytes: int = 1 << 20
    """Bytes of one response, as UTF-8."""


@dataclass
class Run:
    """What one call of `Scorer.score` did."""

    items: int = 0
    outcomes: Counter[tuple[Outcome, bool]] = field(default_factory=Counter)
    """How many verdicts came out how, by whether they were there already: in the store, or equal to one of the
    same moment."""
    reduced: int = 0
    """Of those that were there, how many were found only under their reduction."""
    seconds: float = 0.0
    degraded: set[str] = field(default_factory=set)
    """Codes of what did not work meanwhile, such as ``store_unavailable``."""

    @property
    def cached(self) -> int:
        """Verdicts that were there already."""
        return sum([count for (_, cached), count in self.outcomes.items() if cached])

    @property
    def failed(self) -> int:
        """Verdicts without a score."""
        return sum([count for (outcome, _), count in self.outcomes.items() if outcome in FAILURES])

    def add(self, other: "Run") -> None:
        """Add the counts of another run, not its time."""
        self.items += other.items
        self.outcomes += other.outcomes
        self.reduced += other.reduced
        self.degraded |= other.degraded


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request wants its items judged by, once that is clear."""

    bundle: Bundle
    on_failure: OnFailure = OnFailure.NULL
    use: ReleaseUse | None = None
    """The route, where a release was named in place of the verifier."""
    advisories: tuple[Advisory, ...] = ()
    """What stands against the verifier, a child of it, or the release."""

    def items(self, items: Sequence[Item], *, first: int = 0) -> Sequence[Item]:
        """Return the items with the release's parameters; raises what `ReleaseUse.items` raises."""
        return items if self.use is None else self.use.items(items, first=first)


@dataclass(slots=True)
class _Work:
    """Items of one batch that must get the same verdict."""

    payload: bytes
    indices: list[int]
    keys: set[bytes]
    """Keys under which the verdict is kept besides the one it is judged under."""


class Scorer:
    """Scores items under bundles."""

    def __init__(
        self,
        registry: Registry,
        runtimes: Mapping[str, Runtime],
        store: TieredStore,
        *,
        releases: ReleaseBook | None = None,
        advisories: AdvisoryBook | None = None,
        refuse_yanked: bool = False,
    ) -> None:
        """Join the parts; `assembly` owns their start and end."""
        self.registry = registry
        self.store = store
        self.releases = releases
        self.advisories = advisories if advisories is not None else AdvisoryBook()
        self._refuse_yanked = refuse_yanked
        self._below: dict[str, tuple[Bundle, ...]] = {}
        self._warned: set[str] = set()
        self._runtimes = runtimes
        # Asked once: looking at a protocol costs more than looking up a verdict.
        self._keyed = {kind: runtime for kind, runtime in runtimes.items() if isinstance(runtime, OwnKeys)}
        self._in_flight: dict[bytes, asyncio.Future[Verdict | None]] = {}
        self._schemas: dict[str, Schema] = {}
        self._good_params: set[tuple[str, bytes]] = set()
        self._decoded = Decoded()
        self._familiar = Familiar(max_entries=store.limits.lru_entries)

    def resolve(self, ref: str) -> Bundle:
        """Return the bundle that `ref` means; raises what `Registry.resolve` raises."""
        return self.registry.resolve(ref)

    def asked(
        self,
        *,
        verifier: str | None = None,
        release: str | None = None,
        task: str | None = None,
        on_failure: OnFailure | None = None,
    ) -> Asked:
        """Return what a request means that names a verifier, or a release and one of its tasks.

        Args:
            verifier: A reference; None where a release is named.
            release: Name and version of a release, with or without its digest.
            task: A task or data source of its card.
            on_failure: None where the request does not say.

        Raises:
            ContradictionError: The request says otherwise than the release's card.
            YankedError: The settings refuse it.
            CountermarkError: What `Registry.resolve` and `ReleaseBook.use` raise.
        """
        if verifier is not None:
            bundle = self.resolve(verifier)
            return Asked(
                bundle, OnFailure.NULL if on_failure is None else on_failure, None, self.heed(bundle)
            )
        if release is None or task is None:
            raise RequestError("a request names a verifier, or a release and a task.")
        if self.releases is None:
            raise UnknownReleaseError(release, versions=(), names=())
        use = self.releases.use(release, task)
        chosen = use.on_failure(on_failure)
        bundle = self.registry.resolve(use.route.ref)
        return Asked(bundle, chosen, use, self.heed(bundle, use.release.digest))

    def check_release(self, release: Release) -> None:
        """Refuse a card that this service could not score under.

        Raises:
            CardError: A verifier without digest.
            RequestError: Parameters that a verifier does not take.
            CountermarkError: A pin that is not here or not the same.
        """
        require_pins(release, file="the card")
        for route in release.card.verifier.routes:
            self.check_params(self.registry.resolve(route.ref), route.params)

    def advisories_of(self, bundle: Bundle, *digests: str) -> tuple[Advisory, ...]:
        """Return what stands against a bundle, the bundles that it asks, and `digests`, the yanked first."""
        return self.advisories.about((bundle.digest, *(one.digest for one in self.below(bundle)), *digests))

    def below(self, bundle: Bundle) -> tuple[Bundle, ...]:
        """Return the bundles that a composite asks, however deep, each once; none for any other bundle."""
        found = self._below.get(bundle.digest)
        if found is None:
            each = {one.digest: one for one in bundles_below(bundle, self.registry)}
            found = self._below[bundle.digest] = tuple(each.values())
        return found

    def told(self, advisories: Iterable[Advisory]) -> None:
        """Note that somebody said these already, so that the log need not."""
        self._warned.update(one.id for one in advisories)

    def heed(self, bundle: Bundle, *digests: str) -> tuple[Advisory, ...]:
        """Return what `advisories_of` does; each is logged once.

        Raises:
            YankedError: One of them is yanked, and the settings refuse that.
        """
        found = self.advisories_of(bundle, *digests)
        if found:
            for one in found:
                if one.id not in self._warned:
                    self._warned.add(one.id)
                    _log.warning(one.kind, pin=one.pin, advisory=one.id, reason=one.reason)
            if self._refuse_yanked and found[0].kind == "yanked":
                raise YankedError([one for one in found if one.kind == "yanked"])
        return found

    def runtime(self, bundle: Bundle) -> Runtime:
        """Return the runtime of a bundle.

        Raises:
            UnavailableError: This service has no such runtime.
        """
        kind = bundle.manifest.runtime
        if kind not in self._runtimes:
            raise UnavailableError(f"this service does not run {kind!r} verifiers, and {bundle.ref} is one.")
        return self._runtimes[kind]

    def identity(self, bundle: Bundle) -> bytes:
        """Return the 32 bytes that key a bundle's verdicts: its digest, unless its runtime has more to say."""
        own = self._own_keys(bundle)
        return bundle.digest_bytes if own is None else own.identity(bundle)

    def kept(self, bundle: Bundle) -> bool:
        """Whether a bundle's verdicts are stored and looked up."""
        own = self._own_keys(bundle)
        return own is None or own.kept(bundle)

    def degraded(self, bundle: Bundle) -> str | None:
        """What a bundle's verdicts are made without now, besides their own store; None where all is there."""
        own = self._own_keys(bundle)
        return None if own is None else own.degraded(bundle)

    def _own_keys(self, bundle: Bundle) -> OwnKeys | None:
        return self._keyed.get(bundle.manifest.runtime)

    def check(self, bundle: Bundle, items: Sequence[Item], limits: ItemLimits, *, first: int = 0) -> None:
        """Refuse what cannot be scored, before anything is.

        Args:
            bundle: The verifier, for its parameters.
            items: What was asked for.
            limits: How large it may be.
            first: Index of the first of `items` in the request, for messages.

        Raises:
            RequestError: A parameter that the verifier does not know or take.
            TooLargeError: Too many items, or one too large.
        """
        if len(items) > limits.items:
            message = (
                f"{len(items)} items in one request; this service takes {limits.items}. Split the batch."
            )
            raise TooLargeError("too_many_items", message, limit=limits.items)
        most = limits.response_bytes
        if max([len(item.response) for item in items], default=0) * 4 > most:  # no character has more bytes
            _refuse_large_responses(items, most, first)
        for index, params in [(index, item.params) for index, item in enumerate(items, first) if item.params]:
            self._check_params(bundle, params, index)

    def _check_params(self, bundle: Bundle, params: dict[str, Any], index: int) -> None:
        known = (bundle.digest, msgspec.json.encode(params, order="deterministic"))
        if known in self._good_params:
            return
        schema = self._schemas.get(bundle.digest)
        if schema is None:
            schema = Schema(bundle.manifest.parameters_schema())
            self._schemas[bundle.digest] = schema
        problem = schema.mismatch(params)
        if problem is not None:
            where = "".join(f".{part}" for part in problem.path)
            message = f"item {index}: params{where}: {problem.message[:300]}. {bundle.ref.name} takes: "
            names = ", ".join(sorted(bundle.manifest.parameters)) or "no parameters"
            raise RequestError(message + names + ".", item=index, field=f"params{where}")
        if len(known[1]) <= SMALL_BYTES:
            if len(self._good_params) >= _REMEMBERED_PARAMS:
                self._good_params.clear()
            self._good_params.add(known)

    def check_params(self, bundle: Bundle, params: dict[str, Any]) -> None:
        """Refuse parameters that a bundle does not take.

        Raises:
            RequestError: Says which, and what it takes.
        """
        if params:
            self._check_params(bundle, params, 0)

    async def verdicts(self, bundle: Bundle, items: Sequence[Item]) -> list[Verdict]:
        """Return one verdict per item, in order: for composites, whose children are scored like any other."""
        scored, _ = await self.score_batch(bundle, items)
        return [verdict for verdict, _ in scored]

    async def score_batch(self, bundle: Bundle, items: Sequence[Item]) -> tuple[list[Scored], Run]:
        """Score `items`; return one verdict per item, in order. Raises what `score` raises."""
        scored: list[Scored | None] = [None] * len(items)

        def take(index: int, verdict: Verdict, cached: bool) -> None:
            scored[index] = (verdict, cached)

        self.heed(bundle)
        run = Run(items=len(items))
        started = time.perf_counter()
        keys, kept = await self._find_kept(bundle, items, run)
        found = [one for one in kept if one is not None]
        if len(found) == len(items):
            outcomes = Counter([verdict.outcome for verdict, _ in found])
            run.outcomes = Counter({(outcome, True): count for outcome, count in outcomes.items()})
        else:
            await self._score(bundle, items, keys, kept, take, run)
            found = [one for one in scored if one is not None]
        run.seconds = time.perf_counter() - started
        return found, run

    async def score(self, bundle: Bundle, items: Sequence[Item], on_scored: OnScored) -> Run:
        """Score `items` and call `on_scored` once for each, as verdicts come.

        When the caller is cancelled, what nobody else waits for is dropped.

        Raises:
            SaturatedError: The queue is full.
            UnavailableError: The bundle cannot run here.
            RequestError: An item cannot be encoded.
            YankedError: The settings refuse the bundle.
        """
        self.heed(bundle)
        run = Run(items=len(items))
        started = time.perf_counter()
        keys, kept = await self._find_kept(bundle, items, run)
        await self._score(bundle, items, keys, kept, on_scored, run)
        run.seconds = time.perf_counter() - started
        return run

    async def _score(
        self,
        bundle: Bundle,
        items: Sequence[Item],
        keys: Sequence[bytes],
        kept: Sequence[Scored | None],
        on_scored: OnScored,
        run: Run,
    ) -> None:
        """Report what is kept and judge the rest."""

        def report(indices: Iterable[int], verdict: Verdict, *, cached: bool) -> None:
            for index in indices:
                run.outcomes[verdict.outcome, cached] += 1
                on_scored(index, verdict, cached)
                cached = True  # the others of equal items

        missing: dict[bytes, _Work] = {}
        for index, (key, found) in enumerate(zip(keys, kept, strict=True)):
            if found is not None:
                report((index,), found[0], cached=True)
            elif key in missing:
                missing[key].indices.append(index)
            else:
                payload = items[index].canonical(uses_prompt=bundle.manifest.uses_prompt)
                missing[key] = _Work(payload, [index], set())
        if missing:
            runtime = self.runtime(bundle)
            if runtime.reduces(bundle):
                missing = await self._reduce(bundle, runtime, missing, report, run)
            await self._judge(bundle, runtime, missing, report)
            if self.store.degraded and not run.degraded:  # what was judged just now is not kept
                run.degraded.add(self.store.degraded)
            if (without := self.degraded(bundle)) is not None:
                run.degraded.add(without)

    async def _find_kept(
        self, bundle: Bundle, items: Sequence[Item], run: Run
    ) -> tuple[Sequence[bytes], Sequence[Scored | None]]:
        """Look verdicts up, where the bundle's are kept at all; return the items' keys and what was found.

        There are no keys where nothing is left to do with them: each item is remembered.
        """
        identity, uses_prompt = self.identity(bundle), bundle.manifest.uses_prompt
        if not self.kept(bundle):
            return _keys(bundle, identity, items), [None] * len(items)
        familiar = self._familiar.get_all(identity, items, uses_prompt=uses_prompt)
        if familiar is not None:
            self.store.counters.lru_hits += len(items)
            return [b""] * len(items), familiar
        keys = _keys(bundle, identity, items)
        found = await self._find(keys, run)
        self._familiar.put_all(identity, items, found, uses_prompt=uses_prompt)
        return keys, found

    async def _find(self, keys: Sequence[bytes], run: Run) -> list[Scored | None]:
        """Look verdicts up; what cannot be trusted, or not be asked, is not there."""
        lookup = await self.store.get_many(keys)
        if lookup.degraded:
            run.degraded.add("store_unavailable")
        return list(map(self._decoded.__getitem__, lookup.values))

    async def _reduce(
        self,
        bundle: Bundle,
        runtime: Runtime,
        missing: dict[bytes, _Work],
        report: Callable[..., None],
        run: Run,
    ) -> dict[bytes, _Work]:
        """Join work with equal reductions, report what is known of it, and return the rest."""
        order = list(missing.items())
        reductions: list[bytes | None] = [None] * len(order)

        def take(index: int, reduction: bytes | None) -> None:
            reductions[index] = reduction

        await runtime.reduce(bundle, [work.payload for _, work in order], take)
        joined: dict[bytes, _Work] = {}
        for (key, work), reduction in zip(order, reductions, strict=True):
            final = key if reduction is None else reduced_key(bundle.digest_bytes, reduction)
            if final in joined:
                joined[final].indices.extend(work.indices)
                joined[final].keys.add(key)
            else:
                joined[final] = _Work(work.payload, work.indices, {key})
        finals = list(joined)
        for final, found in zip(finals, await self._find(finals, run), strict=True):
            if found is not None:
                verdict, work = found[0], joined.pop(final)
                run.reduced += len(work.indices)
                self.store.put_many(dict.fromkeys(work.keys, verdict.json))
                report(work.indices, verdict, cached=True)
        return joined

    async def _judge(
        self, bundle: Bundle, runtime: Runtime, missing: dict[bytes, _Work], report: Callable[..., None]
    ) -> None:
        """Judge what nobody else is judging now, and wait for what somebody is."""
        while missing:
            foreign = {key: self._in_flight[key] for key in missing if key in self._in_flight}
            own = [key for key in missing if key not in foreign]
            if self.kept(bundle):  # somebody may have judged it since it was looked up
                for key, value in zip(own, self.store.peek(own), strict=True):
                    found = self._decoded[value]
                    if found is not None:
                        report(missing.pop(key).indices, found[0], cached=True)
                own = [key for key in own if key in missing]
            await self._judge_own(bundle, runtime, {key: missing.pop(key) for key in own}, report)
            for key, flight in foreign.items():
                verdict = await asyncio.shield(flight)
                if verdict is not None:
                    report(missing.pop(key).indices, verdict, cached=True)
                # None: whoever judged it gave up; the next round judges it here.

    async def _judge_own(
        self, bundle: Bundle, runtime: Runtime, own: dict[bytes, _Work], report: Callable[..., None]
    ) -> None:
        if not own:
            return
        kept = self.kept(bundle)
        loop = asyncio.get_running_loop()
        flights = {key: loop.create_future() for key in own}
        self._in_flight.update(flights)
        order = list(own.items())

        def take(index: int, verdict: Verdict) -> None:
            key, work = order[index]
            if kept and verdict.keepable:
                self.store.put_many(dict.fromkeys({key, *work.keys}, verdict.json))
            del self._in_flight[key]
            flights.pop(key).set_result(verdict)
            report(work.indices, verdict, cached=False)

        try:
            await runtime.verify(bundle, [work.payload for _, work in order], take)
        finally:
            for key, flight in flights.items():
                del self._in_flight[key]
                flight.set_result(None)

    async def close(self) -> None:
        """End the runtimes, then the store, so that the last verdicts are kept."""
        for runtime in self._runtimes.values():
            await runtime.close()
        await self.store.close()


def reward_of(verdict: Verdict, on_failure: OnFailure) -> float | None:
    """Return what a trainer gets: the score, or what it chose for the lack of one."""
    if verdict.score is None and on_failure is OnFailure.ZERO:
        return 0.0
    return verdict.score


def _keys(bundle: Bundle, identity: bytes, items: Sequence[Item]) -> list[bytes]:
    try:
        return item_keys(identity, items, uses_prompt=bundle.manifest.uses_prompt)
    except (ValueError, TypeError, RecursionError):
        for index, item in enumerate(items):
            try:
                item.canonical(uses_prompt=bundle.manifest.uses_prompt)
            except (ValueError, TypeError, RecursionError) as exc:
                raise RequestError(f"item {index} cannot be written as JSON: {exc}", item=index) from exc
        raise


def _refuse_large_responses(items: Sequence[Item], most: int, first: int) -> None:
    for index, item in enumerate(items, start=first):
        size = len(item.response.encode())
        if size > most:
            message = f"item {index}: the response has {size} bytes; this service takes {most}."
            raise TooLargeError("response_too_large", message, limit=most, item=index)
