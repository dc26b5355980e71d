"""Who judges the rows of `countermark score` and `countermark audit`: this process, or a service somewhere else."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from countermark_service.audit.judging import Judged, Judgement, RowRefusedError
from countermark_service.cli.options import command_settings
from countermark_service.errors import CountermarkError, RequestError
from countermark_service.model import BundleRef, Item

if TYPE_CHECKING:
    import countermark
    from countermark_service.audit.judging import Judge
    from countermark_service.bundles import Bundle
    from countermark_service.model import Verdict
    from countermark_service.registry import Advisory
    from countermark_service.settings import Settings


class ServiceError(CountermarkError):
    """The service at the other end did not do what it was asked; carries the client's own code and text."""

    code = "service"


JudgeModeName = Literal["auto", "replay", "fresh"]


def choose_judge(server: str | None, batch: int, data: Path | None, mode: JudgeModeName | None) -> "Judge":
    """Return the judge that was asked for: a service, or this machine.

    Args:
        server: Address of a service; None is this machine.
        batch: Items of one request.
        data: Data folder of this machine, by option.
        mode: Where judges' replies come from; None leaves it to the settings.

    Raises:
        SettingsError: A setting of this machine cannot be used.
        ServiceError: The address is none.
    """
    if server is not None:
        return RemoteJudge(server, batch, mode)
    settings = command_settings(data)
    return LocalJudge(settings if mode is None else settings.model_copy(update={"judge_mode": mode}))


class _Rest(msgspec.Struct, frozen=True):
    """What a verdict's JSON says besides outcome and score; not read, only handed on."""

    detail: msgspec.Raw
    surroundings: msgspec.Raw


_read_rest = msgspec.json.Decoder(_Rest).decode


class LocalJudge:
    """Judges in worker processes of this machine, with the store of the data folder."""

    def __init__(self, settings: "Settings") -> None:
        """Nothing is started yet."""
        from countermark_service.assembly import assemble

        # The queue's bounds protect a service from strangers; this command bounds its own work. What a service
        # may refuse because it is yanked must run here: old scores are computed again by what made them.
        own = {"queue_items": 1 << 40, "queue_mib": 1 << 20, "refuse_yanked": False}
        self._service = assemble(settings.model_copy(update=own))
        self._bundles: list[Bundle] = []
        self.pins: list[BundleRef] = []
        self.advisories: list[str] = []

    async def open(self, refs: Sequence[str]) -> None:
        """Find the bundles; see `Judge`."""
        self._bundles = [self._service.scorer.resolve(ref) for ref in refs]
        self.pins = [bundle.ref for bundle in self._bundles]
        self.advisories = _sentences(
            one for bundle in self._bundles for one in self._service.scorer.advisories_of(bundle)
        )

    def refusal(self, verifier: int, item: Item) -> str | None:
        """Hold `item` to the limits and to the bundle's parameters; see `Judge`."""
        bundle = self._bundles[verifier]
        try:
            self._service.scorer.check(bundle, [item], self._service.item_limits)
            item.canonical(uses_prompt=bundle.manifest.uses_prompt)
        except RequestError as exc:
            return str(exc).removeprefix("item 0: ")
        except RecursionError:
            return "it is nested too deeply"
        return None

    async def prepare(self) -> None:
        """Open the store, build environments and load the verifiers; see `Judge`."""
        await self._service.scorer.store.start()
        for bundle in self._bundles:
            await self._service.scorer.runtime(bundle).prepare(bundle)

    async def judge(self, verifier: int, items: Sequence[Item]) -> Judged:
        """Score a batch; see `Judge`."""
        found: list[Judgement | None] = [None] * len(items)

        def take(index: int, verdict: "Verdict", cached: bool) -> None:
            rest = _read_rest(verdict.json)
            outcome = verdict.outcome.value
            found[index] = Judgement(outcome, verdict.score, cached, rest.detail, rest.surroundings)

        run = await self._service.scorer.score(self._bundles[verifier], items, take)
        return Judged([one for one in found if one is not None], run.degraded)

    async def close(self) -> None:
        """End workers and store; see `Judge`."""
        await self._service.close()


class RemoteJudge:
    """Judges at a service, through the client."""

    def __init__(self, url: str, batch: int, judge_mode: JudgeModeName | None = None) -> None:
        """`batch` items go in one request; `judge_mode` None leaves it to the service."""
        import math

        import countermark

        try:
            self._client = countermark.AsyncClient(url, timeout=math.inf, max_items_per_request=batch)
        except countermark.CountermarkClientError as exc:
            raise ServiceError(str(exc).replace("base_url", "--server", 1)) from exc
        self._judge_mode = judge_mode
        self.pins: list[BundleRef] = []
        self.advisories: list[str] = []

    async def open(self, refs: Sequence[str]) -> None:
        """Ask which digests the references mean, so that all batches are judged by the same; see `Judge`."""
        import countermark

        try:
            found = [await self._client.verifier(ref, deadline=60.0) for ref in refs]
        except countermark.CountermarkClientError as exc:
            raise ServiceError(str(exc)) from exc
        self.pins = [BundleRef(info.name, info.version, info.digest) for info in found]
        self.advisories = _sentences(one for info in found for one in info.advisories)

    def refusal(self, verifier: int, item: Item) -> str | None:
        """Nothing is known here; the service says it. See `Judge`."""
        return None

    async def prepare(self) -> None:
        """Nothing: the service prepares itself. See `Judge`."""

    async def judge(self, verifier: int, items: Sequence[Item]) -> Judged:
        """Send a batch; see `Judge`."""
        import countermark

        try:
            result = await self._client.score(
                str(self.pins[verifier]), [_document(item) for item in items], judge_mode=self._judge_mode
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
        return Judged(judgements, set(result.degraded))

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
