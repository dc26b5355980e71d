"""Why scores cannot be compared, each in a sentence."""

from collections.abc import Mapping

from countermark_service.errors import CountermarkError


class AttributionError(CountermarkError):
    """Runs or releases that cannot be compared."""

    code = "not_comparable"


class MixedPinsError(AttributionError):
    """Scores of different verifiers, side by side as if they were on one scale."""

    code = "mixed_pins"

    def __init__(self, pins: Mapping[str, str], remedy: str) -> None:
        said = "; ".join(f"{run} by {pin}" for run, pin in list(pins.items())[:8])
        super().__init__(
            f"these scores were made by different verifiers ({said}). A difference between them is part verifier "
            f"and part everything else, and no arithmetic on the scores tells which is which. {remedy}"
        )
        self.pins = dict(pins)
