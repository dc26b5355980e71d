"""Settings in, running parts out: the only place that picks concrete classes."""

from dataclasses import dataclass
from pathlib import Path

from countermark_service.engine.environment import EnvironmentCache
from countermark_service.engine.pool import Pool, PoolLimits
from countermark_service.registry import Registry, bundle_roots
from countermark_service.runtimes import PythonRuntime
from countermark_service.sandbox import detect_containment
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
        BundleError: A bundle folder of the settings does not exist.
    """
    settings.data.mkdir(parents=True, exist_ok=True)
    pool = build_pool(settings)
    scorer = Scorer(build_registry(settings), {"python": PythonRuntime(pool)}, build_store(settings))
    return Service(
        settings=settings,
        scorer=scorer,
        pool=pool,
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


def build_pool(settings: Settings) -> Pool:
    """Return the pool of workers."""
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
