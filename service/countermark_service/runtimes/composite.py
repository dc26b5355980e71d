"""Bundles without code that ask other bundles and combine what they say.

Children are scored through `Children`, which the assembly fills with the scorer: their
verdicts are looked up and kept under their own pins, whoever asks. A gate or a
fallback asks its children one after the other, all other composites at once.
"""

import asyncio
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec

from countermark_service.bundles import Bundle
from countermark_service.bundles.composite_table import Child, CompositeTable
from countermark_service.errors import RequestError, UnavailableError
from countermark_service.model import Item, Outcome, Verdict
from countermark_service.runtimes.combine import Asked, Combined, combined, in_order, settled
from countermark_service.runtimes.interface import OnReduction, OnVerdict, Runtime
from countermark_service.runtimes.together import together

_INDEX = re.compile("0|[1-9][0-9]{0,5}")
"""Place in a list, as RFC 6901 writes it: 01 is none."""
_INLINE_CHARS = 16384
"""Characters that penalties measure, each its own, before a thread does, so that the service keeps answering."""


class ChildScorer(Protocol):
    """What a composite needs of the scorer."""

    def resolve(self, ref: str) -> Bundle:
        """Return the bundle that a pin means."""

    def runtime(self, bundle: Bundle) -> Runtime:
        """Return its runtime."""

    def identity(self, bundle: Bundle) -> bytes:
        """Return what keys its verdicts."""

    def kept(self, bundle: Bundle) -> bool:
        """Whether its verdicts are stored."""

    def degraded(self, bundle: Bundle) -> str | None:
        """What its verdicts are made without now."""

    def check_params(self, bundle: Bundle, params: dict[str, Any]) -> None:
        """Raise `RequestError` for parameters that it does not take."""

    async def verdicts(self, bundle: Bundle, items: Sequence[Item]) -> list[Verdict]:
        """Score items; return one verdict each, in order."""


class Children:
    """The way to the children; empty until the scorer, which is made of runtimes, is there."""

    def __init__(self) -> None:
        self._scorer: ChildScorer | None = None

    def fill(self, scorer: ChildScorer) -> None:
        """Let composites ask through `scorer`."""
        self._scorer = scorer

    @property
    def scorer(self) -> ChildScorer:
        """The scorer.

        Raises:
            UnavailableError: Nothing runs children here.
        """
        if self._scorer is None:
            raise UnavailableError("composites cannot run here: nothing scores their children.")
        return self._scorer


@dataclass(slots=True)
class _Case:
    """One item on its way through the children."""

    index: int
    response: str
    reference: Any
    params: dict[str, Any]
    prompt: str | None
    asked: list[Asked] = field(default_factory=list)


class _SelectorError(LookupError):
    """A reference without the part that a child wants."""


class CompositeRuntime:
    """Judges items of `composite` bundles. A `Runtime` with keys of its own (`OwnKeys`)."""

    def __init__(self, children: Children) -> None:
        """`children` may be filled later, before the first use."""
        self._children = children

    async def prepare(self, bundle: Bundle) -> None:
        """Prepare every child; see `Runtime`."""
        for child in self._bundles(bundle):
            await self._children.scorer.runtime(child).prepare(child)

    def reduces(self, bundle: Bundle) -> bool:
        """False: its children reduce."""
        return False

    async def reduce(self, bundle: Bundle, payloads: Sequence[bytes], on_reduction: OnReduction) -> None:
        """Report that there is no reduction; see `Runtime`."""
        for index in range(len(payloads)):
            on_reduction(index, None)

    def identity(self, bundle: Bundle) -> bytes:
        """Return its digest, or more where a child has keys of its own; see `OwnKeys`."""
        scorer = self._children.scorer
        children = self._bundles(bundle)
        own = [scorer.identity(child) for child in children]
        if own == [child.digest_bytes for child in children]:
            return bundle.digest_bytes
        return hashlib.sha256(b"composite\0" + bundle.digest_bytes + b"".join(own)).digest()

    def kept(self, bundle: Bundle) -> bool:
        """Whether all children's verdicts are; see `OwnKeys`."""
        return all(self._children.scorer.kept(child) for child in self._bundles(bundle))

    def degraded(self, bundle: Bundle) -> str | None:
        """Say what a child's verdicts are made without; see `OwnKeys`."""
        return next(filter(None, map(self._children.scorer.degraded, self._bundles(bundle))), None)

    async def verify(self, bundle: Bundle, payloads: Sequence[bytes], on_verdict: OnVerdict) -> None:
        """Ask the children and combine; see `Runtime`."""
        table = _table(bundle)
        bundles = self._bundles(bundle)
        cases = [_Case(index, *msgspec.json.decode(payload)) for index, payload in enumerate(payloads)]
        pairs = list(zip(table.children, bundles, strict=True))
        if in_order(table):
            left = cases
            for child, its in pairs:
                await self._ask(child, its, left)
                left = [case for case in left if not settled(table, case.asked)]
                if not left:
                    break
        else:
            columns = [
                [_Case(c.index, c.response, c.reference, c.params, c.prompt) for c in cases] for _ in pairs
            ]
            await together([self._ask(*pair, column) for pair, column in zip(pairs, columns, strict=True)])
            for place, case in enumerate(cases):
                case.asked = [column[place].asked[0] for column in columns]
        measured = 0
        for case in cases:
            measured += len(table.penalties) * len(case.response)
            if measured <= _INLINE_CHARS:
                made = combined(table, case.asked, case.response)
            else:
                made = await asyncio.to_thread(combined, table, case.asked, case.response)
                measured = 0
            on_verdict(case.index, _verdict(table, case, made))

    async def _ask(self, child: Child, bundle: Bundle, cases: Sequence[_Case]) -> None:
        """Add a child's verdict to every case."""
        ready: list[tuple[_Case, Item]] = []
        for case in cases:
            item = self._item(child, bundle, case)
            if isinstance(item, Verdict):
                case.asked.append(Asked(child, item))
            else:
                ready.append((case, item))
        if not ready:
            return
        verdicts = await self._children.scorer.verdicts(bundle, [item for _, item in ready])
        for (case, _), verdict in zip(ready, verdicts, strict=True):
            case.asked.append(Asked(child, verdict))

    def _item(self, child: Child, bundle: Bundle, case: _Case) -> "Item | Verdict":
        """Return what a child is asked, or its verdict where it cannot be."""
        params = dict(child.params)
        params.update({its: case.params[ours] for its, ours in child.forward.items() if ours in case.params})
        try:
            self._children.scorer.check_params(bundle, params)
        except RequestError as exc:
            return Verdict.failure(Outcome.ERROR, "child_params", f"child {child.name!r}: {exc}")
        try:
            reference = _select(case.reference, child.reference)
        except _SelectorError as exc:
            return Verdict.failure(Outcome.BAD_REFERENCE, "reference_missing", str(exc))
        prompt = case.prompt if bundle.manifest.uses_prompt else None
        return Item(case.response, reference, params, prompt)

    def _bundles(self, bundle: Bundle) -> list[Bundle]:
        return [self._children.scorer.resolve(child.verifier) for child in _table(bundle).children]

    async def close(self) -> None:
        """Nothing runs here; see `Runtime`."""


def _table(bundle: Bundle) -> CompositeTable:
    table = bundle.manifest.composite
    if table is None:
        raise TypeError(f"{bundle.ref} is no composite")
    return table


def _select(reference: Any, pointer: str) -> Any:
    """Return the part of a reference that a JSON Pointer names."""
    found = reference
    for token in pointer.split("/")[1:]:
        key = token.replace("~1", "/").replace("~0", "~")
        if isinstance(found, dict) and key in found:
            found = found[key]
        elif isinstance(found, list) and _INDEX.fullmatch(key) and int(key) < len(found):
            found = found[int(key)]
        else:
            raise _SelectorError(
                f"the reference has nothing at {pointer!r}, which a child takes for its own."
            )
    return found


def _verdict(table: CompositeTable, case: _Case, made: Combined) -> Verdict:
    rows = [_row(one) for one in case.asked]
    detail = {**made.facts, "combine": table.combine, "children": rows}
    verdict = Verdict.made(made.outcome, made.score, msgspec.json.encode(detail), b"{}")
    return verdict if all(one.verdict.keepable for one in case.asked) else verdict.passing()


def _row(asked: Asked) -> dict[str, Any]:
    return {
        "name": asked.child.name,
        "verifier": asked.child.verifier,
        **msgspec.json.decode(asked.verdict.json),
    }
