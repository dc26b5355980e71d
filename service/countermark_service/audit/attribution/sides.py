"""The releases that are compared: where their outputs are, and who scored them.

A release is a card whose results name files of outputs. A file of outputs does without
a card, where the verifier is named with it; then nothing is known of its other factors.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from countermark_service.audit.attribution.errors import AttributionError, MixedPinsError
from countermark_service.releases import CARD_NAME, Release, Result, read_release_file
from countermark_service.releases.recompute import counts_failures, is_mean

_RESCORE = (
    "Name the outputs in the cards' results (`outputs`), or pass files of outputs with --verifier-a and "
    "--verifier-b: both are then scored under both verifiers."
)
_HASHED_BYTES = 1 << 20


@dataclass(frozen=True)
class Published:
    """A number that a card published."""

    metric: str
    value: float
    """As a fraction, whatever the card's unit."""
    failures_are_zero: bool = False
    """Whether the card says that outputs without a score count as 0 in it."""

    @property
    def is_mean(self) -> bool:
        """Whether it is a mean over outputs, as what is computed here."""
        return is_mean(self.metric)


@dataclass(frozen=True)
class Side:
    """One release with one task, or one file of outputs."""

    name: str
    """The release's name and version, or the file."""
    task: str
    verifier: str
    """Reference of who scored it, as far as the card pins it."""
    params: Mapping[str, Any]
    """Parameters of every item."""
    path: Path | None
    """The outputs; None where there are none to score again."""
    columns: Mapping[str, str]
    """As `ReadPlan.columns`."""
    release: Release | None = None
    published: Published | None = None


def sides_of(argument: str, *, verifier: str | None, task: str | None) -> list[Side]:
    """Return what an argument names, one entry per task.

    Args:
        argument: A card, a folder with one, or a file or folder of outputs.
        verifier: Who scored the outputs, where the card does not say.
        task: The task to look at; None for all.

    Raises:
        AttributionError: Nothing is named that can be compared.
        CardError: The card cannot be read.
    """
    path = Path(argument)
    if (path / CARD_NAME).is_file() or (path.is_file() and path.suffix == ".json" and _is_card(path)):
        return _of_card(path, verifier, task)
    if not path.exists():
        raise AttributionError(
            f"{argument} does not exist: name a release card, its folder, or a file of outputs."
        )
    if verifier is None:
        raise AttributionError(
            f"{argument} is no release card, so nothing says who scored it: name the verifier with --verifier-a or "
            "--verifier-b."
        )
    return [Side(argument, task or "outputs", verifier, {}, path, {})]


def pairs_of(first: Sequence[Side], second: Sequence[Side]) -> list[tuple[Side, Side]]:
    """Return the sides that are about the same task.

    Raises:
        AttributionError: There is no such task.
    """
    if len(first) == 1 and len(second) == 1 and (first[0].release is None or second[0].release is None):
        return [(first[0], second[0])]
    by_task = {side.task: side for side in second}
    found = [(side, by_task[side.task]) for side in first if side.task in by_task]
    if not found:
        tasks = [", ".join(sorted(side.task for side in sides)) for sides in (first, second)]
        raise AttributionError(
            f"the releases have results of no task in common: {first[0].name} of {tasks[0]}; {second[0].name} of "
            f"{tasks[1]}."
        )
    return found


def published_gap(first: Side, second: Side) -> float:
    """Return the gap of two published numbers, where there are no outputs to score again.

    Raises:
        MixedPinsError: They were made by different verifiers, or it is not known that they were not.
        AttributionError: A card has published no number of the task.
    """
    pins = {side.name: side.verifier for side in (first, second)}
    same = first.verifier == second.verifier and dict(first.params) == dict(second.params)
    if not same or "@" not in first.verifier:
        raise MixedPinsError(pins, _RESCORE)
    for side in (first, second):
        if side.published is None:
            raise AttributionError(f"{side.name} has published no number of {side.task!r}.")
    assert first.published is not None  # noqa: S101 - seen above
    assert second.published is not None  # noqa: S101 - seen above
    return second.published.value - first.published.value


def _is_card(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(4096)
    return b'"schema_version"' in head or path.name == CARD_NAME


def _of_card(path: Path, verifier: str | None, task: str | None) -> list[Side]:
    release = read_release_file(path)
    folder = path if path.is_dir() else path.parent
    name = f"{release.card.name}:{release.card.version}"
    found: dict[str, Side] = {}
    for result in release.card.results:
        known = result.task or (
            release.card.verifier.routes[0].task if len(release.card.verifier.routes) == 1 else ""
        )
        if task is not None and known != task:
            continue
        side = _of_result(name, folder, release, result, known, verifier)
        if side is not None and (known not in found or found[known].path is None):
            found[known] = side  # of several results of one task, the first that has outputs
    if not found:
        wanted = f" of the task {task!r}" if task is not None else ""
        raise AttributionError(
            f"the card of {name} has no result{wanted} that says who scored it: `results` needs a `task` with a route, "
            "or a `verifier`."
        )
    return list(found.values())


def _of_result(
    name: str, folder: Path, release: Release, result: Result, task: str, verifier: str | None
) -> Side | None:
    route = release.card.verifier.route(task) if task else None
    judge = verifier or result.verifier or (route.verifier if route is not None else None)
    if judge is None:
        return None
    params = route.params if route is not None and judge in (route.verifier, verifier) else {}
    value = result.value / (100 if result.unit == "percent" else 1)
    published = Published(result.metric, value, counts_failures(release.card, result))
    if result.outputs is None:
        return Side(name, task, judge, params, None, {}, release, published)
    told = result.outputs
    if "://" in told.file:
        raise AttributionError(
            f"{name}: its outputs are at {told.file}; download them and name the file in their place."
        )
    file = folder / told.file
    if not file.exists():
        raise AttributionError(f"{name}: its outputs {file} do not exist.")
    if told.digest is not None:
        _require_digest(name, file, told.digest)
    columns: dict[str, str] = {
        part: column for part, column in told.columns.items() if part not in ("id", "group")
    }
    sample = told.columns.get("group", told.columns.get("id"))
    if sample is not None:
        columns["sample"] = sample
    return Side(name, task, judge, params, file, columns, release, published)


def _require_digest(name: str, file: Path, wanted: str) -> None:
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while data := stream.read(_HASHED_BYTES):
            digest.update(data)
    found = f"sha256:{digest.hexdigest()}"
    if found != wanted:
        raise AttributionError(
            f"{name}: its card names outputs with the digest {wanted}, and {file} has {found}: these are not the "
            "outputs that were published."
        )
