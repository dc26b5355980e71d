"""Values as people publish them, and what they mean: responses, prompts, parameters, scores."""

import math
from decimal import Decimal
from typing import Any

import msgspec

from countermark_service.audit.readers.interface import MISSING, text_of
from countermark_service.model import last_assistant_text

_YES, _NO = frozenset({"true", "yes"}), frozenset({"false", "no"})


def response_of(value: Any) -> str | None:
    """Return a response as text: of a chat, its last answer; of a model's whole reply, what it says.

    Replies are those of chat completions and of the responses API, as files of batches and rollouts keep them,
    there within ``body``. None for what is no text.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        return _reply_text(value)
    if isinstance(value, list) and value and all(isinstance(message, dict) for message in value):
        return last_assistant_text(value)
    return None


def _reply_text(reply: dict[str, Any]) -> str | None:
    if isinstance(reply.get("body"), dict):
        reply = reply["body"]
    choices, output = reply.get("choices"), reply.get("output")
    if isinstance(choices, list) and choices and isinstance(choices[0], dict):
        message = choices[0].get("message")
        return text_of(message.get("content")) if isinstance(message, dict) else None
    if isinstance(output, list):
        said = [one for one in output if isinstance(one, dict) and one.get("type") == "message"]
        return text_of(said[-1].get("content")) if said else None
    return text_of(reply.get("content")) if reply.get("role") == "assistant" else None


def prompt_of(value: Any) -> str | None:
    """Return a prompt as one text: a chat with its roles."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, list) and all(isinstance(message, dict) for message in value):
        return "\n\n".join(
            f"{message.get('role', '')}: {text_of(message.get('content')) or ''}" for message in value
        )
    try:
        return msgspec.json.encode(value, enc_hook=str).decode()
    except (ValueError, RecursionError):
        return None


def params_of(value: Any) -> dict[str, Any] | None:
    """Return the parameters of a row: an object, or a text that is one; None for anything else."""
    if value is None or value is MISSING or value == "":
        return {}
    if isinstance(value, str):
        try:
            value = msgspec.json.decode(value)
        except (msgspec.MsgspecError, RecursionError):
            return None
    return value if isinstance(value, dict) else None


def number_of(value: Any) -> float | None:
    """Return a published score as a number: truths are 1 and 0, and a text is read."""
    if isinstance(value, str):
        text = value.strip().lower()
        if text in _YES or text in _NO:
            return float(text in _YES)
        try:
            value = float(text)
        except ValueError:
            return None
    if isinstance(value, (bool, int, float, Decimal)):
        try:
            number = float(value)
        except OverflowError:
            return None
        return number if math.isfinite(number) else None
    return None
