"""The releases that a service knows: one file each in the data folder, and folders of cards.

A name and version that is registered keeps its card for ever: the file appears whole
or not at all, by a link that fails where one is there, so of two services on one
folder that register at the same moment one wins and the other hears of it. The file
names the card's digest, and a card that was changed on the disk is refused.

What was read once is held: it cannot change. So a request by release costs a look-up
in memory.
"""

import contextlib
import json
import os
import secrets
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from countermark_service.errors import CountermarkError, UnavailableError
from countermark_service.kept import head_of
from countermark_service.model import BundleRef
from countermark_service.releases.card import CARD_NAME
from countermark_service.releases.release import (
    LARGEST_CARD,
    CardError,
    Release,
    parse_release_ref,
    read_document,
    read_release_file,
    release_of,
    require_pins,
)
from countermark_service.releases.use import ReleaseUse, UnknownTaskError

_SEPARATOR = "@"
"""Stands for the `/` of a name in a file's; neither names nor versions have it."""
_SHOWN = 20
_LARGEST_FILE = 4 * LARGEST_CARD
"""Bytes: a card that is written with indentation, and what stands around it."""


class UnknownReleaseError(CountermarkError):
    """No release of that name and version is registered here."""

    code: ClassVar[str] = "unknown_release"

    def __init__(self, ref: str, *, versions: Sequence[str], names: Sequence[str]) -> None:
        self.release = ref
        if versions:
            self.versions = list(versions)
            hint = f"Versions here: {', '.join(self.versions[:_SHOWN])}."
        else:
            self.names = list(names)
            hint = f"Releases here: {', '.join(self.names[:_SHOWN]) or 'none'}."
        super().__init__(f"no release {ref!r} is registered here. {hint}")


class ReleaseVersionRequiredError(CountermarkError):
    """A release named without its version."""

    code: ClassVar[str] = "release_version_required"

    def __init__(self, name: str, versions: Sequence[str]) -> None:
        self.release, self.versions = name, list(versions)
        known = f"Write one of: {', '.join(self.versions)}." if versions else "None of that name is here."
        super().__init__(f"{name!r} names no version of a release, and there is no default one. {known}")


class ReleaseConflictError(CountermarkError):
    """A name and version that is registered with another card."""

    code: ClassVar[str] = "release_conflict"

    def __init__(self, name: str, *, registered: str, offered: str) -> None:
        super().__init__(
            f"{name} is registered with the card {registered}, and this one is {offered}. A registered release "
            "never changes: give the new card a new version."
        )
        self.release, self.registered, self.offered = name, registered, offered


class DamagedReleaseError(CountermarkError):
    """The file of a registered release is not what it was."""

    code: ClassVar[str] = "damaged_release"

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(f"release {name} cannot be used: {problem} Restore the file; nothing was scored.")
        self.release = name


class ReleaseMismatchError(CountermarkError):
    """A release named with another digest than its card has."""

    code: ClassVar[str] = "release_digest_mismatch"

    def __init__(self, name: str, *, pinned: str, found: str) -> None:
        super().__init__(
            f"the request names {name} with the card {pinned}, and the card is {found}. Nothing was scored."
        )
        self.release, self.pinned, self.found = name, pinned, found


@dataclass(frozen=True)
class Registered:
    """A release, and since when it is here."""

    release: Release
    since: str
    """UTC; empty for a card of a folder."""


class ReleaseBook:
    """Registered releases, by name and version."""

    def __init__(self, folder: Path, card_folders: Iterable[Path] = ()) -> None:
        """Read the cards of `card_folders`; `folder` keeps what is registered, and need not exist.

        Raises:
            CardError: A card in a folder cannot be used, or two of one name and version differ.
        """
        self._folder = folder
        self._known: dict[tuple[str, str], Registered] = {}
        for one in card_folders:
            self._read_cards(one)
        self._fixed = dict(self._known)

    def _read_cards(self, folder: Path) -> None:
        if not folder.is_dir():
            raise CardError(
                str(folder), "", "is no folder of release cards: create it or drop it from the settings"
            )
        for file in sorted({*folder.glob("*.json"), *folder.rglob(CARD_NAME)}):
            release = read_release_file(file)
            require_pins(release, file=str(file))
            known = self._known.setdefault(_key(release), Registered(release, ""))
            if known.release.digest != release.digest:
                name = f"{release.card.name}:{release.card.version}"
                problem = f"is another card than the one that was read before under {name}"
                raise CardError(str(file), "", problem)

    def register(self, release: Release) -> tuple[Registered, bool]:
        """Keep a release for ever; return it, and whether it is new.

        Raises:
            CardError: It names a verifier without digest.
            ReleaseConflictError: Its name and version is registered with another card.
            UnavailableError: The folder cannot be written; nothing is registered.
        """
        require_pins(release, file="the card")
        known = self._find(*_key(release))
        if known is None:
            made = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            if self._create(release, made):
                known = Registered(release, made)
                self._known[_key(release)] = known
                return known, True
            known = self._find(*_key(release))
        if known is None or known.release.digest != release.digest:
            name = f"{release.card.name}:{release.card.version}"
            registered = known.release.digest if known is not None else "of another service"
            raise ReleaseConflictError(name, registered=registered, offered=release.digest)
        return known, False

    def resolve(self, ref: str) -> Release:
        """Return the release that `ref` names.

        Raises:
            ReleaseRefError: The text is of another form.
            ReleaseVersionRequiredError: It names no version; the versions are in the error.
            UnknownReleaseError: It is not registered here.
            ReleaseMismatchError: Its digest is not the one of the card.
            DamagedReleaseError: Its file was changed.
            UnavailableError: Its file cannot be read.
        """
        return self.find(ref).release

    def find(self, ref: str) -> Registered:
        """Return the release that `ref` names, with its date; raises what `resolve` raises."""
        wanted = parse_release_ref(ref)
        if wanted.version is None:
            raise ReleaseVersionRequiredError(wanted.name, self.versions(wanted.name))
        found = self._find(wanted.name, wanted.version)
        if found is None:
            names = sorted({one.release.card.name for one in self.all()})
            raise UnknownReleaseError(ref, versions=self.versions(wanted.name), names=names)
        _hold_to(wanted, found.release)
        return found

    def use(self, ref: str, task: str) -> ReleaseUse:
        """Return the route of a task in a release.

        Raises:
            UnknownTaskError: The card has no such route; the tasks are in the error.
            CountermarkError: As `resolve`.
        """
        release = self.resolve(ref)
        route = release.card.verifier.route(task)
        if route is None:
            name = f"{release.card.name}:{release.card.version}"
            raise UnknownTaskError(name, task, [one.task for one in release.card.verifier.routes])
        return ReleaseUse(release, task, route)

    def versions(self, name: str) -> list[str]:
        """Return the registered versions of `name`."""
        return sorted(one.release.card.version for one in self.all() if one.release.card.name == name)

    def all(self) -> list[Registered]:
        """Return every release, by name and version. A file that cannot be read is left out here, and an error
        for whoever asks for it."""
        found = dict(self._fixed)
        for file in sorted(self._folder.glob("*/*.json")):
            name, version = file.parent.name.replace(_SEPARATOR, "/"), file.name.removesuffix(".json")
            with contextlib.suppress(DamagedReleaseError):
                one = self._find(name, version)
                if one is not None:
                    found[name, version] = one
        return [found[key] for key in sorted(found)]

    def _find(self, name: str, version: str) -> Registered | None:
        known = self._known.get((name, version))
        if known is None:
            known = self._read(name, version)
            if known is not None:
                self._known[name, version] = known
        return known

    def _file(self, name: str, version: str) -> Path:
        return self._folder / name.replace("/", _SEPARATOR) / f"{version}.json"

    def _read(self, name: str, version: str) -> Registered | None:
        file = self._file(name, version)
        try:
            content = head_of(file, _LARGEST_FILE + 1)
        except FileNotFoundError:
            return None
        except OSError as exc:
            raise UnavailableError(f"{file} cannot be read: {exc.strerror or exc}.") from exc
        try:
            kept = read_document(content, file=str(file), limit=_LARGEST_FILE)
            digest, since, document = kept.get("digest"), kept.get("registered"), kept.get("card")
            if not (isinstance(digest, str) and isinstance(since, str) and isinstance(document, dict)):
                raise CardError(str(file), "", "is not what registering a release writes")
            release = release_of(document, file=str(file))
        except CardError as exc:
            raise DamagedReleaseError(f"{name}:{version}", str(exc)) from exc
        if release.digest != digest or _key(release) != (name, version):
            problem = f"{file} was registered with the card {digest} and holds {release.ref}."
            raise DamagedReleaseError(f"{name}:{version}", problem)
        return Registered(release, since)

    def _create(self, release: Release, made: str) -> bool:
        """Write the file of a release; False where there is one."""
        file = self._file(*_key(release))
        kept: dict[str, Any] = {"digest": release.digest, "registered": made, "card": dict(release.document)}
        part = file.with_name(f".{secrets.token_hex(8)}.part")
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            with part.open("x", encoding="utf-8") as opened:
                json.dump(kept, opened, ensure_ascii=False, indent=2)
                opened.flush()
                os.fsync(opened.fileno())
            os.link(part, file)
        except FileExistsError:
            return False
        except OSError as exc:
            message = f"{file} cannot be written, so nothing is registered: {exc.strerror or exc}."
            raise UnavailableError(message) from exc
        finally:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)
        return True


def _key(release: Release) -> tuple[str, str]:
    return release.card.name, release.card.version


def _hold_to(wanted: BundleRef, release: Release) -> None:
    if wanted.digest is not None and wanted.digest != release.digest:
        name = f"{release.card.name}:{release.card.version}"
        raise ReleaseMismatchError(name, pinned=wanted.digest, found=release.digest)
