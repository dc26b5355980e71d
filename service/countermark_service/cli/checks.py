"""What `countermark doctor` looks at: one function per subject, each saying what it found and what to do.

A check tries the thing (it starts bubblewrap, pings Redis, writes a file) where that
is quick, as a version number proves nothing. Checks know nothing of each other; one
that is new is one more function in `CHECKS`.
"""

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from countermark_service import __version__
from countermark_service.assembly import build_environments, build_registry, describe_sandbox
from countermark_service.bundles import Bundle
from countermark_service.errors import CountermarkError
from countermark_service.registry import Registry
from countermark_service.settings import Settings

_GIB = 1 << 30
_LITTLE_SPACE = 2 * _GIB
_PROBE_SECONDS = 2.0

Status = Literal["ok", "warn", "fail"]


@dataclass(frozen=True)
class Check:
    """One line of the report."""

    name: str
    status: Status
    """`warn`: works, with less; `fail`: something essential is missing."""
    found: str
    advice: str = ""
    """What to do; empty where all is well."""

    def document(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class Machine:
    """What checks look at."""

    settings: Settings

    @cached_property
    def registry(self) -> Registry:
        """Every bundle in sight."""
        return build_registry(self.settings)

    @property
    def code_bundles(self) -> list[Bundle]:
        """The bundles that need an environment."""
        return [bundle for bundle in self.registry if bundle.manifest.python is not None]


def examine(settings: Settings) -> Iterator[Check]:
    """Yield the lines of the report, in order; a check that meets an error of its subject is a failed one."""
    machine = Machine(settings)
    for subject, look in CHECKS:
        try:
            yield from look(machine)
        except (CountermarkError, OSError) as exc:
            yield Check(subject, "fail", str(exc))


def _service(machine: Machine) -> Iterator[Check]:
    version = ".".join(map(str, sys.version_info[:3]))
    yield Check("service", "ok", f"countermark {__version__} on Python {version} ({sys.prefix})")


def _containment(machine: Machine) -> Iterator[Check]:
    from countermark_service.sandbox import ContainmentLevel, detect_containment

    held = detect_containment()
    best = held.level is ContainmentLevel.NAMESPACES
    explained = {
        ContainmentLevel.NAMESPACES: "no network, own file system and processes, read-only files",
        ContainmentLevel.LANDLOCK: "read-only files, no network, no new processes",
        ContainmentLevel.LIMITS: "limits on time and memory only; files and network are open to verifiers",
    }
    yield Check(
        "containment",
        "ok" if best else "warn",
        f"{held.level}: {explained[held.level]}",
        " ".join(held.reasons),
    )
    if held.landlock_abi:
        yield Check("landlock", "ok", f"version {held.landlock_abi} of the kernel's interface")
    else:
        advice = "Linux 5.13 or later has it, where it is enabled at boot."
        yield Check("landlock", "warn", "not in this kernel", advice)
    yield _bubblewrap()


def _code_sandbox(machine: Machine) -> Iterator[Check]:
    """Attack the sandbox of candidate programs for real; only the code verifiers need it."""
    found = describe_sandbox(machine.settings)
    if found["available"]:
        layers = ", ".join(found.get("layers", ()))
        yield Check("code sandbox", "ok", f"{found['level']} ({layers})")
    else:
        reasons = "; ".join(found["reasons"]) or "no level holds"
        advice = (
            f"the code verifiers answer 503 until {found['minimum']} holds. Mend the reason, or set "
            "COUNTERMARK_SANDBOX_LEVEL=landlock where that is enough for you."
        )
        yield Check("code sandbox", "warn", reasons, advice)
    for language, version in found["languages"].items():
        package = {"cpp": "g++", "javascript": "nodejs"}.get(language, language)
        if version is None:
            yield Check(
                f"{language} programs", "warn", "no compiler or runtime", f"install the package `{package}`."
            )
        else:
            yield Check(f"{language} programs", "ok", str(version))


def _bubblewrap() -> Check:
    from countermark_service.engine.uv_command import run

    found = shutil.which("bwrap")
    if found is None:
        return Check("bubblewrap", "warn", "not installed", "Install it: apt install bubblewrap.")
    ended = run([found, "--version"], timeout_seconds=_PROBE_SECONDS)
    if ended.status:
        said = f"{found} --version {ended.how}: {ended.last_lines.strip()}".rstrip(": ")
        return Check("bubblewrap", "warn", said, "Install it again: apt install --reinstall bubblewrap.")
    return Check("bubblewrap", "ok", f"{ended.stdout.strip().removeprefix('bubblewrap ')} ({found})")


def _uv(machine: Machine) -> Iterator[Check]:
    from countermark_service.engine.uv_command import find_uv, run_uv

    uv = find_uv()
    ended = run_uv(uv, ["--version"], timeout_seconds=_PROBE_SECONDS * 5)
    if ended.status == 0:
        yield Check("uv", "ok", f"{ended.stdout.split()[1]} ({uv})")
    else:
        advice = "Install it again: pip install --force-reinstall uv."
        yield Check("uv", "fail", f"{uv} {ended.how}: {ended.last_lines.strip()}", advice)


def _pythons(machine: Machine) -> Iterator[Check]:
    users: dict[str, int] = {}
    for bundle in machine.code_bundles:
        minor = bundle.manifest.python or ""
        users[minor] = users.get(minor, 0) + 1
    for minor, count in sorted(users.items(), key=lambda entry: tuple(map(int, entry[0].split(".")))):
        yield _python(machine, minor, f"for {count} {'verifier' if count == 1 else 'verifiers'}")


def _python(machine: Machine, minor: str, use: str) -> Check:
    from countermark_service.engine.interpreters import InterpreterNotFoundError, find_interpreter
    from countermark_service.engine.uv_command import find_uv, run_uv

    name = f"python {minor}"
    try:
        found = find_interpreter(minor, download=False)
    except InterpreterNotFoundError:
        install = f"Install it: apt install python{minor}, or uv python install {minor}."
        if machine.settings.offline:
            return Check(name, "fail", f"missing, needed {use}; fetching is switched off (offline)", install)
        fetch = "It is fetched by uv with the first item, if there is a network. "
        return Check(name, "warn", f"missing, needed {use}", fetch + install)
    managed = run_uv(find_uv(), ["python", "dir"], timeout_seconds=_PROBE_SECONDS * 5).stdout.strip()
    fetched = bool(managed) and found.base_prefix.is_relative_to(os.path.realpath(managed))
    how = "fetched by uv" if fetched else "installed"
    return Check(name, "ok", f"{found.version}, {how} ({found.base_prefix}), {use}")


def _bundles(machine: Machine) -> Iterator[Check]:
    registry = machine.registry
    for ref, exc in registry.broken.items():
        yield Check("verifier", "fail", f"{ref} is not usable: {exc}", "Restore its folder, or remove it.")
    bundles = list(registry)
    found = f"{len(bundles)} in sight" if bundles else "none in sight"
    yield Check(
        "verifiers", "ok" if bundles else "fail", found,
        "" if bundles else "Name a folder of bundles with COUNTERMARK_BUNDLES, or install from a wheel.",
    )  # fmt: skip


def _environments(machine: Machine) -> Iterator[Check]:
    environments = build_environments(machine.settings)
    missing = [
        f"{bundle.manifest.name}:{bundle.manifest.version}"
        for bundle in machine.code_bundles
        if not all(environments.find(lock, bundle.manifest.python or "") for lock in bundle.locks)
    ]
    total = len(machine.code_bundles)
    found = f"{total - len(missing)} of {total} are built"
    if not missing:
        yield Check("environments", "ok", found)
        return
    shown = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
    advice = "Each is built with its first item. To do it now: countermark verifier build --all."
    yield Check("environments", "warn", f"{found}; not yet: {shown}", advice)


def _data(machine: Machine) -> Iterator[Check]:
    folder = machine.settings.data
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"\0")
    except OSError as exc:
        advice = "Make it writable for this user, or name another folder with COUNTERMARK_DATA."
        yield Check("data folder", "fail", f"{folder} cannot be written: {exc.strerror}", advice)
        return
    free = shutil.disk_usage(folder).free
    little = free < _LITTLE_SPACE
    yield Check(
        "data folder", "warn" if little else "ok", f"{folder}, writable, {free / _GIB:.1f} GiB free",
        "An environment takes up to a few hundred MiB: make room." if little else "",
    )  # fmt: skip


def _left_behind(machine: Machine) -> Iterator[Check]:
    """Name what only a person may remove; nothing is said where there is none."""
    from countermark_service.engine.snapshot import SCRATCHES
    from countermark_service.sandbox.scratch import left_by_older_versions

    found = [*left_by_older_versions(machine.settings.data / SCRATCHES), *left_by_older_versions()]
    if found:
        shown = ", ".join(map(str, found[:5])) + (f" and {len(found) - 5} more" if len(found) > 5 else "")
        advice = (
            "They have no lock: look at them, and remove them where no Countermark of an older version runs."
        )
        yield Check("scratch folders", "warn", f"{shown}: named as older versions named theirs", advice)


def _store(machine: Machine) -> Iterator[Check]:
    if machine.settings.redis_url is None:
        yield _sqlite(machine.settings)
    else:
        yield from _redis(machine.settings.redis_url)


def _sqlite(settings: Settings) -> Check:
    import asyncio

    from countermark_service.store import SqliteStore, StoreUnavailableError

    file = settings.data / "verdicts.sqlite"

    async def ask() -> None:
        store = SqliteStore(file)
        try:
            await store.start()
            await store.get_many([bytes(32)])
        finally:
            await store.close()

    try:
        asyncio.run(ask())
    except StoreUnavailableError as exc:
        return Check("store", "warn", str(exc), "Scoring goes on without it, and nothing is kept.")
    return Check("store", "ok", f"SQLite, {file}, {file.stat().st_size / (1 << 20):.1f} MiB")


def _redis(url: str) -> Iterator[Check]:
    import asyncio

    from countermark_service.store import StoreUnavailableError
    from countermark_service.store.redis import RedisStore

    async def ask() -> None:
        store = RedisStore(url, timeout_seconds=_PROBE_SECONDS)
        try:
            await store.start()
        finally:
            await store.close()

    try:
        asyncio.run(ask())
    except StoreUnavailableError as exc:
        yield Check(
            "store", "warn", str(exc), "Scoring goes on without it; nothing is kept until it answers."
        )
        return
    yield Check("store", "ok", "Redis answers a PING")
    yield _redis_memory(url)


def _redis_memory(url: str) -> Check:
    """Look at how Redis makes room: without a policy that evicts, it refuses writes when it is full."""
    import redis

    advice = "Set maxmemory, and maxmemory-policy allkeys-lru: verdicts may go at any time, others do not."
    client = redis.Redis.from_url(url, socket_timeout=_PROBE_SECONDS, socket_connect_timeout=_PROBE_SECONDS)
    try:
        memory: Any = client.info("memory")
        role: Any = client.info("replication")
    except redis.RedisError as exc:
        return Check("redis memory", "warn", f"INFO is refused: {exc}", "Allow this user the command INFO.")
    finally:
        client.close()
    if role["role"] != "master":
        where = f"{role['master_host']}:{role['master_port']}"
        return Check(
            "redis", "warn", f"a replica, which takes no verdicts, of {where}", "Name the master in the URL."
        )
    policy, limit = memory["maxmemory_policy"], memory["maxmemory"]
    if not limit:
        return Check("redis memory", "warn", f"no maxmemory, policy {policy}: it grows without end", advice)
    found = f"at most {limit / (1 << 20):.0f} MiB, policy {policy}"
    return Check("redis memory", "ok" if policy.startswith("allkeys-") else "warn", found,
                 "" if policy.startswith("allkeys-") else advice)  # fmt: skip


def _keys(machine: Machine) -> Iterator[Check]:
    from countermark_service.cli.serve import is_loopback
    from countermark_service.store.access_keys import AccessKeys

    settings = machine.settings
    keys = AccessKeys(settings.data / "keys.json").all()
    if keys:
        scopes = sorted({scope for key in keys for scope in key.scopes})
        yield Check("access keys", "ok", f"{len(keys)} set up, with the scopes {', '.join(scopes)}")
    elif is_loopback(settings.host) or settings.open_access:
        yield Check("access keys", "ok", f"none: whoever reaches {settings.host} may score")
    else:
        advice = "Make one: countermark access add --scope score."
        yield Check("access keys", "fail", f"none, and {settings.host} can be reached from outside", advice)


def _resources(machine: Machine) -> Iterator[Check]:
    cores, workers = len(os.sched_getaffinity(0)), machine.settings.workers
    found = f"{cores} for this process, {workers} workers"
    more = workers > cores
    yield Check(
        "cores", "warn" if more else "ok", found, "More workers than cores gain nothing." if more else ""
    )
    available = _available_memory()
    largest = max((bundle.manifest.limits.memory_mib for bundle in machine.registry), default=0) << 20
    needed = workers * largest
    yield Check(
        "memory", "ok" if available >= needed else "warn", f"{available / _GIB:.1f} GiB available",
        "" if available >= needed else f"{workers} workers may use {needed / _GIB:.1f} GiB at worst: lower "
        "COUNTERMARK_WORKERS, or let them have more.",
    )  # fmt: skip


def _available_memory() -> int:
    """Return the bytes that processes here can still have, of the machine or of the control group."""
    lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    facts = dict(line.split(":", 1) for line in lines)
    available = int(facts["MemAvailable"].split()[0]) << 10
    group = Path("/sys/fs/cgroup")
    try:
        limit = (group / "memory.max").read_text(encoding="ascii").strip()
        used = int((group / "memory.current").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return available  # no control group of version 2 around this process
    return available if limit == "max" else min(available, max(int(limit) - used, 0))


CHECKS: list[tuple[str, Callable[[Machine], Iterator[Check]]]] = [
    ("service", _service),
    ("cores", _resources),
    ("containment", _containment),
    ("code sandbox", _code_sandbox),
    ("uv", _uv),
    ("python", _pythons),
    ("verifiers", _bundles),
    ("data folder", _data),
    ("scratch folders", _left_behind),
    ("environments", _environments),
    ("store", _store),
    ("access keys", _keys),
]
"""Every check, with the name that its line gets where it meets an error."""
