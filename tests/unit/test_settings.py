"""Where settings come from, what is refused, and that the page about them is the truth."""

import os
import re
from pathlib import Path
from typing import Any

import pytest

from countermark_service.errors import SettingsError
from countermark_service.settings import PREFIX, Settings, likely_slips, load_settings, setting_sources
from tests.support import REPOSITORY

PAGE = REPOSITORY / "service" / "docs" / "settings.md"


def load(environment: dict[str, str] | None = None, **overrides: Any) -> Settings:
    return load_settings(overrides, environment={"COUNTERMARK_DATA": "/data", **(environment or {})})


def config(tmp_path: Path, text: str) -> dict[str, str]:
    file = tmp_path / "countermark.toml"
    file.write_text(text)
    return {"COUNTERMARK_CONFIG": str(file)}


def refusal(environment: dict[str, str] | None = None, **overrides: Any) -> SettingsError:
    with pytest.raises(SettingsError) as refused:
        load(environment, **overrides)
    return refused.value


def test_without_any_source_the_defaults_hold() -> None:
    settings = load()
    assert (settings.host, settings.port, settings.redis_url) == ("127.0.0.1", 8000, None)
    assert (settings.max_body_mib, settings.max_items, settings.max_response_kib) == (64, 4096, 1024)
    assert settings.workers == len(os.sched_getaffinity(0))
    assert settings.open_access is False


def test_the_command_line_wins_over_the_environment_and_that_over_the_file(tmp_path: Path) -> None:
    environment = config(tmp_path, 'port = 1\nworkers = 1\nmax_items = 1\nlog_format = "json"\n')
    environment |= {"COUNTERMARK_PORT": "2", "COUNTERMARK_WORKERS": "2"}
    settings = load(environment, port=3, host=None)

    assert (settings.port, settings.workers, settings.max_items) == (3, 2, 1)
    assert (settings.log_format, settings.host) == ("json", "127.0.0.1")


def test_the_source_of_every_value_that_is_no_default_is_known(tmp_path: Path) -> None:
    environment = config(tmp_path, "port = 1\nmax_items = 1\n")
    sources = setting_sources({**environment, "COUNTERMARK_PORT": "2"})
    assert sources == {
        "port": "the environment (COUNTERMARK_PORT)",
        "max_items": environment["COUNTERMARK_CONFIG"],
    }


def test_folders_and_references_are_lists_in_the_environment_and_in_the_file(tmp_path: Path) -> None:
    from_environment = load(
        {"COUNTERMARK_BUNDLES": f"/one{os.pathsep}/two", "COUNTERMARK_PRELOAD": "exact:1.0.0, numeric:1.0.0"}
    )
    from_file = load(
        config(tmp_path, 'bundles = ["/one", "/two"]\npreload = ["exact:1.0.0", "numeric:1.0.0"]\n')
    )
    for settings in (from_environment, from_file):
        assert settings.bundles == (Path("/one"), Path("/two"))
        assert settings.preload == ("exact:1.0.0", "numeric:1.0.0")


def test_the_data_folder_is_absolute_and_knows_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/somebody")
    assert load({"COUNTERMARK_DATA": "here"}).data == tmp_path / "here"
    assert load({"COUNTERMARK_DATA": "~/cm"}).data == Path("/home/somebody/cm")


def test_a_variable_that_is_nearly_a_setting_is_known_for_a_slip() -> None:
    environment = {
        "COUNTERMARK_MAX_ITEM": "5",
        "COUNTERMARK_REDISURL": "redis://127.0.0.1",
        "COUNTERMARK_DATA": "/tmp/data",
        "COUNTERMARK_CONFIG": "none.toml",
        "COUNTERMARK_URL": "http://127.0.0.1:8000",
        "COUNTERMARK_API_KEY": "key",
        "COUNTERMARK_VERIFIER": "exact:1.0.0",
        "COUNTERMARK_TEST_DATA": "/tmp/tests",
        "MAX_ITEM": "5",
    }
    assert likely_slips(environment) == {
        "COUNTERMARK_MAX_ITEM": "COUNTERMARK_MAX_ITEMS",
        "COUNTERMARK_REDISURL": "COUNTERMARK_REDIS_URL",
    }


def test_an_empty_variable_is_not_set_whatever_the_setting() -> None:
    empty = {f"COUNTERMARK_{name.upper()}": "" for name in Settings.model_fields}
    assert load_settings(environment={**empty, "COUNTERMARK_CONFIG": ""}) == load_settings(environment={})
    assert setting_sources(empty) == {}


def test_an_empty_variable_leaves_the_value_of_the_file(tmp_path: Path) -> None:
    environment = config(tmp_path, 'facades = ["slime"]\n')
    assert load({**environment, "COUNTERMARK_FACADES": ""}).facades == ("slime",)


def test_an_empty_redis_address_of_the_file_means_none(tmp_path: Path) -> None:
    assert load(config(tmp_path, 'redis_url = ""\n')).redis_url is None


def test_settings_cannot_be_changed_once_they_are_read() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load().port = 1  # type: ignore[misc]  # that it cannot is the point


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("PORT", "http", "valid integer"),
        ("PORT", "65536", "less than or equal to 65535"),
        ("PORT", "-1", "greater than or equal to 0"),
        ("PORT", "80.5", "valid integer"),
        ("WORKERS", "0", "greater than or equal to 1"),
        ("WORKERS", "many", "valid integer"),
        ("SLOW_SECONDS", "0", "greater than 0"),
        ("SLOW_SECONDS", "nan", "finite"),
        ("STORE_TIMEOUT_SECONDS", "inf", "finite"),
        ("IDLE_SECONDS", "nan", "finite"),
        ("IDLE_SECONDS", "0.001", "greater than or equal to 1"),
        ("MAX_BODY_MIB", "1e9", "valid integer"),
        ("SANDBOX_BEST", "landlock", "below the least level"),
        ("OPEN_ACCESS", "perhaps", "valid boolean"),
        ("LOG_FORMAT", "xml", "'console' or 'json'"),
        ("LOG_LEVEL", "INFO", "'info'"),
    ],
)
def test_a_bad_value_names_its_source_its_key_and_itself(name: str, value: str, problem: str) -> None:
    error = refusal({f"COUNTERMARK_{name}": value})
    assert (error.code, error.source) == ("invalid_settings", f"the environment (COUNTERMARK_{name})")
    assert error.key == name.lower()
    assert problem in error.problem
    assert repr(value) in str(error)


@pytest.mark.parametrize(
    ("redis_url", "more"),
    [
        ("localhost:6379", {}),
        ("REDIS://:secret@here", {}),
        ("redis://:secret@here", {"SANDBOX_BEST": "landlock"}),
    ],
)
def test_no_error_shows_an_address_that_may_hold_a_password(redis_url: str, more: dict[str, str]) -> None:
    variables = {"REDIS_URL": redis_url, **more}
    error = refusal({f"COUNTERMARK_{name}": value for name, value in variables.items()})
    assert error.key == [*variables][-1].lower()
    assert redis_url not in str(error)


def test_a_bad_value_of_the_file_names_the_file(tmp_path: Path) -> None:
    environment = config(tmp_path, 'port = "http"\n')
    assert refusal(environment).source == environment["COUNTERMARK_CONFIG"]


def test_a_bad_value_of_the_command_line_says_so() -> None:
    error = refusal(workers=0)
    assert (error.source, error.key) == ("the command line", "workers")


def test_a_key_that_is_none_is_refused_with_the_name_of_the_file(tmp_path: Path) -> None:
    environment = config(tmp_path, "port = 1\nmax_item = 1\n")
    error = refusal(environment)
    assert (error.source, error.key) == (environment["COUNTERMARK_CONFIG"], "max_item")
    assert error.problem == "there is no such setting; max_items is one"
    assert refusal(config(tmp_path, "Port = 80")).problem == "there is no such setting; port is one"
    assert "`countermark settings` shows all" in refusal(config(tmp_path, "zzz = 80")).problem


@pytest.mark.parametrize("text", ["port = ", "port = 1\nport = 2\n", "\x00", "x = " + "[" * 5000])
def test_a_file_that_is_not_toml_is_refused(tmp_path: Path, text: str) -> None:
    error = refusal(config(tmp_path, text))
    assert (error.source, error.key) == ("the environment (COUNTERMARK_CONFIG)", "config")
    assert "countermark.toml" in str(error)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    error = refusal({"COUNTERMARK_CONFIG": str(tmp_path / "absent.toml")})
    assert error.key == "config"
    assert "No such file" in error.problem


def table() -> str:
    """Return the table of the page, made from the settings themselves."""
    rows = ["| key | variable | default | what it is |", "| --- | --- | --- | --- |"]
    for name, field in Settings.model_fields.items():
        default = MADE_DEFAULTS.get(name) or ("none" if field.default in (None, ()) else f"`{field.default}`")
        rows.append(f"| `{name}` | `{PREFIX}{name.upper()}` | {default} | {field.description} |")
    return "\n".join(rows) + "\n"


MADE_DEFAULTS = {
    "data": "`~/.local/share/countermark`",
    "workers": "the cores",
    "open_access": "`false`",
    "facades": "`all`",
    "offline": "`false`",
}
"""How the page shows a default that is computed, or that TOML writes otherwise than Python."""


def test_the_page_describes_every_setting_as_the_code_does() -> None:
    """Write the table anew with: python -m tests.unit.test_settings"""
    _, begin, rest = PAGE.read_text().partition("| key |")
    assert begin + rest.partition("\n\n")[0] + "\n" == table()


def test_the_example_of_the_page_is_a_file_that_can_be_used(tmp_path: Path) -> None:
    (example,) = re.findall(r"```toml\n(.+?)```", PAGE.read_text(), flags=re.DOTALL)
    settings = load(config(tmp_path, example))
    assert settings.redis_url is not None
    assert settings.preload


if __name__ == "__main__":
    page, _, rest = PAGE.read_text().partition("| key |")
    PAGE.write_text(page + table() + "\n" + rest.partition("\n\n")[2])


def test_a_home_folder_is_meant_by_a_tilde_in_every_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No shell puts it there in a file, nor behind a colon."""
    monkeypatch.setenv("HOME", str(tmp_path))
    environment = config(tmp_path, 'bundles = ["~/b", "/c"]\njudges = "~/judges.toml"\n')
    settings = load({**environment, "COUNTERMARK_RELEASES": "~/one:~/two", "COUNTERMARK_DATA": "~/data"})

    assert settings.bundles == (tmp_path / "b", Path("/c"))
    assert settings.releases == (tmp_path / "one", tmp_path / "two")
    assert (settings.judges, settings.data) == (tmp_path / "judges.toml", tmp_path / "data")
    error = refusal({"COUNTERMARK_JUDGES": "~nobody-has-this-name/judges.toml"})
    assert "there is no home folder to put for ~" in str(error)


def test_a_value_without_end_is_shown_without_its_end() -> None:
    assert len(str(refusal({"COUNTERMARK_PORT": "9" * 5000}))) < 400


def test_who_has_no_home_folder_is_told_to_name_a_data_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """A container may run as a user of whom nobody knows but the number."""
    monkeypatch.delenv("HOME")
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 4_000_000_000)
    with pytest.raises(SettingsError, match="set COUNTERMARK_DATA, or HOME"):
        load_settings(environment={})
    assert load({"COUNTERMARK_DATA": "/data"}).data == Path("/data")
