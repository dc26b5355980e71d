"""The private keys of one data folder, and the public set beside them.

``signing/keys.json`` is the public key set, fit to be published as it is;
``signing/<key id>.pem`` is a private key (PKCS#8), readable by its owner only. When a
key is retired its private half is deleted: what is not there cannot be stolen. A file
that changes is read again, so that a service that runs takes notice of a new key.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from countermark_service.kept import held, read_small, replace_whole
from countermark_service.receipts.errors import NoSigningKeyError, SigningKeysError
from countermark_service.receipts.keys import KEY_TYPE, KeySet, KeyValue, SigningKey, named, written

DEFAULT_DAYS = 365
LONGEST_DAYS = 36_500
_DAY_SECONDS = 86_400
_OTHERS = 0o077


class FileSigner:
    """Signs with a private key that was read from its file."""

    def __init__(self, keyid: str, private: Any) -> None:
        """Hold `private`, an `Ed25519PrivateKey`."""
        self.keyid = keyid
        self._private = private

    def sign(self, data: bytes) -> bytes:
        """Return the signature of `data`."""
        return bytes(self._private.sign(data))


class Keyring:
    """The signing keys of one folder."""

    def __init__(self, folder: Path, *, now: Callable[[], float] = time.time) -> None:
        """`folder` need not exist: no folder, no keys. `now` gives seconds since the epoch."""
        self.folder = folder
        self._file = folder / "keys.json"
        self._now = now
        self._stamp: tuple[int, int, int] | None = None
        self._set = KeySet({})
        self._signer: FileSigner | None = None

    def public(self) -> KeySet:
        """Return the public keys.

        Raises:
            SigningKeysError: The file is not what `make` writes.
        """
        try:
            found = self._file.stat()
            stamp = (found.st_mtime_ns, found.st_size, found.st_ino)
            if stamp != self._stamp:
                self._set = KeySet.parse(read_small(self._file), str(self._file))
                self._stamp, self._signer = stamp, None
        except FileNotFoundError:
            self._stamp, self._set, self._signer = None, KeySet({}), None
        except OSError as exc:
            raise SigningKeysError(f"{self._file} cannot be read: {exc.strerror}.") from exc
        return self._set

    def current(self) -> SigningKey | None:
        """Return the key to sign with now: of those that are valid, the one that is valid longest."""
        now = written(self._now())
        keys = self.public().keys.values()
        valid = [key for key in keys if key.retired is None and key.fault_at(now) is None]
        return max(valid, key=lambda key: (key.valid_until, key.keyid), default=None)

    def signer(self) -> FileSigner:
        """Return what signs now.

        Raises:
            NoSigningKeyError: There is no valid key, or its private half cannot be used.
            SigningKeysError: The key set cannot be read.
        """
        key = self.current()
        if key is None:
            raise NoSigningKeyError(self._lack())
        if self._signer is None or self._signer.keyid != key.keyid:
            self._signer = FileSigner(key.keyid, self._private(key.keyid))
        return self._signer

    def _lack(self) -> str:
        """Return why there is no key to sign with, and what to do."""
        keys, now = self.public().keys.values(), written(self._now())
        if not keys:
            return "it has no signing key (`countermark keys new` makes one)"
        problem = f"none of its {len(keys)} signing keys is valid now, at {now}"
        begins = min((key.valid_from for key in keys if key.retired is None), default=now)
        if begins > now:
            return f"{problem}, but one is from {begins} on: is the clock of this machine right?"
        return f"{problem} (`countermark keys rotate` makes one)"

    def make(self, *, days: float = DEFAULT_DAYS, label: str = "") -> SigningKey:
        """Make a key that is valid from now on.

        Raises:
            SigningKeysError: One is valid already, or the folder cannot be written.
        """
        with self._change():
            known = self.current()
            if known is not None:
                raise SigningKeysError(
                    f"key {known.keyid} is valid until {known.valid_until}: `countermark keys rotate` replaces it."
                )
            return self._add(days, label, self.public().keys.values())

    def rotate(self, *, days: float = DEFAULT_DAYS, label: str = "") -> SigningKey:
        """Make a key and retire those before it; their receipts stay good.

        Raises:
            SigningKeysError: The folder cannot be written.
        """
        with self._change():
            now = written(self._now())
            before = list(self.public().keys.values())
            made = self._add(days, label, [_retired(key, now) for key in before])
            for key in before:
                self._forget(key.keyid)
        return made

    def retire(self, keyid: str, *, compromised: bool = False) -> SigningKey:
        """Use a key no more, and delete its private half; `compromised` takes all its receipts back, too.

        Args:
            keyid: The id, or a beginning of it that no other key has.
            compromised: Whether somebody else may have the private half.

        Raises:
            SigningKeysError: No key, or more than one, is meant, or the folder cannot be written.
        """
        with self._change():
            return self._retire(keyid, compromised)

    def _retire(self, keyid: str, compromised: bool) -> SigningKey:
        keys = self.public().keys
        meant = [key for key in keys if keyid and key.startswith(keyid)]
        if len(meant) != 1:
            raise SigningKeysError(
                f"{len(meant)} keys have an id that begins with {keyid[:80]!r}; list them with `countermark keys list`."
            )
        changed = _retired(keys[meant[0]], written(self._now()))
        changed = msgspec.structs.replace(changed, compromised=changed.compromised or compromised)
        self._write({**keys, changed.keyid: changed}.values())
        self._forget(changed.keyid)
        return changed

    def _add(self, days: float, label: str, others: Iterable[SigningKey]) -> SigningKey:
        # Imported here: see `library_key`.
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        if not 0 < days <= LONGEST_DAYS:
            raise SigningKeysError(
                f"a key cannot be valid for {days} days; give more than 0 and at most {LONGEST_DAYS}."
            )
        private = Ed25519PrivateKey.generate()
        keyid, public = named(private.public_key().public_bytes_raw())
        now = self._now()
        key = SigningKey(
            keyid, KEY_TYPE, KEY_TYPE, KeyValue(public),
            written(now), written(now + days * _DAY_SECONDS), label=label,
        )  # fmt: skip
        pem = private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        replace_whole(self._pem(key.keyid), pem, mode=0o600)
        try:
            self._write([*others, key])
        except OSError:
            self._forget(key.keyid)
            raise
        return key

    @contextmanager
    def _change(self) -> Iterator[None]:
        """Change the folder alone; what was written by others meanwhile is read first."""
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with held(self.folder):
                self._stamp = None
                yield
        except OSError as exc:
            raise SigningKeysError(
                f"{exc.filename or self.folder} cannot be written: {exc.strerror}."
            ) from exc

    def _private(self, keyid: str) -> Any:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        file = self._pem(keyid)
        try:
            if file.stat().st_mode & _OTHERS:
                raise NoSigningKeyError(
                    f"{file} can be read by others than its owner (`chmod 600` it, or rotate the key if it was read)"
                )
            private = load_pem_private_key(read_small(file), None)
            if not isinstance(private, Ed25519PrivateKey):
                raise NoSigningKeyError(f"{file} is no {KEY_TYPE} key")
            found, _ = named(private.public_key().public_bytes_raw())
        except (OSError, ValueError, TypeError) as exc:
            raise NoSigningKeyError(f"the private key {file} cannot be read: {exc}") from exc
        if found != keyid:
            raise NoSigningKeyError(f"{file} holds another key, {found}")
        return private

    def _pem(self, keyid: str) -> Path:
        return self.folder / f"{keyid}.pem"

    def _forget(self, keyid: str) -> None:
        self._pem(keyid).unlink(missing_ok=True)

    def _write(self, keys: Iterable[SigningKey]) -> None:
        replace_whole(self._file, KeySet.of(keys).encoded(), mode=0o644)
        self._stamp = None


def _retired(key: SigningKey, now: str) -> SigningKey:
    return key if key.retired is not None else msgspec.structs.replace(key, retired=now)
