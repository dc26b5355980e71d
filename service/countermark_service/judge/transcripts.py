"""What was asked and what came, kept by content so that a verdict can be made again.

A question is the request as its bundle says it (model by the bundle's name for it, so
that the operator's aliases take no part) and the number of the asking. Its digest
points to the transcript; the transcript is kept under the digest of its own bytes,
which is the id that verdicts carry. Whoever has the transcripts has the verdicts,
on any machine, without the model.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any

import msgspec

from countermark_service.errors import CountermarkError
from countermark_service.judge.endpoints import MOST_ATTEMPTS
from countermark_service.judge.reply import BadReplyError, Reply, read_reply, read_sound_reply

FORMAT = 1
MOST_LINE_BYTES = 72 << 20
"""Bytes of one line of an archive: a reply and a request at their largest, escaped."""

_encode = msgspec.json.Encoder(order="deterministic").encode


class ArchiveError(CountermarkError):
    """A line of an archive that is no transcript, or not the one that it says."""

    code = "invalid_transcripts"

    def __init__(self, file: str, line: int, problem: str) -> None:
        super().__init__(f"{file}, line {line}: {problem}. Nothing of the file was taken.")
        self.file, self.line, self.problem = file, line, problem


class Transcript(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One question and its reply."""

    request: dict[str, Any]
    """Body of the question, as the bundle says it."""
    ask: Annotated[int, msgspec.Meta(ge=0, lt=4096)]
    """Number of the asking: a vote or a repetition has its own."""
    raw: str
    """Body of the reply, as it came."""
    served_as: str
    """Name under which the server was asked for the model."""
    revision: str = ""
    """Revision of the weights, as the operator declared it."""
    attempts: int = 1
    seconds: float = 0.0
    """Wall time of the answered attempt."""
    cost: float | None = None
    asked_at: str = ""
    """Time of the answer, UTC, ISO 8601."""
    probe: dict[str, Any] | None = None
    """What the server was found to do with its options; None where it was not probed."""
    format: Annotated[int, msgspec.Meta(ge=FORMAT, le=FORMAT)] = FORMAT

    def encode(self) -> bytes:
        """Return the bytes that its id is the digest of."""
        return _encode(self)

    def question(self) -> bytes:
        """Return the digest of the question."""
        return question_digest(_encode(self.request), self.ask)

    def answers(self, encoded: bytes, request: bytes, ask: int) -> bool:
        """Whether this is the transcript of a question.

        Args:
            encoded: The transcript's own bytes; they begin with request and ask, written as questions are, so
                nothing has to be written again.
            request: Canonical bytes of the question's body.
            ask: Number of the asking.
        """
        begins = b'{"request":%b,"ask":%d,' % (request, ask)
        return encoded.startswith(begins) or self.question() == question_digest(request, ask)

    def reply(self) -> Reply:
        """Read the reply.

        Raises:
            BadReplyError: It is none.
        """
        return read_reply(self.raw)


_decode = msgspec.json.Decoder(Transcript).decode


def request_bytes(request: Mapping[str, Any]) -> bytes:
    """Return the canonical bytes of a request's body."""
    return _encode(request)


def question_digest(request: bytes, ask: int) -> bytes:
    """Return the 32 bytes that name a question."""
    return hashlib.sha256(b"question\0%d\0" % ask + request).digest()


def id_of(encoded: bytes) -> bytes:
    """Return the 32 bytes of a transcript's id."""
    return hashlib.sha256(encoded).digest()


def written(digest: bytes) -> str:
    """Return an id as verdicts carry it."""
    return f"sha256:{digest.hex()}"


def decode(encoded: bytes, digest: bytes) -> tuple[Transcript, Reply]:
    """Read a transcript of our own store, and its reply.

    Args:
        encoded: Its bytes.
        digest: Its id.

    Raises:
        ValueError: The bytes are no transcript, or another one.
    """
    if id_of(encoded) != digest:
        raise ValueError("its content is not what its id names")
    try:
        transcript = _decode(encoded)
        return transcript, transcript.reply()
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as exc:
        raise ValueError(f"no transcript: {exc}") from exc
    except BadReplyError as exc:
        raise ValueError(f"its reply is {exc}") from exc


def decode_foreign(encoded: bytes) -> Transcript:
    """Read a transcript from elsewhere, which has to be one that a call here could have made, and written so.

    Raises:
        ValueError: The bytes are no transcript, written otherwise, or say what no call would.
    """
    transcript, _ = decode(encoded, id_of(encoded))
    if transcript.encode() != encoded:
        raise ValueError("it is not written canonically")
    if not isinstance(transcript.request.get("model"), str):
        raise ValueError("its `request` has no `model` that is text")
    for name, number in (("seconds", transcript.seconds), ("cost", transcript.cost or 0.0)):
        if number < 0:
            raise ValueError(f"its `{name}` is {number}, and must be 0 at least")
    if not 1 <= transcript.attempts <= MOST_ATTEMPTS:
        raise ValueError(
            f"its `attempts` is {str(transcript.attempts)[:40]}, and must be 1 to {MOST_ATTEMPTS}"
        )
    try:
        read_sound_reply(transcript.raw)
    except ValueError as exc:
        raise ValueError(f"its `raw` is no reply that is taken: {exc}") from exc
    return transcript


def entries(transcript: Transcript, encoded: bytes) -> dict[bytes, bytes]:
    """Return what is kept: the transcript by its id, and the pointers to it."""
    digest, question = id_of(encoded), transcript.question()
    return {digest: encoded, **dict.fromkeys(pointers(question, transcript.revision), digest)}


def pointers(question: bytes, revision: str) -> tuple[bytes, ...]:
    """Return the keys under which a question's transcript is looked up: of that revision first, then of any."""
    plain = hashlib.sha256(b"asked\0" + question).digest()
    if not revision:
        return (plain,)
    return hashlib.sha256(b"asked of\0" + revision.encode() + b"\0" + question).digest(), plain


class _Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    id: str
    transcript: msgspec.Raw


_decode_line = msgspec.json.Decoder(_Line).decode


def archive_line(encoded: bytes) -> bytes:
    """Return a transcript as a line of an archive, with its end."""
    return b'{"id":"%b","transcript":%b}\n' % (written(id_of(encoded)).encode(), encoded)


def read_archive(lines: Iterable[bytes], *, file: str) -> Iterator[tuple[Transcript, bytes]]:
    """Read an archive: yield each transcript with its bytes.

    Args:
        lines: Lines with their ends, each at most `MOST_LINE_BYTES` long (a longer one comes in pieces
            and fails).
        file: How messages name it.

    Raises:
        ArchiveError: A line that is no transcript, or whose id is not that of its content.
    """
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            if len(line) > MOST_LINE_BYTES:
                raise ValueError(f"longer than {MOST_LINE_BYTES} bytes")
            found = _decode_line(line)
            encoded = bytes(found.transcript)
            if found.id != written(id_of(encoded)):
                raise ValueError(
                    f"the id {found.id[:80]!r} is not that of the content, {written(id_of(encoded))}"
                )
            yield decode_foreign(encoded), encoded
        except (ValueError, msgspec.MsgspecError, RecursionError) as exc:
            raise ArchiveError(file, number, str(exc)) from exc


def kept_entries(archive: Sequence[tuple[Transcript, bytes]]) -> dict[bytes, bytes]:
    """Return what is kept of some transcripts; of several to one question the first is pointed to."""
    kept: dict[bytes, bytes] = {}
    for transcript, encoded in archive:
        for key, value in entries(transcript, encoded).items():
            kept.setdefault(key, value)
    return kept
