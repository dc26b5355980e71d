"""Holds every import to the house's table: a room knows the rooms below it and no other.

The table decides what can be read, tested and replaced alone, and it erodes one
convenient import at a time, so every import statement of both packages and of the
bundles is read from the source, also those inside functions and under
``TYPE_CHECKING``. The checker is tried on small trees with a forbidden import in
each, because a checker that never complains proves nothing.
"""

import ast
import graphlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
SERVICE = "countermark_service"
CLIENT = "countermark"

# Lowest first. `errors` lies below `model`, which raises some of them; `cli` lies above `api`, which it serves.
ROWS = (
    "errors kept log_lines",
    "model",
    "bundles",
    "registry sandbox store",
    "engine judge",
    "runtimes",
    "releases receipts",
    "remembered",
    "running scoring",
    "audit",
    "settings",
    "assembly",
    "api distributed web",
    "cli",
    "__main__",
)
ROW_OF = {room: number for number, row in enumerate(ROWS) for room in row.split()}

CLIENT_MAY_USE = {"httpx"}
"""What the base install brings. Adapters import the framework that they adapt to as well."""
ALONE = ("engine/harness.py", "sandbox/code/inside/", "api/facades/inside/")
"""Started by path in a worker or a sandbox, where nothing but the standard library can be imported."""


@dataclass(frozen=True)
class Import:
    """One imported name: `target` is the module it comes from, absolute."""

    module: str
    target: str
    file: Path
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.module} imports {self.target}"

    @property
    def top(self) -> str:
        """The package it comes from."""
        return self.target.partition(".")[0]


def modules_below(folder: Path, package: str) -> dict[str, Path]:
    """Return the file of each module of `package`, which lies in `folder`; a package stands for its init."""
    found = {}
    for file in sorted((folder / package).rglob("*.py")):
        parts = file.relative_to(folder).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return found


def imports_of(module: str, file: Path, modules: dict[str, Path]) -> Iterator[Import]:
    """Read every import of a module, wherever in the file it stands.

    ``from a import b`` is an import of ``a.b`` where that is one of `modules`, and else of ``a``.
    """
    package = module.split(".") if file.name == "__init__.py" else module.split(".")[:-1]
    for node in ast.walk(ast.parse(file.read_bytes(), str(file))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(module, alias.name, file, node.lineno)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            origin = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                submodule = f"{origin}.{alias.name}"
                yield Import(module, submodule if submodule in modules else origin, file, node.lineno)


def all_imports(modules: dict[str, Path]) -> list[Import]:
    """Return the imports of all `modules`, in the order of the files."""
    return [found for module, file in modules.items() for found in imports_of(module, file, modules)]


def room_of(module: str) -> str:
    """Return the room of a module of the service; the package itself is the room ``""``."""
    return [*module.split("."), ""][1]


def row_violations(modules: dict[str, Path]) -> list[str]:
    """Return what breaks the table: imports upwards or sideways, and rooms that are not in it."""
    unknown = sorted({room_of(module) for module in modules} - {"", *ROW_OF})
    found = [f"{SERVICE}.{room} is in no row of the table" for room in unknown]
    for each in all_imports(modules):
        if each.top != SERVICE:
            continue
        importer, imported = room_of(each.module), room_of(each.target)
        if importer == imported or imported == "":
            continue  # the package itself holds the version and imports nothing
        if ROW_OF.get(importer, -1) <= ROW_OF.get(imported, len(ROWS)):
            found.append(f"{each}: {importer or 'the package itself'} may import lower rooms only")
    return found


def cycles(modules: dict[str, Path]) -> list[str]:
    """Return the first circle of imports, as one line, or nothing."""
    graph: dict[str, set[str]] = {module: set() for module in modules}
    for each in all_imports(modules):
        if each.target in modules and each.target != each.module:
            graph[each.module].add(each.target)
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as exc:
        return [" <- ".join(exc.args[1])]
    return []


def client_violations(modules: dict[str, Path]) -> list[str]:
    """Return the imports that the client's light install could not satisfy, or that reach for the service."""
    found = []
    for each in all_imports(modules):
        light = each.top in sys.stdlib_module_names or each.top in CLIENT_MAY_USE or each.top == CLIENT
        adapter = each.module.startswith(f"{CLIENT}.adapters.")
        if each.top == SERVICE or not (light or adapter):
            found.append(f"{each}: the client needs {', '.join(sorted(CLIENT_MAY_USE))} and nothing else")
    return found


def alone_violations(folder: Path, modules: dict[str, Path]) -> list[str]:
    """Return what programs that are started by path import beyond their folder and the standard library."""
    found = []
    for each in all_imports(modules):
        place = each.file.relative_to(folder / SERVICE).as_posix()
        own = next((path for path in ALONE if place.startswith(path)), None)
        if own is None or each.top in sys.stdlib_module_names:
            continue
        sibling = f"{SERVICE}.{own.rstrip('/').replace('/', '.')}"
        if not (each.target == sibling or each.target.startswith(sibling + ".")):
            found.append(f"{each}: it runs where only the standard library is")
    return found


def bundle_violations(verifiers: Path) -> list[str]:
    """Return every mention of Countermark's packages in the code of bundles, as an import or by name."""
    found = []
    for file in sorted(verifiers.rglob("*.py")):
        tops = {each.top for each in imports_of(file.stem, file, {})}
        for node in ast.walk(ast.parse(file.read_bytes(), str(file))):
            if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
                name = (
                    node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
                )
                if name in {"import_module", "__import__"}:
                    tops.add(str(node.args[0].value).partition(".")[0])
        if own := tops & {CLIENT, SERVICE}:
            found.append(f"{file} imports {', '.join(sorted(own))}: no later Countermark may change a bundle")
    return found


SERVICE_MODULES = modules_below(REPOSITORY / "service", SERVICE)
CLIENT_MODULES = modules_below(REPOSITORY / "clients", CLIENT)


def test_every_room_of_the_service_imports_lower_rooms_only() -> None:
    assert len(SERVICE_MODULES) > 20
    assert row_violations(SERVICE_MODULES) == []


def test_no_two_modules_import_each_other() -> None:
    assert cycles(SERVICE_MODULES | CLIENT_MODULES) == []


def test_the_client_imports_httpx_and_never_the_service() -> None:
    assert len(CLIENT_MODULES) > 5
    assert client_violations(CLIENT_MODULES) == []


def test_programs_that_run_in_workers_import_the_standard_library_only() -> None:
    assert all((REPOSITORY / "service" / SERVICE / path).exists() for path in ALONE)
    assert alone_violations(REPOSITORY / "service", SERVICE_MODULES) == []


def test_bundles_import_nothing_of_countermark() -> None:
    assert list((REPOSITORY / "verifiers").rglob("*.py"))
    assert bundle_violations(REPOSITORY / "verifiers") == []


def write(folder: Path, files: dict[str, str]) -> Path:
    """Write a small tree of modules; every folder below `folder` becomes a package."""
    for name, text in files.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        for parent in file.relative_to(folder).parents[:-1]:
            (folder / parent / "__init__.py").touch()
    return folder


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("bundles/digest.py", "from countermark_service.engine import pool", "engine.pool"),
        ("bundles/digest.py", "def late():\n    import countermark_service.engine.pool", "engine.pool"),
        ("bundles/digest.py", "from ..engine.pool import Pool", "engine.pool"),
        ("bundles/digest.py", "from .. import engine", "imports countermark_service.engine"),
        ("registry/registry.py", "import countermark_service.store", "lower rooms only"),
        ("__init__.py", "from countermark_service.errors import E", "the package itself may import"),
        ("attic/old.py", "", "attic is in no row"),
        ("attic/old.py", "import countermark_service.errors", "attic is in no row"),
    ],
)
def test_an_import_upwards_sideways_or_from_nowhere_is_found(
    tmp_path: Path, file: str, text: str, said: str
) -> None:
    parts = {"errors.py": "E = 1", "engine/pool.py": "", "store/interface.py": "", file: text}
    write(tmp_path, {f"{SERVICE}/{name}": content for name, content in parts.items()})
    violations = row_violations(modules_below(tmp_path, SERVICE))
    assert violations
    assert said in violations[0]


def test_imports_downwards_and_within_a_room_are_allowed(tmp_path: Path) -> None:
    files = {
        f"{SERVICE}/errors.py": "from countermark_service import __version__",
        f"{SERVICE}/engine/pool.py": "from countermark_service.engine.wire import x\nfrom .. import errors",
        f"{SERVICE}/engine/wire.py": "x = 1",
        f"{SERVICE}/scoring.py": "from .engine.pool import Pool\nimport json",
    }
    modules = modules_below(write(tmp_path, files), SERVICE)
    assert row_violations(modules) == []
    assert cycles(modules) == []


def test_a_circle_of_imports_is_found(tmp_path: Path) -> None:
    files = {
        f"{SERVICE}/engine/pool.py": "from countermark_service.engine import worker",
        f"{SERVICE}/engine/worker.py": "def late():\n    from countermark_service.engine.wire import x",
        f"{SERVICE}/engine/wire.py": "from .pool import Pool",
    }
    (circle,) = cycles(modules_below(write(tmp_path, files), SERVICE))
    assert all(name in circle for name in ("pool", "worker", "wire"))


@pytest.mark.parametrize(
    ("text", "allowed"),
    [
        ("import httpx, json", True),
        ("from ._types import Verdict", True),
        ("from countermark_service.model import Verdict", False),
        ("import pydantic", False),
    ],
)
def test_a_client_that_reaches_for_more_is_found(tmp_path: Path, text: str, *, allowed: bool) -> None:
    write(tmp_path, {f"{CLIENT}/client.py": text, f"{CLIENT}/_types.py": ""})
    assert (client_violations(modules_below(tmp_path, CLIENT)) == []) is allowed


def test_an_adapter_may_import_its_framework_but_not_the_service(tmp_path: Path) -> None:
    write(tmp_path, {f"{CLIENT}/adapters/trl.py": "import trl"})
    assert client_violations(modules_below(tmp_path, CLIENT)) == []
    write(tmp_path, {f"{CLIENT}/adapters/trl.py": "import countermark_service"})
    assert client_violations(modules_below(tmp_path, CLIENT))


@pytest.mark.parametrize(("text", "allowed"), [("import json", True), ("import msgspec", False)])
def test_a_worker_program_with_a_dependency_is_found(tmp_path: Path, text: str, *, allowed: bool) -> None:
    write(tmp_path, {f"{SERVICE}/engine/harness.py": text})
    assert (alone_violations(tmp_path, modules_below(tmp_path, SERVICE)) == []) is allowed


@pytest.mark.parametrize(
    "text",
    [
        "import countermark",
        "from countermark_service.model import Item",
        "import importlib\nimportlib.import_module('countermark_service.model')",
        "__import__('countermark')",
    ],
)
def test_a_bundle_that_imports_countermark_is_found(tmp_path: Path, text: str) -> None:
    write(tmp_path, {"exact/1.0.0/verifier.py": text})
    assert bundle_violations(tmp_path)
