"""Who may call: bearer keys with scopes, kept as hashes in one file.

A key is 32 random bytes, so a plain SHA-256 of it cannot be guessed back. The key
itself is shown once, when it is made; the file holds hash, scopes and a label.
"""

import hashlib
import json
import secrets
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from countermark_service.errors import CountermarkError, ForbiddenError, UnauthorizedError
from countermark_service.kept import held, read_small, replace_whole

SCOPES = ("score", "admin", "audit", "run")
"""What a key can be allowed: to score, to change what is registered, to read receipts and reports, to run
programs of its own."""

_PREFIX = "cmk_"


class AccessKeysError(CountermarkError):
    """The file of keys cannot be read, or asked for a key that is not there."""

    code = "invalid_access_keys"


@dataclass(frozen=True)
class AccessKey:
    """What is kept of one key."""

    id: str
    """Short public name, for lists and logs."""
    hash: str
    """SHA-256 of the key, as hex."""
    scopes: tuple[str, ...]
    """Some of `SCOPES`."""
    label: str
    """Whose it is, in the operator's words."""
    created: str
    """When it was made, UTC."""


class AccessKeys:
    """The keys of one file. A file that changes is read again.

    An object that has once seen a key stays locked: taking away the last key, or the
    file, shuts everybody out rather than letting everybody in.
    """

    def __init__(self, file: Path) -> None:
        """`file` need not exist: no file, no keys."""
        self._file = file
        self._stamp: tuple[int, int, int] | None = None
        self._by_hash: dict[str, AccessKey] = {}
        self._locked = False

    def all(self) -> list[AccessKey]:
        """Return every key.

        Raises:
            AccessKeysError: The file is not what `add` writes.
        """
        self._refresh()
        return list(self._by_hash.values())

    def add(self, scopes: Iterable[str], label: str) -> tuple[str, AccessKey]:
        """Make a key; return its secret text, which nobody can read again, and what is kept.

        Raises:
            AccessKeysError: A scope that does not exist, or the file cannot be written.
        """
        wanted = tuple(dict.fromkeys(scopes))
        unknown = [scope for scope in wanted if scope not in SCOPES]
        if unknown or not wanted:
            raise AccessKeysError(f"scopes {unknown or wanted} cannot be given; use {', '.join(SCOPES)}.")
        secret = _PREFIX + secrets.token_urlsafe(32)
        created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        key = AccessKey(secrets.token_hex(4), _hash(secret), wanted, label, created)
        with self._change():
            self._write([*self.all(), key])
        return secret, key

    def remove(self, key_id: str) -> None:
        """Forget a key.

        Raises:
            AccessKeysError: No key has that id, or the file cannot be written.
        """
        with self._change():
            kept = [key for key in self.all() if key.id != key_id]
            if len(kept) == len(self._by_hash):
                raise AccessKeysError(
                    f"no key has the id {key_id!r}; list them with `countermark access list`."
                )
            self._write(kept)

    def require(self, authorization: str | None, scope: str) -> str | None:
        """Return the id of the key in an `Authorization` header; None where no keys were ever set up.

        Raises:
            UnauthorizedError: Keys are set up and this is none of them.
            ForbiddenError: The key lacks `scope`.
        """
        self._refresh()
        if not self._locked:
            return None
        kind, _, secret = (authorization or "").partition(" ")
        key = self._by_hash.get(_hash(secret.strip())) if kind.lower() == "bearer" else None
        if key is None:
            raise UnauthorizedError
        if scope not in key.scopes:
            raise ForbiddenError(scope, key.scopes)
        return key.id

    def _refresh(self) -> None:
        try:
            found = self._file.stat()
        except FileNotFoundError:
            self._stamp, self._by_hash = None, {}
            return
        stamp = (found.st_mtime_ns, found.st_size, found.st_ino)
        if stamp == self._stamp:
            return
        try:
            rows = json.loads(read_small(self._file))["keys"]
            keys = [AccessKey(**{**row, "scopes": tuple(row["scopes"])}) for row in rows]
        except (OSError, ValueError, KeyError, TypeError) as exc:
            message = f"{self._file} cannot be read ({exc}): restore it or make the keys anew."
            raise AccessKeysError(message) from exc
        self._stamp, self._by_hash = stamp, {key.hash: key for key in keys}
        self._locked = self._locked or bool(keys)

    @contextmanager
    def _change(self) -> Iterator[None]:
        """Change the file alone; what was written by others meanwhile is read first."""
        try:
            with held(self._file.parent):
                self._stamp = None
                yield
        except OSError as exc:
            raise AccessKeysError(f"{self._file} cannot be written: {exc.strerror}.") from exc

    def _write(self, keys: list[AccessKey]) -> None:
        content = json.dumps({"keys": [asdict(key) for key in keys]}, indent=1)
        replace_whole(self._file, content.encode(), mode=0o600)
        self._stamp = None


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
