"""`verifier.toml`: what a bundle says of itself, checked word by word.

The manifest is part of the digest, so what it declares (entry, limits, Python,
parameters) is pinned with the code. Every complaint names file, key and value.
"""

import re
import tomllib
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal

import jsonschema
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from countermark_service.errors import ManifestError
from countermark_service.model.ref import NAME_PATTERN, VERSION_PATTERN

MANIFEST_NAME = "verifier.toml"
VECTORS_NAME = "vectors.jsonl"
LOCK_NAME = "requirements.lock"
PROTOCOL = 1
_ENTRY = re.compile(r"[A-Za-z_]\w*:[A-Za-z_]\w*")

Runtime = Literal["python", "sandbox", "judge", "composite"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Limits(_Strict):
    """What one item may cost in a worker."""

    cpu_seconds: Annotated[float, Field(gt=0, le=600)] = 5.0
    """CPU time of the worker for one item."""
    wall_seconds: Annotated[float, Field(gt=0, le=3600)] = 60.0
    """Wall time after which an item that makes no progress is given up."""
    memory_mib: Annotated[int, Field(ge=32, le=65536)] = 512
    """Memory of the worker, verifier code and libraries included."""

    @model_validator(mode="after")
    def _wall_holds_cpu(self) -> "Limits":
        if self.wall_seconds < self.cpu_seconds:
            raise ValueError(
                f"wall_seconds ({self.wall_seconds}) must not be under cpu_seconds ({self.cpu_seconds})"
            )
        return self


class Manifest(_Strict):
    """The declared facts of one bundle version."""

    name: str
    version: str
    summary: Annotated[str, Field(min_length=1, max_length=200)]
    description: str = ""
    license: str = ""
    source: str = ""
    protocol: Literal[1]
    runtime: Runtime
    entry: str | None = None
    reduce: str | None = None
    python: str | None = None
    uses_prompt: bool = False
    files: Annotated[tuple[str, ...], Field(min_length=1, max_length=1000)]
    limits: Limits = Limits()
    parameters: dict[str, dict[str, Any]] = {}
    sandbox: dict[str, Any] | None = None
    judge: dict[str, Any] | None = None
    composite: dict[str, Any] | None = None

    @field_validator("files", mode="before")
    @classmethod
    def _files_as_tuple(cls, value: object) -> object:
        return tuple(value) if isinstance(value, list) else value

    @field_validator("limits", mode="before")
    @classmethod
    def _limits_take_whole_numbers(cls, value: object) -> object:
        if not isinstance(value, dict):
            return value
        seconds = {"cpu_seconds", "wall_seconds"}
        return {k: float(v) if k in seconds and type(v) is int else v for k, v in value.items()}

    @field_validator("name")
    @classmethod
    def _name(cls, value: str) -> str:
        if not NAME_PATTERN.fullmatch(value):
            raise ValueError(
                "must be lowercase letters, digits and single separators `. _ -`, one `/` at most"
            )
        return value

    @field_validator("version")
    @classmethod
    def _version(cls, value: str) -> str:
        if not VERSION_PATTERN.fullmatch(value):
            raise ValueError("must be 1 to 128 characters of `0-9 A-Z a-z . _ -`")
        return value

    @field_validator("python")
    @classmethod
    def _python(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"3\.\d{1,2}", value):
            raise ValueError('must be a Python minor version such as "3.11"')
        return value

    @field_validator("entry", "reduce")
    @classmethod
    def _callable_name(cls, value: str | None) -> str | None:
        if value is not None and not _ENTRY.fullmatch(value):
            raise ValueError('must be "module:function"')
        return value

    @field_validator("files")
    @classmethod
    def _paths(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for path in value:
            pure = PurePosixPath(path)
            if pure.is_absolute() or ".." in pure.parts or "\\" in path or str(pure) != path or "\0" in path:
                raise ValueError(f"{path!r} is not a plain relative path")
        if len(set(value)) != len(value):
            raise ValueError("names a file twice")
        return value

    @field_validator("parameters")
    @classmethod
    def _schemas(cls, value: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        for name, schema in value.items():
            try:
                jsonschema.Draft202012Validator.check_schema(schema)
            except jsonschema.SchemaError as exc:
                raise ValueError(f"parameter {name!r} is no JSON Schema: {exc.message}") from exc
        return value

    @model_validator(mode="after")
    def _runtime_has_its_parts(self) -> "Manifest":
        needed = {MANIFEST_NAME, VECTORS_NAME}
        if self.runtime == "python":
            needed.add(LOCK_NAME)
            if self.entry is None or self.python is None:
                raise ValueError('the runtime "python" needs `entry` and `python`')
            for target in filter(None, (self.entry, self.reduce)):
                needed.add(target.partition(":")[0] + ".py")
        elif self.entry is not None or self.reduce is not None:
            raise ValueError(
                f'the runtime "{self.runtime}" runs no code: `entry` and `reduce` are for "python"'
            )
        missing = sorted(needed - set(self.files))
        if missing:
            raise ValueError(f"`files` must name {', '.join(missing)}")
        return self

    def parameters_schema(self) -> dict[str, Any]:
        """Return the JSON Schema of an item's `params`; what is not declared is refused."""
        return {"type": "object", "properties": self.parameters, "additionalProperties": False}


def read_manifest(content: bytes, *, file: str = MANIFEST_NAME) -> Manifest:
    """Read and check a manifest.

    Args:
        content: The bytes of `verifier.toml`.
        file: How messages name the file.

    Raises:
        ManifestError: Not TOML, or a key that is missing, unknown or of a wrong value.
    """
    try:
        table = tomllib.loads(content.decode("utf-8"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as exc:
        raise ManifestError(file, "(whole file)", content[:40], f"not TOML: {exc}") from exc
    try:
        return Manifest.model_validate(table)
    except ValidationError as exc:
        first = exc.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"]) or "(manifest)"
        value = first["input"] if first["loc"] and first["type"] != "missing" else "missing"
        raise ManifestError(file, key, value, first["msg"].removeprefix("Value error, ")) from exc
