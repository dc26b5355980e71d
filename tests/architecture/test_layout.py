"""Holds the tree to its habits: where packages may be, what is documented, what is never written down.

A top-level ``__init__.py`` would shadow libraries in a trainer's environment; an
index's host in a lock would send every machine there; a path of one machine works
on no other.
"""

import ast
import re
import subprocess
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
PLACES = ("service", "clients", "verifiers", "docker", "tests", "scripts")
PACKAGES = (REPOSITORY / "service" / "countermark_service", REPOSITORY / "clients" / "countermark")

# Put together here, so that this file does not hold what it looks for.
HOSTS = tuple(
    ".".join(parts)
    for parts in (
        ("pypi", "org"),
        ("pythonhosted", "org"),
        ("npmjs", "org"),
        ("npmjs", "com"),
        ("crates", "io"),
        ("deb", "debian", "org"),
        ("security", "debian", "org"),
        ("snapshot", "debian", "org"),
        ("archive", "ubuntu", "com"),
        ("proxy", "golang", "org"),
    )
)
MACHINE_FOLDERS = tuple("/" + name for name in ("work", "root", "tmp/cm"))

_HOST = re.compile("|".join(re.escape(host) for host in HOSTS).encode(), re.IGNORECASE)
_FOLDER = re.compile(
    rb"(?<![\w.\-/}])(?:"
    + "|".join(re.escape(folder) for folder in MACHINE_FOLDERS).encode()
    + rb")(?![\w\-])"
)

Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def files_in_git(repository: Path) -> list[Path]:
    """Return the files that are in version control or would be after `git add`."""
    command = ["git", "-C", str(repository), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, check=True, capture_output=True).stdout.decode().split("\0")
    return [file for name in sorted(set(names)) if name and (file := repository / name).is_file()]


def lines_with(pattern: re.Pattern[bytes], files: Iterable[Path]) -> list[str]:
    """Return each match in the lines of `files`, as ``file:line: match``."""
    return [
        f"{file}:{number}: {match.group().decode()}"
        for file in files
        for number, line in enumerate(file.read_bytes().splitlines(), start=1)
        for match in pattern.finditer(line)
    ]


def undocumented(file: Path) -> Iterator[str]:
    """Name the module, the public classes and the public functions of a file that have no docstring."""
    tree = ast.parse(file.read_bytes(), str(file))
    for name, node in [("module", tree), *_public(tree, "")]:
        if not ast.get_docstring(node):
            yield f"{file}:{getattr(node, 'lineno', 1)}: {name}"


def _public(parent: ast.Module | ast.ClassDef, prefix: str) -> Iterator[tuple[str, Documented]]:
    """Name what a module or class shows: neither private names nor what has its text elsewhere."""
    for node in parent.body:
        if not isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if node.name.startswith("_") or _is_documented_elsewhere(node):
            continue
        yield prefix + node.name, node
        if isinstance(node, ast.ClassDef):
            yield from _public(node, f"{prefix}{node.name}.")


def _is_documented_elsewhere(node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether it is one shape of an overloaded function, a property's setter, or says that it overrides."""
    names = {ast.unparse(decorator).rpartition(".")[2] for decorator in node.decorator_list}
    return bool(names & {"overload", "override", "setter"})


def test_no_top_level_folder_is_a_package() -> None:
    assert [place for place in PLACES if (REPOSITORY / place / "__init__.py").exists()] == []


def test_every_folder_of_tests_is_run() -> None:
    """Their order is in pyproject.toml, where a folder could be forgotten."""
    settings = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]
    found = {file.relative_to(REPOSITORY).parts[:2] for file in (REPOSITORY / "tests").rglob("test_*.py")}
    assert sorted(settings["testpaths"]) == sorted("/".join(parts) for parts in found)


def test_every_top_level_folder_says_what_it_is() -> None:
    assert [place for place in PLACES if not (REPOSITORY / place / "README.md").is_file()] == []


def test_both_packages_are_typed() -> None:
    assert [package for package in PACKAGES if not (package / "py.typed").is_file()] == []


def test_every_module_public_class_and_public_function_has_a_docstring() -> None:
    files = [file for package in PACKAGES for file in sorted(package.rglob("*.py"))]
    assert files
    assert [line for file in files for line in undocumented(file)] == []


def test_no_file_names_the_host_of_an_index() -> None:
    files = files_in_git(REPOSITORY)
    assert REPOSITORY / "pyproject.toml" in files
    assert lines_with(_HOST, files) == []


def test_no_file_names_a_folder_of_one_machine() -> None:
    # Hostile programs try every folder that a machine might have, so theirs are no slips.
    files = [
        file for file in files_in_git(REPOSITORY) if not file.is_relative_to(REPOSITORY / "tests" / "hostile")
    ]
    assert REPOSITORY / "pyproject.toml" in files
    assert lines_with(_FOLDER, files) == []


@pytest.mark.parametrize("line", [f"https://{HOSTS[0]}/simple", f"https://FILES.{HOSTS[1].upper()}/x.whl"])
def test_the_host_of_an_index_is_found(tmp_path: Path, line: str) -> None:
    file = tmp_path / "notes.txt"
    file.write_text(f"first line\nindex-url = {line}\n")
    assert [found.rpartition(":")[0] for found in lines_with(_HOST, [file])] == [f"{file}:2"]


@pytest.mark.parametrize(
    "line",
    [
        f"open('{MACHINE_FOLDERS[0]}/main/x')",
        f"HOME={MACHINE_FOLDERS[1]}",
        f"see {MACHINE_FOLDERS[1]}/.cache",
        f"see {MACHINE_FOLDERS[2]}/x",
    ],
)
def test_a_folder_of_one_machine_is_found(tmp_path: Path, line: str) -> None:
    file = tmp_path / "notes.txt"
    file.write_text(f"first line\n{line}\n")
    assert [found.rpartition(":")[0] for found in lines_with(_FOLDER, [file])] == [f"{file}:2"]


@pytest.mark.parametrize("line", ["docs/work/plan", "/workers/1", "$folder/root", "/v1/rootless", "a.root"])
def test_words_that_only_look_like_a_folder_are_not_found(tmp_path: Path, line: str) -> None:
    file = tmp_path / "notes.txt"
    file.write_text(line)
    assert lines_with(_FOLDER, [file]) == []


def test_a_missing_docstring_is_found_where_one_is_due_and_nowhere_else(tmp_path: Path) -> None:
    file = tmp_path / "module.py"
    file.write_text(
        "def public(): pass\n"
        "def _private(): pass\n"
        "class Thing:\n"
        "    '''A thing.'''\n"
        "    def __init__(self): pass\n"
        "    def method(self): pass\n"
        "    @override\n"
        "    def inherited(self): pass\n"
        "    async def told(self):\n"
        "        '''Told.'''\n"
    )
    assert [line.rpartition(": ")[2] for line in undocumented(file)] == ["module", "public", "Thing.method"]
