"""`verifier.toml`: what a bundle says of itself, checked word by word.

The manifest is part of the digest, so what it declares (entry, limits, Python,
parameters) is pinned with the code. Every complaint names file, key and value.
"""

import re
import tomllib
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from countermark_service.bundles.composite_table import CompositeTable
from countermark_service.bundles.json_schema import schema_problem
from countermark_service.bundles.judge_table import JudgeTable
from countermark_service.bundles.strict import Strict as _Strict
from countermark_service.bundles.strict import fault as _fault
from countermark_service.errors import ManifestError
from countermark_service.model.ref import NAME_PATTERN, VERSION_PATTERN

MANIFEST_NAME = "verifier.toml"
VECTORS_NAME = "vectors.jsonl"
LOCK_NAME = "requirements.lock"
PROTOCOL = 1
SANDBOX_LIMITS = (
    "cpu_seconds", "wall_seconds", "memory_mib", "address_space_mib", "processes", "open_files",
    "stdout_bytes", "stderr_bytes", "answer_bytes", "scratch_mib", "scratch_inodes", "stack_mib", "total_cpu_seconds",
)  # fmt: skip
"""What `[sandbox] limits` may name."""
_ENTRY = re.compile(r"[A-Za-z_]\w*:[A-Za-z_]\w*")
_LONGEST_PATH = 255

Runtime = Literal["python", "sandbox", "judge", "composite", "grader"]
"""How a verdict is made; ``grader`` is for definitions that come with a request, never for a folder."""


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


class SandboxTable(_Strict):
    """What a bundle of the runtime "sandbox" has run, and by which of its functions."""

    language: Literal["python", "cpp", "javascript"]
    """What candidate programs are written in."""
    plan: str
    """Function of the bundle that says what to run, as "module:function"."""
    judge: str
    """Function of the bundle that says what the results are worth, as "module:function"."""
    requirements: str | None = None
    """File of the bundle with the packages that candidates may import; without it, none."""
    preload: Annotated[tuple[str, ...], Field(max_length=32)] = ()
    """Modules that every candidate finds imported."""
    limits: dict[str, float] = Field(default_factory=dict)
    """Limits of one test that differ from the sandbox's own; an `address_space_mib` of 0 is none."""

    @field_validator("preload", mode="before")
    @classmethod
    def _names_as_tuple(cls, value: object) -> object:
        return tuple(value) if isinstance(value, list) else value

    @field_validator("preload")
    @classmethod
    def _module_names(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if not all(part.isidentifier() for part in name.split(".")):
                raise ValueError(f"{name!r} is not the name of a module")
        return value

    @field_validator("limits", mode="before")
    @classmethod
    def _numbers(cls, value: object) -> object:
        if not isinstance(value, dict):
            return value
        for name, limit in value.items():
            if name not in SANDBOX_LIMITS:
                raise ValueError(f"{name!r} is no limit; there are {', '.join(SANDBOX_LIMITS)}")
            if type(limit) not in (int, float) or limit < 0:
                raise ValueError(f"{name} is {limit!r}, not a number from 0 up")
        return {name: float(limit) for name, limit in value.items()}

    @field_validator("plan", "judge")
    @classmethod
    def _callable_name(cls, value: str) -> str:
        if not _ENTRY.fullmatch(value):
            raise ValueError('must be "module:function"')
        return value

    @model_validator(mode="after")
    def _packages_are_for_python(self) -> "SandboxTable":
        if self.language != "python" and (self.requirements is not None or self.preload):
            raise ValueError(
                f"`requirements` and `preload` are for Python, and the language is {self.language}"
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
    limits: Limits = Limits.model_construct()
    parameters: dict[str, dict[str, Any]] = Field(default_factory=dict)
    sandbox: SandboxTable | None = None
    judge: JudgeTable | None = None
    composite: CompositeTable | None = None

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
        folders = {str(parent) for path in value for parent in PurePosixPath(path[:_LONGEST_PATH]).parents}
        for path in value:
            pure = PurePosixPath(path)
            if len(path) > _LONGEST_PATH:
                raise ValueError(f"{path[:50]!r}… is longer than {_LONGEST_PATH} characters")
            if path in folders:
                raise ValueError(f"{path!r} is a file and a folder")
            if pure.is_absolute() or ".." in pure.parts or "\\" in path or str(pure) != path or "\0" in path:
                raise ValueError(f"{path!r} is not a plain relative path")
        if len(set(value)) != len(value):
            raise ValueError("names a file twice")
        return value

    @field_validator("parameters")
    @classmethod
    def _schemas(cls, value: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        for name, schema in value.items():
            if problem := schema_problem(schema):
                raise ValueError(f"parameter {name!r} is no JSON Schema: {problem}")
        return value

    @model_validator(mode="after")
    def _runtime_has_its_parts(self) -> "Manifest":
        needed = {MANIFEST_NAME, VECTORS_NAME}
        if (self.sandbox is not None) is not (self.runtime == "sandbox"):
            raise _fault("sandbox", 'the table [sandbox] belongs to the runtime "sandbox", which needs it')
        if self.runtime in ("python", "sandbox"):
            needed.add(LOCK_NAME)
            if self.python is None:
                raise _fault("python", f'the runtime "{self.runtime}" needs it')
            if (self.entry is None) is (self.runtime == "python"):
                raise _fault("entry", 'it is for the runtime "python", which needs it')
            needed.update(target.partition(":")[0] + ".py" for target in self.functions.values())
            if self.sandbox is not None and self.sandbox.requirements is not None:
                needed.add(self.sandbox.requirements)
        elif self.entry is not None or self.reduce is not None:
            key = "reduce" if self.entry is None else "entry"
            raise _fault(key, f'the runtime "{self.runtime}" runs no code; drop the key')
        if (self.judge is not None) is not (self.runtime == "judge"):
            raise _fault("judge", 'the table [judge] belongs to the runtime "judge", which needs it')
        if (self.composite is not None) is not (self.runtime == "composite"):
            raise _fault("composite", "the table [composite] belongs to its runtime, which needs it")
        if self.judge is not None:
            if self.uses_prompt is not self.judge.shows_prompt:
                wanted = str(self.judge.shows_prompt).lower()
                raise _fault("uses_prompt", f"it must be {wanted}, as in [judge]")
            if self.parameters:
                raise _fault("parameters", 'the runtime "judge" takes none')
        for child in self.composite.children if self.composite else ():
            if unknown := sorted(set(child.forward.values()) - set(self.parameters)):
                problem = f"child {child.name!r} forwards {unknown[0]!r}, which is not declared"
                raise _fault("parameters", problem)
        missing = sorted(needed - set(self.files))
        if missing:
            raise _fault("files", f"it must name {', '.join(missing)} too")
        return self

    @property
    def functions(self) -> dict[str, str]:
        """The bundle's own functions, "module:function" by what the engine calls them for."""
        named = {"verify": self.entry, "reduce": self.reduce}
        if self.sandbox is not None:
            named |= {"plan": self.sandbox.plan, "judge": self.sandbox.judge}
        return {operation: target for operation, target in named.items() if target is not None}

    def runtime_table(self) -> dict[str, Any] | None:
        """Return the table that belongs to the runtime, as JSON; None for "python", which has none."""
        table = self.sandbox or self.judge or self.composite
        return None if table is None else table.model_dump(mode="json", by_alias=True, exclude_none=True)

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
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as exc:
        raise ManifestError(file, "(whole file)", content[:40], f"not TOML: {exc}") from exc
    if table.get("runtime") == "grader":
        raise ManifestError(file, "runtime", "grader", "it is for definitions that come with a request")
    try:
        return Manifest.model_validate(table)
    except ValidationError as exc:
        first = exc.errors(include_url=False)[0]
        own = first.get("ctx", {}).get("key")
        path = [*first["loc"], *([str(own)] if own is not None else [])]
        value = "missing" if first["type"] == "missing" else first["input"]
        if own is not None:
            value = _at(table, path)
        key = ".".join(str(part) for part in path)
        raise ManifestError(file, key, value, first["msg"].removeprefix("Value error, ")) from exc


def _at(table: Any, path: list[str | int]) -> object:
    """Return the value at a path of the file, or "missing"."""
    for part in path:
        try:
            table = table[part]
        except (KeyError, IndexError, TypeError):
            return "missing"
    return table
