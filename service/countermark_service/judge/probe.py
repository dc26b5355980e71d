"""What a server really does with the options that it accepts.

Servers take `seed`, `temperature` or `response_format` without a word and ignore them.
So a model is asked some small questions first, and what it was found to do goes into
every transcript. `true` means seen to work, `false` seen not to, `null` not to be told
(a model that answers everything alike shows nothing about its seed).
"""

import asyncio
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from countermark_service.bundles.json_schema import Schema
from countermark_service.judge.answer import Answer, CallError
from countermark_service.judge.transcripts import request_bytes
from countermark_service.kept import read_small, replace_whole

if TYPE_CHECKING:
    from countermark_service.judge.client import ModelClient

log = logging.getLogger(__name__)

_VARIED = "Write one sentence about any animal you like. Choose freely."
_FEW_TOKENS = 4
_SHAPED_TOKENS = 256
"""Servers let a model write white space between the parts of what a schema binds, and small ones do."""
_SCHEMA = {
    "type": "object",
    "properties": {"zebra": {"type": "integer"}, "ok": {"type": "boolean"}},
    "required": ["zebra", "ok"],
    "additionalProperties": False,
}
_AGREEMENT = (
    "Is 7 x 8 equal to 56? Answer YES or NO only.",
    "Is Lyon the capital of France? Answer YES or NO only.",
    "Do 0.5 and 1/2 mean the same number? Answer YES or NO only.",
    "Is a whale a fish? Answer YES or NO only.",
)
_REPEATS = 3


class Probe(msgspec.Struct, frozen=True):
    """What was found."""

    seed: bool | None
    """The same seed gives the same text, other seeds others."""
    temperature: bool | None
    """Greedy questions repeat, others vary."""
    response_format: bool | None
    """A schema binds the reply."""
    logprobs: bool | None
    max_tokens: bool | None
    agreement: float | None
    """Share of small judgements whose greedy repetitions are all equal."""
    model: str | None
    """The model that answered, by its own word."""
    fingerprints: int
    """How many different fingerprints there were."""
    calls: int


async def probe(client: "ModelClient") -> Probe:
    """Ask the questions, all at once within the endpoint's bounds.

    Raises:
        CallError: The server does not answer at all.
    """
    plain = await _ask(client, "Say hello.")
    if isinstance(plain, CallError):
        raise plain
    varied = [_ask(client, _VARIED, temperature=1.0, seed=seed, max_tokens=48) for seed in (1, 1, 1, 2, 3, 4)]
    greedy = [_ask(client, _VARIED, temperature=0.0, max_tokens=48) for _ in range(_REPEATS)]
    small = [
        _ask(client, text, temperature=0.0, max_tokens=8) for text in _AGREEMENT for _ in range(_REPEATS)
    ]
    shape = {"type": "json_schema", "json_schema": {"name": "probe", "strict": True, "schema": _SCHEMA}}
    single = [
        _ask(
            client,
            "Say hello in one English sentence.",
            temperature=0.0,
            response_format=shape,
            max_tokens=_SHAPED_TOKENS,
        ),
        _ask(client, "Say hello.", logprobs=True, max_tokens=8),
        _ask(client, "Count from 1 to 100 in words.", max_tokens=_FEW_TOKENS),
    ]
    answers = await asyncio.gather(*varied, *greedy, *small, *single)
    seeds, greedy_answers = _texts(answers[:6]), _texts(answers[6:9])
    shaped, with_logprobs, short = answers[-3:]
    good = [plain, *(answer for answer in answers if isinstance(answer, Answer))]
    return Probe(
        seed=_seed(seeds),
        temperature=_temperature(greedy_answers, seeds),
        response_format=_shaped(shaped),
        logprobs=None if isinstance(with_logprobs, CallError) else with_logprobs.reply.logprobs,
        max_tokens=_bounded(short),
        agreement=_agreement(answers[9:-3]),
        model=plain.reply.model,
        fingerprints=len({answer.reply.fingerprint for answer in good} - {None}),
        calls=1 + len(answers),
    )


async def _ask(
    client: "ModelClient", text: str, *, max_tokens: int = 16, **options: Any
) -> Answer | CallError:
    endpoint = client.endpoint
    request = {
        "model": endpoint.served,
        "messages": [{"role": "user", "content": text}],
        endpoint.max_tokens_name: max_tokens,
        **options,
    }
    try:
        return await client.ask(request_bytes(request))
    except CallError as exc:
        return exc


def _texts(answers: Sequence[Answer | CallError]) -> list[str] | None:
    """Return the contents, or None where one is missing."""
    found = [answer.reply.content for answer in answers if isinstance(answer, Answer)]
    return found if len(found) == len(answers) else None


def _seed(texts: list[str] | None) -> bool | None:
    if texts is None:
        return None
    same, others = texts[:3], texts[2:]
    if len(set(same)) > 1:
        return False
    return True if len(set(others)) > 1 else None


def _temperature(greedy: list[str] | None, varied: list[str] | None) -> bool | None:
    if greedy is None or varied is None:
        return None
    if len(set(varied)) == 1:
        return False if set(varied) == set(greedy) else None
    return len(set(greedy)) == 1


def _shaped(answer: Answer | CallError) -> bool | None:
    if isinstance(answer, CallError):
        return False if answer.kind == "judge_refused_request" else None
    content = answer.reply.content.lstrip()
    if answer.reply.finish_reason == "length" and content.startswith("{"):
        return None  # what was cut short may have been on its way
    try:
        return Schema(_SCHEMA).mismatch(json.loads(content)) is None
    except (ValueError, RecursionError):
        return False


def _bounded(answer: Answer | CallError) -> bool | None:
    if isinstance(answer, CallError):
        return None
    tokens = answer.reply.usage.completion_tokens
    return 0 < tokens <= _FEW_TOKENS if tokens else len(answer.reply.content.split()) <= _FEW_TOKENS


def _agreement(answers: Sequence[Answer | CallError]) -> float | None:
    groups = [_texts(answers[at : at + _REPEATS]) for at in range(0, len(answers), _REPEATS)]
    whole = [group for group in groups if group is not None]
    return None if not whole else round(sum(len(set(group)) == 1 for group in whole) / len(whole), 4)


class ProbeBook:
    """What is known of each server, kept in one JSON file; a server is probed at its first use."""

    def __init__(self, file: Path | None = None) -> None:
        """`file` is read at the first use; None keeps nothing beyond this process."""
        self._file = file
        self._known: dict[str, dict[str, Any]] | None = None
        self._probing: dict[str, asyncio.Task[dict[str, Any]]] = {}

    async def of(self, client: "ModelClient") -> dict[str, Any]:
        """Return what is known of a server, probing it if need be.

        Raises:
            CallError: It does not answer.
        """
        name = _name(client)
        known = self._read()
        if name in known:
            return known[name]
        task = self._probing.get(name)
        if task is None:
            task = self._probing[name] = asyncio.create_task(self.renew(client))
            task.add_done_callback(lambda done: self._ended(name, done))
        return await asyncio.shield(task)

    def _ended(self, name: str, task: asyncio.Task[dict[str, Any]]) -> None:
        self._probing.pop(name, None)
        if not task.cancelled():
            task.exception()  # whoever waited has it, if anybody still did

    async def renew(self, client: "ModelClient") -> dict[str, Any]:
        """Probe a server now and keep what was found.

        Raises:
            CallError: It does not answer.
        """
        found: dict[str, Any] = msgspec.to_builtins(await probe(client))
        known = self._read()
        known[_name(client)] = found
        self._write(known)
        return found

    def _read(self) -> dict[str, dict[str, Any]]:
        if self._known is None:
            self._known = {}
            if self._file is not None and self._file.is_file():
                try:
                    self._known = msgspec.json.decode(read_small(self._file), type=dict[str, dict[str, Any]])
                except (OSError, msgspec.MsgspecError):
                    self._known = {}  # probing again is cheap
        return self._known

    def _write(self, known: Mapping[str, Any]) -> None:
        if self._file is None:
            return
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            replace_whole(self._file, msgspec.json.format(msgspec.json.encode(known), indent=1))
        except OSError as exc:
            log.warning(
                "what was found of a judge's server is not kept, the next start probes again: %s", exc
            )


def _name(client: "ModelClient") -> str:
    endpoint = client.endpoint
    return " ".join((endpoint.model, endpoint.base_url, endpoint.served, endpoint.revision)).strip()
