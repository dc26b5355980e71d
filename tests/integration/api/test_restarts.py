"""A service over its life: two on one SQLite file, an end in mid-batch, an edited bundle, a new start."""

import shutil
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from countermark_service.bundles import read_bundle
from countermark_service.registry import append_published
from tests.integration.api.conftest import StartService
from tests.integration.api.parts import (
    REDUCING,
    SUBJECT,
    Caller,
    is_alive,
    item,
    leaves_below,
    log_of,
    processes_below,
    stream_of,
    wait_until,
)
from tests.support import ServiceProcess

KNOWN = [item(f"{n} {'right' if n % 2 else 'wrong'}") for n in range(300)]
FAILING = [item("raise over and over"), item("exit over and over")]
PATIENT = {"store_timeout_seconds": "10"}
"""On a busy machine a look-up may take longer than it should; what is tested here is what it finds."""
SIGNALLED = -int(signal.SIGTERM)
"""Exit code of a process that ends itself by the signal it was sent, once everything is done."""


@pytest.fixture(scope="module")
def own_subjects(subjects: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the test bundles, published, which a test may edit."""
    root = tmp_path_factory.mktemp("own") / "bundles"
    shutil.copytree(subjects, root)
    for folder in (root / "subject" / "1.0.0", root / "reducing" / "1.0.0"):
        append_published(root, read_bundle(folder).ref)
    return root


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("restarted")


@pytest.fixture(scope="module")
def first(start_service: StartService, data: Path, own_subjects: Path) -> ServiceProcess:
    return start_service(data, bundles=own_subjects, **PATIENT)


@pytest.fixture(scope="module")
def second(first: ServiceProcess, start_service: StartService, own_subjects: Path) -> ServiceProcess:
    """Another service on the same data folder, so on the same SQLite file."""
    return start_service(first.data, bundles=own_subjects, **PATIENT)


def test_two_services_on_one_file_share_what_was_scored(
    first: ServiceProcess, second: ServiceProcess
) -> None:
    with Caller(first) as one, Caller(second) as other:
        judged = one.verdicts(KNOWN)
        assert [verdict["cached"] for verdict in judged] == [False] * 300
        wait_until(
            lambda: one.metric("countermark_store_events_total", event="written") >= 300, "all is written"
        )

        found = other.verdicts(KNOWN)
        assert [verdict["cached"] for verdict in found] == [True] * 300
        assert [{**verdict, "cached": False} for verdict in found] == judged
        assert other.metric("countermark_store_events_total", event="backend_hits") >= 300


def test_two_services_may_write_to_one_file_at_the_same_time(
    first: ServiceProcess, second: ServiceProcess
) -> None:
    with Caller(first) as one, Caller(second) as other, ThreadPoolExecutor(4) as together:
        batches = [[item(f"both {batch} {n}") for n in range(500)] for batch in range(4)]
        answers = [
            together.submit((one, other)[number % 2].score, batch) for number, batch in enumerate(batches * 2)
        ]
        for answer in answers:
            body = answer.result().json()
            assert [verdict["score"] for verdict in body["verdicts"]] == [0.0] * 500
            assert "degraded" not in body


def test_a_service_that_is_ended_in_mid_batch_answers_it_whole_and_leaves_no_process(
    first: ServiceProcess, second: ServiceProcess
) -> None:
    """Here ends the second service; the first goes on."""
    with Caller(second) as caller, ThreadPoolExecutor(2) as together:
        last = [item(f"work 10 last {n}", f"last {n}", id=n) for n in range(150)]
        batch = together.submit(caller.score, last)
        stream = together.submit(caller.stream, stream_of([item(f"work 10 end {n}") for n in range(50)]))
        wait_until(lambda: caller.metric("countermark_slots_busy") == 2, "the batch is under way")
        processes = processes_below(second.process.pid)
        assert len(processes) >= 3

        second.process.send_signal(signal.SIGTERM)
        answer = batch.result()
        assert answer.status_code == 200
        assert [one["id"] for one in answer.json()["verdicts"]] == list(range(150))
        assert [one["score"] for one in answer.json()["verdicts"]] == [1.0] * 150
        assert stream.result()[-1]["summary"]["items"] == 50

    assert second.process.wait(30) in (0, SIGNALLED)
    with Caller(first) as caller:  # nothing of the last moments was lost
        assert [one["cached"] for one in caller.verdicts(last)] == [True] * 150
    wait_until(lambda: not any(map(is_alive, processes)), "every process has ended")
    log = log_of(second)
    assert "Application shutdown complete" in log
    assert "Traceback" not in log


def test_a_terminal_that_is_closed_ends_the_service_in_order(
    start_service: StartService, tmp_path: Path
) -> None:
    before = signal.signal(
        signal.SIGHUP, signal.SIG_DFL
    )  # under `nohup` it is ignored, and that is inherited
    try:
        service = start_service(tmp_path / "data")
    finally:
        signal.signal(signal.SIGHUP, before)
    with Caller(service) as caller, ThreadPoolExecutor(1) as together:
        batch = together.submit(caller.score, [item(f"work 10 closed {n}") for n in range(50)])
        wait_until(lambda: caller.metric("countermark_slots_busy") == 2, "the batch is under way")
        assert service.stop(signal.SIGHUP) in (0, SIGNALLED)
        assert len(batch.result().json()["verdicts"]) == 50


def test_a_service_ends_in_order_whatever_signals_were_blocked_where_it_was_started(
    start_service: StartService, tmp_path: Path
) -> None:
    before = signal.pthread_sigmask(
        signal.SIG_BLOCK, signal.valid_signals()
    )  # a process inherits what is blocked
    try:
        service = start_service(tmp_path / "data")
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    with Caller(service) as caller:
        assert len(caller.verdicts([item(f"blocked {n}") for n in range(50)])) == 50
        processes = processes_below(service.process.pid)
    try:
        service.process.send_signal(signal.SIGTERM)
        assert service.process.wait(60) in (0, SIGNALLED)
    finally:
        service.process.kill()
    wait_until(lambda: not any(map(is_alive, processes)), "every process has ended")


def test_a_service_that_was_started_with_signals_ignored_judges_and_ends_in_order(
    start_service: StartService, tmp_path: Path
) -> None:
    """Who is started inherits it too: bubblewrap would hear of no end of a child, and wait for ever."""
    ignored = (signal.SIGCHLD, signal.SIGPROF, signal.SIGXCPU, signal.SIGFPE)
    before = {number: signal.signal(number, signal.SIG_IGN) for number in ignored}
    try:
        service = start_service(tmp_path / "data")
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    with Caller(service) as caller:
        assert len(caller.verdicts([item(f"ignored {n}") for n in range(50)])) == 50
        workers = leaves_below(service.process.pid)
        for process in (service.process.pid, *workers):
            status = dict(
                line.split(":\t", 1) for line in Path(f"/proc/{process}/status").read_text().splitlines()
            )
            found = int(status["SigIgn"], 16)
            assert not any(found >> (number - 1) & 1 for number in ignored)
    assert service.stop() in (0, SIGNALLED)


@pytest.fixture(scope="module")
def again(first: ServiceProcess, start_service: StartService, own_subjects: Path) -> ServiceProcess:
    """The first service, ended and started again."""
    with Caller(first) as caller:
        caller.verdicts(KNOWN + FAILING)
        caller.verdicts([item("so it is right")], verifier=REDUCING)
    assert first.stop() in (0, SIGNALLED)
    return start_service(first.data, bundles=own_subjects, **PATIENT)


def test_what_was_scored_is_known_after_a_restart_and_what_failed_is_not(again: ServiceProcess) -> None:
    with Caller(again) as caller:
        verdicts = caller.verdicts(KNOWN + FAILING)
        assert [one["cached"] for one in verdicts] == [True] * 300 + [False] * 2
        assert [one["score"] for one in verdicts] == [float(n % 2) for n in range(300)] + [None] * 2
        found = caller.verdicts([item("hence it is right"), item("so it is right")], verifier=REDUCING)
        assert [(one["score"], one["cached"]) for one in found] == [(1.0, True), (1.0, True)]


def test_a_service_that_is_killed_leaves_no_process(again: ServiceProcess) -> None:
    with Caller(again) as caller, ThreadPoolExecutor(1) as together:
        lost = together.submit(caller.score, [item(f"work 10 lost {n}") for n in range(500)])
        wait_until(lambda: caller.metric("countermark_slots_busy") == 2, "the batch is under way")
        processes = processes_below(again.process.pid)
        assert again.stop(signal.SIGKILL) == -signal.SIGKILL
        with pytest.raises(httpx.TransportError):
            lost.result()
    wait_until(lambda: not any(map(is_alive, processes)), "every process has ended")


def test_after_a_kill_an_edited_bundle_is_refused_and_the_others_are_served_with_what_was_stored(
    again: ServiceProcess, start_service: StartService, own_subjects: Path
) -> None:
    published = read_bundle(own_subjects / "subject" / "1.0.0")
    code = own_subjects / "subject" / "1.0.0" / "verifier.py"
    code.write_text(code.read_text() + "\n# a small fix\n")

    with Caller(start_service(again.data, bundles=own_subjects, **PATIENT)) as caller:
        for verifier in (SUBJECT, str(published.ref)):
            answer = caller.score(KNOWN, verifier=verifier)
            problem = answer.json()
            assert (answer.status_code, problem["code"]) == (409, "digest_mismatch")
            assert problem["pinned"] == published.digest
            assert "published.toml" in problem["detail"]
        listed = caller.http.get("/v1/verifiers").json()
        assert "subject" not in [one["name"] for one in listed["verifiers"]]
        (broken,) = listed["broken"]
        assert (broken["ref"], broken["code"]) == (SUBJECT, "digest_mismatch")

        found = caller.verdicts([item("so it is right"), item("never seen right")], verifier=REDUCING)
        assert [(one["score"], one["cached"]) for one in found] == [(1.0, True), (1.0, True)]
