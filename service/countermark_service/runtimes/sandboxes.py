"""The sandboxes of one service: which level holds, one pool per kind of program, shared slots.

Pools are opened with their first candidate and closed when they have had none for a
while. The slots are shared: however many kinds there are, no more candidates run at
once than the settings say. The level is found by attacks (`sandbox.code.levels`) at
the first use and again every ten minutes; below the minimum nothing runs, and the
reason is said.
"""

import asyncio
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from countermark_service.engine.environment import EnvironmentCache
from countermark_service.engine.interpreters import find_interpreter
from countermark_service.errors import CountermarkError, SaturatedError, UnavailableError
from countermark_service.sandbox.code.flavour import Flavour, cpp_flavour, javascript_flavour, python_flavour
from countermark_service.sandbox.code.levels import LevelReport, probe
from countermark_service.sandbox.code.model import Level, SandboxShortageError, SandboxUnavailableError
from countermark_service.sandbox.code.pool import SandboxPool

_T = TypeVar("_T")

PROBE_SECONDS = 600.0
"""How long a found level counts before it is looked at again."""
RETRY_SECONDS = 15.0
"""The same where none was found: what was in the way may be gone."""
PYTHON = "3.11"
"""Python of candidates, where nothing names another."""
_PACKAGES = {"cpp": ("g++", "g++"), "javascript": ("node", "nodejs")}
"""What each language needs: the command, and the Debian package that has it."""


@dataclass(frozen=True)
class Kind:
    """What one pool's candidates are written in, and what they find."""

    language: str
    """``python``, ``cpp`` or ``javascript``."""
    python: str = PYTHON
    """Minor version of the interpreter: of candidates, or of what starts them."""
    requirements: bytes = b""
    """Content of the lock of what candidates may import; empty for nothing."""
    preload: tuple[str, ...] = ()
    """Modules that every candidate finds imported."""


@dataclass(eq=False)
class OpenPool:
    """A started pool."""

    pool: SandboxPool
    version: str
    """Interpreter or compiler of its candidates, such as ``Python 3.11.7``."""
    users: int = 0
    last_used: float = 0.0
    stale: bool = False
    """The level has changed since; it closes when nobody uses it."""


class Sandboxes:
    """Opens pools, finds the level, and keeps the number of candidates at once."""

    def __init__(
        self,
        environments: EnvironmentCache,
        *,
        levels: Sequence[Level] = (Level.NAMESPACES,),
        slots: int = 2,
        queue: int = 8192,
        idle_seconds: float = 300.0,
    ) -> None:
        """Prepare; nothing runs before the first use.

        Args:
            environments: Where the packages of candidates come from.
            levels: Levels that are good enough, best first.
            slots: Candidates at once.
            queue: Candidates that may wait.
            idle_seconds: After this time without work a pool is closed.
        """
        self.levels = tuple(levels)
        self.slots = slots
        self.report: LevelReport | None = None
        """What the last look found; None before the first."""
        self.turns = asyncio.Semaphore(slots)
        """Held by each candidate that runs."""
        self.waiting = 0
        self._environments = environments
        self._queue = queue
        self._idle_seconds = idle_seconds
        self._probed_at = float("-inf")
        self._starved = False
        """The last look found nothing, as the machine had run out of something; the report is of one before."""
        self._probing: asyncio.Task[None] | None = None
        self._opening: dict[Kind, asyncio.Task[OpenPool]] = {}
        self._stale: set[OpenPool] = set()
        self._sweep: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._closed = False

    # --- level -----------------------------------------------------------------------------------------

    async def level(self) -> Level:
        """Return the level that candidates are held at.

        Raises:
            UnavailableError: No level that is good enough holds here; says why.
        """
        if self._closed:
            raise UnavailableError("the service is stopping: ask again when it is back.")
        held = self.report is not None and self.report.level is not None and not self._starved
        if time.monotonic() - self._probed_at > (PROBE_SECONDS if held else RETRY_SECONDS):
            if self._probing is None or self._probing.done():
                self._probing = self._spawn(self._probe())
            if self.report is None:
                try:
                    await asyncio.shield(self._probing)
                except SandboxUnavailableError as exc:
                    raise UnavailableError(f"the sandbox is not to be had: {exc}.") from exc
        if self.report is None or self.report.level is None:
            raise UnavailableError(self._refusal())
        return self.report.level

    async def _probe(self) -> None:
        before = self.report
        try:
            flavour = await asyncio.to_thread(python_flavour, Path(sys.executable))
            report = await probe(flavour, levels=self.levels)
            changed = report.level is None or (before is not None and report.level is not before.level)
            if changed and not report.silent:
                report = await probe(flavour, levels=self.levels)  # a busy machine is no reason to change
        except SandboxShortageError:
            if before is None:
                raise
            self._starved, self._probed_at = True, time.monotonic()
            return
        self.report, self._probed_at, self._starved = report, time.monotonic(), False
        if before is not None and report.level is not before.level:
            for task in self._opening.values():
                if task.done() and not task.cancelled() and task.exception() is None:
                    task.result().stale = True
                    self._stale.add(task.result())
            self._opening.clear()
            await self._close_unused()

    def _refusal(self) -> str:
        reasons = "; ".join(self.report.reasons) if self.report else "it could not be looked at"
        return (
            f"candidate programs need the containment level {self.levels[-1].value} or better, and this "
            f"machine does not give it: {reasons}. `countermark doctor` says what to do."
        )

    def state(self) -> dict[str, Any]:
        """Return what the last look found, for people and probes."""
        report = self.report
        return {
            "level": report.level.value if report and report.level else None,
            "minimum": self.levels[-1].value,
            "available": None if report is None else report.level is not None,
            "reasons": list(report.reasons) if report else [],
        }

    def languages(self) -> dict[str, str | None]:
        """Return interpreter or compiler of each language, None where it is missing; may take seconds."""
        found: dict[str, str | None] = {}
        for language in ("python", *_PACKAGES):
            try:
                found[language] = self._flavour(Kind(language))[1]
            except CountermarkError:
                found[language] = None
        return found

    # --- pools -----------------------------------------------------------------------------------------

    @asynccontextmanager
    async def open(self, kind: Kind) -> AsyncIterator[OpenPool]:
        """Lend the pool of `kind`, opening it if need be; it stays open meanwhile.

        Raises:
            UnavailableError: The level, the language or its packages are not to be had here.
        """
        level = await self.level()
        task = self._opening.get(kind)
        if task is None or (task.done() and (task.cancelled() or task.exception() is not None)):
            task = self._opening[kind] = self._spawn(self._open(kind, level))
        lent = await asyncio.shield(task)
        lent.users += 1
        try:
            yield lent
        finally:
            lent.users -= 1
            lent.last_used = time.monotonic()
            if lent.stale:
                await self._close_unused()

    async def _open(self, kind: Kind, level: Level) -> OpenPool:
        flavour, version = await asyncio.to_thread(self._flavour, kind)
        assert self.report is not None  # noqa: S101 - `level` has seen to it
        pool = SandboxPool(
            level, flavour, slots=self.slots, limit_user_namespaces=self.report.limit_user_namespaces
        )
        try:
            await pool.start()
        except SandboxUnavailableError as exc:
            raise UnavailableError(f"the sandbox for {version} does not start: {exc}") from exc
        if self._sweep is None:
            self._sweep = asyncio.get_running_loop().call_later(self._idle_seconds / 4, self._sweep_idle)
        return OpenPool(pool, version, last_used=time.monotonic())

    def _flavour(self, kind: Kind) -> tuple[Flavour, str]:
        if kind.language == "python":
            if kind.requirements:
                label = f"candidates of Python {kind.python}"
                environment = self._environments.ensure(kind.requirements, kind.python, label=label)
                python, packages = environment.python, environment.site_packages
            else:
                python, packages = find_interpreter(kind.python).executable, ()
            flavour = python_flavour(python, site_packages=packages, preload=kind.preload)
            return flavour, f"Python {flavour.interpreter.version}"
        command, package = _PACKAGES[kind.language]
        found = shutil.which(command)
        if found is None:
            raise UnavailableError(
                f"{kind.language} programs need {command}, which is not here: apt install {package}."
            )
        make = cpp_flavour if kind.language == "cpp" else javascript_flavour
        return make(find_interpreter(kind.python).executable, found), _version_of(found)

    # --- queue -----------------------------------------------------------------------------------------

    def admit(self, candidates: int) -> None:
        """Refuse `candidates` more where too many wait; what is admitted counts itself into `waiting`.

        Raises:
            SaturatedError: The queue is full.
        """
        if self.waiting and self.waiting + candidates > self._queue:
            raise self.saturated()

    def saturated(self, *, waited: float | None = None) -> SaturatedError:
        """Return the error that says how many wait; `waited` is how long somebody did for nothing."""
        return SaturatedError(pending=self.waiting, limit=self._queue, retry_after=5.0, waited=waited)

    # --- ends ------------------------------------------------------------------------------------------

    def _spawn(self, work: Coroutine[Any, Any, _T]) -> asyncio.Task[_T]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _sweep_idle(self) -> None:
        self._sweep = asyncio.get_running_loop().call_later(self._idle_seconds / 4, self._sweep_idle)
        self._spawn(self.sweep())

    async def sweep(self) -> None:
        """Close the pools that have had no work for `idle_seconds`."""
        since = time.monotonic() - self._idle_seconds
        for kind, task in list(self._opening.items()):
            if not task.done() or task.cancelled() or task.exception() is not None:
                continue
            lent = task.result()
            if not lent.users and lent.last_used < since:
                del self._opening[kind]
                await lent.pool.close()

    async def _close_unused(self) -> None:
        for lent in [lent for lent in self._stale if not lent.users]:
            self._stale.discard(lent)
            await lent.pool.close()

    async def close(self) -> None:
        """End every pool and all that runs in it."""
        self._closed = True
        if self._sweep is not None:
            self._sweep.cancel()
        opened = [task for task in self._opening.values() if task.done() and not task.cancelled()]
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        pools = [task.result().pool for task in opened if task.exception() is None]
        pools += [lent.pool for lent in self._stale]
        await asyncio.gather(*(pool.close() for pool in pools))


def _version_of(command: str) -> str:
    """Return the first line of what a compiler or interpreter says of its version."""
    try:
        said = subprocess.run([command, "--version"], capture_output=True, text=True, check=True, timeout=30)
    except (OSError, subprocess.SubprocessError) as exc:
        raise UnavailableError(f"{command} does not run: {exc}") from exc
    first = (said.stdout.strip().splitlines() or [""])[0]
    return first if first[:1].isalpha() and " " in first else f"{Path(command).name} {first}"
