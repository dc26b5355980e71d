"""What a client is made with: arguments, else environment, else defaults; checked before the first call."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from ._errors import InvalidInputError
from ._retry import Backoff

DEFAULT_URL = "http://127.0.0.1:8000"
DEFAULT_TIMEOUT_SECONDS = 300.0
"""Some thousand symbolic comparisons take minutes on few cores; a call that hangs must still end."""
DEFAULT_RETRIES = 6
"""With the default back-off these span about eight seconds on average: a service's restart."""
DEFAULT_ITEMS = 1024
DEFAULT_BYTES = 16 * 2**20
"""A quarter of the service's default limit on a body."""
DEFAULT_CONCURRENCY = 4


@dataclass(frozen=True, slots=True)
class Settings:
    """What a client was made with, checked and normalised."""

    base_url: str
    """Without a slash at the end."""
    api_key: str | None = field(repr=False)
    """Bearer key, None for none."""
    timeout: float
    """Seconds that a call may take; infinite for no limit."""
    max_retries: int
    """Attempts after the first one."""
    max_items_per_request: int
    """Items in one request at most."""
    max_bytes_per_request: int
    """Bytes of items in one request at most, unless one item alone is larger."""
    concurrency: int
    """Requests of one call that are under way at once."""
    backoff: Backoff
    """How long to wait between attempts."""


def settings(
    *,
    base_url: str | None,
    api_key: str | None,
    timeout: float,
    max_retries: int,
    max_items_per_request: int,
    max_bytes_per_request: int,
    concurrency: int,
    backoff: Backoff | None,
) -> Settings:
    """Return the settings for a client's arguments; see `AsyncClient`.

    Raises:
        InvalidInputError: An argument, or the environment variable in its place, cannot be used.
    """
    url, key = address(base_url, api_key)
    return Settings(
        base_url=url,
        api_key=key,
        timeout=check_seconds("timeout", timeout),
        max_retries=_count("max_retries", max_retries, least=0),
        max_items_per_request=_count("max_items_per_request", max_items_per_request, least=1),
        max_bytes_per_request=_count("max_bytes_per_request", max_bytes_per_request, least=1),
        concurrency=_count("concurrency", concurrency, least=1),
        backoff=backoff if backoff is not None else Backoff(),
    )


def address(base_url: str | None, api_key: str | None) -> tuple[str, str | None]:
    """Return address and key: those given, else the environment's, else the default address and no key.

    Raises:
        InvalidInputError: One of them cannot be used.
    """
    return (
        _url(base_url if base_url is not None else os.environ.get("COUNTERMARK_URL") or DEFAULT_URL),
        _key(api_key if api_key is not None else os.environ.get("COUNTERMARK_API_KEY")),
    )


def check_seconds(name: str, value: float) -> float:
    """Return a time span.

    Raises:
        InvalidInputError: It is not a number above 0; infinity is one.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or math.isnan(value) or value <= 0:
        raise InvalidInputError(f"{name} is {value!r}; it must be seconds above 0, or math.inf for no limit.")
    return float(value)


def _url(text: str) -> str:
    """Return `text` without a slash at the end, if it is the address of a service."""
    if not isinstance(text, str):
        raise InvalidInputError(f"base_url is a {type(text).__name__}, not a string like {DEFAULT_URL}.")
    try:
        parts = urlsplit(text.strip())
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise InvalidInputError(
            f"base_url is {_without_userinfo(text)!r}; it must be an address like {DEFAULT_URL} or "
            f"https://scorer.example."
        )
    if parts.username is not None or parts.query or parts.fragment:
        raise InvalidInputError(
            f"base_url for {parts.hostname} carries credentials, a query or a fragment. Give the address "
            f"alone, and the key as api_key or COUNTERMARK_API_KEY."
        )
    return text.strip().rstrip("/")


def _without_userinfo(text: str) -> str:
    """Return `text` less what stands before the last @, where a password would be."""
    return text.rpartition("@")[2]


def _key(text: str | None) -> str | None:
    """Return an API key, None for none or an empty one. No message quotes it."""
    if text is not None and not isinstance(text, str):
        raise InvalidInputError(f"api_key is a {type(text).__name__}, not a string.")
    key = (text or "").strip()
    for position, character in enumerate(key):
        if not "!" <= character <= "~":
            raise InvalidInputError(
                f"api_key holds a character that no HTTP header can carry, at position {position} of "
                f"{len(key)}. Check how it was read."
            )
    return key or None


def _count(name: str, value: int, *, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise InvalidInputError(f"{name} is {value!r}; it must be a whole number of at least {least}.")
    return value
