"""What uv's variables leave open is taken from the configuration of uv, then of pip, and nothing else is."""

import os
from pathlib import Path

import pytest

from countermark_service.engine.told import operator
from countermark_service.engine.uv_command import surroundings

MIRROR, OTHER = "https://mirror.example/simple", "https://other.example/simple"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home, and none of the developer's variables."""
    for name in list(os.environ):
        if name.startswith(("UV_", "PIP_", "XDG_", "SSL_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_DIRS", str(tmp_path / "system"))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    return tmp_path


def pip_says(home: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    file = home / "pip.conf"
    file.write_text(text)
    monkeypatch.setenv("PIP_CONFIG_FILE", str(file))


def test_a_machine_that_says_nothing_is_told_nothing() -> None:
    assert operator() == dict(os.environ)


def test_what_pip_is_told_uv_is_told(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pip_says(
        home,
        f"[global]\nindex-url = {MIRROR}\ncert = /etc/lab.pem\nextra-index-url = {OTHER}\n[install]\nno-deps = yes\n",
        monkeypatch,
    )
    told = operator()
    assert {name: told[name] for name in told if name not in os.environ} == {
        "UV_DEFAULT_INDEX": MIRROR,
        "SSL_CERT_FILE": "/etc/lab.pem",
    }
    assert surroundings(told)["UV_DEFAULT_INDEX"] == MIRROR


def test_a_variable_of_pip_stands_before_its_files(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pip_says(home, f"[global]\nindex-url = {MIRROR}\n[install]\ncert = /of/install.pem\n", monkeypatch)
    monkeypatch.setenv("PIP_INDEX_URL", OTHER)
    told = operator()
    assert (told["UV_DEFAULT_INDEX"], told["SSL_CERT_FILE"]) == (OTHER, "/of/install.pem")


def test_the_variables_of_uv_stand_before_all(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pip_says(home, f"[global]\nindex-url = {MIRROR}\ncert = /etc/lab.pem\n", monkeypatch)
    monkeypatch.setenv("UV_INDEX_URL", OTHER)
    told = operator()
    assert "UV_DEFAULT_INDEX" not in told
    assert told["SSL_CERT_FILE"] == "/etc/lab.pem", "which they leave open"
    monkeypatch.setenv("UV_SYSTEM_CERTS", "true")
    assert operator() == dict(os.environ)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f'index-url = "{MIRROR}"\nsystem-certs = true', {"UV_DEFAULT_INDEX": MIRROR, "UV_SYSTEM_CERTS": "true"}),
        (f'[pip]\nindex-url = "{MIRROR}"\nno-binary = ["numpy"]', {"UV_DEFAULT_INDEX": MIRROR}),
        (
            f'native-tls = true\n[[index]]\nurl = "{MIRROR}"\ndefault = true\n[[index]]\nurl = "{OTHER}"',
            {"UV_DEFAULT_INDEX": MIRROR, "UV_INDEX": OTHER, "UV_SYSTEM_CERTS": "true"},
        ),
        (f'[[index]]\nname = "torch"\nurl = "{OTHER}"\nexplicit = true', {}),
        ("this is no TOML", {}),
    ],
)  # fmt: skip
def test_what_uv_is_told_in_a_file_is_heeded(home: Path, text: str, expected: dict[str, str]) -> None:
    file = home / ".config/uv/uv.toml"
    file.parent.mkdir(parents=True)
    file.write_text(text)
    told = operator()
    assert {name: told[name] for name in told if name not in os.environ} == expected


def test_the_file_of_uv_stands_before_that_of_pip(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pip_says(home, f"[global]\nindex-url = {MIRROR}\ncert = /etc/lab.pem\n", monkeypatch)
    file = home / "system/uv/uv.toml"
    file.parent.mkdir(parents=True)
    file.write_text(f'index-url = "{OTHER}"')
    told = operator()
    assert (told["UV_DEFAULT_INDEX"], told["SSL_CERT_FILE"]) == (OTHER, "/etc/lab.pem")
