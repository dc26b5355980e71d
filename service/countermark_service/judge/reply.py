"""A chat completion as it came: bytes in, facts out, nothing trusted.

The raw body is what is kept; everything else is read from it again whenever it is
needed, so a replay sees what the first reading saw.
"""

import json
from collections import Counter
from typing import Any

import msgspec


class BadReplyError(ValueError):
    """A body that is no chat completion."""


class Usage(msgspec.Struct, frozen=True):
    """Tokens, as the server counts them."""

    prompt_tokens: int = 0
    completion_tokens: int = 0


class _Message(msgspec.Struct, frozen=True):
    content: Any = None
    refusal: str | None = None


class _Choice(msgspec.Struct, frozen=True):
    message: _Message
    index: Any = 0
    finish_reason: str | None = None
    logprobs: Any = None
    error: Any = None


class _Completion(msgspec.Struct, frozen=True):
    choices: list[_Choice]
    error: Any = None
    model: str | None = None
    system_fingerprint: str | None = None
    usage: Any = None


class Reply(msgspec.Struct, frozen=True):
    """What one reply says."""

    content: str
    """Text of the choice with index 0; empty where it has none."""
    refusal: str | None
    """What the server says in place of content when it declines."""
    refuses: bool
    """Whether it declines, in a part of the content too, whatever else it says."""
    finish_reason: str | None
    model: str | None
    """The model that answered, by its own word."""
    fingerprint: str | None
    usage: Usage
    logprobs: bool
    """Whether it carries log-probabilities."""
    error: str | None = None
    """What its choice says of a failure of its own: a gateway's server went away in the middle of it."""


_LONGEST_NAME = 1000
"""Characters of what a model calls itself, which every verdict repeats."""
_decode = msgspec.json.Decoder(_Completion).decode


def read_reply(raw: str) -> Reply:
    """Read a body.

    Raises:
        BadReplyError: It is no chat completion with at least one choice.
    """
    return _reply(_completion(raw))


def read_sound_reply(raw: str) -> Reply:
    """Read a body that a call has just brought, or another service's call: one that leaves no doubt.

    What is kept is read by `read_reply`, as it was when it was taken.

    Raises:
        ValueError: Says two things, or that it failed; or what `read_reply` raises.
    """
    completion = _completion(raw)
    if completion.error:  # what a gateway says whose server went away in the middle of a reply
        raise BadReplyError(f"a reply that failed: {str(completion.error)[:200]!a}")
    if any(len(name or "") > _LONGEST_NAME for name in (completion.model, completion.system_fingerprint)):
        raise BadReplyError(f"the model's name or fingerprint has over {_LONGEST_NAME} characters")
    firsts = [one for one in completion.choices if one.index == 0] or completion.choices
    if len(firsts) > 1:
        raise BadReplyError(f"{len(firsts)} choices that could be the first")
    refuse_repeats(raw)
    return _reply(completion)


def _completion(raw: str) -> _Completion:
    try:
        completion = _decode(raw)
    except (msgspec.MsgspecError, RecursionError) as exc:
        raise BadReplyError(f"no chat completion: {exc}") from exc
    if not completion.choices:
        raise BadReplyError("no chat completion: it has no choices")
    return completion


def _reply(completion: _Completion) -> Reply:
    choice = next((one for one in completion.choices if one.index == 0), completion.choices[0])
    message = choice.message
    return Reply(
        content=_text(message.content),
        refusal=message.refusal or None,
        refuses=bool(message.refusal) or _has_refusal(message.content),
        finish_reason=choice.finish_reason,
        model=completion.model,
        fingerprint=completion.system_fingerprint,
        usage=_usage(completion.usage),
        logprobs=isinstance(choice.logprobs, dict) and bool(choice.logprobs.get("content")),
        error=f"{str(choice.error)[:200]!a}" if choice.error else None,
    )


def refuse_repeats(text: str) -> None:
    """Refuse JSON with an object that has a key twice: which one counts would be a guess.

    Raises:
        ValueError: It has one, or is no JSON.
    """
    try:
        json.loads(text, object_pairs_hook=_once, parse_int=len, parse_float=len, parse_constant=len)
    except RecursionError as exc:
        raise ValueError("nested too deeply") from exc


def _once(pairs: list[tuple[str, Any]]) -> None:
    keys = [key for key, _ in pairs]
    if len(set(keys)) != len(keys):
        twice = next(key for key, times in Counter(keys).items() if times > 1)
        raise ValueError(f"the key {twice[:40]!a} stands twice in one object")


def _usage(value: Any) -> Usage:
    """Read counts of tokens; what is malformed there spoils no verdict."""
    if not isinstance(value, dict):
        return Usage()
    counts = [value.get(name) for name in ("prompt_tokens", "completion_tokens")]
    return Usage(*(n if type(n) is int and 0 <= n < 1 << 40 else 0 for n in counts))


def _has_refusal(content: Any) -> bool:
    """Whether one of the parts of a content is a refusal."""
    parts = content if isinstance(content, list) else ()
    return any(isinstance(part, dict) and part.get("type") == "refusal" for part in parts)


def _text(content: Any) -> str:
    """Return the text of a content: a string, or parts of which those of the type `text` count."""
    if isinstance(content, str):
        return content
    if content is None:
        return ""
    if isinstance(content, list) and all(isinstance(part, dict) for part in content):
        parts = [part.get("text") for part in content if part.get("type") == "text"]
        return "".join(part for part in parts if isinstance(part, str))
    raise BadReplyError("no chat completion: its content is neither text nor parts of text")
