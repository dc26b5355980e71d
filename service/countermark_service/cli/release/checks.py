"""What `countermark release check` holds a card to, in the order of what stands on what."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from countermark_service.assembly import build_advisories, build_registry
from countermark_service.bundles import Bundle
from countermark_service.cli.release.card_file import file_digest
from countermark_service.errors import CountermarkError
from countermark_service.model import BundleRef
from countermark_service.registry import Registry, bundles_below
from countermark_service.releases import Release, grade_card
from countermark_service.releases.croissant import card_sha256, extract_from_croissant, is_croissant
from countermark_service.releases.readme import read_pointer
from countermark_service.scoring import Scorer
from countermark_service.settings import Settings
from countermark_service.store import MemoryStore, TieredStore

Status = Literal["ok", "warn", "fail", "skip"]
_NEIGHBOURS = ("README.md", "croissant.json", "metadata.json")
_LARGEST_NEIGHBOUR = 64 << 20


@dataclass(frozen=True)
class Line:
    """One line of the report."""

    rule: str
    subject: str
    status: Status
    """`skip`: could not be looked at here, which says nothing of the release."""
    found: str

    def document(self) -> dict[str, str]:
        """Return everything as JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class Subject:
    """A card, and what is here to hold it to."""

    release: Release
    file: Path
    settings: Settings
    registry: Registry

    @property
    def bundles(self) -> dict[str, Bundle]:
        """The bundles here that the card names, by pin."""
        found = {}
        for ref in self.release.card.refs().values():
            try:
                bundle = self.registry.resolve(ref)
            except CountermarkError:
                continue
            found[str(bundle.ref)] = bundle
        return found


def subject_of(release: Release, file: Path, settings: Settings) -> Subject:
    """Return what the checks look at."""
    return Subject(release, file, settings, build_registry(settings))


def pins(subject: Subject) -> Iterator[Line]:
    """Every verifier is named by its digest, and is here."""
    for place, ref in subject.release.card.refs().items():
        try:
            bundle = subject.registry.resolve(ref)
        except CountermarkError as exc:
            yield Line("pin", place, "fail", str(exc))
            continue
        if BundleRef.parse(ref).pinned:
            yield Line("pin", place, "ok", str(bundle.ref))
        else:
            yield Line("pin", place, "fail", f"{ref} carries no digest: run countermark release lock")


def parameters(subject: Subject) -> Iterator[Line]:
    """The parameters of every route are ones that its verifier takes."""
    scorer = Scorer(subject.registry, {}, TieredStore(MemoryStore()))
    for number, route in enumerate(subject.release.card.verifier.routes):
        if not route.params:
            continue
        place = f"verifier.routes[{number}].params"
        try:
            scorer.check_params(subject.registry.resolve(route.ref), route.params)
        except CountermarkError as exc:
            yield Line("parameters", place, "fail", str(exc).removeprefix("item 0: "))
        else:
            yield Line("parameters", place, "ok", ", ".join(route.params))


def advisories(subject: Subject) -> Iterator[Line]:
    """Nothing is known against the card, its verifiers and what these ask."""
    digests = {
        subject.release.digest,
        *(ref.rpartition("@")[2] for ref in subject.release.card.refs().values()),
    }
    for bundle in subject.bundles.values():
        digests |= {bundle.digest, *(one.digest for one in bundles_below(bundle, subject.registry))}
    for one in build_advisories(subject.settings).about(digests):
        yield Line(
            "advisory",
            one.pin,
            "fail" if one.kind == "yanked" else "warn",
            f"{one.kind}: {one.reason} ({one.id})",
        )


def completeness(subject: Subject) -> Iterator[Line]:
    """The six factors are told."""
    found = grade_card(subject.release.card)
    for one in (*found.factors, found.results):
        essential = [rule.missing for rule in one.missing if rule.essential]
        other = [rule.missing for rule in one.missing if not rule.essential]
        text = f"{one.grade}" + (f"; essential and missing: {', '.join(essential)}" if essential else "")
        text += f"; also missing: {', '.join(other)}" if other else ""
        yield Line("completeness", one.factor, "warn" if essential else "ok", text)


def embedded(subject: Subject) -> Iterator[Line]:
    """Files beside the card that name it name this one."""
    for name in _NEIGHBOURS:
        file = subject.file.parent / name
        if not file.is_file() or file.stat().st_size > _LARGEST_NEIGHBOUR:
            continue
        try:
            line = _names_this(file, subject)
        except (CountermarkError, OSError) as exc:
            line = Line("embedded", name, "fail", str(exc))
        if line is not None:
            yield line


def _names_this(file: Path, subject: Subject) -> Line | None:
    content = file.read_bytes()
    if is_croissant(content):
        carried = extract_from_croissant(content, file=str(file))
        found = None if carried is None else carried.digest
        listed = card_sha256(content, card=subject.file.name, file=str(file))
        if found == subject.release.digest and f"sha256:{listed}" != file_digest(subject.file):
            return Line(
                "embedded", file.name, "fail", "lists another SHA-256 for the card's file: embed it again"
            )
    elif file.suffix == ".md":
        pointer = read_pointer(content.decode("utf-8", "replace"), file=str(file))
        found = None if pointer is None else pointer.digest
    else:
        return None
    if found is None:
        return Line(
            "embedded", file.name, "skip", "does not name a release card: countermark release embed adds it"
        )
    if found != subject.release.digest:
        return Line(
            "embedded",
            file.name,
            "fail",
            f"names the card {found}, and this is {subject.release.digest}: embed it again",
        )
    return Line("embedded", file.name, "ok", "names this card")


def vectors(subject: Subject, advance: Callable[[int], None] = lambda _: None) -> Iterator[Line]:
    """The vectors of every bundle come out here as they must, in real workers."""
    from countermark_service.cli.verifier.proof import hold_to_vectors

    for number, (pin, bundle) in enumerate(subject.bundles.items(), start=1):
        name = f"{bundle.manifest.name}:{bundle.manifest.version}"
        try:
            problems = asyncio.run(hold_to_vectors(bundle, subject.settings))
        except CountermarkError as exc:
            yield Line("vectors", name, "fail", f"they cannot be run here: {exc}")
        else:
            if problems:
                first = problems[0]
                yield Line(
                    "vectors",
                    name,
                    "fail",
                    f"{len(problems)} of {len(bundle.vectors)} differ, first {first.case}: {first.problem}",
                )
            else:
                yield Line(
                    "vectors",
                    name,
                    "ok",
                    f"all {len(bundle.vectors)} hold under {pin.partition('@')[2][:19]}",
                )
        advance(number)


def results(
    subject: Subject, advance: Callable[[int, int], None] = lambda done, total: None
) -> Iterator[Line]:
    """Every result whose outputs are here comes out again."""
    from countermark_service.cli.release.rescore import NotAtHandError, rescore

    card = subject.release.card
    for number, result in enumerate(card.results):
        place = f"results[{number}]"
        told = f"{result.metric} {result.value:.{result.decimals}f}{' %' if result.unit == 'percent' else ''}"
        try:
            again = asyncio.run(rescore(card, result, subject.file, subject.settings, advance))
        except NotAtHandError as exc:
            yield Line("result", place, "skip", f"{told}: {exc}")
            continue
        except CountermarkError as exc:
            yield Line("result", place, "fail", f"{told}: {exc}")
            continue
        found = f"published {told}, computed again {again.value:.{max(result.decimals, 4)}f} over {again.n} outputs"
        failed = f", {again.failed} without a score" if again.failed else ""
        yield Line("result", place, "ok" if again.holds else "fail", found + failed)


def report_document(subject: Subject, lines: list[Line]) -> dict[str, Any]:
    """Return a report as JSON values."""
    return {
        "release": str(subject.release.ref),
        "digest": subject.release.digest,
        "ok": not any(line.status == "fail" for line in lines),
        "grade": grade_card(subject.release.card).grade,
        "checks": [line.document() for line in lines],
    }
