"""Where models answer: the operator's table, and nobody else's.

A request names a verifier, the verifier names a model, and this file alone says
which server that is and which variable holds its key. So no request can send data or
a key anywhere.
"""

import os
import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from countermark_service.errors import SettingsError
from countermark_service.kept import read_small

MOST_ATTEMPTS = 20
"""At one question."""
_CONCEALED = "(not shown)"


class Endpoint(BaseModel):
    """One model's server: a table `[models."MODEL"]` of the file."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, defer_build=True)

    model: str
    """Name by which judges know the model: the key of the table."""
    base_url: str
    """Address up to and without `/chat/completions`."""
    key_env: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")] | None = None
    """Environment variable that holds the key; without it, none is sent."""
    served_as: str | None = None
    """What the server calls the model, where that is another name."""
    answers_as: tuple[str, ...] | None = None
    """Names by which replies may say that the model answered; without it, any, and the name is recorded."""
    revision: Annotated[str, Field(max_length=200)] = ""
    """Revision of the weights, as far as the operator knows. Transcripts of another one are not used."""
    concurrency: Annotated[int, Field(ge=1, le=4096)] = 32
    """Calls at the same time."""
    requests_per_second: Annotated[float, Field(ge=0)] = 0.0
    """Calls a second, at most; 0 is no bound."""
    connect_seconds: Annotated[float, Field(gt=0, le=600)] = 10.0
    """Wall time of one connection."""
    timeout_seconds: Annotated[float, Field(gt=0, le=3600)] = 60.0
    """Wall time of one attempt."""
    deadline_seconds: Annotated[float, Field(gt=0, le=7200)] = 180.0
    """Wall time of all attempts at one question, back-off included."""
    attempts: Annotated[int, Field(ge=1, le=MOST_ATTEMPTS)] = 6
    """Attempts at one question."""
    backoff_seconds: Annotated[float, Field(gt=0, le=60)] = 0.5
    """Most that the first back-off takes; doubled each time, and a random part of it is taken."""
    backoff_most_seconds: Annotated[float, Field(gt=0, le=600)] = 20.0
    breaker_failures: Annotated[int, Field(ge=1, le=10000)] = 8
    """Questions in a row that were given up, after which calls fail at once."""
    breaker_seconds: Annotated[float, Field(gt=0, le=3600)] = 15.0
    """How long they do; then one question tries."""
    most_reply_kib: Annotated[int, Field(ge=1, le=65536)] = 1024
    """KiB of one reply's body."""
    price_in: Annotated[float, Field(ge=0)] | None = None
    """Price of a million tokens of the question."""
    price_out: Annotated[float, Field(ge=0)] | None = None
    """Price of a million tokens of the reply."""
    max_tokens_name: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    """How the server calls the bound on a reply."""
    probe: Literal["first_use", "never"] = "first_use"
    """Whether the server is probed before its first question."""

    @field_validator("base_url")
    @classmethod
    def _http(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("must be http://host[:port][/path] or https://…")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ValueError(
                "must have no user, password, query or fragment; name the key's variable in key_env"
            )
        if parts.path.rstrip("/").endswith("/completions"):
            raise ValueError("must end before /chat/completions, which is added to it")
        import httpx  # here: a start without models does without it

        try:
            url = httpx.URL(value)
            url.host.encode("idna")  # what looking the name up does
        except (httpx.InvalidURL, UnicodeError) as exc:
            raise ValueError(f"is no address: {exc}") from exc
        if url.port is not None and not 0 < url.port < 1 << 16:
            raise ValueError("must have a port from 1 to 65535")
        return value.rstrip("/")

    @property
    def served(self) -> str:
        """What the server calls the model."""
        return self.served_as or self.model

    def key(self, environment: Mapping[str, str] = os.environ) -> str | None:
        """Return the key, None where none is needed.

        Raises:
            KeyError: The variable is not set, or empty.
        """
        if self.key_env is None:
            return None
        key = environment.get(self.key_env)
        if not key:
            raise KeyError(self.key_env)
        return key


Endpoints = Mapping[str, Endpoint]
"""Endpoint by model."""


def read_endpoints(file: Path) -> Endpoints:
    """Read the operator's table.

    Raises:
        SettingsError: The file cannot be read, or says something that cannot be; names the key.
    """
    try:
        content = tomllib.loads(read_small(file).decode())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as exc:
        raise SettingsError("settings", "judges", str(file), f"it cannot be read: {exc}") from exc
    models = content.pop("models", {})
    if content or not isinstance(models, dict):
        key = next(iter(content), "models")
        raise SettingsError(
            str(file), key, content.get(key, models), 'write one table [models."MODEL"] a model'
        )
    return {model: _endpoint(file, model, table) for model, table in models.items()}


def _endpoint(file: Path, model: str, table: object) -> Endpoint:
    if not isinstance(table, dict) or "model" in table:
        raise SettingsError(str(file), f"models.{model}", table, "must be a table without the key `model`")
    try:
        return Endpoint.model_validate({**table, "model": model})
    except ValidationError as exc:
        first = exc.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        value, problem = _told(key, first["type"], first["input"], first["msg"].removeprefix("Value error, "))
        raise SettingsError(str(file), f"models.{model}.{key}", value, problem) from exc


def _told(key: str, kind: str, value: object, problem: str) -> tuple[object, str]:
    """Return what to show of a value, and what is wrong with it. What may hold a key is not shown: logs are read."""
    if kind == "missing":
        return "missing", "every model needs one"
    if kind == "extra_forbidden":
        known = [name for name in Endpoint.model_fields if name != "model"]
        near = get_close_matches(key, known, 1, 0.75)
        hint = f"did you mean {near[0]}" if near else f"there are {', '.join(known)}"
        return _CONCEALED, f"there is no such key; {hint}"
    if key == "key_env":
        return _CONCEALED, "it must be the name of an environment variable; the key itself stands in that"
    if key == "base_url" and "@" in str(value):
        return _CONCEALED, problem
    return value, problem
