"""The service's end of a bundle's nursery: start it, have workers forked, hear of their ends.

`harness.py` opens with the theory of operation. This module knows processes and
bytes; which item goes where is the pool's matter.
"""

import asyncio
import base64
import contextlib
import errno
import fcntl
import itertools
import json
import mmap
import os
import platform
import re
import shutil
import signal
import socket
from collections.abc import Sequence
from pathlib import Path

from countermark_service.bundles import Bundle
from countermark_service.bundles.manifest import VECTORS_NAME
from countermark_service.engine.environment import Environment
from countermark_service.engine.worker import PIPE_BYTES, Worker, WorkerListener
from countermark_service.errors import UnavailableError
from countermark_service.sandbox import Containment, Interior
from countermark_service.sandbox.containment import system_paths
from countermark_service.sandbox.sacrifice import going_first
from countermark_service.sandbox.seccomp import worker_filter

_HARNESS = Path(__file__).with_name("harness.py")
_F_SETPIPE_SZ = 1031
_START_SECONDS = 120.0
_FORK_SECONDS = 30.0
_END_SECONDS = 1.0
_PRINTED_BYTES = 1 << 16
"""What a pipe holds."""
_KILLED = (-signal.SIGKILL, 128 + signal.SIGKILL)
"""Exit codes of what was killed, and of bubblewrap around it."""
# Mappings that nobody touches cost nothing, and a refused one would surface as MemoryError, which verifier
# libraries catch and turn into "not equal". What is resident is what counts, and the pool watches that.
_ADDRESS_SPACE_HEADROOM = 16 << 30
_SMALLEST_KILLING_MAPPING = 256 << 20
_PLACE = re.compile(r'\s+File "(?:[^"<]*/)?(?P<file>[^"/<]+)", line (?P<line>\d+)')
_PASSED_ON = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")  # corrections for a machine's processor


class Nursery:
    """The process that holds one bundle's loaded verifier and forks its workers."""

    def __init__(
        self,
        bundle: Bundle,
        environment: Environment,
        code: Path,
        containment: Containment,
        *,
        temporary: Path,
        listener: WorkerListener,
        hold_to_vectors: bool = True,
    ) -> None:
        """Prepare; nothing runs before `start`.

        Args:
            bundle: What to load.
            environment: The interpreter and packages to load it with.
            code: Folder with the bundle's files.
            containment: How to hold the processes.
            temporary: Folder that ends with the nursery; it holds the scratches where the containment has
                none of its own.
            listener: Who hears of frames and ends.
            hold_to_vectors: Refuse to serve where the bundle's own vectors do not hold.
        """
        self._bundle = bundle
        self._environment = environment
        self._code = code
        self._containment = containment
        self._temporary = temporary
        self._scratch = temporary / "scratch"
        self._listener = listener
        self._hold_to_vectors = hold_to_vectors
        self._numbers = itertools.count(1)
        self._forking: dict[int, tuple[Worker, asyncio.Future[Worker]]] = {}
        self.workers: dict[int, Worker] = {}
        self.python_version = ""
        self._closing = self._is_lost = False
        self._end_task: asyncio.Task[None] | None = None
        self._was_killed = False
        """Whether somebody killed it while it started."""
        self._log = bytearray()

    async def start(self) -> None:
        """Start the process and wait until the verifier is loaded.

        Raises:
            UnavailableError: It could not be started, or the bundle's import failed.
        """
        self._loop = asyncio.get_running_loop()
        try:
            await self._launch()
        except OSError:
            shutil.rmtree(self._temporary, ignore_errors=True)
            raise
        self._loop.add_reader(self._printed, self._keep_log)
        try:
            async with asyncio.timeout(_START_SECONDS) as limit:
                ended = asyncio.create_task(self._hurry(limit))
                try:
                    await self._loop.sock_sendall(self._control, json.dumps({"load": self._load()}).encode())
                    answer = json.loads(await self._loop.sock_recv(self._control, 1 << 16) or b"{}")
                finally:
                    ended.cancel()
        except (OSError, TimeoutError):
            answer = {}
        if "ready" not in answer:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_END_SECONDS):
                    await self._process.wait()  # how it ended is known a moment after its socket is closed
            self._was_killed = self._process.returncode in _KILLED
            await self.close()
            raise UnavailableError(self._failure(answer.get("failed")))
        self.python_version = answer["ready"]["python"]
        self._loop.add_reader(self._control.fileno(), self._listen)
        self._end_task = asyncio.create_task(self._follow_end())

    async def _hurry(self, limit: asyncio.Timeout) -> None:
        """Once the process has ended, wait only as long as what it has said takes to come.

        Its end is not always that of its socket: bubblewrap may be killed before its child is to die with it.
        """
        await self._end_of_process()
        limit.reschedule(self._loop.time() + _END_SECONDS)

    async def _follow_end(self) -> None:
        """Once the process has ended, be done with it, whoever else holds its socket."""
        await self._end_of_process()
        await asyncio.sleep(_END_SECONDS)  # what it said last comes first
        self._lost()

    async def _end_of_process(self) -> None:
        """Wait until the process has ended, and end what it leaves in its group."""
        await self._process.wait()
        self._kill_group()  # at once: as long as one is left the number is the group's, and soon after still nobody's

    def _kill_group(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)

    async def _launch(self) -> None:
        """Start the process; raises OSError, and has nothing open then."""
        # A pipe of asyncio's would have a wait for the process wait for all who hold the other end.
        self._printed, printed = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            os.set_blocking(printed, True)
            await self._launch_with(printed)
        except OSError:
            os.close(self._printed)
            raise
        finally:
            os.close(printed)

    async def _launch_with(self, printed: int) -> None:
        """Start the process, with `printed` as its standard error; as `_launch`."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        self._control = ours
        command = self._containment.command(
            [str(self._environment.python), "-s", "-P", "-B", str(_HARNESS), str(theirs.fileno())],
            Interior(self._readable(), _surroundings(self._containment.scratch_inside(self._scratch))),
            scratch=self._scratch,
        )
        try:
            self._scratch.mkdir(mode=0o700)
            self._process = await asyncio.create_subprocess_exec(
                *going_first(command),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=printed,
                pass_fds=(theirs.fileno(),),
                env=_surroundings(self._containment.scratch_inside(self._scratch)),
                start_new_session=True,
            )
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()

    def _load(self) -> dict[str, object]:
        manifest = self._bundle.manifest
        memory = manifest.limits.memory_mib << 20
        code = worker_filter(largest_mapping=max(memory, _SMALLEST_KILLING_MAPPING))
        return {
            "code": str(self._code),
            "functions": manifest.functions,
            "vectors": str(self._code / VECTORS_NAME) if self._hold_to_vectors and manifest.entry else None,
            "scratch": self._containment.scratch_inside(self._scratch),
            "address_space": memory + _ADDRESS_SPACE_HEADROOM,
            "filter": base64.b64encode(code).decode() if code else None,
            "landlock": self._containment.landlock_abi,
            "readable": [str(path) for path in (*system_paths(), *self._readable())],
        }

    def _readable(self) -> list[Path]:
        return [self._environment.base_prefix, self._environment.path, self._code, _HARNESS]

    def _failure(self, reason: str | None) -> str:
        log = bytes(self._log).decode(errors="replace").strip()
        silent = (
            "it was killed: is the machine out of memory?" if self._was_killed else "it ended without a word"
        )
        lines = (reason or log or silent).strip().splitlines()
        places = [found for line in lines if (found := _PLACE.match(line))]
        where = f" ({places[-1]['file']}, line {places[-1]['line']})" if places else ""
        ref = self._bundle.ref
        return f"the verifier {ref.name}:{ref.version} cannot be loaded: {lines[-1]}{where}"

    def _keep_log(self) -> None:
        """Keep the end of what the nursery prints; workers print nowhere."""
        try:
            data = os.read(self._printed, _PRINTED_BYTES)
        except BlockingIOError:
            return
        if not data:
            self._loop.remove_reader(self._printed)
        self._log += data
        del self._log[:-8192]

    def last_words(self) -> str:
        """Return the last line of what the nursery, or a worker that could not be made ready, has printed."""
        lines = bytes(self._log).decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it ended without a word"

    async def fork(self) -> Worker:
        """Return a new worker, ready for frames.

        Raises:
            UnavailableError: The nursery has ended, or the worker could not be taken over.
            OSError: There are no more descriptors.
        """
        number = next(self._numbers)
        with contextlib.ExitStack() as undone:  # what was opened before something else could not be
            request_read, request_write = _kept(undone, *os.pipe())
            verdict_read, verdict_write = _kept(undone, *os.pipe())
            (page,) = _kept(undone, os.memfd_create("progress"))
            os.ftruncate(page, mmap.PAGESIZE)
            progress = mmap.mmap(page, mmap.PAGESIZE)
            undone.pop_all()
        for fd in (request_write, verdict_read):
            with contextlib.suppress(OSError):  # over the user's quota of pipe memory: the default size does
                fcntl.fcntl(fd, _F_SETPIPE_SZ, PIPE_BYTES)
        worker = Worker(number, request_write, verdict_read, progress, self._listener)
        forked: asyncio.Future[Worker] = self._loop.create_future()
        self._forking[number] = (worker, forked)
        try:
            message = json.dumps({"fork": number}).encode()
            socket.send_fds(self._control, [message], [request_read, verdict_write, page])
            async with asyncio.timeout(_FORK_SECONDS):
                await forked
        except (OSError, TimeoutError) as exc:
            worker.close()
            raise UnavailableError(self._failure(f"its nursery does not answer ({exc!r})")) from exc
        except UnavailableError:
            worker.close()  # a process that was made all the same ends with its pipe
            raise
        finally:
            self._forking.pop(number, None)
            for fd in (request_read, verdict_write, page):
                os.close(fd)
        return worker

    def _listen(self) -> None:
        try:
            message, descriptors, _, _ = socket.recv_fds(self._control, 65536, 1)
        except BlockingIOError:
            return
        except OSError:
            message, descriptors = b"", []
        if not message:
            self._lost()
            return
        said = json.loads(message)
        if "forked" in said and said["forked"] in self._forking:
            self._take_over(*self._forking[said["forked"]], descriptors)
        elif "exited" in said and said["exited"] in self.workers:
            self._ended(self.workers.pop(said["exited"]), said["status"])

    def _take_over(
        self, worker: Worker, forked: "asyncio.Future[Worker]", descriptors: Sequence[int]
    ) -> None:
        try:
            if not descriptors:  # the kernel leaves out what there is no room for
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
            worker.attach(descriptors[0])
        except OSError as exc:
            if not forked.done():
                forked.set_exception(UnavailableError(self._failure(f"worker {worker.number}: {exc}")))
            return
        self.workers[worker.number] = worker
        if not forked.done():
            forked.set_result(worker)

    def _ended(self, worker: Worker, status: int | None) -> None:
        if not worker.exited:
            worker.drain()
            worker.exited = True
            self._listener.on_exit(worker, status)
        worker.close()

    def _lost(self) -> None:
        if self._is_lost or self._closing:
            return
        self._is_lost = True
        self._loop.remove_reader(self._control.fileno())
        for worker, forked in self._forking.values():
            if not forked.done():
                forked.set_exception(
                    UnavailableError(self._failure(f"worker {worker.number}: its nursery ended"))
                )
        for worker in list(self.workers.values()):
            self._ended(self.workers.pop(worker.number), None)
        self._listener.on_lost()

    async def close(self) -> None:
        """End the nursery and every worker of it, and wait until they are gone."""
        self._closing = True
        if self._end_task is not None:
            self._end_task.cancel()
        with contextlib.suppress(ValueError, OSError):
            self._loop.remove_reader(self._control.fileno())
        self._control.close()
        if self._process.returncode is None:
            self._kill_group()
        for worker in list(self.workers.values()):
            worker.kill("closing")
            self._ended(self.workers.pop(worker.number), None)
        await self._process.wait()
        self._keep_log()  # what is there; somebody else may hold the other end
        self._loop.remove_reader(self._printed)
        os.close(self._printed)
        shutil.rmtree(self._temporary, ignore_errors=True)


def _kept(undone: contextlib.ExitStack, *descriptors: int) -> tuple[int, ...]:
    for descriptor in descriptors:
        undone.callback(os.close, descriptor)
    return descriptors


def _surroundings(scratch: str) -> dict[str, str]:
    """Return the environment of every worker: fixed, so that a verdict depends on the item alone."""
    fixed = {
        "PYTHONHASHSEED": "0",
        "TZ": "UTC",
        "LC_ALL": "C.UTF-8",
        "LANG": "C.UTF-8",
        "PATH": "/usr/bin:/bin",
        "HOME": scratch,
        "TMPDIR": scratch,
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
    }
    return {**fixed, **{name: os.environ[name] for name in _PASSED_ON if name in os.environ}}


def platform_name() -> str:
    """Return the platform as verdicts record it, such as ``linux-x86_64``."""
    return f"{platform.system().lower()}-{platform.machine()}"
