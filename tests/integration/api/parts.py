"""A caller of a running service, and verifiers that do what a response tells them to."""

import contextlib
import itertools
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Self

import httpx

from tests.support import ServiceProcess, write_bundle

WAIT_SECONDS = 120.0
"""How long an event may take that should come at once, on a machine that does much else."""

JSON = "application/json"
NDJSON = "application/x-ndjson"

SUBJECT, REDUCING, ASKING = "subject:1.0.0", "reducing:1.0.0", "asking:1.0.0"

_SUBJECT = """
import ctypes, os, time

def work(milliseconds):
    until = time.process_time() + milliseconds / 1000
    while time.process_time() < until:
        pass

def grow():
    held = []
    while True:
        held.append(bytearray(32_000_000))

def verify(item):
    command, _, rest = item["response"].partition(" ")
    if command == "work":
        work(float(rest.partition(" ")[0]))
    elif command == "hang":
        work(1e9)
    elif command == "sleep":
        time.sleep(1e6)
    elif command == "grow":
        grow()
    elif command == "crash":
        ctypes.string_at(0)
    elif command == "exit":
        os._exit(0)
    elif command == "raise":
        raise ValueError(item["response"])
    elif command == "lie":
        return {"outcome": "scored", "score": 2.0, "detail": {}}
    elif command == "silent":
        return {"outcome": "no_answer", "score": 0.0, "detail": {}}
    elif command == "unreadable":
        return {"outcome": "bad_reference", "score": None, "detail": {}}
    right = item["reference"] and item["response"].endswith(str(item["reference"]))
    return {"outcome": "scored", "score": float(bool(right)), "detail": {"length": len(item["response"])}}
"""

_REDUCING = """
import ctypes

def last_word(item):
    return item["response"].split()[-1]

def reduce(item):
    if "oops" in item["response"]:
        raise ValueError("no reduction")
    if "spin" in item["response"]:
        while True:
            pass
    if "crash" in item["response"]:
        ctypes.string_at(0)
    if "whole" in item["response"]:
        return None
    return [last_word(item), item["reference"]]

def verify(item):
    if last_word(item) == "raise":
        raise ValueError("no verdict")
    return {"outcome": "scored", "score": float(last_word(item) == item["reference"]), "detail": {}}
"""

_ASKING = """
def verify(item):
    echo = {"response": item["response"], "params": item["params"]}
    return {"outcome": "scored", "score": float(item["prompt"] == item["reference"]), "detail": echo}
"""

_PARAMETERS = """
[parameters.tolerance]
type = "number"
minimum = 0
"""


def write_subjects(root: Path) -> Path:
    """Write the test bundles below `root` and return it."""
    write_bundle(  # so little memory that "grow" reaches its end long before that of its CPU time on any machine
        root, _SUBJECT, cpu_seconds=0.5, wall_seconds=1.5, memory_mib=96,
        extra='description = "Obeys."\n' + _PARAMETERS,
    )  # fmt: skip
    write_bundle(root, _REDUCING, name="reducing", cpu_seconds=0.3, extra='reduce = "verifier:reduce"')
    write_bundle(root, _ASKING, name="asking", extra="uses_prompt = true")
    return root


def item(response: str, reference: Any = "right", **more: Any) -> dict[str, Any]:
    """Return an item as it is sent."""
    return {"response": response, "reference": reference, **more}


class Caller:
    """Calls a service and knows its figures."""

    def __init__(self, service: ServiceProcess, key: str | None = None) -> None:
        """Call `service`, with `key` where it wants one."""
        self.service = service
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        self.http = httpx.Client(base_url=service.url, headers=headers, timeout=2 * WAIT_SECONDS)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()

    def post(self, body: Any, *, path: str = "/v1/score", **headers: str) -> httpx.Response:
        """Send a body: bytes as they are, all else as JSON."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.http.post(path, content=content, headers={"Content-Type": JSON, **named})

    def score(self, items: list[Any], *, verifier: str = SUBJECT, **more: Any) -> httpx.Response:
        """Score a batch."""
        return self.post({"verifier": verifier, "items": items, **more})

    def verdicts(self, items: list[Any], *, verifier: str = SUBJECT, **more: Any) -> list[dict[str, Any]]:
        """Score a batch that must be answered, and return its verdicts."""
        answer = self.score(items, verifier=verifier, **more)
        assert answer.status_code == 200, answer.text
        verdicts: list[dict[str, Any]] = answer.json()["verdicts"]
        assert len(verdicts) == len(items)
        return verdicts

    def stream(self, lines: Iterable[bytes], **headers: str) -> list[dict[str, Any]]:
        """Send a stream, some lines at a time, and return the lines of the reply."""
        pieces = (b"".join(some) for some in _in_groups(lines))
        answer = self.http.post(
            "/v1/score/stream", content=pieces, headers={"Content-Type": NDJSON, **headers}
        )
        assert answer.status_code == 200, answer.text
        return [json.loads(line) for line in answer.text.splitlines()]

    def metric(self, name: str, **labels: str) -> float:
        """Return the sum of a metric over everything that has `labels`."""
        total = 0.0
        for line in self.http.get("/metrics").text.splitlines():
            series, _, value = line.rpartition(" ")
            found, _, rest = series.partition("{")
            if found == name and all(f'{label}="{wanted}"' in rest for label, wanted in labels.items()):
                total += float(value)
        return total


def _in_groups(lines: Iterable[bytes]) -> Iterator[list[bytes]]:
    left = iter(lines)
    while group := list(itertools.islice(left, 50)):
        yield group


def stream_of(items: Iterable[Any], *, verifier: str = SUBJECT, **head: Any) -> Iterator[bytes]:
    """Yield the lines of a stream; items that are bytes stay as they are."""
    yield json.dumps({"verifier": verifier, **head}).encode() + b"\n"
    for one in items:
        yield (one if isinstance(one, bytes) else json.dumps(one).encode()) + b"\n"


def wait_until(condition: Callable[[], Any], what: str, seconds: float = WAIT_SECONDS) -> None:
    """Return when `condition` holds.

    Raises:
        AssertionError: It does not, in `seconds`.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(0.005)


def processes_below(pid: int) -> set[int]:
    """Return the process ids of all descendants of a process."""
    parents = _parents()
    found: set[int] = set()
    new = {pid}
    while new:
        new = {child for child, parent in parents.items() if parent in new}
        found |= new
    return found


def leaves_below(pid: int) -> set[int]:
    """Return the descendants of a process that have no children: its workers, for the most part."""
    return processes_below(pid) - set(_parents().values())


def _parents() -> dict[int, int]:
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):  # it has ended meanwhile
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    return parents


def peak_memory(pid: int) -> int:
    """Return the most bytes that a process has held since `reset_peak_memory`."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("the kernel does not tell the peak of a process")


def reset_peak_memory(pid: int) -> int:
    """Begin to count the peak anew, and return the bytes that are held now."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")
    return peak_memory(pid)


def is_alive(pid: int) -> bool:
    """Return whether there is such a process, other than one that is dead and not yet buried."""
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def log_of(service: ServiceProcess) -> str:
    """Return what the service has logged."""
    return service.log.read_text(errors="replace")


def link_environments(data: Path, shared_root: Path) -> Path:
    """Let a data folder use the environments that are built already, and return it."""
    data.mkdir(parents=True, exist_ok=True)
    (shared_root / "environments").mkdir(exist_ok=True)
    (data / "environments").symlink_to(shared_root / "environments")
    return data


def service_environment(bundles: Path, **settings: str) -> dict[str, str]:
    """Return the environment of a service with the test bundles and two workers."""
    named = {f"COUNTERMARK_{name.upper()}": value for name, value in settings.items()}
    return {"COUNTERMARK_BUNDLES": os.fspath(bundles), "COUNTERMARK_WORKERS": "2", **named}
