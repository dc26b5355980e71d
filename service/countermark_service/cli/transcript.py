"""`countermark judge show`: what a judge was asked, and what it said."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from countermark_service.cli.options import DataOption, JsonOption, command_settings
from countermark_service.errors import CountermarkError

if TYPE_CHECKING:
    from countermark_service.judge import Transcript
    from countermark_service.settings import Settings


class UnknownTranscriptError(CountermarkError):
    """A transcript that is not kept here."""

    code = "transcript_missing"

    def __init__(self, digest: str) -> None:
        super().__init__(
            f"no transcript {digest} is kept here. `countermark judge import` takes those of another machine."
        )
        self.digest = digest


def show(
    transcript: Annotated[
        str, typer.Argument(help="Its id (`sha256:…`), as `transcripts` in the detail of a verdict has it.")
    ],
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show one transcript: the question as the model got it, and its reply.

    Example: `countermark judge show sha256:2338c4e689839c2faa39e8b54a44ce822c75bcfa45457d99b8c232ab5daa1439`

    What no terminal should get, such as control characters in a reply, is written as an escape; `--json` has
    everything as it is kept.
    """
    import asyncio

    from countermark_service.cli.console import print_json
    from countermark_service.judge.transcripts import decode
    from countermark_service.model import DIGEST_PATTERN

    settings = command_settings(data)
    if not DIGEST_PATTERN.fullmatch(transcript):
        raise CountermarkError(
            f"{transcript[:80]!r} is no id of a transcript: that is `sha256:` and 64 lowercase hex digits."
        )
    digest = bytes.fromhex(transcript.removeprefix("sha256:"))
    encoded = asyncio.run(_kept(settings, digest))
    if encoded is None:
        raise UnknownTranscriptError(transcript)
    try:
        found, _ = decode(encoded, digest)
    except ValueError as exc:
        raise CountermarkError(f"what is kept as {transcript} is damaged: {exc}.") from exc
    if as_json:
        print_json({"id": transcript, "transcript": found})
    else:
        print("\n".join(_lines(transcript, found)))


async def _kept(settings: "Settings", digest: bytes) -> bytes | None:
    from countermark_service.assembly import open_transcripts

    store = open_transcripts(settings)
    try:
        (found,) = await store.get_many([digest])
    finally:
        await store.close()
    return found


def _lines(name: str, transcript: "Transcript") -> list[str]:
    reply = transcript.reply()
    request = {key: value for key, value in transcript.request.items() if key not in ("model", "messages")}
    facts = {
        "transcript": name,
        "model": transcript.request.get("model"),
        "served as": transcript.served_as,
        "revision": transcript.revision or None,
        "answered by": reply.model,
        "fingerprint": reply.fingerprint,
        "options": ", ".join(f"{key}={value}" for key, value in sorted(request.items())),
        "asking": transcript.ask,
        "asked at": transcript.asked_at or None,
        "attempts": transcript.attempts,
        "seconds": round(transcript.seconds, 3),
        "finish": reply.finish_reason,
        "error": reply.error,
    }
    lines = [f"{key:<12} {_plain(value)}" for key, value in facts.items() if value is not None]
    for message in transcript.request.get("messages", []):
        lines += ["", f"--- {_plain(message.get('role'))}", _plain(message.get("content"))]
    said = reply.content if reply.refusal is None else reply.refusal
    return [*lines, "", "--- reply" if reply.refusal is None else "--- refusal", _plain(said)]


def _plain(value: Any) -> str:
    """Return a value as text in which whatever cannot be seen is an escape.

    That is more than `console.harmless` writes so, which keeps what a terminal obeys from it: who looks at a
    transcript wants to see a mark of no width, too.
    """
    return "".join(
        sign if sign.isprintable() or sign in "\n\t" else sign.encode("unicode_escape").decode()
        for sign in str(value)
    )
