"""The page about code verifiers: its requests get the answers that it shows."""

import json
from typing import Any

import httpx
import pytest

from countermark_service.bundles.manifest import SANDBOX_LIMITS
from countermark_service.sandbox.code.model import Limits
from tests.integration.test_readme import blocks
from tests.support import REPOSITORY

PAGE = (REPOSITORY / "service/docs/code.md").read_text()
SHOWN = [json.loads(block) for block in blocks(PAGE, "json")]
OF_THE_MACHINE = {"surroundings", "level"}


def holds(shown: Any, answered: Any) -> bool:
    """Return whether all that is shown was answered, but for what the machine decides."""
    if isinstance(shown, dict):
        return all(
            name in answered and (name in OF_THE_MACHINE or holds(value, answered[name]))
            for name, value in shown.items()
        )
    if isinstance(shown, list):
        return len(shown) == len(answered) and all(map(holds, shown, answered))
    return bool(shown == answered)


@pytest.mark.parametrize(("asked", "shown"), list(zip(SHOWN[::2], SHOWN[1::2], strict=True)))
def test_each_request_gets_the_answer_that_stands_below_it(
    asked: dict[str, Any], shown: dict[str, Any], service_url: str
) -> None:
    path = "/v1/score" if "verifier" in asked else "/v1/run"

    answer = httpx.post(f"{service_url}{path}", json=asked, timeout=120)

    assert answer.status_code == 200
    assert holds(shown, answer.json()), answer.text


def test_every_code_verifier_is_on_the_page() -> None:
    manifests = (REPOSITORY / "verifiers").glob("*/*/verifier.toml")
    names = {path.parts[-3] for path in manifests if 'runtime = "sandbox"' in path.read_text()}

    assert len(names) >= 8
    assert {name for name in names if f"`{name}`" not in PAGE} == set()


def test_the_limits_are_the_ones_in_force() -> None:
    limits = Limits()

    for name in ("memory_mib", "processes", "scratch_mib", "stack_mib"):
        assert f"`{name}` ({getattr(limits, name)}" in PAGE
    assert f"`cpu_seconds` ({limits.cpu_seconds:g} for a test)" in PAGE
    assert limits.wall == 3 * limits.cpu_seconds
    assert limits.stdout_bytes == 1 << 20
    assert "stdout_bytes" in SANDBOX_LIMITS
