"""Settings in, running parts out: the only place that picks concrete classes."""

import asyncio
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from countermark_service import __version__
from countermark_service.bundles import Bundle
from countermark_service.engine.environment import EnvironmentCache
from countermark_service.engine.pool import Pool, PoolLimits
from countermark_service.errors import SettingsError, UnavailableError
from countermark_service.judge import Asker, JudgeMode, ProbeBook, Transcript, read_archive, read_endpoints
from countermark_service.receipts import Issuer, Keyring, Ledger
from countermark_service.registry import (
    ADVISORIES_NAME,
    AdvisoryBook,
    Registry,
    bundle_roots,
    bundles_below,
    check_children,
)
from countermark_service.releases import ReleaseBook
from countermark_service.running import Runner
from countermark_service.runtimes import (
    Children,
    CompositeRuntime,
    GraderRuntime,
    JudgeRuntime,
    PythonRuntime,
    Runtime,
    Sandboxes,
    SandboxRuntime,
)
from countermark_service.sandbox import detect_containment
from countermark_service.sandbox.code.model import Level
from countermark_service.scoring import ItemLimits, Scorer
from countermark_service.settings import Settings
from countermark_service.store import MemoryStore, SqliteStore, Store, TieredLimits, TieredStore
from countermark_service.store.access_keys import AccessKeys
from countermark_service.store.transcripts import KeptTranscripts, TranscriptsInFile

_MIB = 1 << 20
TRANSCRIPTS_NAME = "transcripts.jsonl"
"""File of a bundle with the transcripts of its vectors."""
_TRANSCRIPT_LIMITS = TieredLimits(
    lru_entries=20_000,
    lru_bytes=64 * _MIB,
    read_seconds=2.0,  # asking the model again costs more than waiting for the disk
    queue_bytes=256 * _MIB,
    value_bytes=128 * _MIB,
)


@dataclass(frozen=True)
class Service:
    """The parts of one service, joined."""

    settings: Settings
    scorer: Scorer
    pool: Pool
    sandboxes: Sandboxes
    runner: Runner
    judges: Asker
    releases: ReleaseBook
    access: AccessKeys
    receipts: Issuer
    item_limits: ItemLimits
    body_limit: int
    """Bytes of one request, unpacked."""

    async def start(self) -> None:
        """Tidy up after services that were killed, open the store and load the verifiers that the settings name."""
        await asyncio.to_thread(self.pool.tidy)
        await self.scorer.store.start()
        for ref in self.settings.preload:
            bundle = self.scorer.resolve(ref)
            await self.scorer.runtime(bundle).prepare(bundle)

    async def close(self) -> None:
        """End every process and write what waits."""
        await self.runner.close()
        await self.scorer.close()
        self.receipts.ledger.close()


def assemble(settings: Settings) -> Service:
    """Join the parts; nothing runs before `Service.start`.

    Raises:
        SettingsError: The data folder cannot be made, or not be written to.
        BundleError: A bundle folder of the settings does not exist.
    """
    try:
        settings.data.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise SettingsError("settings", "data", str(settings.data), f"it cannot be made: {exc}") from exc
    if not os.access(settings.data, os.W_OK | os.X_OK):
        raise SettingsError(
            "settings", "data", str(settings.data),
            "it cannot be written to, and scratches of verifiers and verdicts go there: name another folder",
        )  # fmt: skip
    pool = build_pool(settings)
    sandboxes = build_sandboxes(settings)
    judges = build_asker(settings)
    children = Children()
    runtimes = build_runtimes(pool, sandboxes)
    runtimes |= {
        "judge": JudgeRuntime(judges),
        "composite": CompositeRuntime(children),
        "grader": GraderRuntime(children),
    }
    releases = build_releases(settings)
    scorer = Scorer(
        build_registry(settings),
        runtimes,
        build_store(settings),
        releases=releases,
        advisories=build_advisories(settings),
        refuse_yanked=settings.refuse_yanked,
    )
    children.fill(scorer)
    return Service(
        settings=settings,
        scorer=scorer,
        pool=pool,
        sandboxes=sandboxes,
        runner=Runner(sandboxes, scorer.store),
        judges=judges,
        releases=releases,
        access=AccessKeys(settings.data / "keys.json"),
        receipts=build_issuer(settings),
        item_limits=ItemLimits(settings.max_items, settings.max_response_kib << 10),
        body_limit=settings.max_body_mib * _MIB,
    )


def imported_bundles(settings: Settings) -> Path:
    """Return the folder that imported bundles go to; it need not exist."""
    return settings.data / "bundles"


def imported_wheels(settings: Settings) -> Path:
    """Return the folder that the wheels of imported bundles go to; it need not exist."""
    return settings.data / "wheels"


def build_registry(settings: Settings) -> Registry:
    """Return every bundle in sight: the operator's, the imported, the shipped.

    Raises:
        BundleError: A bundle folder of the settings does not exist.
    """
    return Registry(_roots(settings))


def _roots(settings: Settings) -> list[Path]:
    imported = imported_bundles(settings)
    return bundle_roots([*settings.bundles, *([imported] if imported.is_dir() else [])])


def build_releases(settings: Settings) -> ReleaseBook:
    """Return the releases that are registered here.

    Raises:
        CardError: A card in a folder of the settings cannot be used.
    """
    return ReleaseBook(settings.data / "releases", settings.releases)


def own_advisories(settings: Settings) -> Path:
    """Return the operator's own list of advisories; it need not exist."""
    return settings.data / ADVISORIES_NAME


def build_advisories(settings: Settings) -> AdvisoryBook:
    """Return what stands against versions: the operator's list, then those beside the bundles.

    Raises:
        AdvisoryError: A list cannot be read.
    """
    return AdvisoryBook([own_advisories(settings), *(root / ADVISORIES_NAME for root in _roots(settings))])


def build_environments(settings: Settings) -> EnvironmentCache:
    """Return the cache of bundle environments; imported wheels are asked before any index."""
    return EnvironmentCache(
        settings.data / "environments", wheelhouses=[imported_wheels(settings)], offline=settings.offline
    )


def build_runtimes(pool: Pool, sandboxes: Sandboxes) -> dict[str, Runtime]:
    """Return the runtimes by the name that manifests call them; closing all of them closes both parts."""
    return {"python": PythonRuntime(pool), "sandbox": SandboxRuntime(pool, sandboxes)}


def build_keyring(settings: Settings) -> Keyring:
    """Return the keys that sign receipts; there need be none."""
    return Keyring(settings.data / "signing")


def build_issuer(settings: Settings) -> Issuer:
    """Return what issues receipts; nothing is opened before the first of them."""
    return Issuer(build_keyring(settings), Ledger(settings.data / "receipts.sqlite"), version=__version__)


def build_asker(settings: Settings) -> Asker:
    """Return what asks models and keeps transcripts; nothing is opened before the first question.

    Raises:
        SettingsError: The file of endpoints cannot be used.
    """
    return Asker(
        read_endpoints(settings.judges) if settings.judges is not None else {},
        TieredStore(build_transcripts(settings), _TRANSCRIPT_LIMITS),
        mode=JudgeMode(settings.judge_mode),
        probes=ProbeBook(settings.data / "probes.json"),
    )


def transcripts_file(settings: Settings) -> Path:
    """Return the SQLite file of transcripts; it need not exist."""
    return settings.data / "transcripts.sqlite"


def build_transcripts(settings: Settings) -> Store:
    """Return where transcripts are kept: beside the verdicts, Redis or SQLite."""
    if settings.redis_url:
        # Imported here: see `build_store`.
        from countermark_service.store.redis import RedisStore
        from countermark_service.store.transcripts import REDIS_PREFIX

        return RedisStore(settings.redis_url, key_prefix=REDIS_PREFIX, looks_first=True, checked=False)
    return SqliteStore(transcripts_file(settings), max_bytes=settings.transcripts_max_mib * _MIB)


def open_transcripts(settings: Settings) -> KeptTranscripts:
    """Return the transcripts that are kept here, to read them; nothing is made, and nothing need be writable."""
    return (
        build_transcripts(settings) if settings.redis_url else TranscriptsInFile(transcripts_file(settings))
    )


def build_proving_runtimes(bundle: Bundle, settings: Settings) -> dict[str, Runtime]:
    """Return runtimes for checking one bundle: no model is asked, judges replay the transcripts in their bundles.

    Raises:
        ChildError: It is a composite, and a child of it cannot be asked.
        ArchiveError: A bundle's transcripts cannot be read.
    """
    registry = build_registry(settings)
    check_children(bundle, registry)
    fixed = [one for each in [bundle, *bundles_below(bundle, registry)] for one in _own_transcripts(each)]
    children = Children()
    runtimes = build_runtimes(build_pool(settings, hold_to_vectors=False), build_sandboxes(settings))
    runtimes |= {
        "judge": JudgeRuntime(Asker({}, None, mode=JudgeMode.REPLAY, fixed=fixed)),
        "composite": CompositeRuntime(children),
    }
    children.fill(Scorer(registry, runtimes, TieredStore(MemoryStore())))
    return runtimes


def _own_transcripts(bundle: Bundle) -> list[tuple[Transcript, bytes]]:
    """Return the transcripts that a bundle carries for its vectors."""
    content = bundle.files.get(TRANSCRIPTS_NAME, b"")
    return list(read_archive(content.splitlines(keepends=True), file=f"{bundle.origin}/{TRANSCRIPTS_NAME}"))


def build_pool(settings: Settings, *, hold_to_vectors: bool = True) -> Pool:
    """Return the pool of workers; `hold_to_vectors` is as in `Pool`."""
    limits = PoolLimits(
        slots=settings.workers,
        slow_lane=settings.slow_lane,
        slow_seconds=settings.slow_seconds,
        queue_items=settings.queue_items,
        queue_bytes=settings.queue_mib * _MIB,
        idle_seconds=settings.idle_seconds,
        recycle_items=settings.recycle_items,
        recycle_bytes=settings.recycle_mib * _MIB,
    )
    return Pool(
        environments=build_environments(settings),
        containment=detect_containment(),
        data=settings.data,
        limits=limits,
        hold_to_vectors=hold_to_vectors,
    )


def build_sandboxes(settings: Settings) -> Sandboxes:
    """Return what candidate programs run in; nothing runs before the first of them."""
    order = list(Level)
    levels = order[order.index(Level(settings.sandbox_best)) : order.index(Level(settings.sandbox_level)) + 1]
    return Sandboxes(
        build_environments(settings),
        levels=levels,
        slots=settings.sandbox_slots or settings.workers,
        queue=settings.sandbox_queue,
        idle_seconds=settings.idle_seconds,
    )


def describe_sandbox(settings: Settings) -> dict[str, Any]:
    """Attack this machine's sandbox, which takes some seconds, and return what held.

    Returns:
        `level` (None where none is good enough), `minimum`, `available`, `reasons` (why nothing
        better holds), `layers`, `kernel`, `landlock_abi`, `filter` (digest), and `languages`:
        interpreter or compiler by language, None where it is missing.
    """
    sandboxes = build_sandboxes(settings)

    async def look() -> None:
        try:
            await sandboxes.level()
        except UnavailableError:
            pass  # the report says it, with the reasons
        finally:
            await sandboxes.close()

    asyncio.run(look())
    found = sandboxes.state() | {"languages": sandboxes.languages()}
    report = sandboxes.report
    if report is None:
        return found
    facts = {"layers": list(report.layers), "kernel": report.kernel, "landlock_abi": report.landlock_abi}
    return found | facts | {"filter": report.filter_hash}


def build_store(settings: Settings) -> TieredStore:
    """Return the store of verdicts: Redis where it is set, else one SQLite file; an LRU in front."""
    backend: Store
    if settings.redis_url:
        # Imported here: Redis's client takes longer to import than the web framework, and most need none.
        from countermark_service.store.redis import RedisStore

        backend = RedisStore(settings.redis_url)
    else:
        backend = SqliteStore(settings.data / "verdicts.sqlite", max_bytes=settings.sqlite_max_mib * _MIB)
    limits = TieredLimits(
        lru_entries=settings.lru_entries,
        lru_bytes=settings.lru_mib * _MIB,
        read_seconds=settings.store_timeout_seconds,
    )
    return TieredStore(backend, limits)
