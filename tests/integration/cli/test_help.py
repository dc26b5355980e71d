"""Every command explains itself, with an example."""

from collections.abc import Iterator
from typing import Any

import pytest
import typer

from countermark_service.cli.app import app
from tests.integration.cli.conftest import Cli


def commands(group: typer.Typer, path: str = "") -> Iterator[tuple[str, str]]:
    """Yield each command below `group`, with its help text."""
    for command in group.registered_commands:
        assert command.callback is not None
        name = command.name or command.callback.__name__.replace("_", "-")
        yield f"{path} {name}".strip(), command.callback.__doc__ or ""
    for inner in group.registered_groups:
        assert inner.typer_instance is not None
        yield from commands(inner.typer_instance, f"{path} {inner.name}".strip())


COMMANDS = dict(commands(app))


def test_the_commands_are_those_that_the_documentation_names() -> None:
    assert set(COMMANDS) == {
        "serve", "score", "audit", "attribute", "demo", "doctor", "settings",
        "access add", "access list", "access remove",
        "verifier list", "verifier show", "verifier new", "verifier check", "verifier publish",
        "verifier build", "verifier export", "verifier import",
        "judge probe", "judge show", "judge export", "judge import",
        "keys new", "keys rotate", "keys retire", "keys list", "keys export", "receipt verify", "receipt prove",
        "release init", "release lock", "release check", "release show", "release diff", "release embed",
        "release extract", "release register", "release list", "release schema", "registry who-uses",
        "advisory add", "advisory list", "advisory withdraw",
    }  # fmt: skip


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_a_help_text_has_an_example_of_the_command(name: str) -> None:
    assert "Example: `" in COMMANDS[name]
    assert f"countermark {name}" in COMMANDS[name]


NOTHING_TO_TABULATE = {
    "serve",  # runs until it is stopped
    "keys export", "receipt prove", "release extract", "release schema",  # what they print is JSON
    "judge export",  # what it prints is JSON lines
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(COMMANDS.keys() - NOTHING_TO_TABULATE))
def test_a_program_can_have_the_answer_as_json(name: str) -> None:
    command: Any = typer.main.get_command(app)
    for part in name.split():
        command = command.commands[part]
    assert "--json" in {option for parameter in command.params for option in parameter.opts}


def test_help_is_printed_and_costs_nothing(cli: Cli) -> None:
    ended = cli("verifier", "check", "--help")

    assert ended.code == 0
    assert "countermark verifier check verifiers/my-rules/1.0.0" in ended.out


def test_a_command_that_does_not_exist_is_a_usage_error(cli: Cli) -> None:
    ended = cli("verifier", "bless")

    assert ended.code == 2
    assert "bless" in ended.err
