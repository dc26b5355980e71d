"""Verdicts in Redis: one cache for many machines.

Replicas hold no state, so what one machine has scored another should not score
again. One MGET asks for a whole batch and one MSET writes one; the values never
change, so they need no time to live, and the server evicts by its own
`maxmemory-policy`. This module knows the commands and how they fail. Whether
scoring waits for them, and for how long, is decided by the tier in front.

A server is shared, and has no checksums: what another client, a proxy or a bad memory has
changed must be a miss, never another verdict. So a value carries a CRC-32 over its key and
itself, as in SQLite's file. Values whose key is their digest need none.

Commands are packed here or by hiredis and sent over a pooled connection directly: the
client's own path packs in Python, which costs as much again as all the rest.
"""

import asyncio
import logging
import ssl
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import hiredis
from redis import exceptions
from redis.asyncio import Connection, ConnectionPool, SSLConnection
from redis.asyncio.connection import URL_QUERY_ARGUMENT_PARSERS
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.maint_notifications import MaintNotificationsConfig

from countermark_service.errors import SettingsError
from countermark_service.kept import read_small
from countermark_service.store.interface import KEY_BYTES, StoreUnavailableError, check_keys

log = logging.getLogger(__name__)

KEY_PREFIX = b"cm1:c:"
"""Before every key: product and format, then `c` for values with a checksum. The raw digest follows."""
_CERTIFICATE_FILES = frozenset({"ssl_ca_certs", "ssl_certfile", "ssl_keyfile"})
"""Options of the URL that name a file."""
_TEXT_OPTIONS = _CERTIFICATE_FILES | {
    "username", "password", "client_name", "ssl_ca_data", "ssl_ca_path", "ssl_cert_reqs", "ssl_ciphers", "ssl_password",
}  # fmt: skip
"""Further options that a URL can give. The client takes any of its own, and fails later with a text for an object."""
_CHECK_BYTES = 4
"""Length of the checksum, which stands behind the value."""

_ADVICE: tuple[tuple[type[Exception], str], ...] = (
    (exceptions.AuthenticationError, "Check user and password in the store's URL."),
    (exceptions.OutOfMemoryError, "Set a maxmemory-policy that evicts (allkeys-lru), or more memory."),
    (exceptions.ReadOnlyError, "The URL names a replica: name its master."),
    (
        exceptions.NoPermissionError,
        "Allow this user PING, MGET, MSET, MSETNX and DEL on the keys `cm1:*`, and SELECT if the URL names a database.",
    ),
    (
        ssl.SSLError,
        "Name in the URL who signed its certificate (ssl_ca_certs=FILE), and ssl_certfile where it asks for one.",
    ),
    (exceptions.BusyLoadingError, "It is loading its data set and will answer when that is done."),
    (exceptions.ResponseError, "The server refused the command; its own words say why."),
)


class RedisStore:
    """A store on one Redis server (or what speaks its protocol, version 6 or later)."""

    name = "redis"

    def __init__(
        self,
        url: str,
        *,
        timeout_seconds: float = 2.0,
        max_connections: int = 8,
        key_prefix: bytes = KEY_PREFIX,
        looks_first: bool = False,
        checked: bool = True,
    ) -> None:
        """Describe the server; nothing is connected yet.

        Args:
            url: ``redis://[user:password@]host:port/db``, ``rediss://…`` for TLS or
                ``unix://[user:password@]/path?db=0``; further options of the client go in the query.
            timeout_seconds: Wall time of one command, connecting and waiting for a connection included.
            max_connections: Most connections at a time. The server works on one command at a time,
                so more of them only move the queue.
            key_prefix: What keys begin with, so that different things on one server stay apart.
            looks_first: Look what is there before writing, for values that differ from one writing to the next:
                then a later one takes no earlier one's place.
            checked: Keep a checksum with every value. Without it, whoever reads must know what is sound.

        Raises:
            SettingsError: The URL cannot be read, or certificates or a key that it names cannot be used. The URL is
                not shown, it may hold a password.
        """
        self._timeout = timeout_seconds
        self._looks_first = looks_first
        self._checked = checked
        self._prefix = key_prefix
        self._before_key = b"\r\n$%d\r\n%b" % (len(key_prefix) + KEY_BYTES, key_prefix)
        """What stands between a key and what is before it in a packed command."""
        self._slots = asyncio.Semaphore(max_connections)
        self._pool = _pool(url)
        self._where = _where(self._pool.connection_kwargs)
        self._closed = False

    async def start(self) -> None:
        """Ask the server for a PING.

        Raises:
            StoreUnavailableError: It did not answer.
        """
        await self._command("PING", _packed(b"PING"))

    async def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Return one value per key, in order; None where nothing is kept. One MGET.

        Raises:
            ValueError: A key has not 32 bytes.
            StoreUnavailableError: The server could not be asked.
        """
        if not keys:
            return []
        check_keys(keys)
        # Keys are of one length, so joining them packs them.
        packed = b"*%d\r\n$4\r\nMGET%b%b\r\n" % (1 + len(keys), self._before_key, self._before_key.join(keys))
        reply = await self._command("MGET", [packed])
        fits = isinstance(reply, list) and len(reply) == len(keys)
        if not fits or not all(one is None or type(one) is bytes for one in reply):
            problem = "its reply to MGET is not a value or nothing for each key"
            raise self._unavailable(
                problem, "What stands at that address is no Redis, or a proxy that fails."
            )
        found: list[bytes | None] = reply
        return self._sound(keys, found) if self._checked else found

    def _sound(self, keys: Sequence[bytes], kept: Sequence[bytes | None]) -> list[bytes | None]:
        """Return the values without their checksums; None for what is damaged, which the next writing replaces."""
        crc32, end = zlib.crc32, -_CHECK_BYTES
        values = [
            value
            if one is not None and crc32(value := one[:end], crc32(key)) == int.from_bytes(one[end:])
            else None
            for key, one in zip(keys, kept, strict=True)
        ]
        if (damaged := values.count(None) - kept.count(None)) > 0:
            log.error(
                "%d values that are stored in Redis at %s were changed by somebody else, and are computed again",
                damaged,
                self._where,
            )
        return values

    async def put_many(self, entries: Mapping[bytes, bytes]) -> None:
        """Write all entries with one MSET, or those that are not there yet with one MSETNX.

        Raises:
            ValueError: A key has not 32 bytes.
            StoreUnavailableError: The server could not be asked, or is full and may not evict.
        """
        if not entries:
            return
        check_keys(entries)
        if self._looks_first:
            await self._put_new(entries)
        else:
            await self._command("MSET", self._with_entries(b"MSET", entries))

    async def _put_new(self, entries: Mapping[bytes, bytes]) -> None:
        """Write what is not there yet; where another replica is quicker with a part of it, look again."""
        while True:
            there = await self.get_many(list(entries))
            entries = {key: entries[key] for key, value in zip(entries, there, strict=True) if value is None}
            if not entries or await self._command("MSETNX", self._with_entries(b"MSETNX", entries)):
                return

    def _with_entries(self, command: bytes, entries: Mapping[bytes, bytes]) -> Sequence[bytes]:
        prefix = self._prefix
        if self._checked:
            crc32 = zlib.crc32
            entries = {
                key: value + crc32(value, crc32(key)).to_bytes(_CHECK_BYTES) for key, value in entries.items()
            }
        words = [word for key, value in entries.items() for word in (prefix + key, value)]
        return _packed(command, *words)

    async def discard_many(self, keys: Sequence[bytes]) -> None:
        """Delete what is kept under some keys. One DEL.

        Raises:
            ValueError: A key has not 32 bytes.
            StoreUnavailableError: The server could not be asked.
        """
        if not keys:
            return
        check_keys(keys)
        await self._command("DEL", _packed(b"DEL", *[self._prefix + key for key in keys]))

    async def close(self) -> None:
        """Close all connections."""
        self._closed = True
        await self._pool.aclose()

    async def _command(self, name: str, packed: Sequence[bytes]) -> Any:
        """Send one command and return its reply, or say why there is none."""
        try:
            async with asyncio.timeout(self._timeout), self._slots:
                try:
                    return await self._exchange(packed)
                except exceptions.ConnectionError:
                    # An idle connection whose server has restarted fails when it is used. Once more, on
                    # a fresh one: every command here may be repeated.
                    return await self._exchange(packed)
        except TimeoutError:
            problem = f"no answer to {name} within {self._timeout:g} s"
            raise self._unavailable(problem, "The server or the network is overloaded.") from None
        except (exceptions.RedisError, OSError) as exc:
            raise self._unavailable(str(exc) or type(exc).__name__, _advice(exc)) from exc

    async def _exchange(self, packed: Sequence[bytes]) -> Any:
        """Send one packed command over a pooled connection and return its reply."""
        if self._closed:
            raise self._unavailable("it is closed", "Open a new store.")
        # Untyped because the client wraps it to warn about arguments that are not given here.
        connection: Connection = await self._pool.get_connection()  # type: ignore[no-untyped-call]
        try:
            # Both close the connection when they are cancelled half way, so that a late reply is
            # never taken for the reply to the next command.
            await connection.send_packed_command(packed)
            return await connection.read_response()
        finally:
            await self._pool.release(connection)

    def _unavailable(self, problem: str, advice: str) -> StoreUnavailableError:
        return StoreUnavailableError(self.name, self._where, problem.rstrip("."), advice)


def _packed(*words: bytes) -> Sequence[bytes]:
    return hiredis.pack_command(words)  # type: ignore[arg-type, no-any-return]  # its stub says a tuple of one word


def _pool(url: str) -> ConnectionPool:
    """Return a pool for `url` that neither waits between retries nor keeps timers of its own.

    No connection gets a name, which would take a right more than the store needs.
    """
    try:
        parts = urlsplit(url)
        named = parts.path.strip("/")
        if parse_qs(parts.query).keys() - URL_QUERY_ARGUMENT_PARSERS.keys() - _TEXT_OPTIONS:
            raise ValueError("an option that is none, or takes no text")
        if parts.scheme != "unix" and named and not named.isdecimal():
            raise ValueError("the client would take database 0 for one that has no number")
        pool = ConnectionPool.from_url(
            url,
            protocol=3,
            driver_info=None,
            socket_timeout=None,  # one timer around the whole command is cheaper than one per read and write
            socket_connect_timeout=None,
            retry=Retry(NoBackoff(), 0),
            maint_notifications_config=MaintNotificationsConfig(enabled=False),
        )
        # Connects nothing, but refuses options that no connection has. The client has no types there.
        first = pool.make_connection()  # type: ignore[no-untyped-call]
    except (ValueError, TypeError, exceptions.RedisError):
        # `from None`: the parser's own message can quote the password.
        problem = (
            "write redis://host:6379/0, rediss://… or unix:///path?db=0, in a password %-escapes for what is special, "
            "and behind a ? the options that operate.md names"
        )
        raise SettingsError("store", "redis_url", "(not shown)", problem) from None
    if isinstance(first, SSLConnection):
        _check_certificates(first, pool.connection_kwargs)
    return pool


def _check_certificates(connection: SSLConnection, options: dict[str, Any]) -> None:
    """Read what the URL names for TLS, which the client does only when it connects, as if the server were at fault."""
    # Without a pass phrase OpenSSL would ask for one at the terminal, and everything would wait for the answer.
    options["ssl_password"] = connection.ssl_context.password = options.get("ssl_password") or ""
    try:
        for option in _CERTIFICATE_FILES & options.keys():
            # OpenSSL's errors do not say which file they are about, nor has it bounds.
            read_small(Path(options[option]))
        connection.ssl_context.get()
    except (OSError, ValueError, TypeError) as exc:
        problem = (
            f"what it names for TLS cannot be used: {exc}. Look at ssl_ca_certs, ssl_certfile, ssl_keyfile and, "
            "for a key that is encrypted, ssl_password"
        )
        raise SettingsError("store", "redis_url", "(not shown)", problem) from exc


def _where(options: Mapping[str, Any]) -> str:
    """Name the server without its secrets."""
    db = options.get("db", 0)
    if "path" in options:
        return f"unix:{options['path']} db {db}"
    return f"{options.get('host', 'localhost')}:{options.get('port', 6379)} db {db}"


def _advice(exc: BaseException) -> str:
    """Return what to do; the client wraps what went wrong while connecting, so what came before counts too."""
    for kind, advice in _ADVICE:
        if isinstance(exc, kind):
            return advice
    if (before := exc.__cause__ or exc.__context__) is not None:
        return _advice(before)
    return "Check that the server runs and that its address is right; it is used again when it answers."
