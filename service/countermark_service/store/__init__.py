"""Where verdicts are kept, so that nothing is scored twice.

`interface` is the port; `memory`, `sqlite` and `redis` are its forms; `tiered` is
what scoring holds: an LRU in front of one of them, and the rules for when it
fails. Which form a service uses is chosen in the assembly, not here.

`redis.RedisStore` is not re-exported: importing its client takes longer than importing
the web framework does by half, and a service without Redis should not wait for it.
"""

from countermark_service.store.interface import KEY_BYTES, Store, StoreSchemaError, StoreUnavailableError
from countermark_service.store.memory import Lru, MemoryStore
from countermark_service.store.sqlite import SqliteStore
from countermark_service.store.tiered import (
    Lookup,
    StoreCounters,
    StoreHealth,
    TieredLimits,
    TieredStore,
)

__all__ = [
    "KEY_BYTES",
    "Lookup",
    "Lru",
    "MemoryStore",
    "SqliteStore",
    "Store",
    "StoreCounters",
    "StoreHealth",
    "StoreSchemaError",
    "StoreUnavailableError",
    "TieredLimits",
    "TieredStore",
]
