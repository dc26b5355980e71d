"""An event loop in a thread of its own, for callers that have none or must not block theirs.

`Client` runs the asynchronous core here. That gives it what a blocking HTTP client lacks: a deadline that
cuts off a server which trickles bytes, and many requests at once without a thread for each. It works inside a
running event loop (a notebook), because the loop here is another one.

Who starts what: the first `call` starts the thread, `close` ends it, and so does the interpreter's exit. A
process that was forked has the object but not the thread. There the next `call` starts a new one; the old
loop, whose sockets and selector belong to the parent as well, is set aside and never touched again, not even
to close it.
"""

from __future__ import annotations

import asyncio
import atexit
import inspect
import os
import threading
import weakref
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError, Future
from typing import Any, TypeVar

from ._errors import TransportError

T = TypeVar("T")

_portals: weakref.WeakSet[Portal] = weakref.WeakSet()
_ending = threading.Event()
_left_behind: list[object] = []
"""Loops of the parent process. Kept so that no finaliser closes what the parent still uses."""


class Portal:
    """Runs coroutines for other threads.

    Args:
        at_end: What to await in the loop before it is closed.
    """

    def __init__(self, at_end: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._at_end = at_end
        # Re-entrant: the collector may drop a stream, which submits its end, while the lock is held.
        self._lock = threading.RLock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        _portals.add(self)

    def call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run `coroutine` and return its result; an interrupt of the caller cancels it.

        Raises:
            TransportError: The portal was stopped meanwhile.
        """
        if threading.current_thread() is self._thread:
            coroutine.close()
            raise RuntimeError("a blocking call from the client's own thread would wait for itself for ever")
        future = self.submit(coroutine)
        try:
            return future.result()
        except CancelledError as exc:
            raise TransportError("the client was closed while this call was under way.") from exc
        except BaseException:
            future.cancel()
            raise

    def submit(self, coroutine: Coroutine[Any, Any, T]) -> Future[T]:
        """Start `coroutine` and return without waiting for it.

        Raises:
            TransportError: The interpreter is ending, and no thread can be started any more.
        """
        with self._lock:
            if self._loop is None and _ending.is_set():
                coroutine.close()
                raise TransportError("the client was closed, as the interpreter is ending.")
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(
                    target=_run, args=(self._loop, self._at_end), name="countermark-client", daemon=True
                )
                self._thread.start()
            # Under the lock too, so that what comes before a `stop` is cancelled by it and not forgotten.
            return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def stop(self, *, wait: bool = True) -> None:
        """End the thread, cancelling what still runs there. A later call would start another.

        Args:
            wait: Whether to return only when it has ended. A finaliser must not wait: it may run anywhere.
        """
        with self._lock:
            loop, thread = self._loop, self._thread
            self._loop = self._thread = None
            if loop is not None:
                loop.call_soon_threadsafe(loop.stop)
        if wait and thread is not None:
            thread.join()

    def post(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Start `coroutine` for its effect alone, if the thread runs; it needs no other place to have one."""
        with self._lock:
            if self._loop is None:
                coroutine.close()
            else:
                asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def _forget(self) -> None:
        """Become as new in a forked process, the lock too: another thread may have held it at the fork."""
        if self._loop is not None:
            _left_behind.append(self._loop)
        self._lock = threading.RLock()
        self._loop = self._thread = None


def _run(loop: asyncio.AbstractEventLoop, at_end: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run `loop` until it is stopped, then bring what is left on it to an end."""
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
    finally:
        while left := asyncio.all_tasks(loop):
            # What was not begun waits for the next round: cancelled now, it would leave a coroutine that was
            # never awaited, and the interpreter remarks on those. Cancelled tasks may start others, too.
            begun = [task for task in left if not _is_new(task)]
            for task in begun:
                task.cancel()
            loop.run_until_complete(asyncio.gather(asyncio.sleep(0), *begun, return_exceptions=True))
        loop.run_until_complete(at_end())
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


def _is_new(task: asyncio.Task[Any]) -> bool:
    coroutine = task.get_coro()
    return inspect.iscoroutine(coroutine) and inspect.getcoroutinestate(coroutine) == inspect.CORO_CREATED


def _forget_all() -> None:
    for portal in list(_portals):
        portal._forget()


def _stop_all() -> None:
    _ending.set()
    for portal in list(_portals):
        portal.stop()


os.register_at_fork(after_in_child=_forget_all)
atexit.register(_stop_all)
