"""How a question to a model ends: with an answer, or with an error that says why there is none.

Apart from the client that asks, which brings an HTTP library that most services never need.
"""

from dataclasses import dataclass

from countermark_service.errors import CountermarkError
from countermark_service.judge.reply import Reply


class CallError(CountermarkError):
    """A question without an answer; `code` is one of the texts below."""

    code = "judge_unreachable"

    def __init__(self, code: str, message: str, *, attempts: int = 0) -> None:
        super().__init__(message)
        self.kind, self.attempts = code, attempts


@dataclass(frozen=True, slots=True)
class Answer:
    """A reply, and what it took."""

    raw: str
    reply: Reply
    attempts: int
    seconds: float
    """Wall time of the attempt that was answered."""
    cost: float | None
    """In the currency of the operator's prices; None without prices."""
