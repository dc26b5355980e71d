"""What judging did, by model: for metrics."""

from collections import Counter
from dataclasses import dataclass, field

OTHERS = "(others)"
"""What is counted together once there are many: a definition that comes with a request may name any model."""
_MOST_MODELS = 256


@dataclass(slots=True)
class ModelCounters:
    """Counts of one model since the start."""

    calls: int = 0
    """Questions that the server answered."""
    attempts: int = 0
    """Requests that were sent."""
    retries: int = 0
    """Of these, how many repeated an earlier one."""
    failures: Counter[str] = field(default_factory=Counter)
    """Questions that were given up, by code."""
    seconds: float = 0.0
    """Wall time of the attempts that were answered."""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float = 0.0
    """In the currency of the operator's prices."""
    replays: int = 0
    """Questions answered from transcripts."""
    coalesced: int = 0
    """Questions that waited for an equal one."""
    abstentions: int = 0
    unreadable: int = 0
    """Replies that broke the contract."""
    refused_unasked: int = 0
    """Items decided without a question."""
    other_model: int = 0
    """Replies that name a model other than the one asked for."""
    waiting: int = 0
    """Questions under way now."""


class JudgeCounters:
    """The counts of every model."""

    def __init__(self) -> None:
        self.models: dict[str, ModelCounters] = {}

    def of(self, model: str) -> ModelCounters:
        """Return the counts of one model."""
        if len(self.models) >= _MOST_MODELS and model not in self.models:
            model = OTHERS
        found = self.models.get(model)
        if found is None:
            found = self.models[model] = ModelCounters()
        return found
