"""What trainers' reward requests have in common: a row of a data set, and a text with its trimmings.

Some clients send what the tokenizer wrote out, with the prompt before it and end-of-turn tokens
after it; some can send nothing but a label. How such a request becomes an item is said in
the URL, which is all that a user of those clients can choose, and is the same for each of them:

    strip=TOKEN       token that is cut off the end of a response, in place of the usual ones; may be repeated;
                      empty to cut nothing
    prompt=keep       score the whole text, with the prompt in front
    label=text|json   how a label that is a text is read; by default as JSON where it is an object with a key
    params=JSON       parameters of the verifier
    on_failure=zero   reward 0 where there is no score, instead of an error

A route without a pin in its path takes it from the row: from a label
``{"verifier": "name:version", "reference": …, "params": {…}}``, say.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from countermark_service.api.dependencies import Parts
from countermark_service.api.errors import problem_of, status_of
from countermark_service.api.facades.facade import Refusal, judged_by, worth_repeating
from countermark_service.api.replies import refuse_failures
from countermark_service.bundles import Bundle
from countermark_service.errors import CountermarkError, RequestError
from countermark_service.model import Item, OnFailure
from countermark_service.model.json_text import read_value
from countermark_service.remembered import Scored

END_TOKENS = (
    "<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|end_of_text|>", "<|eom_id|>", "<|end|>", "<|eos|>", "<|return|>",
    "</s>", "<eos>", "<end_of_turn>", "<\uff5cend\u2581of\u2581sentence\uff5c>", "<|END_OF_TURN_TOKEN|>",
    "<|endofturn|>", "[EOS]", "<pad>", "<|pad|>", "<|finetune_right_pad_id|>",
)  # fmt: skip
"""Tokens by which the usual models end a turn, and which no answer ends with."""
_LEAD_CHARS = 64
_LEAD = re.compile(r"\s*(?:(?:<[^<>\s]{1,40}>|\[[A-Z]{2,10}\])\s*)*")
"""What a tokenizer may write before a prompt: nothing, or special tokens."""
_WORDS: Mapping[str, tuple[str, ...]] = {
    "prompt": ("cut", "keep"),
    "label": ("auto", "text", "json"),
    "on_failure": ("raise", "zero"),
}
_ROW_KEYS = frozenset({"verifier", "reference", "params"})


@dataclass(frozen=True)
class Options:
    """What the URL says."""

    strip: tuple[str, ...] = END_TOKENS
    prompt: str = "cut"
    label: str = "auto"
    params: Mapping[str, Any] = field(default_factory=dict)
    on_failure: OnFailure = OnFailure.RAISE


def refused_row(error: CountermarkError) -> Refusal:
    """Answer 503 to what another attempt may mend. These clients try the rest again as well, in vain."""
    return Refusal(503 if worth_repeating(error) else status_of(error), problem_of(error))


@lru_cache(maxsize=256)
def read_options(query: bytes) -> Options:
    """Read the query part of a URL.

    Raises:
        RequestError: An option that there is not, one with a value that it does not take, or one given twice.
    """
    found: dict[str, Any] = {}
    strip: list[str] = []
    try:
        pairs = parse_qsl(query.decode(), keep_blank_values=True, max_num_fields=64)
    except ValueError as exc:
        raise RequestError(f"the options in the URL cannot be read: {exc}.") from exc
    for name, value in pairs:
        if name == "strip":
            strip.append(value)
            found["strip"] = tuple(token for token in strip if token)
        elif name in found:
            raise RequestError(f"the URL's option {name} is given twice: give it once.", field=name)
        elif name == "params":
            found["params"] = _object(value)
        elif name in _WORDS and value in _WORDS[name]:
            found[name] = OnFailure(value) if name == "on_failure" else value
        else:
            known = ", ".join(
                ["strip=TOKEN", "params=JSON", *(f"{n}={'|'.join(w)}" for n, w in _WORDS.items())]
            )
            raise RequestError(
                f"the URL's option {name[:40]}={value[:40]} is none; there are {known}.", field=name[:40]
            )
    return Options(**found)


def _object(text: str) -> dict[str, Any]:
    try:
        value = read_value(text.encode())
    except (msgspec.MsgspecError, RecursionError) as exc:
        raise RequestError(f"the URL's option params cannot be read: {exc}.", field="params") from exc
    if not isinstance(value, dict):
        raise RequestError("the URL's option params is no JSON object.", field="params")
    return value


def after_prompt(query: str, prompt: str, options: Options, index: int) -> str:
    """Return what follows the prompt in a text; before the prompt there may be special tokens.

    Raises:
        RequestError: The text does not begin with the prompt.
    """
    if options.prompt == "keep":
        return query
    most = len(prompt) + _LEAD_CHARS
    start = query.find(prompt, 0, most)
    while start > 0 and not _LEAD.fullmatch(query, 0, start):  # found inside of a token, as `s` is in `<s>s`
        start = query.find(prompt, start + 1, most)
    if start < 0:
        raise RequestError(
            f"query[{index}] does not begin with prompts[{index}], so where the response begins is not known. Was the "
            "prompt cut to its maximal length? `?prompt=keep` scores the whole text.",
            item=index,
            field="query",
        )
    return query[start + len(prompt) :]


def without_end_tokens(text: str, tokens: Sequence[str]) -> str:
    """Return a text without the end-of-turn tokens at its end; without any there, as it is."""
    end, at = len(text), len(text)
    while True:
        while at and text[at - 1].isspace():
            at -= 1
        token = next((token for token in tokens if text.endswith(token, 0, at)), None)
        if token is None:
            return text[:end]
        at -= len(token)
        end = at


@dataclass(frozen=True, slots=True)
class Row:
    """One item, and the verifier that it is for."""

    ref: str
    item: Item


def row_of(
    ref: str | None, response: str, label: Any, prompt: str | None, options: Options, index: int = 0
) -> Row:
    """Return the row of a response and its label.

    Args:
        ref: The pin in the path; None where there is none, and the label names it.
        response: Text of the model, without its prompt.
        label: As the client sends it.
        prompt: The question, where the client sends one.
        options: What the URL says.
        index: Which of the request's rows it is, for messages.

    Raises:
        RequestError: The label is not of the kind that the URL says, or names no verifier.
    """
    text = without_end_tokens(response, options.strip)
    reference, params = _read_label(label, options, index), options.params
    if ref is None:
        if (
            not isinstance(reference, dict)
            or "verifier" not in reference
            or not reference.keys() <= _ROW_KEYS
        ):
            raise _no_pin(f"label {index}")
        ref, params = reference["verifier"], reference.get("params", params)
        reference = reference.get("reference")
    if not isinstance(ref, str) or not isinstance(params, Mapping):
        raise RequestError(f"label {index}: `verifier` must be a text and `params` an object.", item=index)
    return Row(ref, Item(text, reference, dict(params), prompt))


def _no_pin(where: str) -> RequestError:
    return RequestError(
        f"{where}: no verifier is named. Put it into the path, or send an object of `verifier`, `reference` and, where "
        "wanted, `params`.",
        field="verifier",
    )


def _read_label(label: Any, options: Options, index: int) -> Any:
    if not isinstance(label, str) or options.label == "text":
        return label
    if options.label == "auto" and not label.lstrip().startswith("{"):
        return label
    try:
        value = msgspec.json.decode(label)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as exc:
        if options.label == "json":
            raise RequestError(f"label {index} is no JSON: {exc}.", item=index, field="labels") from exc
        return label
    return value if value != {} or options.label == "json" else label


async def scored_rows(
    parts: Parts, rows: Sequence[Row], on_failure: OnFailure
) -> list[tuple[Bundle, Scored]]:
    """Score rows, however many, each under its own verifier; in order.

    Raises:
        VerdictFailedError: Some have no score, and `on_failure` is ``raise``.
        CountermarkError: What `POST /v1/score` refuses.
    """
    if len(rows) == 1:  # what most clients send
        bundle = parts.service.scorer.resolve(rows[0].ref)
        ordered = [(bundle, one) for one in await judged_by(parts, bundle, [rows[0].item])]
    else:
        ordered = await _scored_by_ref(parts, rows)
    if on_failure is OnFailure.RAISE and any(verdict.score is None for _, (verdict, _) in ordered):
        advice = "The other verdicts are kept. `?on_failure=zero` in the URL makes such a reward 0, if that is wanted."
        refuse_failures([row.item for row in rows], [one for _, one in ordered], advice=advice)
    return ordered


async def _scored_by_ref(parts: Parts, rows: Sequence[Row]) -> list[tuple[Bundle, Scored]]:
    """Score rows, those of one verifier together, as many at a time as a request may have."""
    by_ref: dict[str, list[int]] = {}
    for index, row in enumerate(rows):
        by_ref.setdefault(row.ref, []).append(index)
    bundles = {ref: parts.service.scorer.resolve(ref) for ref in by_ref}  # refused before anything is scored
    found: dict[int, tuple[Bundle, Scored]] = {}
    most = parts.service.item_limits.items
    for ref, indices in by_ref.items():
        for start in range(0, len(indices), most):
            some = indices[start : start + most]
            scored = await judged_by(parts, bundles[ref], [rows[index].item for index in some])
            found.update((index, (bundles[ref], one)) for index, one in zip(some, scored, strict=True))
    return [found[index] for index in range(len(rows))]


def text_of_messages(messages: Any, role: str) -> str | None:
    """Return the text of the last message of a role, None where there is none.

    Content is a text, or a list of parts whose texts count, as chat completions and responses have it.
    """
    if not isinstance(messages, list):
        return None
    for message in reversed(messages):
        if isinstance(message, dict) and message.get("role") == role:
            return text_of_content(message.get("content"))
    return None


def text_of_content(content: Any) -> str:
    """Return a content's text: itself, or its text parts in order."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    texts = [part.get("text") for part in parts if isinstance(part, dict)]
    return "".join(text for text in texts if isinstance(text, str))
