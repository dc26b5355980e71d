"""What a call asks to be judged by: a verifier, or a task of a registered release.

Either is sent as it was given until the first answer names its digest; from then on
it is sent as a pin, so that everything of one call is judged by the same content. A
release's card may fix what becomes of failures; a call that does not say leaves it
to the card.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

from ._decode import read_release, read_verifier
from ._errors import InvalidInputError, VerifierMismatchError
from ._items import encode_text
from ._types import JudgeMode, OnFailure, ReleaseInfo, VerifierInfo

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ReleaseTask:
    """A task of a registered release."""

    release: str
    """Name and version, with the digest of the card or not."""
    task: str
    """A task of its card, or a data source."""

    def __str__(self) -> str:
        return f"task {self.task!r} of release {self.release}"


Subject: TypeAlias = str | ReleaseTask
"""The ref of a verifier, or a task of a release."""


@dataclass(frozen=True, slots=True)
class Answered:
    """Who answered."""

    verifier: VerifierInfo
    release: ReleaseInfo | None
    """None where a verifier was asked for."""

    @property
    def subject(self) -> Subject:
        """What to ask for from now on."""
        return self.verifier.ref if self.release is None else ReleaseTask(self.release.ref, self.release.task)


def subject_of(verifier: str | None, release: str | None, task: str | None) -> Subject:
    """Return what the arguments of a call mean.

    Raises:
        InvalidInputError: They name neither, or both.
    """
    if verifier is not None and release is None and task is None:
        return verifier
    if verifier is None and release is not None and task is not None:
        return ReleaseTask(release, task)
    raise InvalidInputError("name a verifier, or a release and a task; exactly one of the two.")


def given_items(items: Iterable[T] | None) -> Iterable[T]:
    """Return the items of a call.

    Raises:
        InvalidInputError: There are none, not even an empty list.
    """
    if items is None:
        raise InvalidInputError("there are no items to score: pass `items`, which may be empty.")
    return items


def opening(subject: Subject, on_failure: OnFailure | None, judge_mode: JudgeMode | None = None) -> bytes:
    """Return the members of a request that say what is asked for, as JSON without braces.

    For a verifier, ``raise`` is sent as ``null``: the error is raised here, where it can carry the verdicts
    that were reached. A release's card is to hear what is really wanted.

    Raises:
        InvalidInputError: A text that cannot be sent, or a policy that does not exist.
    """
    if on_failure not in (None, "null", "zero", "raise"):
        raise InvalidInputError(f"on_failure is {on_failure!r}; it must be 'null', 'zero' or 'raise'.")
    if judge_mode not in (None, "auto", "replay", "fresh"):
        raise InvalidInputError(f"judge_mode is {judge_mode!r}; it must be 'auto', 'replay' or 'fresh'.")
    mode = b"" if judge_mode is None else b',"judge_mode":"%b"' % judge_mode.encode()
    if isinstance(subject, ReleaseTask):
        named = b'"release":%b,"task":%b' % (
            encode_text("release", subject.release),
            encode_text("task", subject.task),
        )
        policy = b"" if on_failure is None else b',"on_failure":"%b"' % on_failure.encode()
        return named + policy + mode
    policy = b"zero" if on_failure == "zero" else b"null"
    return b'"verifier":%b,"on_failure":"%b"%b' % (encode_text("verifier", subject), policy, mode)


def read_answered(
    document: Mapping[str, Any], asked: Subject, earlier: Answered | None, where: str
) -> Answered:
    """Return who answered, held against what was asked for and against earlier answers.

    Raises:
        ProtocolError: The answer does not say it.
        VerifierMismatchError: It is another one.
    """
    info = read_verifier(document, where)
    if earlier is not None and info.ref != earlier.verifier.ref:
        raise VerifierMismatchError(earlier.verifier.ref, info.ref)
    if isinstance(asked, str):
        _hold(asked, info.ref)
        return Answered(info, None)
    release = read_release(document, where)
    if earlier is not None and release != earlier.release:
        raise VerifierMismatchError(str(earlier.subject), f"task {release.task!r} of release {release.ref}")
    _hold(asked.release, release.ref)
    return Answered(info, release)


def policy_of(on_failure: OnFailure | None, answered: Answered) -> OnFailure:
    """Return what held for an answer: what the card fixed, what the call said, or ``null``."""
    if answered.release is not None:
        return answered.release.on_failure
    return on_failure or "null"


def _hold(asked: str, answered: str) -> None:
    if answered != asked and answered.partition("@")[0] != asked:
        raise VerifierMismatchError(asked, answered)
