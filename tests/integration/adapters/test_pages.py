"""Every adapter has its page, and what a user pastes from a page is there to be imported and takes what it is given."""

import ast
import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import countermark.adapters
from tests.support import REPOSITORY

FOLDER = REPOSITORY / "service" / "docs" / "adapters"
PAGES = sorted(FOLDER.glob("*.md"))
MODULES = sorted(
    file.stem for file in Path(countermark.adapters.__path__[0]).glob("*.py") if not file.stem.startswith("_")
)


def blocks(page: Path) -> Iterator[tuple[str, str]]:
    """Yield language and text of the fenced blocks of a page, in order."""
    yield from re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE)


def source(module: str) -> Path:
    """Return the file of a module of the adapters."""
    return Path(countermark.adapters.__path__[0]) / f"{module.removeprefix('countermark.adapters.')}.py"


def exists(path: str) -> bool:
    """Say whether ``countermark.adapters.module``, or a name in one, is there.

    It is read from the source, as several adapters are built on classes of frameworks that are not here.
    """
    module, _, name = path.rpartition(".")
    if source(path).is_file():
        return True
    if not source(module).is_file():
        return False
    named: set[str] = set()
    for node in ast.walk(ast.parse(source(module).read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            named.add(node.name)
        elif isinstance(node, ast.ImportFrom):
            named |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.Assign):
            named |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return name in named


def imported(module: str, name: str) -> Any:
    """Return what a page imports, or None where that takes a framework that is not here."""
    try:
        if source(f"{module}.{name}").is_file():
            return importlib.import_module(f"{module}.{name}")
        return getattr(importlib.import_module(module), name)
    except ImportError as exc:
        if (exc.name or "").startswith("countermark"):
            raise
        return None


def test_every_adapter_has_a_page_and_the_index_leads_to_it() -> None:
    assert {"trl", "verl", "openrlhf", "slime"} <= set(MODULES)
    assert set(MODULES) <= {page.stem for page in PAGES}
    index = (FOLDER / "README.md").read_text()
    assert [page.name for page in PAGES if page.stem != "README" and f"({page.name})" not in index] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_begins_with_the_lines_to_paste(page: Path) -> None:
    heading, *rest = [line for line in page.read_text().splitlines() if line.strip()]
    assert heading.startswith("# ")
    # A sentence may say where they go.
    assert any(line.startswith("```") for line in rest[:4])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_says_what_becomes_of_a_failed_verdict(page: Path) -> None:
    assert "A failed verdict" in page.read_text() or "What becomes of a failed verdict" in page.read_text()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_path_on_a_page_exists(page: Path) -> None:
    named = set(re.findall(r"countermark\.adapters(?:\.\w+)+", page.read_text()))
    named |= {
        path.replace(":", ".") for path in re.findall(r"countermark\.adapters\.\w+:\w+", page.read_text())
    }
    assert [path for path in sorted(named) if not exists(path)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_what_is_pasted_imports_and_takes_its_arguments(page: Path) -> None:
    names: dict[str, Any] = {}
    for language, text in blocks(page):
        if language != "python":
            continue
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("countermark.adapters"):
                for alias in node.names:
                    assert exists(f"{node.module}.{alias.name}")
                    names[alias.asname or alias.name] = imported(str(node.module), alias.name)
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                function = names.get(node.func.id)
                if function is not None:
                    given = [object() for _ in node.args]
                    options = {str(keyword.arg): object() for keyword in node.keywords}
                    inspect.signature(function).bind(*given, **options)


@pytest.mark.parametrize("page", ["trl", "axolotl"])
def test_pasted_rewards_are_made_as_they_stand(page: str) -> None:
    made = [
        text for language, text in blocks(FOLDER / f"{page}.md") if language == "python" and "reward(" in text
    ]
    assert made
    for text in made:
        names: dict[str, Any] = {}
        exec(text, names)
        rewards = [value for name, value in names.items() if callable(value) and name != "reward"]
        assert rewards
        assert all(inspect.iscoroutinefunction(each) for each in rewards)
