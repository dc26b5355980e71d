"""The audit of one side: every output under every verifier, each with its own parameters."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from countermark_service.audit.plan import AuditPlan
from countermark_service.audit.work_file import Route
from countermark_service.model import OnFailure


@dataclass(frozen=True)
class CrossPlan(AuditPlan):
    """A plan in which all verifiers score all rows."""

    params: Sequence[Mapping[str, Any]] = ()
    """Of each verifier, as the card that names it has them."""

    def document(self) -> dict[str, Any]:
        """Return what decides the numbers besides the inputs, as JSON values."""
        return super().document() | {"params": [dict(one) for one in self.params]}

    def routes(self, task: str) -> list[Route]:
        """Return who scores the rows of a task: everybody. A failure stays one, whatever a card makes of it."""
        return [Route(place, params, OnFailure.NULL) for place, params in enumerate(self.params)]
