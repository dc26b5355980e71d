"""Values as datasets hand them out, turned into what JSON has.

A row read from Parquet holds arrays and numbers of numpy, of pyarrow or of torch where its author wrote lists
and integers. They all know how to become plain Python values, so nobody's library is imported here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_PLAIN = (str, bool, int, float)
_CONVERSIONS = ("tolist", "as_py")
"""What numpy and torch, and pyarrow, call the method that returns a plain value."""


def plain(value: Any) -> Any:
    """Return `value` with every array, scalar, tuple and mapping in it as the list, number or dict that it is.

    What it does not know is returned as it is; encoding it says where it stands and why it cannot be sent.
    """
    if value is None or type(value) in _PLAIN:
        return value
    if isinstance(value, Mapping):
        return {plain(key): plain(below) for key, below in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes, bytearray)):
        return [plain(below) for below in value]
    for name in _CONVERSIONS:
        convert = getattr(value, name, None)
        if callable(convert):
            converted = convert()
            return converted if converted is value else plain(converted)
    return value


def text_of(completion: Any) -> Any:
    """Return what a model said, from the forms in which frameworks carry a completion.

    A text is returned as it is. Of chat messages the last one of the assistant counts: its text, the texts of
    its parts joined, or "" where it has none (a bare tool call), which a verifier reads as no answer. Messages
    without any of the assistant are returned as they are, for the service to refuse.
    """
    completion = plain(completion)
    if not isinstance(completion, list):
        return completion
    for message in reversed(completion):
        if isinstance(message, Mapping) and message.get("role") == "assistant":
            return _content(message.get("content"))
    return completion


def _content(content: Any) -> Any:
    """Return the text in the content of one chat message."""
    if content is None:
        return ""
    if isinstance(content, Sequence) and not isinstance(content, str):
        texts = [part.get("text") for part in content if isinstance(part, Mapping)]
        return "".join(text for text in texts if isinstance(text, str))
    return content
