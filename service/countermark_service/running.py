"""Run a program, or remember what it came to: raw runs beside scoring.

Trainers that judge by themselves send the same program again and again: once per
retry, twice per case, once per rollout that ends in the same answer. So equal
programs that are under way are waited for, and what a run came to is kept where
running it again could tell nothing else.

What is kept
------------
A run is kept if it ended by itself (exit status, not signal; a compiler's refusal
too) and used less than half of its CPU and wall time, so that neither limit nor
machine had a say. Runs that met a limit, were ended by a signal, or failed for the
sandbox's reasons are never kept.

The key is the digest over source, input, files, limits, language, packages, the
interpreter's or compiler's version, containment, and machine type. A program that
asks for the time or for random numbers has no single result; it gets the one of its
first run again, as long as that is kept. `lasting=False` runs anew.

A caller with little patience
-----------------------------
A client gives up after some seconds, and some clients take that for a failed test.
So a caller may say how long it waits (`within`). When the time is over it is told
"saturated", which its facade turns into the client's "try again"; the run keeps its
place in the queue, and the next request for the same program finds it under way, or
done. A result that nobody was there for is held for `_LINGER_SECONDS`.
"""

import asyncio
import hashlib
import logging
import platform
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from countermark_service.errors import CountermarkError
from countermark_service.runtimes.raw_run import RawRun, run_raw
from countermark_service.runtimes.sandboxes import Kind, OpenPool, Sandboxes
from countermark_service.sandbox.code.model import Status
from countermark_service.store import TieredStore

_log = logging.getLogger(__name__)

_LINGER_SECONDS = 30.0
"""How long a result waits for the client that went away before it was there."""
_LINGERING = 256
_LINGERING_BYTES = 256 << 10
"""Results that may wait at once, and how large one may be: 64 MiB in all."""
_QUEUE_PER_SLOT, _GATHER_SECONDS = 8, 0.010
"""A queue of so many programs per slot lasts longer than look-ups are held back, however short the programs."""
_ENDED = frozenset({Status.OK, Status.RUNTIME_ERROR, Status.COMPILE_ERROR})
_MARGIN = 0.5
"""Share of a time limit that a kept run has used at most."""
_FORMAT = b"run 1\x00"
"""Begins what is hashed for a key; another number where a stored run would be read otherwise."""


@dataclass(frozen=True)
class Program:
    """One program, with all that decides what it does."""

    kind: Kind
    """Language, interpreter and packages."""
    code: str
    stdin: str = ""
    files: Mapping[str, bytes] = field(default_factory=dict)
    """Found in the working folder, by relative path."""
    limits: Mapping[str, float] = field(default_factory=dict)
    """What differs from the sandbox's own limits, under the names of `Limits`."""
    fetch: tuple[str, ...] = ()
    """Files of the working folder that are wanted afterwards."""
    compile_seconds: float | None = None
    """CPU time of the compiler, where there is one; None for the sandbox's own."""


@dataclass(slots=True)
class RunnerCounters:
    """Counts since the start, for metrics."""

    run: int = 0
    """Programs that were run."""
    kept: int = 0
    """Requests answered by a run that was kept."""
    joined: int = 0
    """Requests answered by a run that was under way for another, or held."""
    turned_away: int = 0
    """Requests that were told to come again, because the time was over."""


class Runner:
    """Runs programs, equal ones once."""

    def __init__(self, sandboxes: Sandboxes, store: TieredStore) -> None:
        """Run in `sandboxes` and keep in `store`; both stay their owners'."""
        self.counters = RunnerCounters()
        self._sandboxes = sandboxes
        self._store = store
        self._lookups = _Lookups(store, sandboxes)
        self._flights: dict[bytes, asyncio.Task[RawRun]] = {}
        """Runs under way, and those done that nobody was there for."""
        self._waiting: Counter[bytes] = Counter()
        self._lingering = 0

    async def run(
        self, program: Program, *, within: float | None = None, lasting: bool = True
    ) -> tuple[RawRun, bool]:
        """Return what a program came to, and whether it was run before, or for somebody else.

        Args:
            program: What to run.
            within: Seconds that the caller waits; None for as long as it takes.
            lasting: Whether a kept result will do, and this one may be kept.

        Raises:
            RequestError: A file name or a limit that is not accepted.
            SaturatedError: Too many wait, or the time is over; the run goes on then.
            UnavailableError: Language or containment are not to be had here, or the sandbox failed.
        """
        try:
            async with asyncio.timeout(within):
                if not lasting:
                    return await self._run(program), False
                async with self._sandboxes.open(program.kind) as lent:
                    key = _key(program, lent)
                kept = _decoded(await self._lookups.get(key))
                if kept is None and key not in self._flights:
                    kept = _decoded(self._store.peek([key])[0])  # one may have landed meanwhile
                if kept is None:
                    return await self._join(key, program)
                self.counters.kept += 1
                return kept, True
        except TimeoutError:
            self.counters.turned_away += 1
            raise self._sandboxes.saturated(waited=within) from None

    async def _join(self, key: bytes, program: Program) -> tuple[RawRun, bool]:
        """Wait for an equal run that is under way, or for a new one."""
        flight = self._flights.get(key)
        foreign = flight is not None
        self.counters.joined += foreign
        if flight is None:
            flight = self._flights[key] = asyncio.create_task(self._run(program))
            flight.add_done_callback(lambda done: self._landed(key, program, done))
        self._waiting[key] += 1
        try:
            return await asyncio.shield(flight), foreign
        finally:
            self._waiting[key] -= 1
            if not self._waiting[key]:
                del self._waiting[key]

    async def _run(self, program: Program) -> RawRun:
        self.counters.run += 1
        return await run_raw(
            self._sandboxes,
            program.kind,
            program.code,
            stdin=program.stdin,
            files=program.files,
            limits=program.limits,
            compile_seconds=program.compile_seconds,
            fetch=program.fetch,
        )

    def _landed(self, key: bytes, program: Program, flight: asyncio.Task[RawRun]) -> None:
        """Keep a result, or hold it for a while if nobody waits for it any more."""
        awaited = self._waiting[key] > 0
        if flight.cancelled() or (failed := flight.exception()) is not None:
            del self._flights[key]
            if not flight.cancelled() and not awaited and not isinstance(failed, CountermarkError):
                _log.error("a run that nobody waits for has ended in a bug", exc_info=failed)
            return
        ran = flight.result()
        if _keepable(ran):
            self._store.put_many({key: msgspec.msgpack.encode(ran)})
        small = _size(ran) <= _LINGERING_BYTES
        if awaited or _keepable(ran) or not small or self._lingering >= _LINGERING:
            del self._flights[key]
            return
        self._lingering += 1
        asyncio.get_running_loop().call_later(_LINGER_SECONDS, self._forget, key)

    def _forget(self, key: bytes) -> None:
        del self._flights[key]
        self._lingering -= 1

    async def close(self) -> None:
        """End what is under way."""
        flights = [flight for flight in self._flights.values() if not flight.done()]
        for flight in flights:
            flight.cancel()
        await asyncio.gather(*flights, return_exceptions=True)


class _Lookups:
    """Looks keys up, those that come while a look-up is under way together in the next one.

    A look-up in the store goes through a thread or a socket, which costs as much as half a run; a trainer's
    programs come dozens at a time. Where so many wait for a slot that a new one will not be missed there, some
    are looked up at once.
    """

    def __init__(self, store: TieredStore, sandboxes: Sandboxes) -> None:
        self._store = store
        self._sandboxes = sandboxes
        self._wanted: dict[bytes, asyncio.Future[bytes | None]] = {}
        self._asking: asyncio.Task[None] | None = None

    async def get(self, key: bytes) -> bytes | None:
        """Return the value of `key`, or None."""
        value = self._store.peek([key])[0]
        if value is not None:
            return value
        if key not in self._wanted:
            self._wanted[key] = asyncio.get_running_loop().create_future()
        wanted = self._wanted[key]
        if self._asking is None:
            self._asking = asyncio.create_task(self._ask())
        return await asyncio.shield(wanted)

    async def _ask(self) -> None:
        """Ask until nobody wants anything."""
        asked: dict[bytes, asyncio.Future[bytes | None]] = {}
        try:
            while self._wanted:
                if self._sandboxes.waiting >= _QUEUE_PER_SLOT * self._sandboxes.slots:
                    await asyncio.sleep(_GATHER_SECONDS)
                asked, self._wanted = self._wanted, {}
                lookup = await self._store.get_many(list(asked))
                for found, value in zip(asked.values(), lookup.values, strict=True):
                    found.set_result(value)
        finally:
            self._asking = None
            for found in (*asked.values(), *self._wanted.values()):
                found.cancel()  # only a bug leaves any


def _size(ran: RawRun) -> int:
    """Return the bytes of what a run left."""
    result = ran.result
    return len(result.stdout) + len(result.stderr) + sum(map(len, result.files.values()))


def _keepable(ran: RawRun) -> bool:
    """Whether running it again could tell nothing else."""
    result, limits = ran.result, ran.limits
    return (
        result.status in _ENDED
        and result.exit_code is not None
        and result.cpu_seconds <= _MARGIN * limits.cpu_seconds
        and result.wall_seconds <= _MARGIN * limits.wall
    )


def _key(program: Program, lent: OpenPool) -> bytes:
    """Return the 32-byte store key of a program on the pool that would run it."""
    kind = program.kind
    facts = msgspec.msgpack.encode(
        [
            program.code.encode("utf-8", "surrogatepass"),
            program.stdin.encode("utf-8", "surrogatepass"),
            sorted(
                (name.encode("utf-8", "surrogatepass"), content) for name, content in program.files.items()
            ),
            sorted((name, float(value)) for name, value in program.limits.items()),
            program.compile_seconds,
            sorted(program.fetch),
            [kind.language, kind.python, kind.requirements, list(kind.preload)],
            [lent.version, lent.pool.level.value, platform.machine()],
        ]
    )
    return hashlib.sha256(_FORMAT + facts).digest()


_decoder = msgspec.msgpack.Decoder(RawRun)


def _decoded(value: bytes | None) -> RawRun | None:
    """Return a stored run; None for one that is not to be trusted."""
    if value is None:
        return None
    try:
        ran = _decoder.decode(value)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    return ran if _keepable(ran) else None
