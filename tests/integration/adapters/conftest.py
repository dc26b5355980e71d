"""Where the adapters' tests find the service, and what they compare its rewards with."""

from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from countermark import Client, Verdict

REF = "exact:1.0.0"
"""Judges without an environment of its own; an empty reference is a bad one, hence a failed verdict."""


class Direct:
    """The service asked directly."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.pin = client.verifier(REF).ref

    def verdicts(self, responses: Sequence[str], references: Sequence[Any], ref: str = REF) -> list[Verdict]:
        """Return the verdicts of ``/v1/score``."""
        items = [{"response": a, "reference": b} for a, b in zip(responses, references, strict=True)]
        return list(self._client.score(ref, items).verdicts)

    def rewards(
        self, responses: Sequence[str], references: Sequence[Any], ref: str = REF
    ) -> list[float | None]:
        """Return the rewards of ``/v1/score``, None where there is no verdict."""
        return [verdict.reward for verdict in self.verdicts(responses, references, ref)]


@pytest.fixture
def direct(service_url: str) -> Iterator[Direct]:
    """The service asked directly."""
    with Client(service_url) as client:
        yield Direct(client)


@pytest.fixture(autouse=True)
def told(service_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of a training run: it says where the service is, and nothing else."""
    monkeypatch.setenv("COUNTERMARK_URL", service_url)
    for name in ("VERIFIER", "ON_FAILURE", "DEADLINE", "GOLD", "API_KEY"):
        monkeypatch.delenv(f"COUNTERMARK_{name}", raising=False)
