"""`countermark serve`: the HTTP service in the foreground."""

import ctypes
import errno
import gc
import ipaddress
import os
import signal
import socket
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from countermark_service.errors import SettingsError

if TYPE_CHECKING:
    from logging import Handler

    from fastapi import FastAPI

    from countermark_service.settings import Settings

_BACKLOG = 2048
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Names of glibc's `mallopt`."""
KEPT_BYTES = 16 << 20
"""Free memory that stays with the process: what a batch of thousands takes for a moment."""
MAPPED_BYTES = 4 << 20
"""What is larger is mapped by itself, and given back at once."""
_TRIM_SECONDS = 30
"""How often memory that is free is given back. That it lies at the end of the heap, where the C library looks by
itself, is chance: what one small object that stays keeps from it was hundreds of MiB after large bodies."""
_KEEP_ALIVE_SECONDS = 75
"""Longer than clients keep an idle connection (httpx 5 s, aiohttp 15 s, Go 90 s less its own check): whoever
closes at the same time as a client sends fails a request, and a trainer takes that for an outage."""
_COLLECTED_AFTER = (20_000, 20, 20)
"""Containers made and not freed after which the youngest are looked through, and how many such looks make the next
older ones due; a batch of 256 makes about a thousand, and frees them by itself."""
_SILENT_SECONDS, _PROBE_SECONDS, _PROBES = 60, 15, 4
"""A connection on which nothing has come for so long is probed, so often. A client that has vanished without a word
(its machine, its network) would hold its connection, and what was read of its request, for ever."""
_NO_SUCH_ADDRESS = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on [default: 127.0.0.1].")] = None,
    port: Annotated[
        int | None, typer.Option(help="Port to listen on; 0 takes a free one [default: 8000].")
    ] = None,
    data: Annotated[Path | None, typer.Option(help="Folder for environments, store and keys.")] = None,
    workers: Annotated[
        int | None, typer.Option(help="Items judged at the same time [default: the cores].")
    ] = None,
    open_access: Annotated[
        bool | None, typer.Option("--open-access", help="Allow a reachable address without any key.")
    ] = None,
) -> None:
    """Serve verifiers over HTTP.

    Example: `countermark serve --port 8000`, then
    `curl -s localhost:8000/v1/verifiers`.

    Settings come from these options, then the environment (COUNTERMARK_PORT, …), then the TOML file that
    COUNTERMARK_CONFIG names.
    """
    options = {"host": host, "port": port, "data": data, "workers": workers, "open_access": open_access}
    keep_freed_memory()
    with _lines_written() as lines:
        _serve(options, lines)


def _serve(options: Mapping[str, Any], lines: "Handler") -> None:
    with _nothing_collected():
        settings, served = _assembled(options, lines)
    import structlog
    import uvicorn

    from countermark_service.api.one_write import OneWriteProtocol

    listeners = listen(settings.host, settings.port)
    for url in map(_url, listeners):
        # Programs that start a service on port 0 read this line; callers may connect from now on.
        structlog.get_logger("countermark").info("listening", url=url)
    config = uvicorn.Config(
        served,
        loop="uvloop",
        http=OneWriteProtocol,
        ws="none",
        log_config=None,
        access_log=False,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=30,
        server_header=False,
        callback_notify=_give_memory_back if _may_tune_memory() else None,
        timeout_notify=_TRIM_SECONDS,
    )
    server = uvicorn.Server(config)
    server.run(sockets=listeners)
    if not server.started:
        raise typer.Exit(3)


@contextmanager
def _lines_written() -> "Iterator[Handler]":
    """Have log lines written by a thread, and none lost where the service ends, be it by an error or by a signal.

    The server ends in order first, and then raises the signal again that it was sent.
    """
    from countermark_service.log_lines import LogThread

    lines = LogThread(sys.stderr)

    def end(number: int, frame: object) -> None:
        signal.signal(number, signal.SIG_DFL)
        lines.end()
        signal.raise_signal(number)

    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, end)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:  # `nohup` has it ignored, and so it stays
        signal.signal(signal.SIGHUP, _end_in_order)
    try:
        yield lines
    finally:
        lines.end()


def _end_in_order(number: int, frame: object) -> None:
    """Take the end of the terminal for the order to end."""
    signal.raise_signal(signal.SIGTERM)


def _assembled(options: Mapping[str, Any], lines: "Handler | None" = None) -> "tuple[Settings, FastAPI]":
    """Return the settings and the app; whatever is wrong with the first is said here."""
    import structlog

    from countermark_service.api import create_app
    from countermark_service.assembly import assemble
    from countermark_service.cli.logs import configure_logs
    from countermark_service.settings import likely_slips, load_settings

    settings = load_settings(options)
    configure_logs(settings, lines)
    for name, meant in likely_slips().items():
        structlog.get_logger("countermark").warning(f"{name} is no setting and changes nothing: {meant}?")
    keep_freed_memory()
    service = assemble(settings)
    if not (is_loopback(settings.host) or settings.open_access or service.access.all()):
        raise SettingsError(
            "settings", "host", settings.host,
            "anybody who reaches this address could decide rewards and read prompts. Make a key with "
            "`countermark access add --scope score`, or say --open-access on a closed network",
        )  # fmt: skip
    for ref in settings.preload:
        service.scorer.resolve(ref)  # a name that is wrong is said here, not in the middle of the start
    return settings, create_app(service)


@contextmanager
def _nothing_collected() -> Iterator[None]:
    """Look for no garbage within, nor ever in what was made within: it is the code and the parts, and stays.

    To look takes a tenth of a start's time, and later a pause of some ten milliseconds each time. What requests
    leave is looked for less often than by default, which is several times a batch.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.set_threshold(*_COLLECTED_AFTER)
        gc.enable()


def keep_freed_memory() -> None:
    """Have the C library keep some of the memory that a request frees, for the next one.

    By default it gives back all but half a megabyte, and each batch pays for getting its pages again, with
    a tenth of its time. An operator who sets one of glibc's variables knows better, and other C libraries
    have ways of their own.
    """
    if _may_tune_memory():
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_TRIM_THRESHOLD, KEPT_BYTES)
        mallopt(_MMAP_THRESHOLD, MAPPED_BYTES)


def _may_tune_memory() -> bool:
    tuned = "GLIBC_TUNABLES" in os.environ or any(name.startswith("MALLOC_") for name in os.environ)
    return not tuned and hasattr(ctypes.CDLL(None), "malloc_trim")


def give_memory_back() -> None:
    """Give back all memory that is free but `KEPT_BYTES` at the end of the heap; it takes some milliseconds."""
    ctypes.CDLL(None).malloc_trim(ctypes.c_size_t(KEPT_BYTES))


async def _give_memory_back() -> None:
    give_memory_back()


def listen(host: str, port: int) -> list[socket.socket]:
    """Return sockets that listen at every address of `host`, on one port.

    Raises:
        SettingsError: There is no such address here, or the port is taken.
    """
    found = _addresses(host)
    listeners: list[socket.socket] = []
    for family, address in found:
        taken = listeners[0].getsockname()[1] if listeners else port
        try:
            listeners.append(socket.create_server((address, taken), family=family, backlog=_BACKLOG))
        except OSError as exc:
            if exc.errno in _NO_SUCH_ADDRESS and len(found) > 1:
                continue
            raise _cannot_listen(host, port, exc) from exc
        _probe_the_silent(listeners[-1])
    if not listeners:
        raise SettingsError("settings", "host", host, "none of its addresses is one of this machine")
    return listeners


def _probe_the_silent(listener: socket.socket) -> None:
    """Have the kernel probe connections on which nothing comes; what `listener` accepts inherits it."""
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        (socket.TCP_KEEPIDLE, _SILENT_SECONDS),
        (socket.TCP_KEEPINTVL, _PROBE_SECONDS),
        (socket.TCP_KEEPCNT, _PROBES),
    ):
        listener.setsockopt(socket.IPPROTO_TCP, name, value)


def _cannot_listen(host: str, port: int, exc: OSError) -> SettingsError:
    if exc.errno == errno.EADDRINUSE:
        advice = "another program listens on it. Choose another with --port, or 0 for a free one"
        return SettingsError("settings", "port", port, advice)
    key, value = ("port", port) if exc.errno == errno.EACCES else ("host", host)
    return SettingsError("settings", key, value, f"it cannot be listened on: {exc.strerror}")


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if listener.family == socket.AF_INET6 else f"http://{host}:{port}"


def is_loopback(host: str) -> bool:
    """True where only this machine reaches `host`.

    Raises:
        SettingsError: There is no such address.
    """
    return all(ipaddress.ip_address(address).is_loopback for _, address in _addresses(host))


def _addresses(host: str) -> list[tuple[int, str]]:
    """Return the addresses of `host`, each with its family."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as exc:
        raise SettingsError("settings", "host", host, f"there is no such address: {exc.strerror}") from exc
    except UnicodeError as exc:
        raise SettingsError("settings", "host", host, "no host has such a name") from exc
    return list(dict.fromkeys((info[0], str(info[4][0])) for info in found))
