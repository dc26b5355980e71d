"""Gets a question answered: from its transcript, or by asking, as the mode says.

Equal questions under way are asked once,
whoever waits for them. What was asked is kept at once.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from countermark_service.judge.answer import Answer, CallError
from countermark_service.judge.counters import JudgeCounters
from countermark_service.judge.endpoints import Endpoint, Endpoints
from countermark_service.judge.mode import JudgeMode, asked_mode
from countermark_service.judge.probe import ProbeBook
from countermark_service.judge.reply import Reply
from countermark_service.judge.transcripts import (
    Transcript,
    decode,
    entries,
    id_of,
    kept_entries,
    pointers,
    question_digest,
    request_bytes,
)
from countermark_service.store import Lookup, TieredStore

if TYPE_CHECKING:
    from countermark_service.judge.client import ModelClient


@dataclass(frozen=True, slots=True)
class Question:
    """One asking."""

    model: str
    request: Mapping[str, Any]
    body: bytes
    """Canonical bytes of `request`."""
    ask: int
    digest: bytes

    @classmethod
    def of(cls, request: Mapping[str, Any], ask: int) -> "Question":
        """Make the `ask`-th asking of a request, whose body names the model."""
        body = request_bytes(request)
        return cls(str(request["model"]), request, body, ask, question_digest(body, ask))


@dataclass(frozen=True, slots=True)
class Told:
    """An answer: the transcript and its id."""

    transcript: Transcript
    reply: Reply
    digest: bytes
    kept: bool
    """Whether it can be had again; a verdict that rests on one that cannot is not kept either."""


class Asker:
    """Answers questions for one event loop."""

    def __init__(
        self,
        endpoints: Endpoints,
        store: TieredStore | None,
        *,
        mode: JudgeMode = JudgeMode.AUTO,
        counters: JudgeCounters | None = None,
        probes: ProbeBook | None = None,
        fixed: Sequence[tuple[Transcript, bytes]] = (),
    ) -> None:
        """Connect and open nothing yet.

        Args:
            endpoints: Where models answer.
            store: Where transcripts are kept; None keeps none. It becomes this object's to close.
            mode: Where answers come from, where a request does not say.
            counters: Where calls are counted.
            probes: What servers were found to do; None probes none.
            fixed: Transcripts that are there in any case, such as a bundle's own.
        """
        self.endpoints, self._mode = endpoints, mode
        self.counters = counters or JudgeCounters()
        self.probes = probes
        self._store = store
        self._fixed = kept_entries(fixed)
        self._opening: asyncio.Task[None] | None = None
        self._clients: dict[str, ModelClient] = {}
        self._flights: dict[bytes, _Flight] = {}

    @property
    def mode(self) -> JudgeMode:
        """Where answers come from, for whoever asks now."""
        return asked_mode() or self._mode

    @property
    def degraded(self) -> str | None:
        """What does not work now: ``transcripts_unavailable``, ``transcripts_not_writable`` or None."""
        word = None if self._store is None else self._store.degraded
        return None if word is None else word.replace("store", "transcripts", 1)

    def client(self, model: str) -> "ModelClient":
        """Return the client of a model.

        Raises:
            CallError: The operator names no endpoint for it.
        """
        found = self._clients.get(model)
        if found is None:
            endpoint = self.endpoints.get(model)
            if endpoint is None:
                self.counters.of(model).failures["judge_no_endpoint"] += 1
                raise CallError(
                    "judge_no_endpoint",
                    f"no endpoint here is for the model {model!r}: name one in the file of the setting `judges`.",
                )
            from countermark_service.judge.client import ModelClient  # see `answer`

            found = self._clients[model] = ModelClient(endpoint, self.counters.of(model))
        return found

    async def known(self, questions: Sequence[Question]) -> dict[bytes, Told]:
        """Return the transcripts of the questions that have one, by question; none in the mode `fresh`.

        Raises:
            CallError: The mode is `replay`, and the store cannot be asked.
        """
        if self.mode is JudgeMode.FRESH or not questions:
            return {}
        ways = [self._pointers(question) for question in questions]
        keys = [key for way in ways for key in way]
        targets = dict(zip(keys, (await self._get(keys)).values, strict=True))
        firsts = [next(filter(targets.__getitem__, way), None) for way in ways]
        found = [
            (question, first, targets[first] or b"")
            for question, first in zip(questions, firsts, strict=True)
            if first
        ]
        lookup = await self._get([target for _, _, target in found])
        told: dict[bytes, Told] = {}
        astray: list[bytes] = []
        for (question, pointer, target), blob in zip(found, lookup.values, strict=True):
            if blob is None:
                astray.append(pointer)
                continue
            try:
                one = _read(question, target, blob)
            except ValueError:
                astray += [pointer, target]  # a store that was tampered with: as good as empty
                continue
            if one is None:
                astray.append(pointer)
                continue
            told[question.digest] = one
            self.counters.of(question.model).replays += 1
        if astray and not lookup.degraded:
            await self._let_go(astray)
        return told

    async def _let_go(self, keys: Sequence[bytes]) -> None:
        """Drop pointers to transcripts that a full store evicted: kept values stay, and would hide the next reply."""
        mine = [key for key in keys if key not in self._fixed]
        if self._store is not None and mine:
            await self._store.discard_many(mine)

    def _pointers(self, question: Question) -> tuple[bytes, ...]:
        """Return where to look, best first: of the endpoint's revision; in a replay then of any."""
        endpoint = self.endpoints.get(question.model)
        found = pointers(question.digest, endpoint.revision if endpoint else "")
        return found if self.mode is JudgeMode.REPLAY else found[:1]

    async def ask(self, question: Question) -> Told:
        """Return the answer to a question that `known` did not have.

        Raises:
            CallError: There is none; the code says why.
        """
        if self.mode is JudgeMode.REPLAY:
            self.counters.of(question.model).failures["transcript_missing"] += 1
            raise CallError(
                "transcript_missing",
                f"no transcript of this question to {question.model!r} is here, and the mode is `replay`: "
                "import the transcripts, or score in the mode `auto`.",
            )
        flight = self._flights.get(question.digest)
        if flight is None:
            flight = _Flight(self._call(question), lambda: self._flights.pop(question.digest, None))
            self._flights[question.digest] = flight
        else:
            self.counters.of(question.model).coalesced += 1
        came = await flight.wait()
        return came.own if self.mode is JudgeMode.FRESH else came.first

    async def _call(self, question: Question) -> "_Came":
        client = self.client(question.model)
        endpoint = client.endpoint
        probe, spent = await self._probed(client)
        counters = self.counters.of(question.model)
        counters.waiting += 1
        try:
            answer = await client.ask(wire_body(question, endpoint), spent=spent)
        finally:
            counters.waiting -= 1
        await asyncio.sleep(
            0
        )  # who waited for this call's place writes its question before this reply is kept
        transcript = _transcript(question, endpoint, answer, probe)
        return await self._kept(question, transcript, answer.reply)

    async def _kept(self, question: Question, transcript: Transcript, reply: Reply) -> "_Came":
        """Keep a reply before anything is made of it, and look whose reply to the question was kept first.

        Another service on the same store may have asked the same, or the mode is `fresh`: a replay takes the first, so
        whoever did not want another one must, too.
        """
        encoded = transcript.encode()
        own = Told(transcript, reply, id_of(encoded), kept=False)
        if self._store is None:
            return _Came(own, own)
        await self._open()
        ways = pointers(question.digest, transcript.revision)
        firsts = await self._store.settle(entries(transcript, encoded), ways)
        if firsts is None:
            return _Came(own, own)
        if firsts[0] == own.digest:
            own = replace(own, kept=True)
            return _Came(own, own)
        return _Came(own, await self._told(question, firsts[0]) or own)

    async def _told(self, question: Question, target: bytes | None) -> Told | None:
        """Return the transcript that a pointer names; None where it is gone or not to be trusted."""
        if target is None:
            return None
        blob = (await self._get([target])).values[0]
        try:
            return None if blob is None else _read(question, target, blob)
        except ValueError:
            return None

    async def _probed(self, client: "ModelClient") -> tuple[dict[str, Any] | None, float]:
        """Return what is known of a server, and the seconds that finding out cost the question.

        A server that answers no probe will mostly not answer the question either, which has less time left then:
        together they take no longer than a question may.

        Raises:
            CallError: The probe met no answer, and no time is left.
        """
        if self.probes is None or client.endpoint.probe == "never":
            return None, 0.0
        started = asyncio.get_running_loop().time()
        try:
            return await self.probes.of(client), 0.0
        except CallError:
            spent = asyncio.get_running_loop().time() - started
            if spent >= client.endpoint.deadline_seconds:
                raise
            return None, spent

    async def _get(self, keys: Sequence[bytes]) -> Lookup:
        values = [self._fixed.get(key) for key in keys]
        if self._store is None or None not in values:
            return Lookup(values, degraded=False)
        await self._open()
        lookup = await self._store.get_many(keys)
        if lookup.degraded and self.mode is JudgeMode.REPLAY:
            raise CallError(
                "transcripts_unavailable", "the store of transcripts does not answer: ask again later."
            )
        joined = [
            mine if mine is not None else theirs for mine, theirs in zip(values, lookup.values, strict=True)
        ]
        return Lookup(joined, lookup.degraded)

    async def _open(self) -> None:
        """Open the store once, at its first use."""
        if self._opening is None:
            assert self._store is not None  # noqa: S101 - its callers have looked
            self._opening = asyncio.create_task(self._store.start())
        if not self._opening.done() or self._opening.exception() is not None:
            await asyncio.shield(self._opening)

    async def close(self) -> None:
        """Drop what is asked, close connections, write what waits."""
        flights = [flight.task for flight in self._flights.values()]
        for task in flights:
            task.cancel()
        await asyncio.gather(*flights, return_exceptions=True)
        for client in self._clients.values():
            await client.close()
        self._clients.clear()
        if self._store is not None and self._opening is not None:
            await self._store.close()


@dataclass(frozen=True, slots=True)
class _Came:
    """What a call brought."""

    own: Told
    first: Told
    """What is replayed from now on: its own reply, or one that another service had kept before."""


class _Flight:
    """A call that several may wait for; it ends when nobody does."""

    def __init__(self, call: Coroutine[Any, Any, _Came], leave: Callable[[], object]) -> None:
        """Start `call`; `leave` is called once, as soon as nobody may join any more."""
        self._leave = leave
        self._waiting = 0
        self.task = asyncio.get_running_loop().create_task(self._run(call))

    async def _run(self, call: Coroutine[Any, Any, _Came]) -> _Came:
        try:
            came = await call
        finally:
            self._depart()
        return came

    def _depart(self) -> None:
        leave, self._leave = self._leave, lambda: None
        leave()

    async def wait(self) -> _Came:
        self._waiting += 1
        try:
            return await asyncio.shield(self.task)
        finally:
            self._waiting -= 1
            if not self._waiting and not self.task.done():
                self._depart()
                self.task.cancel()


def _read(question: Question, target: bytes, blob: bytes) -> Told | None:
    """Return what a kept transcript says to a question; None where it is another question's.

    Raises:
        ValueError: It is not what its id names.
    """
    transcript, reply = decode(blob, target)
    if not transcript.answers(blob, question.body, question.ask):
        return None
    return Told(transcript, reply, target, kept=True)


def wire_body(question: Question, endpoint: Endpoint) -> bytes:
    """Return the body that is sent: the question's, in the server's own names."""
    if endpoint.served == question.model and endpoint.max_tokens_name == "max_tokens":
        return question.body
    request = {**question.request, "model": endpoint.served}
    if endpoint.max_tokens_name != "max_tokens":
        request[endpoint.max_tokens_name] = request.pop("max_tokens")
    return request_bytes(request)


def _transcript(
    question: Question, endpoint: Endpoint, answer: Answer, probe: dict[str, Any] | None
) -> Transcript:
    return Transcript(
        request=dict(question.request),
        ask=question.ask,
        raw=answer.raw,
        served_as=endpoint.served,
        revision=endpoint.revision,
        attempts=answer.attempts,
        seconds=round(answer.seconds, 6),
        cost=answer.cost,
        asked_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
        probe=None
        if probe is None
        else dict(sorted(probe.items())),  # as it is read again, for verdicts show it
    )
