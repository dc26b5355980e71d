"""A request that names a release and a task: what the card says of it, and what the request may still say.

The card of a release decides verifier, parameters and what becomes of a failure. A
request may leave these out or repeat them; where it says otherwise it is refused, as
its rewards would not be those of the release.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from countermark_service.errors import CountermarkError, RequestError
from countermark_service.model import Item, OnFailure
from countermark_service.releases.card import Route
from countermark_service.releases.release import Release


class UnknownTaskError(CountermarkError):
    """The card of a release has no route of that name."""

    code: ClassVar[str] = "unknown_task"

    def __init__(self, release: str, task: str, tasks: Iterable[str]) -> None:
        self.release, self.task, self.tasks = release, task[:200], list(tasks)
        known = ", ".join(self.tasks) or "none"
        super().__init__(f"release {release} has no route for the task {self.task!r}. It has: {known}.")


class ContradictionError(RequestError):
    """A request that says otherwise than the card."""

    code: ClassVar[str] = "release_contradicted"


@dataclass(frozen=True)
class ReleaseUse:
    """One route of one release, as a request uses it."""

    release: Release
    task: str
    """As the request said it: a task, or a data source."""
    route: Route

    def on_failure(self, asked: OnFailure | None) -> OnFailure:
        """Return what becomes of failures; None is a request that does not say.

        Raises:
            ContradictionError: The request says otherwise than the card.
        """
        fixed = self.route.on_failure
        if fixed is None:
            return OnFailure.NULL if asked is None else asked
        if asked is not None and asked.value != fixed:
            raise ContradictionError(
                f"on_failure is {asked.value!r}, and the card of {self._name} fixes {fixed!r} for the task "
                f"{self.task!r}: leave it out, or name the verifier in place of the release.",
                field="on_failure",
            )
        return OnFailure(fixed)

    def items(self, items: Sequence[Item], *, first: int = 0) -> Sequence[Item]:
        """Return the items with the card's parameters; `first` is the index of the first, for messages.

        Raises:
            ContradictionError: An item has another value for a parameter of the card.
        """
        params = self.route.params
        if not params:
            return items
        return [
            Item(
                one.response,
                one.reference,
                self._joined(one.params, first + place) if one.params else params,
                one.prompt,
                one.id,
            )
            for place, one in enumerate(items)
        ]

    def _joined(self, own: Mapping[str, Any], index: int) -> dict[str, Any]:
        fixed = self.route.params
        for name in own.keys() & fixed.keys():
            if own[name] != fixed[name] or type(own[name]) is not type(fixed[name]):
                raise ContradictionError(
                    f"item {index}: params.{name} is {own[name]!r:.80}, and the card of {self._name} fixes "
                    f"{fixed[name]!r:.80} for the task {self.task!r}: leave it out.",
                    item=index,
                    field=f"params.{name}",
                )
        return {**own, **fixed}

    @property
    def _name(self) -> str:
        return f"{self.release.card.name}:{self.release.card.version}"
