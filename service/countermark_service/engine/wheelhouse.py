"""The wheels of a lock as files, so that a bundle still runs when an index has forgotten them.

uv installs wheels and keeps none: its cache holds them unpacked. So uv is asked
for what it does know, which files an index (or a folder of wheels) has for each
locked version that fit this machine, as a `pylock.toml`. Of those, the one that
ranks highest for the interpreter is fetched, as an installer would choose.

Neither the index nor the listing is trusted. A file that the lock does not name is
refused before it is fetched, and what is fetched is hashed while it is written;
only a file with the right hash gets its name in the folder. From such a folder
`EnvironmentCache(wheelhouses=[folder], offline=True)` builds with no index at all.
"""

import hashlib
import os
import re
import secrets
import shutil
import ssl
import time
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import httpx
from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename

from countermark_service.engine.build import (
    IndexUnreachableError,
    WheelHashMismatchError,
    WheelUnavailableError,
    explain,
    os_failure,
    sources,
)
from countermark_service.engine.interpreters import Interpreter, find_interpreter
from countermark_service.engine.lockfile import LOCK_FILE, LockedRequirement, applicable, read_lock
from countermark_service.engine.shelf import lay_out
from countermark_service.engine.told import operator
from countermark_service.engine.uv_command import find_uv, run_uv
from countermark_service.sandbox.scratch import Scratch

_LISTING_SECONDS = 300.0
_TIMEOUT = httpx.Timeout(60.0)
_ATTEMPTS = 3
_CHUNK = 1 << 20
_INDEX_VARIABLES = ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_INDEX", "UV_EXTRA_INDEX_URL")


@dataclass(frozen=True)
class _Wheel:
    """A file that an index or a folder has."""

    requirement: str
    """What it would be installed for, such as ``sympy==1.14.0``."""
    name: str
    url: str
    sha256: str


def collect_wheels(
    lock: bytes,
    python: str,
    into: Path,
    *,
    wheelhouses: Sequence[Path] = (),
    offline: bool = False,
    uv: Path | None = None,
    label: str = "",
) -> list[Path]:
    """Put the wheel of each locked distribution into a folder; one each, for this machine.

    Files that are there already with the right hash are not fetched again, so
    several locks can share a folder. What a marker excludes here is left out.

    Args:
        lock: Content of a bundle's `requirements.lock`.
        python: Minor version, such as ``3.11``.
        into: The folder, made if it is missing.
        wheelhouses: Folders of wheels that are asked before any index.
        offline: Whether to take wheels from `wheelhouses` only.
        uv: The uv to ask; None is the one that came with the service.
        label: How messages name the lock, such as the bundle's ref.

    Returns:
        The wheels, in the order of the lock; empty for a lock of comments only.

    Raises:
        LockError: `lock` does not pin every distribution by version and hash.
        InterpreterNotFoundError: No such Python is here to choose wheels for.
        WheelHashMismatchError: What there is, is not what the lock names.
        WheelUnavailableError: A wheel is nowhere to be had.
        IndexUnreachableError: An index or a file server does not answer.
        EnvironmentBuildError: Anything else that stops it, such as a full disk.
    """
    label = label or f"lock {hashlib.sha256(lock).hexdigest()[:12]}"
    requirements = read_lock(lock, file=f"{LOCK_FILE} of {label}")
    uv = uv or find_uv()
    interpreter = find_interpreter(python, uv=uv, download=not offline)
    wanted = applicable(requirements, interpreter.version)
    try:
        into.mkdir(parents=True, exist_ok=True)
        with Scratch() as scratch:
            shelf = scratch.new("wheels")
            at_hand = shelf if lay_out(wheelhouses, wanted, shelf) else None
            listing = scratch.new("listing")
            offered = (
                _offered(lock, interpreter, uv, at_hand, label, listing, offline=offline) if wanted else {}
            )
            ranks = _ranks(interpreter)
            chosen = [_choose(requirement, offered, ranks, label) for requirement in wanted]
            with httpx.Client(timeout=_TIMEOUT, follow_redirects=True, verify=_certificates()) as client:
                return [_fetch(wheel, into, client, label) for wheel in chosen]
    except OSError as exc:
        raise os_failure(label, into, exc) from exc


def _offered(
    lock: bytes,
    interpreter: Interpreter,
    uv: Path,
    shelf: Path | None,
    label: str,
    folder: Path,
    *,
    offline: bool,
) -> Mapping[str, list[_Wheel]]:
    """Return the wheels that uv finds for each locked distribution, by its name; writes into `folder`."""
    lock_file = folder / "requirements.txt"
    lock_file.write_bytes(lock)
    *nearer, last = sources(shelf, offline=offline)
    for places in nearer:
        try:
            return _listing(lock_file, interpreter, uv, places, label)
        except WheelUnavailableError:
            continue
    return _listing(lock_file, interpreter, uv, last, label)


def _listing(
    lock_file: Path, interpreter: Interpreter, uv: Path, places: Sequence[str | Path], label: str
) -> Mapping[str, list[_Wheel]]:
    listing = lock_file.with_name("pylock.toml")
    options = ["--no-deps", "--only-binary", ":all:", "--generate-hashes", "--no-header", "--quiet"]
    options += ["--format", "pylock.toml", "--no-python-downloads", "--python"]
    ended = run_uv(
        uv,
        ["pip", "compile", *places, *options, interpreter.executable, lock_file, "--output-file", listing],
        timeout_seconds=_LISTING_SECONDS,
    )
    if ended.status != 0:
        raise explain(label, lock_file.parent, "uv pip compile", ended)
    packages = tomllib.loads(listing.read_text(encoding="utf-8")).get("packages", [])
    return {str(canonicalize_name(p["name"])): list(_wheels(p, listing.parent)) for p in packages}


def _wheels(package: Mapping[str, Any], folder: Path) -> Iterator[_Wheel]:
    requirement = f"{canonicalize_name(package['name'])}=={package['version']}"
    for entry in package.get("wheels", []):
        url = entry.get("url") or (folder / entry["path"]).resolve().as_uri()
        name = entry.get("name") or unquote(urlsplit(url).path).rpartition("/")[2]
        if "sha256" in entry.get("hashes", {}):
            yield _Wheel(requirement, name, url, entry["hashes"]["sha256"])


def _ranks(interpreter: Interpreter) -> Mapping[Tag, int]:
    """Return how well each tag fits `interpreter` on this machine; less is better."""
    major, minor = map(int, interpreter.minor.split("."))
    tags = [
        *cpython_tags((major, minor)),
        *compatible_tags((major, minor), interpreter=f"cp{major}{minor}"),
    ]
    return {tag: rank for rank, tag in enumerate(tags)}


def _choose(
    requirement: LockedRequirement,
    offered: Mapping[str, list[_Wheel]],
    ranks: Mapping[Tag, int],
    label: str,
) -> _Wheel:
    """Return the best wheel for `requirement` that its lock names."""
    fitting: list[tuple[tuple[int, int, str], _Wheel]] = []
    for wheel in offered.get(requirement.name, []):
        try:
            name, version, build, tags = parse_wheel_filename(wheel.name)
        except InvalidWheelFilename:
            continue
        rank = min((ranks[tag] for tag in tags if tag in ranks), default=None)
        if rank is not None and (name, version) == (requirement.name, requirement.version):
            fitting.append(((rank, -build[0] if build else 0, wheel.name), wheel))
    if not fitting:
        raise WheelUnavailableError(label, str(requirement), "  it found none that fits")
    locked = [pair for pair in fitting if pair[1].sha256 in requirement.hashes]
    if not locked:
        computed = f"sha256:{_best(fitting).sha256}"
        expected = [f"sha256:{value}" for value in sorted(requirement.hashes)]
        raise WheelHashMismatchError(label, str(requirement), expected=expected, computed=computed)
    return _best(locked)


def _best(ranked: list[tuple[tuple[int, int, str], _Wheel]]) -> _Wheel:
    return min(ranked, key=lambda pair: pair[0])[1]


def _fetch(wheel: _Wheel, into: Path, client: httpx.Client, label: str) -> Path:
    """Put `wheel` into the folder `into` under its own name, once its hash is right."""
    target = into / wheel.name
    if target.is_file() and _sha256(target) == wheel.sha256:
        return target
    part = into / f".{wheel.name}.{secrets.token_hex(4)}.part"
    try:
        _download(wheel, part, client, label)
        computed = _sha256(part)
        if computed != wheel.sha256:
            expected = [f"sha256:{wheel.sha256}"]
            raise WheelHashMismatchError(
                label, wheel.requirement, expected=expected, computed=f"sha256:{computed}"
            )
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
    return target


def _download(wheel: _Wheel, part: Path, client: httpx.Client, label: str) -> None:
    parts = urlsplit(wheel.url)
    if parts.scheme == "file":
        shutil.copyfile(unquote(parts.path), part)
        return
    for attempt in range(_ATTEMPTS):
        try:
            with client.stream("GET", wheel.url, auth=_authentication(httpx.URL(wheel.url))) as response:
                response.raise_for_status()
                with part.open("wb") as file:
                    for chunk in response.iter_bytes(_CHUNK):
                        file.write(chunk)
            return
        except httpx.HTTPStatusError as exc:
            said = f"  {exc.response.url.copy_with(userinfo=b'')}: HTTP status {exc.response.status_code}"
            if exc.response.status_code < 500:
                raise WheelUnavailableError(label, wheel.requirement, said) from exc
            failure: Exception = exc
        except httpx.RequestError as exc:
            said = f"  {exc.request.url.copy_with(userinfo=b'')}: {exc or type(exc).__name__}"
            failure = exc
        if attempt < _ATTEMPTS - 1:
            time.sleep(2.0**attempt)
    raise IndexUnreachableError(label, said) from failure


def _certificates() -> ssl.SSLContext:
    """Return whom to believe, as uv is told it."""
    told = operator()
    file, folder = told.get("SSL_CERT_FILE"), told.get("SSL_CERT_DIR")
    if file or folder or told.get("UV_SYSTEM_CERTS") or told.get("UV_NATIVE_TLS"):
        return ssl.create_default_context(cafile=file, capath=folder)
    return httpx.create_ssl_context()


def _authentication(url: httpx.URL) -> httpx.Auth:
    """Return the operator's credentials for the server of `url`: those of an index, or from a netrc file."""
    told = operator()
    for variable in _INDEX_VARIABLES:
        for entry in told.get(variable, "").split():
            name, separator, rest = entry.partition("=")
            named = bool(separator) and "/" not in name
            index = httpx.URL(rest if named else entry)
            if (index.scheme, index.host, index.port) != (url.scheme, url.host, url.port):
                continue
            prefix = "UV_INDEX_" + re.sub(r"[^A-Z0-9]", "_", name.upper())
            user = index.username or (told.get(f"{prefix}_USERNAME", "") if named else "")
            password = index.password or (told.get(f"{prefix}_PASSWORD", "") if named else "")
            if user or password:
                return httpx.BasicAuth(user, password)
    netrc = Path(told.get("NETRC") or os.path.expanduser("~/.netrc"))  # noqa: PTH111 - as in interpreters
    return httpx.NetRCAuth(str(netrc)) if netrc.is_file() else httpx.Auth()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
