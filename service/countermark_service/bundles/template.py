"""Templates in the shape of OpenAI's graders: ``{{item.answer}}``, ``{{sample.output_text}}``.

A template names values of two objects: `item`, the row of the data set, and `sample`,
what the model wrote. What is filled in is data: it is never looked at again, so a
response that holds ``{{item.answer}}`` is a text of sixteen characters. A row without the
value is at fault itself; a sample that is no JSON, or holds no such value, is a
response that cannot be read, and the two must not be taken for each other.
"""

import re
from collections.abc import Mapping
from typing import Any

import msgspec

TEXT_VALUE = "output_text"
JSON_VALUE = "output_json"

_MARK = re.compile(r"\{\{\s*(.*?)\s*\}\}", re.DOTALL)
_PATH = re.compile(r"(item|sample)((?:\.[^\s.\[\]{}]+|\[\d{1,6}\])*)")
_STEP = re.compile(r"\.([^\s.\[\]{}]+)|\[(\d+)\]")
_encode = msgspec.json.Encoder(order="deterministic").encode


class TemplateError(ValueError):
    """A place that names nothing that can be filled in."""


class MissingValueError(LookupError):
    """A value that is not there; `of_sample` says on which side."""

    def __init__(self, path: str, *, of_sample: bool) -> None:
        whose = "the sample, read as JSON," if of_sample else "the item"
        super().__init__(f"{whose} has no value for {{{{{path}}}}}")
        self.path, self.of_sample = path, of_sample


def places(template: str) -> list[str]:
    """Return the paths that a template names, in order.

    Raises:
        TemplateError: A place is neither of the item nor of what a sample has.
    """
    found = [mark.group(1) for mark in _MARK.finditer(template)]
    for path in found:
        check_path(path)
    return found


def check_path(path: str) -> None:
    """Refuse a path that cannot name a value.

    Raises:
        TemplateError: Says why.
    """
    match = _PATH.fullmatch(path)
    if match is None:
        raise TemplateError(
            f"{{{{{path[:80]}}}}} is no place: write {{{{item.NAME}}}} or {{{{sample.output_text}}}}"
        )
    if match.group(1) == "sample":
        steps = [name or number for name, number in _STEP.findall(match.group(2))]
        if not steps or steps[0] not in (TEXT_VALUE, JSON_VALUE):
            raise TemplateError(
                f"{{{{{path[:80]}}}}} is no place: of a sample there are output_text and output_json"
            )
        if steps[0] == TEXT_VALUE and len(steps) > 1:
            raise TemplateError(f"{{{{{path[:80]}}}}} is no place: output_text is a text, and has no parts")


def value_at(path: str, sample: str, item: Any) -> Any:
    """Return the value that a checked path names.

    Raises:
        MissingValueError: There is none.
    """
    whose, rest = path[: len("sample")], ""
    if whose == "sample":
        rest = path[len("sample.") :]
        if rest == TEXT_VALUE:
            return sample
        value, rest = _json_of(sample, path), rest[len(JSON_VALUE) :]
    else:
        value, rest = item, path[len("item") :]
    for name, number in _STEP.findall(rest):
        if isinstance(value, Mapping) and name in value:
            value = value[name]
        elif isinstance(value, list) and (number or name).isdecimal() and int(number or name) < len(value):
            value = value[int(number or name)]
        else:
            raise MissingValueError(path, of_sample=whose == "sample")
    return value


def filled(template: str, sample: str, item: Any) -> str:
    """Return a template with every place filled: texts as they are, all else as JSON.

    Raises:
        MissingValueError: A value is not there.
    """

    def fill(mark: re.Match[str]) -> str:
        value = value_at(mark.group(1), sample, item)
        return value if isinstance(value, str) else _encode(value).decode()

    return _MARK.sub(fill, template)


def _json_of(sample: str, path: str) -> Any:
    try:
        return msgspec.json.decode(sample)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as exc:
        raise MissingValueError(path, of_sample=True) from exc
