"""Who judges the rows of `countermark score` and `countermark audit`: this process, or a service somewhere else."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from countermark_service.audit.judging import Judged, Judgement, RowRefusedError, SignedBatch
from countermark_service.cli.options import command_settings
from countermark_service.errors import CountermarkError, RequestError
from countermark_service.model import BundleRef, Item
from countermark_service.receipts import Held, KeySet, ReceiptError, check, read
from countermark_service.receipts.errors import UnknownKeyError

if TYPE_CHECKING:
    import countermark
    from countermark_service.audit.judging import Judge
    from countermark_service.bundles import Bundle
    from countermark_service.registry import Advisory
    from countermark_service.settings import Settings


class ServiceError(CountermarkError):
    """The service at the other end did not do what it was asked; carries the client's own code and text."""

    code = "service"


JudgeModeName = Literal["auto", "replay", "fresh"]


def choose_judge(
    server: str | None,
    batch: int,
    data: Path | None,
    mode: JudgeModeName | None,
    *,
    receipts: bool = False,
) -> "Judge":
    """Return the judge that was asked for: a service, or this machine.

    Args:
        server: Address of a service; None is this machine.
        batch: Items of one request.
        data: Data folder of this machine, by option.
        mode: Where judges' replies come from; None leaves it to the settings.
        receipts: Whether every batch is to be signed.

    Raises:
        SettingsError: A setting of this machine cannot be used.
        ServiceError: The address is none.
    """
    if server is not None:
        return RemoteJudge(server, batch, mode, receipts=receipts)
    settings = command_settings(data)
    if mode is not None:
        settings = settings.model_copy(update={"judge_mode": mode})
    return LocalJudge(settings, receipts=receipts)


class _Rest(msgspec.Struct, frozen=True):
    """What a verdict's JSON says besides outcome and score; not read, only handed on."""

    detail: msgspec.Raw
    surroundings: msgspec.Raw


_read_rest = msgspec.json.Decoder(_Rest).decode


class LocalJudge:
    """Judges in worker processes of this machine, with the store of the data folder."""

    def __init__(self, settings: "Settings", *, receipts: bool = False) -> None:
        """Nothing is started yet; with `receipts` the data folder's key signs every batch."""
        from countermark_service.assembly import assemble

        # The queue's bounds protect a service from strangers; this command bounds its own work. What a service
        # may refuse because it is yanked must run here: old scores are computed again by what made them.
        own = {"queue_items": 1 << 40, "queue_mib": 1 << 20, "refuse_yanked": False}
        self._service = assemble(settings.model_copy(update=own))
        self._receipts = receipts
        self._bundles: list[Bundle] = []
        self.pins: list[BundleRef] = []
        self.advisories: list[str] = []

    @property
    def receipt_keys(self) -> KeySet | None:
        """The data folder's own; see `Judge`."""
        return self._service.receipts.keyring.public() if self._receipts else None

    async def open(self, refs: Sequence[str]) -> None:
        """Find the bundles; see `Judge`."""
        if self._receipts:
            self._service.receipts.require_key()
        self._bundles = [self._service.scorer.resolve(ref) for ref in refs]
        self.pins = [bundle.ref for bundle in self._bundles]
        scorer = self._service.scorer
        found = [one for bundle in self._bundles for one in scorer.advisories_of(bundle)]
        scorer.told(found)  # the command says them
        self.advisories = _sentences(found)

    def refusals(self, verifier: int, items: Sequence[Item]) -> Mapping[int, str]:
        """Hold `items` to the limits and to the bundle's parameters; see `Judge`."""
        bundle, scorer = self._bundles[verifier], self._service.scorer
        limits = replace(self._service.item_limits, items=len(items))

        def check(some: Sequence[Item]) -> None:
            scorer.check(bundle, some, limits)
            for item in some:
                if item.params or not isinstance(item.reference, str):  # others are texts, and can be written
                    item.canonical(uses_prompt=bundle.manifest.uses_prompt)

        found: dict[int, str] = {}
        try:
            check(items)
        except (RequestError, RecursionError):
            for index, item in enumerate(items):
                try:
                    check([item])
                except RequestError as exc:
                    found[index] = str(exc).removeprefix("item 0: ")
                except RecursionError:
                    found[index] = "it is nested too deeply"
        return found

    async def prepare(self) -> None:
        """Open the store, build environments and load the verifiers; see `Judge`."""
        await self._service.scorer.store.start()
        for bundle in self._bundles:
            await self._service.scorer.runtime(bundle).prepare(bundle)

    async def judge(self, verifier: int, items: Sequence[Item]) -> Judged:
        """Score a batch; see `Judge`."""
        bundle, scorer = self._bundles[verifier], self._service.scorer
        scored, run = await scorer.score_batch(bundle, items)
        judged = Judged([], run.degraded)
        for verdict, cached in scored:
            rest = _read_rest(verdict.json)
            outcome = verdict.outcome.value
            judged.judgements.append(
                Judgement(outcome, verdict.score, cached, rest.detail, rest.surroundings)
            )
        if self._receipts:
            verdicts = [verdict for verdict, _ in scored]
            issued = await asyncio.to_thread(
                self._service.receipts.issue, bundle, scorer.identity(bundle), items, verdicts,
                below=scorer.below(bundle),
            )  # fmt: skip
            if not issued.recorded:
                judged.degraded.add("receipt_not_recorded")
            judged.receipts.append(SignedBatch(0, len(items), issued.root, issued.keyid, issued.json))
        return judged

    async def close(self) -> None:
        """End workers and store; see `Judge`."""
        await self._service.close()


class RemoteJudge:
    """Judges at a service, through the client."""

    def __init__(
        self, url: str, batch: int, judge_mode: JudgeModeName | None = None, *, receipts: bool = False
    ) -> None:
        """`batch` items go in one request; `judge_mode` None leaves it to the service.

        With `receipts` the service signs every request, and what it signed is checked before it is used.
        """
        import math

        import countermark

        try:
            self._client = countermark.AsyncClient(url, timeout=math.inf, max_items_per_request=batch)
        except countermark.CountermarkClientError as exc:
            raise ServiceError(str(exc).replace("base_url", "--server", 1)) from exc
        self._url = url
        self._judge_mode = judge_mode
        self._receipts = receipts
        self.pins: list[BundleRef] = []
        self.advisories: list[str] = []
        self.receipt_keys: KeySet | None = None

    async def open(self, refs: Sequence[str]) -> None:
        """Ask which digests the references mean, so that all batches are judged by the same; see `Judge`."""
        import countermark

        try:
            found = [await self._client.verifier(ref, deadline=60.0) for ref in refs]
        except countermark.CountermarkClientError as exc:
            raise ServiceError(str(exc)) from exc
        if self._receipts and not (await self._keys()).keys:
            raise ServiceError(
                f"no receipt can be signed at {self._url}: it has no signing key (`countermark keys new`, with its "
                "data folder, makes one). Nothing was scored."
            )
        self.pins = [BundleRef(info.name, info.version, info.digest) for info in found]
        self.advisories = _sentences(one for info in found for one in info.advisories)

    def refusals(self, verifier: int, items: Sequence[Item]) -> Mapping[int, str]:
        """Nothing is known here; the service says it. See `Judge`."""
        return {}

    async def prepare(self) -> None:
        """Nothing: the service prepares itself. See `Judge`."""

    async def judge(self, verifier: int, items: Sequence[Item]) -> Judged:
        """Send a batch; see `Judge`."""
        import countermark

        try:
            result = await self._client.score(
                str(self.pins[verifier]),
                [_document(item) for item in items],
                receipt=self._receipts,
                judge_mode=self._judge_mode,
            )
        except (countermark.InvalidRequestError, countermark.TooLargeError) as exc:
            place = exc.problem.get("item")
            if not isinstance(place, int):
                raise ServiceError(str(exc)) from exc
            index = place + (exc.items.start if exc.items else 0)
            raise RowRefusedError(index, exc.detail.removeprefix(f"item {place}: ").rstrip(".")) from exc
        except countermark.CountermarkClientError as exc:
            raise ServiceError(str(exc)) from exc
        judgements = [
            Judgement(one.outcome.value, one.score, one.cached, one.detail, one.surroundings)
            for one in result.verdicts
        ]
        judged = Judged(judgements, set(result.degraded))
        for receipt in result.receipts:
            part = slice(receipt.start, receipt.start + receipt.items)
            document = msgspec.json.encode(receipt.document)
            root, key = await self._checked(document, items[part], judgements[part], self.pins[verifier])
            judged.receipts.append(SignedBatch(receipt.start, receipt.items, root, key, document))
        return judged

    async def _checked(
        self, document: bytes, items: Sequence[Item], judgements: Sequence[Judgement], pin: BundleRef
    ) -> tuple[str, str]:
        """Hold a receipt to what was asked and answered; return its root and the id of its key.

        Raises:
            ServiceError: It does not hold, or is of another verifier.
        """
        texts = [msgspec.json.encode(one) for one in judgements]
        try:
            held = Held(read(document).receipt, texts)
            try:
                checked = check(held, await self._keys(), items=items)
            except UnknownKeyError:  # the service may have a new one since
                self.receipt_keys = None
                checked = check(held, await self._keys(), items=items)
        except ReceiptError as exc:
            raise ServiceError(f"the service sent a receipt that does not hold: {exc}") from exc
        mark = checked.statement.predicate.verifier
        if mark.digest != pin.digest:
            raise ServiceError(f"the service sent a receipt of {mark.ref} for a batch that {pin} judged.")
        return checked.statement.root.hex(), checked.keyid

    async def _keys(self) -> KeySet:
        """Return the keys that the service says are its own."""
        import countermark

        if self.receipt_keys is None:
            try:
                document = await self._client.receipt_keys(deadline=60.0)
            except countermark.CountermarkClientError as exc:
                raise ServiceError(str(exc)) from exc
            origin = "the service's answer to GET /v1/receipts/keys"
            self.receipt_keys = KeySet.parse(msgspec.json.encode(document), origin)
        return self.receipt_keys

    async def close(self) -> None:
        """Give back the connections; see `Judge`."""
        await self._client.aclose()


def _document(item: Item) -> Mapping[str, Any]:
    document: dict[str, Any] = {"response": item.response, "reference": item.reference}
    if item.params:
        document["params"] = item.params
    if item.prompt is not None:
        document["prompt"] = item.prompt
    return document


def _sentences(advisories: "Iterable[Advisory | countermark.Advisory]") -> list[str]:
    """Say what became known of verifiers, each thing once."""
    said = {}
    for one in advisories:
        instead = f"; instead: {one.replacement}" if one.replacement else ""
        kind = "is yanked" if one.kind == "yanked" else "has a warning"
        said[one.id] = f"{one.pin} {kind}: {one.reason.rstrip('.')}{instead} ({one.id}, {one.date})"
    return list(said.values())
