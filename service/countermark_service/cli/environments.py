"""Building the environments of many bundles at once, with somebody watching."""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from typing import Any

from countermark_service.bundles import Bundle
from countermark_service.cli.console import progress
from countermark_service.engine.environment import Environment, EnvironmentCache
from countermark_service.errors import CountermarkError

BUILDERS = 2
"""Builds at a time. Compiling byte code uses every core by itself; the second one fetches meanwhile."""


@dataclass(frozen=True)
class Built:
    """What became of one bundle's environment."""

    bundle: Bundle
    environment: Environment | None
    """What its own code runs in; None where a build failed."""
    was_there: bool
    """Whether it was found and not built."""
    seconds: float
    failure: CountermarkError | None = None

    @property
    def name(self) -> str:
        """The bundle's name and version."""
        return _name(self.bundle)

    def in_words(self) -> str:
        """Say it for a person."""
        if self.environment is None:
            return f"failed: {self.failure}"
        where = f"Python {self.environment.python_version} of {self.environment.base_prefix}"
        return f"was there, {where}" if self.was_there else f"built in {self.seconds:.1f} s, {where}"

    def document(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        found = self.environment
        return {
            "verifier": str(self.bundle.ref),
            "state": "failed" if found is None else "found" if self.was_there else "built",
            "python": None if found is None else found.python_version,
            "base_prefix": None if found is None else str(found.base_prefix),
            "environment": None if found is None else str(found.path),
            "seconds": round(self.seconds, 3),
            "error": None
            if self.failure is None
            else {"code": self.failure.code, "detail": str(self.failure)},
        }


def build_all(
    environments: EnvironmentCache, bundles: Sequence[Bundle], on_begin: Callable[[Bundle], None]
) -> Iterator[Built]:
    """Build what is missing, and yield each result when it is there.

    An interrupt stops the builds that have not begun; one that has leaves nothing half done.
    """
    pool = ThreadPoolExecutor(BUILDERS, thread_name_prefix="build")
    try:
        jobs = [pool.submit(_build, environments, bundle, on_begin) for bundle in bundles]
        for job in as_completed(jobs):
            yield job.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def build_and_show(environments: EnvironmentCache, bundles: Sequence[Bundle]) -> list[Built]:
    """Build what is missing, say on standard error how it goes, and return the results in order."""
    width = max((len(_name(bundle)) for bundle in bundles), default=0)
    results: dict[str, Built] = {}
    with progress() as bar:
        task = bar.add_task("building environments", total=len(bundles))
        for built in build_all(
            environments, bundles, lambda bundle: bar.update(task, description=_name(bundle))
        ):
            results[built.bundle.digest] = built
            bar.advance(task)
            bar.console.print(f"{built.name:{width}}  {built.in_words()}")
    return [results[bundle.digest] for bundle in bundles]


def _name(bundle: Bundle) -> str:
    return f"{bundle.manifest.name}:{bundle.manifest.version}"


def _build(environments: EnvironmentCache, bundle: Bundle, on_begin: Callable[[Bundle], None]) -> Built:
    started = time.perf_counter()
    python = bundle.manifest.python or ""
    on_begin(bundle)
    was_there = True
    try:
        for lock in reversed(bundle.locks):  # its own last: that is the one that is shown
            was_there = was_there and environments.find(lock, python) is not None
            environment = environments.ensure(lock, python, label=_name(bundle))
    except CountermarkError as exc:
        return Built(bundle, None, False, time.perf_counter() - started, exc)
    return Built(bundle, environment, was_there, time.perf_counter() - started)
