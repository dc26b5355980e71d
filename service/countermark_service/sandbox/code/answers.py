"""Answer files, read: what function calls returned and what test programs said.

A candidate writes its answer file itself and may put anything there. So it counts only
if it is one whole reply to this very call; everything else is a call that failed.
"""

from collections.abc import Sequence
from dataclasses import replace

from countermark_service.sandbox.code.inside import line, plain, testing
from countermark_service.sandbox.code.model import CallResult, RunResult, Status, TesterResult
from countermark_service.sandbox.code.run import Finished


def call_results(finished: Sequence[Finished], nonces: Sequence[bytes]) -> list[CallResult]:
    """Read the answer file of each call; the nonces are those that the calls carried."""
    return [_call_result(one, nonce) for one, nonce in zip(finished, nonces, strict=False)]


def _call_result(finished: Finished, nonce: bytes) -> CallResult:
    """Read one answer file: exactly one reply to exactly this call, or the call failed."""
    if finished.result.status is not Status.OK:
        return CallResult(finished.result)
    try:
        parts = plain.decode(finished.answer) if finished.answer else None
    except plain.NotPlainError as error:
        return _no_value(finished.result, f"no valid answer: {error}")
    if type(parts) is not tuple or len(parts) != 4 or type(parts[0]) is not bytes or parts[0] != nonce:
        return _no_value(finished.result, "the program ended without an answer")
    kind, value, args = parts[1], parts[2], parts[3]
    if kind == line.VALUE:
        return CallResult(finished.result, value=value, args=args if type(args) in (tuple, list) else None)
    if (
        kind == line.RAISED
        and type(value) is tuple
        and all(type(part) is str for part in value)
        and len(value) == 2
    ):
        failed = _no_value(finished.result, f"{value[0]}: {value[1]}"[:300])
        return replace(failed, exception=(value[0], value[1]))
    return _no_value(finished.result, str(value)[:300] if type(value) is str else "no valid answer")


def _no_value(result: RunResult, message: str) -> CallResult:
    return CallResult(replace(result, status=Status.RUNTIME_ERROR, message=message))


def tester_result(candidate: RunResult, tester: Finished, nonce: bytes) -> TesterResult:
    """Say what a tester run came to: a candidate that failed outweighs whatever the test program says."""

    def result(passed: bool, status: Status, message: str, unsupported: bool = False) -> TesterResult:
        return TesterResult(passed, status, message, unsupported, candidate, tester.result)

    try:
        parts = plain.decode(tester.answer) if tester.answer else None
    except plain.NotPlainError:
        parts = None
    if type(parts) is tuple and len(parts) == 3 and parts[0] == nonce and parts[1] == testing.UNSUPPORTED:
        # A candidate whose tester has gone cannot but fail as well.
        return result(False, Status.OK, parts[2], unsupported=True)
    if candidate.status is not Status.OK:
        return result(False, candidate.status, candidate.message)
    if type(parts) is not tuple or len(parts) != 3 or parts[0] != nonce:
        # It may be the candidate's answers that the test program died of; only its own syntax is surely not.
        unsupported = tester.result.status is Status.COMPILE_ERROR
        status = Status.RUNTIME_ERROR if tester.result.status is Status.OK else tester.result.status
        return result(False, status, f"the test program ended early: {tester.result.message}", unsupported)
    kind, message = parts[1], parts[2]
    if kind == testing.BROKEN:
        return result(False, Status.RUNTIME_ERROR, message)
    return result(kind == testing.PASSED, Status.OK, message)
