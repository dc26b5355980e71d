"""The programs of the client's README, run as they stand against the real service."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from countermark import Client

README = Path(__file__).parents[2] / "clients" / "README.md"


@pytest.mark.slow
def test_the_readmes_programs_run_and_print_what_it_says(
    service_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    first, stream, partial = [block.replace("http://127.0.0.1:8000", service_url) for block in blocks]
    names: dict[str, Any] = {}
    exec(first, names)
    client = names["client"]
    assert isinstance(client, Client)
    with client:
        said = re.search(r"print\(result\.rewards\) +# (.*)", first)
        assert said is not None
        rewards, pin = capsys.readouterr().out.splitlines()
        assert rewards == said[1]
        assert re.fullmatch(r"math-verify:0\.9\.0-r2@sha256:[0-9a-f]{64}", pin)
        exec(stream, names)
        assert "items=2" in capsys.readouterr().out
        exec(partial, {**names, "pin": pin})
