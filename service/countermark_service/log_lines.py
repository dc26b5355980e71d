"""Log lines on their way out: written by a thread of their own, so that who logs does not wait for who reads.

A pipe takes no more once it is full and nobody reads it, and a terminal may be halted. Whoever writes to one
then waits, and a service that writes in its event loop answers nobody meanwhile. So what is logged goes into a
queue, in the order in which it comes, and a thread writes it. The queue is bounded: what comes while it is full
is dropped and counted, and where the lines flow again, one line in the place of those that are missing says how
many there were. This module does not know what lines look like.
"""

import logging
import os
import select
import threading
import time
from collections.abc import Iterable, Iterator
from queue import SimpleQueue
from typing import TextIO

WAITING_CHARACTERS = 4 << 20
"""What may wait to be written: some twenty thousand lines."""
_GATHERED_SECONDS = 0.005
"""How long a line waits for others: to wake a thread for each costs a small request a fifteenth of its time."""
_GATHERED_CHARACTERS = 64 << 10
_DRAIN_SECONDS = 3.0
"""How long an end waits for who reads."""


class LogThread(logging.Handler):
    """Formats records where they are logged, and writes them where nobody waits."""

    def __init__(self, stream: TextIO, *, waiting_characters: int = WAITING_CHARACTERS) -> None:
        """Begin to write to what is behind `stream`, past its buffer: a thread that waits would hold that locked."""
        super().__init__()
        self.dropped = 0
        """Lines that nobody will read: the queue was full, or they could not be written."""
        self._descriptor, self._encoding = stream.fileno(), stream.encoding
        self._most = waiting_characters
        self._entries: SimpleQueue[str | int | None] = SimpleQueue()
        """Lines; for lines that are missing there, their number; and None for the end."""
        self._missing = 0
        """Lines dropped of which no entry tells yet."""
        # Each is counted by one side alone: who logs (each handler has a lock), and the thread.
        self._put = self._written = 0
        self._ended = False
        # A daemon, as the process must be able to end where nobody reads.
        self._thread = threading.Thread(target=self._write_on, name="log", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Put a record's line into the queue, or drop it where that is full."""
        try:
            line = self.format(record) + "\n"
        except Exception:  # noqa: BLE001 - as every handler does: who logs is not to fail by what cannot be formatted
            self.handleError(record)
            return
        # Half of it must be free before lines flow again: a slow reader gets few gaps, and not one at every line.
        most = self._most // 2 if self._missing else self._most
        if self._put - self._written + len(line) > most:
            self._miss(1)
            return
        if self._missing:
            self._entries.put(self._missing)
            self._missing = 0
        self._put += len(line)
        self._entries.put(line)
        if self._ended:
            self._write_rest()

    def end(self) -> None:
        """Have all that waits written, for some seconds at most; what is logged from now on is written at once."""
        self._entries.put(None)
        self._thread.join(_DRAIN_SECONDS)
        self.acquire()
        try:
            self._ended = True
            self._write_rest()
        finally:
            self.release()

    def _write_rest(self) -> None:
        """Write what waits once the thread has ended; where it still waits for who reads, nothing more is written."""
        while not self._thread.is_alive() and not self._entries.empty():
            self._write_entries(self._waiting())

    def _write_on(self) -> None:
        entries: list[str | int | None] = []
        while None not in entries:
            entries = [self._entries.get()]
            time.sleep(_GATHERED_SECONDS)
            entries += self._waiting()
            self._write_entries(entries)

    def _waiting(self) -> list[str | int | None]:
        entries: list[str | int | None] = []
        size = 0
        while size < _GATHERED_CHARACTERS and not self._entries.empty():
            entries.append(self._entries.get())
            size += len(str(entries[-1]))
        return entries

    def _write_entries(self, entries: list[str | int | None]) -> None:
        lines = [one for one in entries if isinstance(one, str)]
        written = self._write(self._told(one) if isinstance(one, int) else one for one in entries if one)
        self._written += sum(map(len, lines))
        if written and not self._missing:
            return
        self.acquire()
        try:
            if not written:
                self._miss(len(lines))
                self._missing += sum(one for one in entries if isinstance(one, int))
            elif self._entries.empty():  # the last lines are missing, and none may come for long
                self._entries.put(self._missing)
                self._missing = 0
        finally:
            self.release()

    def _miss(self, lines: int) -> None:
        self.dropped += lines
        self._missing += lines

    def _told(self, missing: int) -> str:
        words = "log lines missing here: %d. They could not be written, or nobody read them in time"
        record = logging.LogRecord(__name__, logging.WARNING, __file__, 0, words, (missing,), None)
        return self.format(record) + "\n"

    def _write(self, lines: Iterable[str]) -> bool:
        for piece in _pieces(line.encode(self._encoding, "backslashreplace") for line in lines):
            rest = piece
            while rest:
                try:
                    rest = rest[os.write(self._descriptor, rest) :]
                except BlockingIOError:  # another program has set the pipe so
                    ready = select.poll()
                    ready.register(self._descriptor, select.POLLOUT)
                    ready.poll()
                except OSError:
                    return False
        return True


def _pieces(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Yield lines joined as far as a pipe takes them whole: others may write to it, and no line is to be torn."""
    piece = b""
    for line in lines:
        if piece and len(piece) + len(line) > select.PIPE_BUF:
            yield piece
            piece = b""
        piece += line
    yield piece


def dropped_lines() -> int:
    """Return how many log lines of this process were dropped."""
    return sum(one.dropped for one in logging.getLogger().handlers if isinstance(one, LogThread))
