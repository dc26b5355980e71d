"""What a judge's reply says, by the output contract of its bundle.

Strict on purpose: a reply that must be guessed at is unreadable, and unreadable is
never a score. Reasoning that the judge put before its reply is cut off first; what it
repeats of the response stands before the last line, and is not looked at.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import msgspec

from countermark_service.bundles.json_schema import Schema
from countermark_service.bundles.judge_table import Output
from countermark_service.judge.last_line import bare_label, bare_number
from countermark_service.judge.reply import refuse_repeats
from countermark_service.judge.shown import after_reasoning

_FENCE = "```"
_LABEL = re.compile(
    r"\A(?:(?:final\s+)?(?:verdict|answer|label|judg(?:e)?ment)\s*[:=]\s*)?(.*)\Z", re.IGNORECASE
)
_LABEL_IN_MARKDOWN = re.compile(
    r"\A(?:(?:final\s+)?(?:verdict|answer|label|judg(?:e)?ment)[\s*_]*[:=]\s*)?(.*)\Z", re.IGNORECASE
)
_NUMBER = re.compile(
    r"\A(?:(?:final\s+)?(?:score|rating|grade)\s*[:=]\s*)?([+-]?[0-9]{1,9}(?:\.[0-9]{1,9})?)\Z", re.IGNORECASE
)
_NUMBER_IN_MARKDOWN = re.compile(
    r"\A(?:(?:final\s+)?(?:score|rating|grade)[\s*_]*[:=][\s*_]*)?([+-]?[0-9]{1,9}(?:\.[0-9]{1,9})?)\Z",
    re.IGNORECASE,
)
"""By rules 4: `**Verdict**: SAME`, `**Score:** 7`."""
_TRIM = " \t*_`\"'.[]()"
_TRIM_BEFORE_NUMBER = {1: _TRIM, 2: _TRIM, **dict.fromkeys((3, 4, 5), _TRIM.replace(".", ""))}
"""By the number of the rules; rules 1 and 2 take .5 for 5."""


class UnreadableError(ValueError):
    """A reply that does not say what it must; the text is a code."""


@dataclass(frozen=True, slots=True)
class Vote:
    """What one reply says. Without a score the judge declined."""

    label: str
    """The label, or the number as it was written."""
    score: float | None
    parts: tuple[bool, ...] = ()
    """With criteria: which are met."""


def read_vote(
    content: str,
    output: Output,
    labels: Mapping[str, float],
    weights: Sequence[float],
    *,
    rules: int,
    cut: bool = False,
) -> Vote:
    """Read one reply.

    Args:
        content: Text of the reply.
        output: The contract.
        labels: Score of each label, for this item.
        weights: With criteria, the weight of each.
        rules: Number of the rules of the judge.
        cut: The reply ended for its length, so that its last words need not be the judge's last words. JSON that
            is whole counts all the same, and so does a reply that is one label and could become no other.

    Raises:
        UnreadableError: The reply breaks the contract.
    """
    text = after_reasoning(content, rules)
    if text is None or not text.strip():
        raise UnreadableError("empty")
    text = text.strip()
    if cut and output.kind in ("tokens", "range") and not _is_one_label(text, output, labels):
        raise UnreadableError("cut_short")
    if output.kind == "tokens" and rules >= 6:
        word, told = bare_label(text)
        return _label(word, output, labels, as_written=told)
    if output.kind == "range" and rules >= 6:
        return _number(_NUMBER.match(bare_number(text)), output)
    if output.kind == "tokens":
        label = _LABEL if rules < 4 else _LABEL_IN_MARKDOWN
        return _label(label.sub(r"\1", _last_line(text, rules).strip(_TRIM)).strip(_TRIM), output, labels)
    if output.kind == "range":
        line = _last_line(text, rules)
        number = _NUMBER if rules < 4 else _NUMBER_IN_MARKDOWN
        return _number(number.match(line.rstrip(_TRIM).lstrip(_TRIM_BEFORE_NUMBER[rules])), output)
    value = _json(text)
    if output.kind == "criteria":
        return _criteria(value, weights)
    fault = _schema(_frozen(output.schema_)).mismatch(value)
    if fault is not None or not isinstance(value, dict) or output.field not in value:
        raise UnreadableError("schema")
    found = value[output.field]
    if labels:
        return _label(found if isinstance(found, str) else "", output, labels)
    if isinstance(found, bool) or not isinstance(found, int | float):
        raise UnreadableError("not_a_number")
    return _in_range(found, str(found), output)


def _last_line(text: str, rules: int) -> str:
    """Return the last line. By rules 1 it may begin behind a separator that only Unicode has, and that may stand
    in what a judge quotes."""
    if rules == 1:
        return text.splitlines()[-1]
    return text.replace("\r", "\n").rpartition("\n")[2]


def _is_one_label(text: str, output: Output, labels: Mapping[str, float]) -> bool:
    """Whether a text is a label from which no longer one begins."""
    known = [label.casefold() for label in (*labels, *output.abstain)]
    return output.kind == "tokens" and [one for one in known if one.startswith(text.casefold())] == [
        text.casefold()
    ]


def _label(text: str, output: Output, labels: Mapping[str, float], *, as_written: bool = False) -> Vote:
    folded = text.strip().casefold()
    for label in (*labels, *output.abstain):
        if label.casefold() == folded and (label == text.strip() or not as_written):
            return Vote(label, labels.get(label))
    raise UnreadableError("unknown_label")


def _number(match: re.Match[str] | None, output: Output) -> Vote:
    if match is None:
        raise UnreadableError("not_a_number")
    return _in_range(float(match.group(1)), match.group(1), output)


def _in_range(number: float, written: str, output: Output) -> Vote:
    if (
        not output.low <= number <= output.high
    ):  # before it becomes a float, which an integer may be too large for
        raise UnreadableError("out_of_range")
    return Vote(written, (float(number) - output.low) / (output.high - output.low))


def _criteria(value: Any, weights: Sequence[float]) -> Vote:
    rows = value.get("criteria") if isinstance(value, dict) else None
    if not isinstance(rows, list) or len(rows) != len(weights):
        raise UnreadableError("criteria_missing")
    met: dict[int, bool] = {}
    for row in rows:
        number, said = (row.get("number"), row.get("met")) if isinstance(row, dict) else (None, None)
        if type(number) is not int or not 1 <= number <= len(weights) or type(said) is not bool:
            raise UnreadableError("criteria_malformed")
        met[number] = said
    if len(met) != len(weights):
        raise UnreadableError("criteria_missing")
    parts = tuple(met[number] for number in range(1, len(weights) + 1))
    total = math.fsum(weights)
    gained = math.fsum(weight for weight, one in zip(weights, parts, strict=True) if one)
    return Vote("".join("+" if one else "-" for one in parts), min(1.0, gained / total), parts)


def _json(text: str) -> Any:
    content = _unfenced(text)
    try:
        refuse_repeats(content)
        return msgspec.json.decode(content)
    except (ValueError, RecursionError) as exc:
        raise UnreadableError("not_json") from exc


def _unfenced(text: str) -> str:
    """Return what stands between two fences, each on a line of its own, that are the first and the last of a text.

    Without a regular expression: it would try every pair of line ends, and a model may write a million of them.
    """
    opening, _, inside = text.partition("\n")
    before, end, last = inside.rpartition("\n")
    fenced = opening.rstrip().lower() in (_FENCE, f"{_FENCE}json") and end and last.lstrip() == _FENCE
    if not fenced:
        return text
    blank = len(before) - len(before.lstrip())
    return before[before.rfind("\n", 0, blank) + 1 :]


def _frozen(schema: dict[str, Any] | None) -> bytes:
    return msgspec.json.encode(schema, order="sorted")


@lru_cache(maxsize=64)
def _schema(schema: bytes) -> Schema:
    return Schema(msgspec.json.decode(schema))


def response_format(output: Output, criteria: int) -> dict[str, Any] | None:
    """Return what is sent as `response_format`, or None."""
    schema = None
    if output.structured and output.kind == "json":
        schema = output.schema_
    elif output.structured and output.kind == "criteria":
        schema = _criteria_schema(criteria)
    if schema is None:
        return None
    return {"type": "json_schema", "json_schema": {"name": "verdict", "strict": True, "schema": schema}}


def _criteria_schema(count: int) -> dict[str, Any]:
    row = {
        "type": "object",
        "properties": {
            "number": {"type": "integer"},
            "reason": {"type": "string"},
            "met": {"type": "boolean"},
        },
        "required": ["number", "reason", "met"],
        "additionalProperties": False,
    }
    rows = {"type": "array", "items": row, "minItems": count, "maxItems": count}
    return {
        "type": "object",
        "properties": {"criteria": rows},
        "required": ["criteria"],
        "additionalProperties": False,
    }
