"""`advisories.toml`: what became known of a version after it was published.

Published versions never change, not even bad ones: an audit must be able to run the
very verifier that made a wrong score. So a version is marked, not removed. A yanked
one still answers, and every answer says that it is yanked and why.

The shipped list lies beside `published.toml`, an operator's own in the data folder.
Both are append-only: an advisory that was wrong is taken back by a later entry with
its reason, and both stay to be read. Entries name a digest, so they are about
content, whatever it is called; the content may be that of a verifier or of a release.
"""

import hashlib
import json
import re
import time
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import structlog

from countermark_service.errors import CountermarkError, RefError
from countermark_service.kept import held, read_small, replace_whole
from countermark_service.model import BundleRef

ADVISORIES_NAME = "advisories.toml"
LONGEST_REASON = 2000

_LOOK_SECONDS = 1.0
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")

_KEYS = (
    frozenset({"id", "subject", "pin", "kind", "reason", "date"}),
    frozenset({"replacement", "url"}),
)
_WITHDRAWAL_KEYS = (frozenset({"id", "reason", "date"}), frozenset[str]())

Kind = Literal["yanked", "warning"]
Subject = Literal["verifier", "release"]
_KINDS: Mapping[str, Kind] = {"yanked": "yanked", "warning": "warning"}
_SUBJECTS: Mapping[str, Subject] = {"verifier": "verifier", "release": "release"}

_log = structlog.get_logger("countermark.advisories")


class AdvisoryError(CountermarkError):
    """A list of advisories that cannot be read, or an entry that cannot be made."""

    code: ClassVar[str] = "invalid_advisory"


class YankedError(CountermarkError):
    """The settings refuse what is yanked, and this is."""

    code: ClassVar[str] = "yanked"

    def __init__(self, advisories: Sequence["Advisory"]) -> None:
        first = advisories[0]
        instead = f" Instead: {first.replacement}." if first.replacement else ""
        super().__init__(
            f"{first.pin} is yanked ({first.id}): {first.reason}{'' if first.reason.endswith('.') else '.'}"
            f"{instead} This service refuses what is yanked (refuse_yanked); an audit can run it with "
            "`countermark score` or a service without that setting."
        )
        self.advisories = [one.document() for one in advisories]


@dataclass(frozen=True, slots=True)
class Advisory:
    """One thing that became known."""

    id: str
    """Stable name, made of the content."""
    subject: Subject
    pin: str
    """What it is about, with its digest."""
    kind: Kind
    """`yanked`: no longer to be used. `warning`: to be used knowing this."""
    reason: str
    date: str
    """When it became known, such as 2026-11-28."""
    replacement: str = ""
    """What to use instead, where there is something."""
    url: str = ""
    """Where more is to be read."""
    withdrawn: str = ""
    """Why it was taken back; empty while it stands."""

    @property
    def digest(self) -> str:
        """The digest of what it is about."""
        return self.pin.rpartition("@")[2]

    def document(self) -> dict[str, str]:
        """Return everything as JSON values; `withdrawn` only where it is."""
        return {key: value for key, value in asdict(self).items() if value or key != "withdrawn"}


def make_advisory(
    pin: str, kind: Kind, reason: str, *, subject: Subject, date: str, replacement: str = "", url: str = ""
) -> Advisory:
    """Return an advisory; equal content has an equal id.

    Raises:
        AdvisoryError: No pin, no reason, or a date of another form.
    """
    for text, name in ((pin, "pin"), *([(replacement, "replacement")] if replacement else [])):
        try:
            ref = BundleRef.parse(text)
        except RefError as exc:
            raise AdvisoryError(f"the {name} of an advisory: {exc}") from exc
        if name == "pin" and not (ref.pinned and ref.version):
            raise AdvisoryError(f"{text!r} is no pin: an advisory names version and digest.")
    if not reason.strip() or len(reason) > LONGEST_REASON:
        raise AdvisoryError(f"an advisory needs a reason of 1 to {LONGEST_REASON} characters.")
    if not _DATE.fullmatch(date):
        raise AdvisoryError(f"the date {date!r} is not of the form 2026-11-28.")
    content = json.dumps([subject, pin, kind, reason, date, replacement, url]).encode()
    made = "adv-" + hashlib.sha256(content).hexdigest()[:12]
    return Advisory(made, subject, pin, kind, reason, date, replacement, url)


def read_advisories(file: Path) -> list[Advisory]:
    """Read a list, in its order; empty where there is none.

    Raises:
        AdvisoryError: Not TOML, or an entry that says less or more than it must.
    """
    try:
        text = read_small(file).decode()
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as exc:
        raise AdvisoryError(f"{file} cannot be read: {exc}.") from exc
    try:
        table = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as exc:
        raise AdvisoryError(f"{file} is not TOML: {exc}.") from exc
    if unknown := sorted(set(table) - {"advisory", "withdrawal"}):
        raise AdvisoryError(f"{file}: `{unknown[0]}` is neither [[advisory]] nor [[withdrawal]].")
    found: dict[str, Advisory] = {}
    for number, row in enumerate(_rows(file, table, "advisory", _KEYS), start=1):
        try:
            one = _entry(row)
        except AdvisoryError as exc:
            raise AdvisoryError(f"{file}, [[advisory]] {number}: {exc}") from exc
        found[one.id] = one
    for number, row in enumerate(_rows(file, table, "withdrawal", _WITHDRAWAL_KEYS), start=1):
        taken = found.get(row["id"])
        if taken is None or not row["reason"].strip():
            raise AdvisoryError(
                f"{file}, [[withdrawal]] {number}: needs the `id` of an advisory in this file and a `reason`."
            )
        found[taken.id] = replace(taken, withdrawn=row["reason"])
    return list(found.values())


def _rows(
    file: Path, table: Mapping[str, Any], name: str, keys: tuple[frozenset[str], frozenset[str]]
) -> list[dict[str, str]]:
    """Return the entries of one kind; `keys` are those that each must have, and those that it may have."""
    rows = table.get(name, [])
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise AdvisoryError(f"{file}: `{name}` is no list of tables; write each entry under [[{name}]].")
    needed, optional = keys
    for number, row in enumerate(rows, start=1):
        if missing := sorted(needed - set(row)):
            raise AdvisoryError(f"{file}, [[{name}]] {number}: `{missing[0]}` is missing.")
        if unknown := sorted(set(row) - needed - optional):
            raise AdvisoryError(f"{file}, [[{name}]] {number}: there is no key `{unknown[0]}`.")
        if not all(isinstance(value, str) for value in row.values()):
            raise AdvisoryError(f"{file}, [[{name}]] {number}: every value must be a text.")
    return rows


def _entry(row: Mapping[str, str]) -> Advisory:
    kind, subject = _KINDS.get(row["kind"]), _SUBJECTS.get(row["subject"])
    if kind is None:
        raise AdvisoryError(f"its kind is {row['kind']!r}; it must be {' or '.join(_KINDS)}.")
    if subject is None:
        raise AdvisoryError(f"its subject is {row['subject']!r}; it must be {' or '.join(_SUBJECTS)}.")
    made = make_advisory(
        row["pin"], kind, row["reason"], subject=subject, date=row["date"],
        replacement=row.get("replacement", ""), url=row.get("url", ""),
    )  # fmt: skip
    if made.id != row["id"]:
        raise AdvisoryError(
            f"{row['id']!r} is not the id of its content, which is {made.id}: entries are not changed; "
            "withdraw this one and add another."
        )
    return made


def append_advisory(file: Path, advisory: Advisory) -> bool:
    """Add `advisory` at the end of a list; False where it is there already. Raises what `read_advisories` raises."""
    with _held(file):
        if any(one.id == advisory.id for one in read_advisories(file)):
            return False
        _append(file, "advisory", {k: v for k, v in asdict(advisory).items() if v and k != "withdrawn"})
    return True


def append_withdrawal(file: Path, advisory_id: str, reason: str, *, date: str) -> Advisory:
    """Take back an advisory of this list; return it.

    Raises:
        AdvisoryError: It is not there, or taken back already, or there is no reason.
    """
    if not reason.strip() or len(reason) > LONGEST_REASON:
        raise AdvisoryError(f"taking an advisory back needs a reason of 1 to {LONGEST_REASON} characters.")
    with _held(file):
        found = next((one for one in read_advisories(file) if one.id == advisory_id), None)
        if found is None:
            raise AdvisoryError(
                f"{file} has no advisory {advisory_id!r}; `countermark advisory list` shows where each stands. "
                "A shipped one is taken back by whoever ships it."
            )
        if found.withdrawn:
            raise AdvisoryError(f"{advisory_id} is taken back already: {found.withdrawn}")
        _append(file, "withdrawal", {"id": advisory_id, "reason": reason, "date": date})
    return found


@contextmanager
def _held(file: Path) -> Iterator[None]:
    """Let nobody else change a list."""
    try:
        with held(file.parent):
            yield
    except OSError as exc:
        raise AdvisoryError(f"{file} cannot be written: {exc.strerror or exc}.") from exc


def _append(file: Path, name: str, row: Mapping[str, str]) -> None:
    lines = [f"{key} = {_toml(value)}" for key, value in row.items()]
    before = read_small(file) if file.exists() else b""
    replace_whole(file, before + "\n".join([f"\n[[{name}]]", *lines, ""]).encode())


def _toml(text: str) -> str:
    """Return a text as TOML: what JSON makes of it, save for DEL, which TOML wants written out."""
    try:
        text.encode()
    except UnicodeEncodeError as exc:
        raise AdvisoryError(f"{text!r} holds half of a character.") from exc
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


class AdvisoryBook:
    """The advisories of some lists, by digest. A list that changes is read again within a second."""

    def __init__(self, files: Iterable[Path] = ()) -> None:
        """Read the lists; one that does not exist is empty.

        Raises:
            AdvisoryError: A list cannot be read.
        """
        self._files = list(files)
        self._stamps = self._look()
        """Of the lists as they were last looked at; empty where they are to be read whatever they are."""
        self._by_digest = self._read()
        self._next_look = time.monotonic() + _LOOK_SECONDS
        self._problem = ""
        """Why the lists could not be read again, as it was logged."""
        self.edition = 0
        """Counts the times that the lists were read again."""

    def all(self) -> list[tuple[Advisory, Path]]:
        """Return every advisory with its list, those taken back included.

        Raises:
            AdvisoryError: A list cannot be read.
        """
        return [(one, file) for file in self._files for one in read_advisories(file)]

    def about(self, digests: Iterable[str]) -> tuple[Advisory, ...]:
        """Return what stands against any of `digests`, the yanked first."""
        self.refresh()
        if not self._by_digest:
            return ()
        found = {one.id: one for digest in digests for one in self._by_digest.get(digest, ())}
        return tuple(sorted(found.values(), key=lambda one: (one.kind != "yanked", one.date, one.id)))

    def refresh(self) -> None:
        """Read the lists again if one has changed; asks the disk once a second at most."""
        now = time.monotonic()
        if now < self._next_look:
            return
        self._next_look = now + _LOOK_SECONDS
        stamps = self._look()
        if stamps == self._stamps:
            return
        self._stamps = stamps
        try:
            self._by_digest = self._read()
        except AdvisoryError as exc:
            # What was known stands: a list that is damaged while the service runs must not clear anything.
            if isinstance(exc.__cause__, OSError):  # the list itself may be sound, and not change any more
                self._stamps = []
            if str(exc) != self._problem:
                _log.error("advisories cannot be read again", problem=str(exc))
            self._problem = str(exc)
            return
        self._problem = ""
        self.edition += 1

    def _look(self) -> list[tuple[int, int] | None]:
        stamps: list[tuple[int, int] | None] = []
        for file in self._files:
            try:
                found = file.stat()
            except OSError:
                stamps.append(None)
            else:
                stamps.append((found.st_mtime_ns, found.st_size))
        return stamps

    def _read(self) -> dict[str, tuple[Advisory, ...]]:
        found: dict[str, tuple[Advisory, ...]] = {}
        for file in self._files:
            for one in read_advisories(file):
                if not one.withdrawn:
                    found[one.digest] = (*found.get(one.digest, ()), one)
        return found
