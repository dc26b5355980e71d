"""What the package offers is what its ``__all__`` says, and its version is the distribution's."""

from __future__ import annotations

import importlib.metadata
import inspect
from pathlib import Path

import countermark


def test_every_public_member_is_exported_and_the_other_way_round() -> None:
    members = {
        name
        for name, member in vars(countermark).items()
        if not name.startswith("_") and not inspect.ismodule(member)
    }
    assert members | {"__version__"} == set(countermark.__all__)
    assert sorted(countermark.__all__) == countermark.__all__


def test_everything_exported_says_what_it_is_for() -> None:
    silent = [
        name
        for name in countermark.__all__
        if inspect.isclass(member := getattr(countermark, name)) and not inspect.getdoc(member)
    ]
    assert silent == []


def test_both_clients_offer_the_same_calls_with_the_same_parameters() -> None:
    blocking, waiting = countermark.Client, countermark.AsyncClient
    renamed = {"aclose": "close", "__aenter__": "__enter__", "__aexit__": "__exit__"}
    ours = {name: member for name, member in vars(blocking).items() if inspect.isfunction(member)}
    theirs = {renamed.get(name, name): m for name, m in vars(waiting).items() if inspect.isfunction(m)}
    assert ours.keys() == theirs.keys()
    for name, member in ours.items():
        assert inspect.signature(member).parameters == inspect.signature(theirs[name]).parameters, name


def test_the_version_is_the_distributions() -> None:
    assert countermark.__version__ == importlib.metadata.version("countermark")


def test_the_package_says_that_it_is_typed() -> None:
    assert (Path(countermark.__file__).parent / "py.typed").is_file()
