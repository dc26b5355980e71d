"""Asks one model's server, patiently and within bounds.

An attempt that may succeed another time (408, 409, 425, 429, 5xx, a dropped
connection, half a reply, a body that is no chat completion) is repeated after a
random pause, until attempts or time are used up. A refusal of the request itself is
not. Whatever happens ends as an `Answer` or as a `CallError` with a stable code;
neither ever holds the key.
"""

import asyncio
import re
import time
from collections.abc import Callable
from functools import lru_cache

import httpx

from countermark_service.judge.answer import Answer, CallError
from countermark_service.judge.counters import ModelCounters
from countermark_service.judge.endpoints import Endpoint
from countermark_service.judge.pace import Pace, backoff_seconds, retry_after_seconds
from countermark_service.judge.reply import BadReplyError, Reply, read_sound_reply
from countermark_service.judge.transport import Address, BoundedTransport, Received, ReplyTooLargeError

_RETRIED = frozenset({408, 409, 425, 429})
_SHOWN_CHARS = 300
_LEAST_SHARE = 0.1
"""Of an attempt's time, what must be left after a pause. A question that is sent with less is paid for, mostly not
waited for, and its time-out hides what really went wrong."""
_SHORTEST_SECRET = 8
"""Characters of a key that is one: servers without keys are given any word, which replies may well hold."""


class _AgainError(Exception):
    """An attempt that failed and may be repeated."""

    def __init__(self, code: str, problem: str, after: float | None = None) -> None:
        super().__init__(problem)
        self.code, self.after = code, after


class ModelClient:
    """Calls one endpoint. For one event loop."""

    def __init__(
        self, endpoint: Endpoint, counters: ModelCounters, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Connect nothing yet."""
        self.endpoint = endpoint
        self._counters = counters
        self._clock = clock
        self._least_seconds = _LEAST_SHARE * min(endpoint.timeout_seconds, endpoint.deadline_seconds)
        self._pace = Pace(endpoint, clock)
        self._transport = BoundedTransport(
            most_bytes=endpoint.most_reply_kib << 10, connect_seconds=endpoint.connect_seconds
        )
        self._url = httpx.URL(f"{endpoint.base_url}/chat/completions")
        self._address: Address | None = None

    async def ask(self, body: bytes, *, spent: float = 0.0) -> Answer:
        """Send a request's body and return the answer.

        Args:
            body: Of the request.
            spent: Seconds of the deadline that are over already.

        Raises:
            CallError: There is none; the code says why.
        """
        if self._pace.is_open:
            raise self._not_tried()
        async with self._pace.slot():
            if not self._pace.admits():  # it may have opened while this question waited
                raise self._not_tried()
            return await self._try(body, spent)

    async def _try(self, body: bytes, spent: float) -> Answer:
        """Ask, and tell the breaker how it went."""
        settled = False
        try:
            answer = await self._ask(body, spent)
            settled = True
            self._pace.answered()
            return answer
        except CallError as exc:
            settled = True
            if exc.kind == "judge_refused_request" or not exc.attempts:  # not its fault, or never sent
                self._pace.left()
            else:
                self._pace.gave_up()
            raise
        finally:
            if not settled:
                self._pace.left()

    def _not_tried(self) -> CallError:
        return self._given_up("judge_circuit_open", "it has not answered lately; it is tried again soon", 0)

    async def _ask(self, body: bytes, spent: float) -> Answer:
        endpoint, counters = self.endpoint, self._counters
        end = self._clock() + endpoint.deadline_seconds - spent
        attempt = 0
        while True:
            attempt += 1
            pause = self._pace.delay(end - self._clock() - self._least_seconds)
            if pause:
                await asyncio.sleep(pause)
            if pause is None or self._clock() >= end:
                cause = "the pause that it asked for" if self._pace.is_held else "its rate"
                raise self._given_up("judge_rate_limited", f"{cause} leaves no time", attempt - 1)
            counters.attempts += 1
            counters.retries += attempt > 1
            started = self._clock()
            try:
                raw, reply = await self._attempt(body, min(endpoint.timeout_seconds, end - started), attempt)
            except _AgainError as exc:
                await self._wait(exc, attempt, end)
                continue
            seconds = self._clock() - started
            return self._answer(raw, reply, attempt, seconds)

    def _answer(self, raw: str, reply: Reply, attempts: int, seconds: float) -> Answer:
        endpoint, counters, usage = self.endpoint, self._counters, reply.usage
        counters.prompt_tokens += usage.prompt_tokens
        counters.completion_tokens += usage.completion_tokens
        cost = None
        if endpoint.price_in is not None or endpoint.price_out is not None:
            cost = usage.prompt_tokens * (endpoint.price_in or 0.0) / 1e6
            cost += usage.completion_tokens * (endpoint.price_out or 0.0) / 1e6
            counters.cost += cost
        counters.other_model += reply.model not in (None, endpoint.served)
        if endpoint.answers_as is not None and reply.model not in (*endpoint.answers_as, endpoint.served):
            said = (reply.model or "no model")[:100]  # and its tokens are paid for all the same
            raise self._given_up("judge_wrong_model", f"{said!r} answered in its place", attempts)
        counters.calls += 1
        counters.seconds += seconds
        return Answer(raw, reply, attempts, seconds, cost)

    async def _wait(self, failed: _AgainError, attempt: int, end: float) -> None:
        """Pause before the next attempt, or give up."""
        pause = backoff_seconds(self.endpoint, attempt)
        if failed.after is not None:
            pause += failed.after
            self._pace.hold(
                min(failed.after, self.endpoint.deadline_seconds)
            )  # a day would outlast any reason
        if attempt >= self.endpoint.attempts or self._clock() + pause + self._least_seconds >= end:
            raise self._given_up(failed.code, str(failed), attempt) from failed
        await asyncio.sleep(pause)

    async def _attempt(self, body: bytes, seconds: float, attempt: int) -> tuple[str, Reply]:
        address = self._prepared()
        try:
            async with asyncio.timeout(seconds):
                received = await self._transport.send(address, body)
        except TimeoutError as exc:
            raise _AgainError("judge_timeout", f"no reply within {seconds:.3g} s") from exc
        except ReplyTooLargeError as exc:
            raise self._given_up("judge_reply_too_large", str(exc), attempt) from exc
        except httpx.RemoteProtocolError as exc:  # it is there, and what it says cannot be read
            raise _AgainError("judge_bad_reply", str(exc)) from exc
        except httpx.HTTPError as exc:
            raise _AgainError("judge_unreachable", str(exc) or type(exc).__name__) from exc
        return self._read(received, attempt)

    def _read(self, received: Received, attempt: int) -> tuple[str, Reply]:
        status, content = received.status, received.body
        if status in _RETRIED or status >= 500:
            after = retry_after_seconds(received.headers.get(b"retry-after", b"").decode("latin-1"))
            code = "judge_rate_limited" if status == 429 else "judge_unavailable"
            raise _AgainError(code, f"status {status}{self._shown(content)}", after)
        if status != 200:
            problem = f"status {status}{self._shown(content)}"
            place = received.headers.get(b"location")
            if place:
                problem += f"; no redirect is followed, and this one leads to{self._shown(place)}"
            raise self._given_up("judge_refused_request", problem, attempt)
        try:
            raw = content.decode()
            secret = self._secret()
            if secret is not None and secret.search(raw):  # it would be kept, and shown
                raise BadReplyError("it repeats the key")
            reply = read_sound_reply(raw)
            if reply.error:  # earlier versions took such a reply, so what is kept and moved may hold one
                raise BadReplyError(f"a choice that failed: {reply.error}")
            return raw, reply
        except ValueError as exc:  # bytes that are no text, no completion, or one that says two things
            shown = "" if content.lstrip().startswith(b"{") else self._shown(content)  # a page, a stream
            raise _AgainError("judge_bad_reply", f"{exc}{shown}") from exc

    def _prepared(self) -> Address:
        if self._address is None:
            headers = [
                (b"host", self._url.netloc),
                (b"content-type", b"application/json"),
                (b"accept", b"application/json"),
                (b"accept-encoding", b"identity"),
                (b"user-agent", b"countermark"),
            ]
            try:
                key = self.endpoint.key()
            except KeyError as exc:
                problem = f"the variable {self.endpoint.key_env} that holds its key is not set"
                raise self._given_up("judge_key_missing", problem, 0) from exc
            if key is not None:
                if not key.isascii() or not key.isprintable():
                    problem = f"the variable {self.endpoint.key_env} holds no key that can be sent"
                    raise self._given_up("judge_key_missing", problem, 0)
                headers.append((b"authorization", b"Bearer " + key.encode()))
            self._address = Address.of(httpx.Request("POST", self._url, headers=headers))
        return self._address

    def _shown(self, content: bytes) -> str:
        """Return what a server said first, on one line behind a colon, without its key."""
        text, secret = content.decode("utf-8", "replace"), self._secret()
        if secret is not None:  # before anything is cut, which could leave a part of it
            text = secret.sub("[key]", text)
        shown = " ".join(text[:4096].split())[:_SHOWN_CHARS]
        return f": {shown}" if shown else ""

    def _secret(self) -> re.Pattern[str] | None:
        """Return what finds the key in a reply; None for none, and for words such as EMPTY that stand for none."""
        key = self.endpoint.key()
        return _written(key) if key and len(key) >= _SHORTEST_SECRET else None

    def _given_up(self, code: str, problem: str, attempts: int) -> CallError:
        self._counters.failures[code] += 1
        tried = f" after {attempts} attempts" if attempts > 1 else ""
        return CallError(
            code, f"model {self.endpoint.model!r} gave no answer{tried}: {problem}", attempts=attempts
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._transport.aclose()


@lru_cache(maxsize=64)
def _written(key: str) -> re.Pattern[str]:
    """Return what finds a key as it is, or in JSON, where writers escape `/` or `+` or anything they like."""
    return re.compile("".join(rf"(?:\\?{re.escape(one)}|\\u(?i:{ord(one):04x}))" for one in key))
