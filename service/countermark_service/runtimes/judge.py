"""Bundles without code that ask a language model.

An item becomes lines of data, the lines become one question a vote (and an order, for
pairs), the answers become votes, the votes a verdict. The verdict is a function of
bundle, item and transcripts alone: what is different from one day to the next
(attempts, time, the model's name for itself) stands in the transcripts, so a replay
gives the same bytes. What cannot be had is `error`, what the judge would not say is
`abstain`; neither is ever a score.
"""

import asyncio
import hashlib
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from countermark_service.bundles import Bundle
from countermark_service.bundles.judge_table import JudgeTable
from countermark_service.bundles.template import MissingValueError, value_at
from countermark_service.errors import SaturatedError
from countermark_service.judge.answer import CallError
from countermark_service.judge.asker import Asker, Question, Told
from countermark_service.judge.mode import JudgeMode
from countermark_service.judge.parse import UnreadableError, Vote, read_vote, response_format
from countermark_service.judge.render import as_line, as_line_within, messages
from countermark_service.judge.reply import Reply
from countermark_service.judge.shown import decide, shown_part
from countermark_service.judge.transcripts import written
from countermark_service.model import Outcome, Verdict
from countermark_service.runtimes.interface import OnReduction, OnVerdict
from countermark_service.runtimes.missing import missing_value
from countermark_service.runtimes.together import Start, started, together

_MOST_CRITERIA = 64
_PART, _PART_BYTES = 64, 256 << 10
"""Items whose questions are written before the first of them is asked, and before others are served."""
_AT_ANY_END = frozenset({"length", "abort", "aborted", "error", "cancelled", "canceled", "timeout"})
_ENDED_EARLY = {1: frozenset({"length"}), 2: _AT_ANY_END, 3: _AT_ANY_END}
"""What servers say of a reply whose last words need not be the judge's last words, by the number of the rules."""
_ENDED = frozenset(
    {"", "stop", "stop_sequence", "stop_token", "eos", "eos_token", "end_turn", "complete", "completed"}
)
"""By rules 4, what they say of all other replies. Servers have too many words for an end that is none to list:
``model_length``, ``insufficient_system_resource``, ``tool_calls``, ``network_error``, ``MAX_TOKENS``."""
_WITHHELD = frozenset(
    {
        "content_filter",
        "safety",
        "sensitive",
        "recitation",
        "refusal",
        "prohibited_content",
        "blocklist",
        "spii",
    }
)
"""By rules 4, what they say of a reply that something kept back or cut."""
_MOST_WAITING = 65_536
_EQUAL_SCORES = 1e-9
"""By rules 5, most by which the scores of the two orders may differ: 1 - 0.7 is not 0.3 to the last bit."""
_TRIES = 2
"""Askings of one vote: an unreadable reply is asked for once more."""


@dataclass(frozen=True, slots=True)
class _Case:
    """One item, ready to be asked about."""

    orders: tuple[dict[str, str], ...]
    """Lines of data, once per order."""
    labels: Mapping[str, float] = field(default_factory=dict)
    weights: tuple[float, ...] = ()


@dataclass(slots=True)
class _Ballot:
    """One vote of one order: what was said, and by which transcripts."""

    told: list[Told]
    vote: Vote | None = None
    problem: str = ""
    """Why there is no vote: ``refused`` or a code of `UnreadableError`."""


class JudgeRuntime:
    """Judges items of `judge` bundles. A `Runtime` with keys of its own (`OwnKeys`)."""

    def __init__(self, asker: Asker) -> None:
        """`asker` becomes this object's to close."""
        self.asker = asker
        self._waiting = 0

    async def prepare(self, bundle: Bundle) -> None:
        """Nothing: an item may need no model, and one that cannot be reached is its item's outcome; see `Runtime`."""

    def reduces(self, bundle: Bundle) -> bool:
        """False: equal questions are joined where they are asked."""
        return False

    async def reduce(self, bundle: Bundle, payloads: Sequence[bytes], on_reduction: OnReduction) -> None:
        """Report that there is no reduction; see `Runtime`."""
        for index in range(len(payloads)):
            on_reduction(index, None)

    def identity(self, bundle: Bundle) -> bytes:
        """Return what keys verdicts in place of the digest: mode and revision take part; see `OwnKeys`."""
        table, mode = _table(bundle), self.asker.mode
        endpoint = self.asker.endpoints.get(table.model)
        revision = endpoint.revision if endpoint is not None else ""
        return hashlib.sha256(f"judge\0{mode.value}\0{revision}\0".encode() + bundle.digest_bytes).digest()

    def kept(self, bundle: Bundle) -> bool:
        """False in the mode `fresh`, where every verdict is made anew; see `OwnKeys`."""
        return self.asker.mode is not JudgeMode.FRESH

    def degraded(self, bundle: Bundle) -> str | None:
        """Say whether transcripts are kept and found now; see `OwnKeys`."""
        return self.asker.degraded

    async def verify(self, bundle: Bundle, payloads: Sequence[bytes], on_verdict: OnVerdict) -> None:
        """Judge each item; see `Runtime`."""
        if self._waiting and self._waiting + len(payloads) > _MOST_WAITING:
            raise SaturatedError(pending=self._waiting, limit=_MOST_WAITING, retry_after=5.0)
        self._waiting += len(payloads)
        try:
            await self._verify(bundle, payloads, on_verdict)
        finally:
            self._waiting -= len(payloads)

    async def _verify(self, bundle: Bundle, payloads: Sequence[bytes], on_verdict: OnVerdict) -> None:
        """Judge a part after the other, so that the first questions are under way while others are written."""
        table = _table(bundle)
        async with started() as start:
            for first, part in _parts(payloads):
                await self._begin(table, first, part, on_verdict, start)
                await asyncio.sleep(0)

    async def _begin(
        self,
        table: JudgeTable,
        first: int,
        payloads: Sequence[bytes],
        on_verdict: OnVerdict,
        start: Start,
    ) -> None:
        """Judge what is known already and start asking the rest; `first` is the index of the first payload."""
        cases: list[tuple[int, _Case, list[list[Question]]]] = []
        for index, payload in enumerate(payloads, start=first):
            case = _case(table, payload)
            if isinstance(case, Verdict):
                self.asker.counters.of(table.model).refused_unasked += (
                    case.outcome is not Outcome.BAD_REFERENCE
                )
                on_verdict(index, case)
            else:
                cases.append((index, case, _questions(table, case)))
        firsts = [question for _, _, orders in cases for order in orders for question in order]
        try:
            known = await self.asker.known(firsts)
        except CallError as exc:
            for index, _, _ in cases:
                on_verdict(index, _failed(exc))
            return

        async def judge(index: int, case: _Case, orders: list[list[Question]]) -> None:
            on_verdict(index, await self._judge(table, case, orders, known))

        for index, case, orders in cases:
            if all(question.digest in known for order in orders for question in order):
                await judge(index, case, orders)  # mostly nothing to wait for
            else:
                start(judge(index, case, orders))

    async def _judge(
        self, table: JudgeTable, case: _Case, orders: list[list[Question]], known: Mapping[bytes, Told]
    ) -> Verdict:
        endpoint = self.asker.endpoints.get(table.model)
        asks = self.asker.mode is not JudgeMode.REPLAY
        if asks and endpoint is not None and table.revision not in (None, endpoint.revision):
            return _failed(_revision_error(table, endpoint.revision))
        work = [self._ballot(table, case, question, known) for order in orders for question in order]
        try:
            ballots = [await work[0]] if len(work) == 1 else await together(work)
        except CallError as exc:
            return _failed(exc)
        each = len(orders[0])
        verdict = _verdict(table, [ballots[at : at + each] for at in range(0, len(ballots), each)])
        if verdict.outcome is Outcome.ABSTAIN:
            self.asker.counters.of(table.model).abstentions += 1
        return verdict

    async def _ballot(
        self, table: JudgeTable, case: _Case, question: Question, known: Mapping[bytes, Told]
    ) -> _Ballot:
        ballot = _Ballot([])
        for attempt in range(_TRIES):
            asking = question if attempt == 0 else _again(table, question)
            told = known.get(asking.digest)
            if told is None and attempt:
                told = (await self.asker.known([asking])).get(asking.digest)
            if told is None:
                told = await self.asker.ask(asking)
            ballot.told.append(told)
            reply = told.reply
            if _is_refused(reply, table.rules):
                ballot.problem = "refused"
                return ballot
            try:
                cut = _is_cut(reply, table.rules)
                ballot.vote = read_vote(
                    reply.content, table.output, case.labels, case.weights, rules=table.rules, cut=cut
                )
            except UnreadableError as exc:
                ballot.problem = str(exc)
                self.asker.counters.of(table.model).unreadable += 1
            else:
                return ballot
        return ballot

    async def close(self) -> None:
        """Drop what is asked and close connections; see `Runtime`."""
        await self.asker.close()


def _parts(payloads: Sequence[bytes]) -> Iterator[tuple[int, Sequence[bytes]]]:
    """Cut items into parts, each with the index of its first, by number and by size."""
    first = size = 0
    for index, payload in enumerate(payloads):
        if index > first and (index - first >= _PART or size + len(payload) > _PART_BYTES):
            yield first, payloads[first:index]
            first, size = index, 0
        size += len(payload)
    yield first, payloads[first:]


def _is_refused(reply: Reply, rules: int) -> bool:
    """Whether a judge would not answer; by rules 1 not where it says something beside its refusal."""
    refused = reply.refuses if rules > 1 else reply.refusal is not None and not reply.content
    if rules < 4:
        return refused or reply.finish_reason == "content_filter"
    return refused or (reply.finish_reason or "").casefold() in _WITHHELD


def _is_cut(reply: Reply, rules: int) -> bool:
    """Whether the last words of a reply need not be the judge's last words."""
    if rules < 4:
        return reply.finish_reason in _ENDED_EARLY[rules]
    return (reply.finish_reason or "").casefold() not in _ENDED


def _table(bundle: Bundle) -> JudgeTable:
    table = bundle.manifest.judge
    if table is None:
        raise TypeError(f"{bundle.ref} is no judge")
    return table


def _revision_error(table: JudgeTable, found: str) -> CallError:
    return CallError(
        "judge_wrong_revision",
        f"this judge is the model {table.model!r} at revision {table.revision!r}, and the endpoint here declares "
        f"{found or 'none'!r}: name the right server, or declare its revision in the file of `judges`.",
    )


# --- items to questions -------------------------------------------------------------------------------


def _case(table: JudgeTable, payload: bytes) -> "_Case | Verdict":
    """Return what to ask of an item, or the verdict that needs no asking."""
    response, reference, _, prompt = msgspec.json.decode(payload)
    if table.reference == "template":
        return _template_case(table, response, reference)
    if table.shows_prompt and prompt is None:
        return Verdict.failure(
            Outcome.BAD_REFERENCE, "prompt_missing", "this judge shows the prompt: send it."
        )
    if table.shows_prompt and len(prompt) > table.show.most_prompt_chars:
        return _unasked("abstain", "prompt_too_long")
    line = as_line_within(reference, table.show.most_reference_chars, table.rules)
    if line is None:
        problem = f"it has over {table.show.most_reference_chars} characters as JSON."
        return Verdict.failure(Outcome.BAD_REFERENCE, "bad_reference", problem)
    fault = _reference_problem(table, reference)
    if fault is not None:
        return Verdict.failure(Outcome.BAD_REFERENCE, "bad_reference", fault)
    parts = [shown_part(response, table.show, table.rules)]
    if table.reference == "pair":
        parts.append(shown_part(reference, table.show, table.rules))
        other = decide(parts[1].text, None, table.before, table.rules)
        if parts[1].decided is not None or other is not None:
            return Verdict.failure(
                Outcome.BAD_REFERENCE, "bad_reference", "the other response cannot be compared."
            )
    if parts[0].decided is not None:
        return _unasked(parts[0].decided, parts[0].reason)
    compared = (
        None if table.reference == "pair" and table.rules >= 4 else reference
    )  # no reference, if another response
    decided = decide(parts[0].text, compared, table.before, table.rules)
    if decided is not None:
        return _unasked(*decided)
    return _ready(table, [part.text for part in parts], reference, line, prompt)


def _template_case(table: JudgeTable, sample: str, item: Any) -> "_Case | Verdict":
    """Return what to ask where the messages name values of item and sample: those values, and no rule of ours."""
    if len(sample) > table.show.most_chars:
        return _unasked("abstain", "response_too_long")
    if as_line_within(item, table.show.most_reference_chars, table.rules) is None:
        return Verdict.failure(Outcome.BAD_REFERENCE, "bad_reference", "the item is too long to be shown.")
    places = sorted(set().union(*(message.places for message in table.messages)))
    try:
        lines = {path: as_line(value_at(path, sample, item), table.rules) for path in places}
        return _Case((lines,), table.output.labels)
    except MissingValueError as exc:
        return missing_value(exc)


def _ready(table: JudgeTable, parts: list[str], reference: Any, line: str, prompt: str | None) -> _Case:
    """Return what to ask; `line` is the reference as a line of data."""
    lines = {"prompt": as_line(prompt, table.rules)} if table.shows_prompt else {}
    if table.reference == "pair":
        first, second = (as_line(part, table.rules) for part in parts)
        orders = [{**lines, "first": first, "second": second}]
        if table.votes.both_orders:
            orders.append({**lines, "first": second, "second": first})
        return _Case(tuple(orders), table.output.labels)
    lines["response"] = as_line(parts[0], table.rules)
    if table.reference == "choice":
        return _Case((lines,), table.output.by_reference[reference])
    if table.reference == "criteria":
        criteria = _criteria(reference)
        numbered = [{"number": at, "criterion": text} for at, (text, _) in enumerate(criteria, start=1)]
        lines["criteria"] = as_line(numbered, table.rules)
        return _Case((lines,), weights=tuple(weight for _, weight in criteria))
    lines["reference"] = line
    return _Case((lines,), table.output.labels)


def _reference_problem(table: JudgeTable, reference: Any) -> str | None:
    """Return why a reference cannot be read, or None."""
    kind = table.reference
    if kind in ("text", "pair") and (not isinstance(reference, str) or not reference.strip()):
        return "it must be a text that is not blank."
    if kind == "json" and reference is None:
        return "it must not be null."
    if kind == "choice" and reference not in [*table.output.by_reference]:
        return f"it must be one of {', '.join(table.output.by_reference)}."
    if kind == "criteria":
        try:
            _criteria(reference)
        except ValueError as exc:
            return str(exc)
    return None


def _criteria(reference: Any) -> list[tuple[str, float]]:
    """Return text and weight of each criterion.

    Raises:
        ValueError: The reference is no list of criteria.
    """
    rows = reference.get("criteria") if isinstance(reference, dict) else reference
    if not isinstance(rows, list) or not 1 <= len(rows) <= _MOST_CRITERIA:
        raise ValueError(f'it must be {{"criteria": [...]}} with 1 to {_MOST_CRITERIA} members.')
    found = []
    for number, row in enumerate(rows, start=1):
        text, weight = (row, 1.0) if isinstance(row, str) else (None, None)
        if isinstance(row, dict) and set(row) <= {"text", "weight"}:
            text, weight = row.get("text"), row.get("weight", 1.0)
        if not (
            isinstance(text, str)
            and text.strip()
            and isinstance(weight, int | float)
            and not isinstance(weight, bool)
            and 0 < weight <= 1e6  # before it becomes a float, which an integer may be too large for
        ):
            raise ValueError(f"criterion {number} must be a text, or a `text` with a `weight` over 0.")
        found.append((text, float(weight)))
    return found


def _questions(table: JudgeTable, case: _Case) -> list[list[Question]]:
    """Return the first asking of each vote, by order."""
    return [
        [_question(table, case, lines, vote) for vote in range(table.votes.count)] for lines in case.orders
    ]


def _question(table: JudgeTable, case: _Case, lines: Mapping[str, str], vote: int) -> Question:
    sampling = table.sampling
    request: dict[str, Any] = {
        "model": table.model,
        "messages": messages(table, lines),
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "max_tokens": sampling.max_tokens,
    }
    if sampling.seed is not None:
        request["seed"] = sampling.seed + vote
    shape = response_format(table.output, len(case.weights))
    if shape is not None:
        request["response_format"] = shape
    return Question.of(request, vote)


def _again(table: JudgeTable, question: Question) -> Question:
    """Return the second asking of a vote: with a seed, and a number, that no vote has."""
    request = dict(question.request)
    if "seed" in request:
        request["seed"] += table.votes.count
    return Question.of(request, question.ask + table.votes.count)


# --- votes to a verdict -------------------------------------------------------------------------------


def _unasked(outcome: str, reason: str) -> Verdict:
    made = Outcome(outcome)
    detail = {"reason": reason, "asked": False}
    if made is Outcome.ABSTAIN:
        detail = {
            "code": reason,
            "message": "the judge was not asked: see the verifier's description.",
            **detail,
        }
    score = None if made is Outcome.ABSTAIN else 0.0
    return Verdict.made(made, score, msgspec.json.encode(detail), b"{}")


def _failed(exc: CallError) -> Verdict:
    detail = {"code": exc.kind, "message": str(exc), "attempts": exc.attempts}
    return Verdict.made(Outcome.ERROR, None, msgspec.json.encode(detail), b"{}")


def _verdict(table: JudgeTable, orders: Sequence[Sequence[_Ballot]]) -> Verdict:
    """Combine the votes of each order, then the orders."""
    scores: list[float] = []
    for place, ballots in enumerate(orders):
        votes = [ballot.vote for ballot in ballots if ballot.vote is not None]
        cast = [vote for vote in votes if vote.score is not None]
        found = _combined(table, cast) if len(cast) >= table.votes.least else None
        if found is None:
            return _abstained(table, orders, _why(ballots, len(cast), table))
        scores.append(found if place == 0 else 1.0 - found)
    if len(scores) == 2 and not math.isclose(
        *scores, rel_tol=0, abs_tol=_EQUAL_SCORES if table.rules >= 5 else 0
    ):
        return _abstained(
            table, orders, ("orders_disagree", "with the responses swapped, the judge says otherwise.")
        )
    outcome, score = Outcome.SCORED, min(1.0, max(0.0, scores[0]))
    return _made(outcome, score, orders, _detail(table, orders))


def _combined(table: JudgeTable, votes: Sequence[Vote]) -> float | None:
    """Return the score of some votes, or None where they do not make one."""
    scores = [vote.score for vote in votes if vote.score is not None]
    if not scores:
        return None
    if len(scores) == 1:
        return scores[0]
    if table.votes.combine == "mean":
        return math.fsum(scores) / len(scores)
    counts = Counter(_said(vote, table) for vote in votes)
    most, count = counts.most_common(1)[0]
    enough = len(votes) if table.votes.combine == "unanimous" else len(votes) // 2 + 1
    return next(vote.score for vote in votes if _said(vote, table) == most) if count >= enough else None


def _said(vote: Vote, table: JudgeTable) -> str | float | None:
    """Return by what two votes are the same: the label; by rules 5, of a number its value, however it was written."""
    return vote.label if table.rules < 5 or table.output.all_labels or vote.parts else vote.score


def _why(ballots: Sequence[_Ballot], cast: int, table: JudgeTable) -> tuple[str, str]:
    """Return code and message of an abstention."""
    if cast >= table.votes.least:
        return "votes_tie", "the votes do not agree."
    problems = [ballot.problem for ballot in ballots if ballot.vote is None]
    if "refused" in problems:
        return "judge_refused", "the judge refused to answer."
    if problems:
        return "judge_unreadable", f"the replies break the output contract ({problems[0]}), asked twice."
    return "judge_declined", "the judge would not decide."


def _abstained(table: JudgeTable, orders: Sequence[Sequence[_Ballot]], why: tuple[str, str]) -> Verdict:
    code, message = why
    detail = {"code": code, "message": message, **_detail(table, orders)}
    return _made(Outcome.ABSTAIN, None, orders, detail)


def _made(
    outcome: Outcome, score: float | None, orders: Sequence[Sequence[_Ballot]], detail: Mapping[str, Any]
) -> Verdict:
    verdict = Verdict.made(outcome, score, msgspec.json.encode(detail), b"{}")
    kept = all(told.kept for ballots in orders for ballot in ballots for told in ballot.told)
    return verdict if kept else verdict.passing()


def _detail(table: JudgeTable, orders: Sequence[Sequence[_Ballot]]) -> dict[str, Any]:
    """Return what a verdict keeps: everything by which it can be made again, and looked into."""
    ballots = [ballot for one in orders for ballot in one]
    first, reply = ballots[0].told[0].transcript, ballots[0].told[0].reply
    detail: dict[str, Any] = {
        "model": table.model,
        "answered_by": reply.model,
        "fingerprint": reply.fingerprint,
        "votes": [_vote(ballot) for ballot in ballots],
        "transcripts": [written(told.digest) for ballot in ballots for told in ballot.told],
        "attempts": sum(told.transcript.attempts for ballot in ballots for told in ballot.told),
    }
    if reply.model not in (None, first.served_as):
        detail["other_model"] = True
    if first.revision:
        detail["revision"] = first.revision
    detail["probe"] = first.probe
    return detail


def _vote(ballot: _Ballot) -> dict[str, Any]:
    if ballot.vote is None:
        return {"label": None, "score": None, "problem": ballot.problem}
    said: dict[str, Any] = {"label": ballot.vote.label, "score": ballot.vote.score}
    if ballot.vote.parts:
        said["met"] = list(ballot.vote.parts)
    return said
