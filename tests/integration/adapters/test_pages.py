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


def dotted(path: str) -> Any:
    """Return what ``countermark.adapters.module.name``, or a module alone, stands for."""
    try:
        return importlib.import_module(path)
    except ModuleNotFoundError:
        module, _, name = path.rpartition(".")
        return getattr(importlib.import_module(module), name)


def test_every_adapter_has_a_page_and_the_index_leads_to_it() -> None:
    assert {"trl", "verl", "openrlhf", "slime"} <= set(MODULES)
    assert set(MODULES) <= {page.stem for page in PAGES}
    index = (FOLDER / "README.md").read_text()
    assert [page.name for page in PAGES if page.stem != "README" and f"({page.name})" not in index] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_begins_with_the_lines_to_paste(page: Path) -> None:
    heading, rest = page.read_text().split("\n", 1)
    assert heading.startswith("# ")
    assert rest.lstrip("\n").startswith("```")
    assert "countermark" in next(blocks(page))[1] or "my_rewards" in next(blocks(page))[1]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_says_what_becomes_of_a_failed_verdict(page: Path) -> None:
    assert "A failed verdict" in page.read_text() or "What becomes of a failed verdict" in page.read_text()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_path_on_a_page_exists(page: Path) -> None:
    named = set(re.findall(r"countermark\.adapters(?:\.\w+)+", page.read_text()))
    named |= {
        path.replace(":", ".") for path in re.findall(r"countermark\.adapters\.\w+:\w+", page.read_text())
    }
    for path in named:
        assert dotted(path) is not None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_what_is_pasted_imports_and_takes_its_arguments(page: Path) -> None:
    imported: dict[str, Any] = {}
    for language, text in blocks(page):
        if language != "python":
            continue
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("countermark"):
                for alias in node.names:
                    origin = importlib.import_module(str(node.module))
                    found = getattr(origin, alias.name, None)
                    imported[alias.asname or alias.name] = found or dotted(f"{node.module}.{alias.name}")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in imported:
                given = [object() for _ in node.args]
                named = {str(keyword.arg): object() for keyword in node.keywords}
                inspect.signature(imported[node.func.id]).bind(*given, **named)


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
