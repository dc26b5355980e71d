"""Every setting of the service: one frozen object, read once, passed in.

A value comes from the command line, else from the environment
(``COUNTERMARK_<NAME>``), else from the TOML file that ``COUNTERMARK_CONFIG`` names
(keys in lower case), else it is the default here. A variable that is empty is not
set, as compose files and shells leave them (``${X:-}``). What cannot be used is an
error at the start that names source, key and value.
"""

import os
import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from countermark_service.errors import SettingsError
from countermark_service.kept import read_small

PREFIX = "COUNTERMARK_"


def default_data_folder() -> Path:
    """Return the folder for everything that Countermark keeps, where none is set.

    Raises:
        SettingsError: Whoever runs this has no home folder, as a container's nameless user.
    """
    base = os.environ.get("XDG_DATA_HOME")
    if base:
        return Path(base) / "countermark"
    try:
        return Path.home() / ".local" / "share" / "countermark"
    except RuntimeError as exc:
        problem = f"there is no home folder to keep it in: set {PREFIX}DATA, or HOME"
        raise SettingsError("settings", "data", None, problem) from exc


class Settings(BaseModel):
    """The service's settings. The field texts are the documentation."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)

    data: Path = Field(
        default_factory=default_data_folder,
        description="Folder for environments, the embedded store and keys.",
    )
    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: Annotated[int, Field(ge=0, le=65535)] = Field(
        8000, description="Port to listen on; 0 takes a free one."
    )
    redis_url: str | None = Field(
        None, description="Redis for verdicts, such as redis://localhost:6379/0. Without it: one SQLite file."
    )
    bundles: tuple[Path, ...] = Field(
        (), description="More bundle folders, searched before the shipped ones."
    )
    releases: tuple[Path, ...] = Field(
        (),
        description="Folders of release cards that are registered with the start, beside the data folder's.",
    )
    refuse_yanked: bool = Field(
        False, description="Refuse verifiers and releases that are yanked; without it, replies say so."
    )
    preload: tuple[str, ...] = Field((), description="References whose workers start with the service.")

    workers: Annotated[int, Field(ge=1, le=1024)] = Field(
        default_factory=lambda: len(os.sched_getaffinity(0)), description="Items judged at the same time."
    )
    slow_lane: Annotated[int, Field(ge=0, le=4096)] = Field(
        0, description="Slow items that may run aside; 0 means twice the workers."
    )
    slow_seconds: Annotated[float, Field(gt=0, le=600)] = Field(
        0.25, description="CPU seconds after which an item is slow: where others wait, it runs aside."
    )
    queue_items: Annotated[int, Field(ge=1)] = Field(65536, description="Items that may wait before 429.")
    queue_mib: Annotated[int, Field(ge=1)] = Field(512, description="MiB of items that may wait before 429.")
    idle_seconds: Annotated[float, Field(ge=1)] = Field(
        300.0, description="Seconds without work after which a verifier's processes end."
    )
    recycle_items: Annotated[int, Field(ge=1)] = Field(
        100_000, description="Items after which a worker is replaced."
    )
    recycle_mib: Annotated[int, Field(ge=1)] = Field(
        96, description="Growth after which a worker is replaced."
    )

    sandbox_level: Literal["namespaces", "landlock"] = Field(
        "namespaces", description="Least containment of candidate programs; below it they do not run."
    )
    sandbox_best: Literal["namespaces", "landlock"] = Field(
        "namespaces", description="Best containment that is tried; landlock leaves namespaces out."
    )
    sandbox_slots: Annotated[int, Field(ge=0, le=1024)] = Field(
        0, description="Candidate programs that run at the same time; 0 means one per worker."
    )
    sandbox_queue: Annotated[int, Field(ge=1)] = Field(
        16384, description="Candidate programs that may wait before 429."
    )

    max_body_mib: Annotated[int, Field(ge=1, le=4096)] = Field(
        64, description="MiB of one request, unpacked."
    )
    max_items: Annotated[int, Field(ge=1)] = Field(4096, description="Items of one batch request.")
    max_response_kib: Annotated[int, Field(ge=1)] = Field(1024, description="KiB of one response.")

    lru_mib: Annotated[int, Field(ge=1)] = Field(
        128, description="MiB of verdicts kept in the service's memory."
    )
    lru_entries: Annotated[int, Field(ge=1)] = Field(
        1_000_000, description="Verdicts kept in the service's memory, at most."
    )
    sqlite_max_mib: Annotated[int, Field(ge=16)] = Field(
        8192, description="Size at which the SQLite file drops old verdicts."
    )
    store_timeout_seconds: Annotated[float, Field(gt=0, le=60)] = Field(
        0.25, description="Seconds that a look-up may take before the store counts as down."
    )

    judges: Path | None = Field(
        None, description="TOML file that names, for each model that judges, its endpoint."
    )
    judge_mode: Literal["auto", "replay", "fresh"] = Field(
        "auto",
        description="Where judges' replies come from: transcripts, then the model (auto); transcripts only "
        "(replay); the model only (fresh).",
    )
    transcripts_max_mib: Annotated[int, Field(ge=16)] = Field(
        16384, description="Size at which the SQLite file of transcripts drops some."
    )

    facades: tuple[str, ...] = Field(
        ("all",),
        description="Other systems' wire formats that are served: names from facades.md, or all, or none.",
    )
    open_access: bool = Field(
        False,
        description="Allow an address that is not loopback without any key. Say it only on a closed network.",
    )
    offline: bool = Field(False, description="Never ask an index; build environments from wheels at hand.")
    log_format: Literal["console", "json"] = Field("console", description="How log lines are written.")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least level that is logged."
    )

    @field_validator("bundles", "releases", mode="before")
    @classmethod
    def _folders(cls, value: object) -> object:
        return (
            tuple(Path(part) for part in value.split(os.pathsep) if part) if isinstance(value, str) else value
        )

    @field_validator("preload", "facades", mode="before")
    @classmethod
    def _names(cls, value: object) -> object:
        return tuple(value.replace(",", " ").split()) if isinstance(value, str) else value

    @field_validator("sandbox_best")
    @classmethod
    def _not_below_the_least(cls, value: str, others: ValidationInfo) -> str:
        if value == "landlock" and others.data.get("sandbox_level") == "namespaces":
            raise ValueError("it is below the least level, sandbox_level, which is namespaces")
        return value

    @field_validator("data")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return _at_home(value).absolute()  # a contained worker has another working folder

    @field_validator("judges")
    @classmethod
    def _judges_at_home(cls, value: Path | None) -> Path | None:
        return value and _at_home(value)

    @field_validator("bundles", "releases")
    @classmethod
    def _folders_at_home(cls, value: tuple[Path, ...]) -> tuple[Path, ...]:
        return tuple(map(_at_home, value))

    @field_validator("redis_url")
    @classmethod
    def _redis_scheme(cls, value: str | None) -> str | None:
        if value and not value.startswith(("redis://", "rediss://", "unix://")):
            raise ValueError("must begin with redis://, rediss:// or unix://")
        return value or None


def load_settings(
    overrides: Mapping[str, Any] | None = None, *, environment: Mapping[str, str] | None = None
) -> Settings:
    """Read the settings from all sources.

    Args:
        overrides: Values of the command line; None values are not set.
        environment: The environment; the process's own by default.

    Raises:
        SettingsError: A source that cannot be read, an unknown key, or a bad value.
    """
    env = os.environ if environment is None else environment
    values, sources = _collect(env)
    for key, value in (overrides or {}).items():
        if value is not None:
            values[key], sources[key] = value, "the command line"
    try:
        return Settings.model_validate(values)
    except ValidationError as exc:
        first = exc.errors(include_url=False)[0]
        key = str(first["loc"][0])
        problem = first["msg"].removeprefix("Value error, ")
        if first["type"] == "extra_forbidden":
            problem = "there is no such setting" + _meant(key.lower())
        value = "(not shown)" if key == "redis_url" else first["input"]  # it may hold a password
        raise SettingsError(sources.get(key, "settings"), key, value, problem) from exc


def setting_sources(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return where the value of each setting comes from, in words, for those not left at their default.

    Raises:
        SettingsError: The file cannot be read.
    """
    return _collect(os.environ if environment is None else environment)[1]


def likely_slips(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the variables of the environment that are no setting but nearly one, each with the one meant.

    Other variables with the prefix are left alone: clients and tests have some of their own.
    """
    env = os.environ if environment is None else environment
    known = {name.upper() for name in Settings.model_fields} | {"CONFIG"}
    slips = {}
    for name in env:
        key = name.removeprefix(PREFIX)
        near = get_close_matches(key, known, 1, 0.75) if name.startswith(PREFIX) and key not in known else []
        if near:
            slips[name] = PREFIX + near[0]
    return slips


def _at_home(path: Path) -> Path:
    """Return `path` with ``~`` at its head made a folder: in a file and behind a colon no shell does it."""
    try:
        return path.expanduser()
    except RuntimeError as exc:
        raise ValueError("there is no home folder to put for ~; write the whole path") from exc


def _meant(key: str) -> str:
    near = get_close_matches(key, Settings.model_fields, 1, 0.6)
    return f"; {near[0]} is one" if near else "; `countermark settings` shows all"


def _collect(env: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, str]]:
    """Return what file and environment set, and where each value is from."""
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    config = env.get(f"{PREFIX}CONFIG")
    if config:
        for key, value in _read_file(Path(config)).items():
            values[key], sources[key] = value, config
    for key in Settings.model_fields:
        name = f"{PREFIX}{key.upper()}"
        if env.get(name):
            values[key], sources[key] = env[name], f"the environment ({name})"
    return values, sources


def _read_file(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(read_small(file).decode())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as exc:
        raise SettingsError(f"the environment ({PREFIX}CONFIG)", "config", str(file), str(exc)) from exc
