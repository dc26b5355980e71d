"""`[composite]`: which pinned verifiers a composite asks, and how their scores become one.

The formulas, with s the score of a child, w its weight and t its threshold (a child
passes where s >= t):

    weighted   sum(w s) / sum(w)
    all        1 where every child passes, else 0
    any        1 where some child passes, else 0
    gate       children in order; the first before the last that does not pass makes 0 and ends it;
               else the last one's s, whatever its t
    fallback   children in order; the first whose outcome is not in `on` decides
    penalty    max(0, s - sum of penalties), with one child; a penalty is
               weight * clamp((measure - free) / (full - free), 0, 1)

and the measures of a response: `length` in characters or words; `repetition`, the
share of its word n-grams that are not the first of their kind; `language`, the share
of its letters that are not of the expected script.
"""

from typing import Annotated, Literal

from pydantic import Field, JsonValue, field_validator, model_validator

from countermark_service.bundles.strict import Strict, as_tuple, fault
from countermark_service.errors import RefError
from countermark_service.model.ref import BundleRef

MOST_CHILDREN = 32
Combine = Literal["weighted", "all", "any", "gate", "fallback", "penalty"]
FailedOutcome = Literal["no_answer", "bad_reference", "timeout", "error", "abstain"]


class Child(Strict):
    """One verifier of a composite."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,63}$")]
    """Its name in the verdict's detail."""
    verifier: str
    """Its pin: name, version and digest."""
    weight: Annotated[float, Field(gt=0, le=1e6)] = 1.0
    threshold: Annotated[float, Field(ge=0, le=1)] = 1.0
    params: dict[str, JsonValue] = Field(default_factory=dict)
    """Parameters that it always gets."""
    forward: dict[str, str] = Field(default_factory=dict)
    """Its parameters that are the composite's, as `its = "ours"`; left out where an item has none."""
    reference: Annotated[str, Field(pattern=r"^(/([^~/]|~[01])*)*$")] = ""
    """JSON Pointer (RFC 6901) to its reference in the composite's; empty for the whole."""

    @field_validator("verifier")
    @classmethod
    def _is_pin(cls, value: str) -> str:
        try:
            ref = BundleRef.parse(value)
        except RefError as exc:
            raise ValueError(str(exc)) from exc
        if ref.version is None or ref.digest is None:
            raise ValueError("a child is a pin: write name:version@sha256:<64 hex digits>")
        return value

    @model_validator(mode="after")
    def _once(self) -> "Child":
        if both := sorted(set(self.params) & set(self.forward)):
            raise fault("forward", f"{both[0]!r} is in `params` too")
        return self

    @property
    def ref(self) -> BundleRef:
        """The pin, parsed."""
        return BundleRef.parse(self.verifier)


class Penalty(Strict):
    """What is taken off, by a measure of the response."""

    measure: Literal["length", "repetition", "language"]
    weight: Annotated[float, Field(gt=0, le=1)]
    """What is taken off at `full` and beyond."""
    free: Annotated[float, Field(ge=0)]
    """The measure up to which nothing is taken off."""
    full: Annotated[float, Field(gt=0)]
    unit: Literal["chars", "words"] = "chars"
    """Of `length`."""
    ngram: Annotated[int, Field(ge=1, le=20)] = 4
    """Of `repetition`: words in a row."""
    script: Annotated[str, Field(pattern=r"^[A-Z][A-Z ]{1,30}$")] = "LATIN"
    """Of `language`: how the Unicode names of its letters begin, such as LATIN, CYRILLIC, CJK UNIFIED."""

    @model_validator(mode="after")
    def _ordered(self) -> "Penalty":
        if self.full <= self.free:
            raise fault("full", f"it must be over `free`, which is {self.free}")
        return self


class CompositeTable(Strict):
    """The declared facts of a composite."""

    combine: Combine
    children: Annotated[tuple[Child, ...], Field(min_length=1, max_length=MOST_CHILDREN)]
    on: tuple[FailedOutcome, ...] = ()
    """With ``fallback``: the outcomes at which the next child is asked."""
    failure: Literal["outcome", "abstain", "skip"] = "outcome"
    """What a child without a score makes: its outcome, an abstention, or nothing (it is left out)."""
    penalties: Annotated[tuple[Penalty, ...], Field(max_length=16)] = ()

    _tuples = field_validator("children", "on", "penalties", mode="before")(as_tuple)

    @model_validator(mode="after")
    def _fits(self) -> "CompositeTable":
        names = [child.name for child in self.children]
        if len(set(names)) != len(names):
            raise fault("children", "two children have one name")
        if bool(self.on) is not (self.combine == "fallback"):
            raise fault("on", 'it is for combine = "fallback", which needs it')
        if bool(self.penalties) is not (self.combine == "penalty"):
            raise fault("penalties", 'it is for combine = "penalty", which needs it')
        if self.combine == "penalty" and len(self.children) != 1:
            raise fault("children", 'combine = "penalty" takes one child')
        if self.failure == "skip" and self.combine not in ("weighted", "any"):
            raise fault(
                "failure", '"skip" is for combine = "weighted" and "any": elsewhere a gap would decide'
            )
        return self
