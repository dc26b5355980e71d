"""Settings in, running parts out: the only place that picks concrete classes."""

from dataclasses import dataclass
from pathlib import Path

from countermark_service.engine.environment import EnvironmentCache
from countermark_service.engine.pool import Pool, PoolLimits
from countermark_service.errors import SettingsError
from countermark_service.registry import Registry, bundle_roots
from countermark_service.runtimes import PythonRuntime, Runtime, Sandboxes, SandboxRuntime
from countermark_service.sandbox import detect_containment
from countermark_service.sandbox.code.model import Level
from countermark_service.scoring import ItemLimits, Scorer
from countermark_service.settings import Settings
from countermark_service.store import SqliteStore, Store, TieredLimits, TieredStore
from countermark_service.store.access_keys import AccessKeys

_MIB = 1 << 20


@dataclass(frozen=True)
class Service:
    """The parts of one service, joined."""

    settings: Settings
    scorer: Scorer
    pool: Pool
    sandboxes: Sandboxes
    access: AccessKeys
    item_limits: ItemLimits
    body_limit: int
    """Bytes of one request, unpacked."""

    async def start(self) -> None:
        """Open the store and load the verifiers that the settings name."""
        await self.scorer.store.start()
        for ref in self.settings.preload:
            bundle = self.scorer.resolve(ref)
            await self.scorer.runtime(bundle).prepare(bundle)

    async def close(self) -> None:
        """End every process and write what waits."""
        await self.scorer.close()


def assemble(settings: Settings) -> Service:
    """Join the parts; nothing runs before `Service.start`.

    Raises:
        SettingsError: The data folder cannot be made.
        BundleError: A bundle folder of the settings does not exist.
    """
    try:
        settings.data.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise SettingsError("settings", "data", str(settings.data), f"it cannot be made: {exc}") from exc
    pool = build_pool(settings)
    sandboxes = build_sandboxes(settings)
    scorer = Scorer(build_registry(settings), build_runtimes(pool, sandboxes), build_store(settings))
    return Service(
        settings=settings,
        scorer=scorer,
        pool=pool,
        sandboxes=sandboxes,
        access=AccessKeys(settings.data / "keys.json"),
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
    imported = imported_bundles(settings)
    return Registry(bundle_roots([*settings.bundles, *([imported] if imported.is_dir() else [])]))


def build_environments(settings: Settings) -> EnvironmentCache:
    """Return the cache of bundle environments; imported wheels are asked before any index."""
    return EnvironmentCache(
        settings.data / "environments", wheelhouses=[imported_wheels(settings)], offline=settings.offline
    )


def build_runtimes(pool: Pool, sandboxes: Sandboxes) -> dict[str, Runtime]:
    """Return the runtimes by the name that manifests call them; closing all of them closes both parts."""
    return {"python": PythonRuntime(pool), "sandbox": SandboxRuntime(pool, sandboxes)}


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
