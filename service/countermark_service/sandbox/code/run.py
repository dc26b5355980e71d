"""One candidate on one slot: its jobs in order, through as many keepers as it takes.

A keeper ends early when a test left files behind, or was killed for a sum over its
limit; the next test then gets a fresh one. What is reported of each test is judged
here, when the last process that could write its output is gone.
"""

import asyncio
import os
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace

from countermark_service.sandbox.code.inside import plain
from countermark_service.sandbox.code.inside.report import FAILED, NOTHING, GoneReport, TestReport
from countermark_service.sandbox.code.model import Limits, RunResult, Status
from countermark_service.sandbox.code.outcome import KILLED, Facts, judge
from countermark_service.sandbox.code.papers import Job, Papers, memory_file
from countermark_service.sandbox.code.slot import Candidate, Slot, SlotLostError

_AHEAD = 3
"""Jobs handed over before the first one's report is in; keeps the keeper busy."""
_GRACE_SECONDS = 5.0
"""Beyond the longest that a test can take; a keeper that is silent for longer is taken for dead."""


@dataclass(frozen=True)
class Finished:
    """One test's result, and the bytes of its answer file."""

    result: RunResult
    answer: bytes = b""


class CandidateRun:
    """The passage of one candidate through a slot."""

    def __init__(
        self,
        slot: Slot,
        code: bytes,
        jobs: Sequence[Job],
        limits: Limits,
        *,
        stop_after_failure: bool = False,
    ) -> None:
        self._slot, self._code, self._jobs, self._limits = slot, code, jobs, limits
        self._stop = stop_after_failure
        self.finished: list[Finished] = []
        """Results so far, in the order of the jobs."""
        self.product: int | None = None
        """Descriptor of the compiler's product, owned by whoever takes it."""
        self._cpu = 0.0

    async def complete(self) -> list[Finished]:
        """Run every job that has no result yet; return all results.

        Raises:
            SlotLostError: Slot or keeper died for no known reason; `finished` holds what was done before.
        """
        if (
            len(self._jobs) == 1
            and not self.finished
            and self._slot.runs_alone
            and not _needs_keeper(self._jobs[0])
        ):
            await self._run_alone()
            return self.finished
        code = memory_file(self._code)
        try:
            cache = memory_file(sealable=True)
        except OSError:
            _close(code)
            raise
        try:
            while len(self.finished) < len(self._jobs) and not self._over():
                candidate = self._slot.open(self._limits, code, cache)
                await self._pass(candidate)
        finally:
            _close(code, cache)
        return self.finished

    async def _run_alone(self) -> None:
        """Run the only job without a keeper, and see it buried."""
        job = self._jobs[0]
        papers = Papers(job, self._code)
        try:
            names, numbers = papers.descriptors()
            message = {"mode": job.mode, "descriptors": names, "more": False, **job.details}
            number, gone = self._slot.run_alone(self._limits, message, numbers)
            if job.peer is not None:
                job.peer.close()
            try:
                await asyncio.wait((gone,), timeout=self._limits.longest + _GRACE_SECONDS)
            finally:
                silent = not gone.done()
                if silent:
                    self._slot.end(number)
                    await _settle(gone, self._slot)
            if silent:
                self._slot.sound = False
                raise SlotLostError("the zygote went silent")
            end = gone.result()
            if end is None or end.failure:
                raise SlotLostError("a test could not be started" if end is not None else "the slot died")
            facts = Facts(
                outcome=end.outcome if end.excess == NOTHING else KILLED,
                status=end.status,
                notes=papers.notes(),
                cpu_seconds=end.cpu_seconds,
                wall_seconds=end.wall_seconds,
                waited_seconds=end.waited_seconds,
                peak_kib=end.peak_bytes // 1024,
                excess=end.excess,
                own_binary=job.binary is not None,
            )
            self._finish(facts, job, papers)
        finally:
            papers.close()

    def _over(self) -> bool:
        """Whether the rest is settled without running it; fills it in where it is."""
        most = self._limits.total_cpu_seconds
        if most is not None and self._cpu >= most:
            unrun = RunResult(
                Status.TIME_LIMIT, message=f"not run: the tests before it used {most:g} s of CPU time"
            )
            while len(self.finished) < len(self._jobs):
                self.finished.append(Finished(unrun))
        failed = bool(self.finished) and self.finished[-1].result.status is not Status.OK
        return self._stop and failed

    async def _pass(self, candidate: Candidate) -> None:
        """Give jobs to one keeper until it ends or all are done, and see it buried."""
        papers: deque[Papers] = deque()
        try:
            complete = await self._feed(candidate, papers)
        except BaseException:
            candidate.hang_up()
            await _settle(candidate.gone, self._slot)
            _discard(papers)
            raise
        candidate.hang_up()
        end = await _settle(candidate.gone, self._slot)  # before any answer is given: by then nothing is left
        try:
            if not complete:
                self._interrupted(end, papers[0] if papers else None)
        finally:
            _discard(papers)

    async def _feed(self, candidate: Candidate, papers: "deque[Papers]") -> bool:
        """Send jobs ahead and take reports until the keeper's last one; False if it hung up before."""
        sent = len(self.finished)
        while True:
            while sent < len(self._jobs) and len(papers) < _AHEAD:
                papers.append(Papers(self._jobs[sent]))
                if not self._send(candidate, sent, papers[-1]):
                    break
                sent += 1
            try:
                async with asyncio.timeout(self._limits.longest + _GRACE_SECONDS):
                    report = await candidate.report()
            except TimeoutError:
                self._slot.sound = False
                raise SlotLostError("the keeper went silent") from None
            if report is None:
                return False
            if report.outcome == FAILED:
                raise SlotLostError(f"a candidate could not be confined: {report.notes.decode()}")
            self._take(report, papers.popleft())
            if self._over() or report.last or len(self.finished) == len(self._jobs):
                return True

    def _send(self, candidate: Candidate, index: int, papers: Papers) -> bool:
        job = self._jobs[index]
        names, numbers = papers.descriptors()
        message = {
            "index": index,
            "mode": job.mode,
            "descriptors": names,
            "more": len(self._jobs) > 1,
            **job.details,
        }
        sent = candidate.send(message, numbers)
        if job.peer is not None:
            job.peer.close()
        return sent

    def _take(self, report: TestReport, papers: Papers) -> None:
        """Judge one test that the keeper saw to its end."""
        job = self._jobs[len(self.finished)]
        facts = Facts(
            outcome=report.outcome,
            status=report.status,
            notes=report.notes.decode("utf-8", "replace"),
            cpu_seconds=report.cpu_seconds,
            wall_seconds=report.wall_seconds,
            peak_kib=report.peak_kib,
            own_binary=job.binary is not None,
        )
        self._finish(facts, job, papers)

    def _interrupted(self, end: GoneReport | None, papers: Papers | None) -> None:
        """Judge the test during which the keeper was ended, if the reason is known."""
        if end is None or end.excess == NOTHING or papers is None:
            raise SlotLostError("a keeper ended before its work was done")
        facts = Facts(KILLED, excess=end.excess, peak_kib=end.peak_bytes // 1024, cpu_seconds=end.cpu_seconds)
        self._finish(facts, self._jobs[len(self.finished)], papers)

    def blame(self) -> None:
        """Record that the next test brought the sandbox down again, on a slot that is sound otherwise."""
        result = judge(Facts(KILLED), self._limits, (b"", 0), (b"", 0))
        self.finished.append(Finished(result))

    def _finish(self, facts: Facts, job: Job, papers: Papers) -> None:
        try:
            result = judge(facts, self._limits, papers.stdout(self._limits), papers.stderr(self._limits))
            answer = papers.answer(self._limits) if job.answers else b""
            if job.product and result.status is Status.OK:
                self.product = papers.take_product()
            if job.fetch:
                result = _with_files(result, job.fetch, papers.fetched())
        finally:
            papers.close()
        self._cpu += result.cpu_seconds
        if result.status is Status.INFRASTRUCTURE:
            self._slot.sound = False
            raise SlotLostError(result.message)
        self.finished.append(Finished(result, answer))


def _needs_keeper(job: Job) -> bool:
    """Whether something of the scratch is wanted when the test has ended."""
    return job.product or bool(job.fetch)


def _with_files(result: RunResult, wanted: Sequence[str], content: bytes) -> RunResult:
    """Return a result with the wanted files; one that has left too much of them has met a limit."""
    if not content:  # the test was ended from outside, keeper and all
        return result
    try:
        complete, files = plain.decode(content)
        found = {name: files[name] for name in wanted if type(files.get(name)) is bytes}
    except (plain.NotPlainError, TypeError, ValueError, AttributeError) as error:
        raise SlotLostError(f"the files of a test cannot be read: {error}") from error
    if complete is not True and result.status is Status.OK:
        message = "the files that were asked for are more than the scratch may hold"
        result = replace(result, status=Status.OUTPUT_LIMIT, message=message)
    return replace(result, files=found)


async def _settle(gone: "asyncio.Future[GoneReport | None]", slot: Slot) -> GoneReport | None:
    """Wait until the zygote has reaped the keeper, even while being cancelled."""
    cancelled: asyncio.CancelledError | None = None
    while not gone.done():
        try:
            async with asyncio.timeout(_GRACE_SECONDS):
                await asyncio.shield(gone)
        except asyncio.CancelledError as error:
            cancelled = error
        except TimeoutError:
            slot.sound = False
            break
    if cancelled is not None:
        raise cancelled
    return gone.result() if gone.done() else None


def _discard(papers: "deque[Papers]") -> None:
    while papers:
        papers.popleft().close()


def _close(*descriptors: int) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
