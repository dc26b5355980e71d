"""Which items are judged, which are not, and who gets which verdict.

The runtime here judges by hand: it holds its verdicts back until a test lets them
go, so that what happens while items are in flight can be told, not timed.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from countermark_service.bundles import Bundle
from countermark_service.errors import RequestError, SaturatedError, TooLargeError, UnavailableError
from countermark_service.model import Item, OnFailure, Outcome, Verdict, item_keys
from countermark_service.registry import Registry
from countermark_service.remembered import Scored
from countermark_service.runtimes import OnReduction, OnVerdict, Runtime
from countermark_service.scoring import ItemLimits, Run, Scorer, reward_of
from countermark_service.store import MemoryStore, TieredLimits, TieredStore
from countermark_service.store.redis import RedisStore
from tests.support import write_bundle

PARAMETERS = """
[parameters.tolerance]
type = "number"
minimum = 0
[parameters.unit]
enum = ["m", "km"]
"""


class HandRuntime:
    """Judges by comparing response and reference; a `Runtime` whose verdicts wait for `go`."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        """Responses of each call of `verify`."""
        self.reduction: Callable[[str], bytes | None] | None = None
        self.refusal: Exception | None = None
        self.go = asyncio.Event()
        self.go.set()
        self.begun = asyncio.Event()

    async def prepare(self, bundle: Bundle) -> None:
        """Have nothing to prepare."""

    def reduces(self, bundle: Bundle) -> bool:
        return self.reduction is not None

    async def reduce(self, bundle: Bundle, payloads: Sequence[bytes], on_reduction: OnReduction) -> None:
        assert self.reduction is not None
        for index, payload in enumerate(payloads):
            on_reduction(index, self.reduction(json.loads(payload)[0]))

    async def verify(self, bundle: Bundle, payloads: Sequence[bytes], on_verdict: OnVerdict) -> None:
        items = [json.loads(payload) for payload in payloads]
        self.asked.append([item[0] for item in items])
        self.begun.set()
        await self.go.wait()
        if self.refusal is not None:
            raise self.refusal
        for index, (response, reference, *_) in reversed(list(enumerate(items))):
            on_verdict(index, verdict_of(response, reference))

    async def close(self) -> None:
        """Have nothing to close."""

    @property
    def all_asked(self) -> list[str]:
        return [response for call in self.asked for response in call]


def verdict_of(response: str, reference: Any) -> Verdict:
    if response.startswith("fail"):
        return Verdict.failure(Outcome.ERROR, "verifier_raised", response)
    return Verdict.made(Outcome.SCORED, float(response.split()[-1] == reference), b"{}", b"{}")


@pytest.fixture
def runtime() -> HandRuntime:
    return HandRuntime()


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    write_bundle(tmp_path, "def verify(item): ...\n", extra=PARAMETERS)
    return Registry([tmp_path])


@pytest.fixture
def bundle(registry: Registry) -> Bundle:
    return registry.resolve("subject:1.0.0")


@pytest.fixture
def store() -> TieredStore:
    return TieredStore(MemoryStore())


@pytest.fixture
def scorer(registry: Registry, runtime: HandRuntime, store: TieredStore) -> Scorer:
    checked: Runtime = runtime
    return Scorer(registry, {"python": checked}, store)


def items(*responses: str) -> list[Item]:
    return [Item(response, "right") for response in responses]


def scores(scored: list[Scored]) -> list[float | None]:
    return [verdict.score for verdict, _ in scored]


def cached(scored: list[Scored]) -> list[bool]:
    return [was_there for _, was_there in scored]


async def test_verdicts_come_in_the_order_of_the_items(scorer: Scorer, bundle: Bundle) -> None:
    responses = [f"{n} right" if n % 3 else f"{n} wrong" for n in range(100)]
    scored, run = await scorer.score_batch(bundle, items(*responses))

    assert scores(scored) == [float(bool(n % 3)) for n in range(100)]
    assert (run.items, run.cached, run.failed) == (100, 0, 0)


async def test_no_items_have_no_verdicts(scorer: Scorer, bundle: Bundle, runtime: HandRuntime) -> None:
    assert (await scorer.score_batch(bundle, []))[0] == []
    assert runtime.asked == []


async def test_equal_items_of_a_batch_are_judged_once(
    scorer: Scorer, bundle: Bundle, runtime: HandRuntime
) -> None:
    scored, run = await scorer.score_batch(bundle, items("right", "wrong", "right", "fail", "right", "fail"))

    assert runtime.asked == [["right", "wrong", "fail"]]
    assert scores(scored) == [1.0, 0.0, 1.0, None, 1.0, None]
    assert cached(scored) == [False, False, True, False, True, True]
    assert (run.cached, run.failed) == (3, 2)


async def test_an_id_makes_no_other_item_and_a_reference_or_a_parameter_does(
    scorer: Scorer, bundle: Bundle, runtime: HandRuntime
) -> None:
    same = [Item("right", "right", id="one"), Item("right", "right", id=2, prompt="not looked at")]
    other = [
        Item("right", "wrong"),
        Item("right", "right", {"tolerance": 1}),
        Item("right", "right", {"tolerance": 1.0}),
    ]
    await scorer.score_batch(bundle, [*same, *other])
    assert len(runtime.all_asked) == 4


async def test_what_was_scored_is_not_judged_again_and_what_failed_is(
    scorer: Scorer, bundle: Bundle, runtime: HandRuntime, registry: Registry, store: TieredStore
) -> None:
    await scorer.score_batch(bundle, items("right", "fail"))
    scored, run = await scorer.score_batch(bundle, items("right", "fail"))
    assert cached(scored) == [True, False]
    assert (run.cached, run.failed) == (1, 1)

    another = Scorer(registry, {"python": runtime}, store)
    scored, _ = await another.score_batch(bundle, items("right", "fail"))
    assert cached(scored) == [True, False]
    assert runtime.asked == [["right", "fail"], ["fail"], ["fail"]]


async def test_equal_items_in_flight_are_judged_once(
    scorer: Scorer, bundle: Bundle, runtime: HandRuntime
) -> None:
    runtime.go.clear()
    first = asyncio.create_task(scorer.score_batch(bundle, items("right", "wrong", "fail")))
    await runtime.begun.wait()
    second = asyncio.create_task(scorer.score_batch(bundle, items("fail", "own", "right")))
    while len(runtime.asked) < 2:
        await asyncio.sleep(0)
    runtime.go.set()

    assert scores((await first)[0]) == [1.0, 0.0, None]
    scored, run = await second
    assert scores(scored) == [None, 0.0, 1.0]
    assert cached(scored) == [True, False, True]
    assert (run.cached, run.failed) == (2, 1)
    assert runtime.asked == [["right", "wrong", "fail"], ["own"]]


async def test_an_item_that_was_judged_while_an_equal_one_was_looked_up_is_not_judged_again(
    registry: Registry, runtime: HandRuntime, bundle: Bundle
) -> None:
    """The second look-up finds nothing, and when it says so the first call has come to its end."""

    class SlowStore(MemoryStore):
        held = 0
        answers = asyncio.Event()

        async def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
            found = await super().get_many(keys)
            self.held += 1
            if self.held == 2:
                await self.answers.wait()
            return found

    backend = SlowStore()
    scorer = Scorer(registry, {"python": runtime}, TieredStore(backend))
    runtime.go.clear()
    first = asyncio.create_task(scorer.score_batch(bundle, items("a right")))
    await runtime.begun.wait()
    second = asyncio.create_task(scorer.score_batch(bundle, items("a right")))
    while backend.held < 2:
        await asyncio.sleep(0)
    runtime.go.set()
    await first
    backend.answers.set()
    scored, run = await second

    assert runtime.all_asked == ["a right"]
    assert (scores(scored), cached(scored), run.cached) == ([1.0], [True], 1)


async def test_who_waits_for_a_caller_that_goes_away_judges_itself(
    scorer: Scorer, bundle: Bundle, runtime: HandRuntime
) -> None:
    runtime.go.clear()
    first = asyncio.create_task(scorer.score_batch(bundle, items("right", "wrong")))
    await runtime.begun.wait()
    waiting = [asyncio.create_task(scorer.score_batch(bundle, items("right", "wrong"))) for _ in range(3)]
    for _ in range(100):  # until all of them wait: nothing else can happen
        await asyncio.sleep(0)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    runtime.go.set()

    for task in waiting:
        assert scores((await task)[0]) == [1.0, 0.0]
    assert runtime.all_asked.count("right") == 2


async def test_who_waits_for_a_caller_that_is_refused_gets_its_own_answer(
    scorer: Scorer, bundle: Bundle, runtime: HandRuntime
) -> None:
    runtime.go.clear()
    runtime.refusal = SaturatedError(pending=9, limit=9, retry_after=1.0)
    first = asyncio.create_task(scorer.score_batch(bundle, items("right")))
    await runtime.begun.wait()
    second = asyncio.create_task(scorer.score_batch(bundle, items("right")))
    for _ in range(100):
        await asyncio.sleep(0)
    runtime.go.set()
    for task in (first, second):
        with pytest.raises(SaturatedError):
            await task
    assert runtime.asked == [["right"], ["right"]]

    runtime.refusal = None
    assert scores((await scorer.score_batch(bundle, items("right")))[0]) == [1.0]


async def test_items_with_equal_reductions_share_a_verdict(
    scorer: Scorer, bundle: Bundle, runtime: HandRuntime
) -> None:
    runtime.reduction = lambda response: response.split()[-1].encode()
    responses = ["it is right", "so: right", "it is wrong", "right"]
    scored, run = await scorer.score_batch(bundle, items(*responses))

    assert runtime.asked == [["it is right", "it is wrong"]]
    assert scores(scored) == [1.0, 1.0, 0.0, 1.0]
    assert cached(scored) == [False, True, False, True]
    assert run.reduced == 0

    scored, run = await scorer.score_batch(bundle, items("once more right", "it is wrong"))
    assert cached(scored) == [True, True]
    assert (run.cached, run.reduced) == (2, 1)
    assert len(runtime.asked) == 1


async def test_an_item_without_a_reduction_is_judged_whole(
    scorer: Scorer, bundle: Bundle, runtime: HandRuntime
) -> None:
    runtime.reduction = lambda response: None if response.startswith("odd") else b"same"
    await scorer.score_batch(bundle, items("odd right", "odd wrong", "a right", "b right"))
    assert runtime.asked == [["odd right", "odd wrong", "a right"]]


async def test_failures_under_a_reduction_are_not_kept_either(
    scorer: Scorer, bundle: Bundle, runtime: HandRuntime
) -> None:
    runtime.reduction = lambda response: b"same"
    for _ in range(2):
        scored, _ = await scorer.score_batch(bundle, items("fail 1", "fail 2"))
        assert scores(scored) == [None, None]
    assert runtime.asked == [["fail 1"], ["fail 1"]]


async def test_an_item_found_by_its_reduction_is_found_whole_the_next_time(
    scorer: Scorer, bundle: Bundle, runtime: HandRuntime
) -> None:
    runtime.reduction = lambda response: b"same"
    await scorer.score_batch(bundle, items("one right"))
    await scorer.score_batch(bundle, items("two right"))
    runtime.reduction = None
    scored, run = await scorer.score_batch(bundle, items("one right", "two right"))
    assert cached(scored) == [True, True]
    assert run.reduced == 0


@pytest.mark.parametrize(
    "kept",
    [
        b"", b"nonsense", b'{"outcome":"scored","score":1.0}',
        Verdict.failure(Outcome.TIMEOUT, "cpu_limit", "too long").json,
        Verdict.failure(Outcome.ABSTAIN, "tie", "a tie").json,
        b'{"outcome":"error","score":1.0,"detail":{},"surroundings":{}}',
    ],
)  # fmt: skip
async def test_what_a_store_should_not_hold_is_not_believed(
    scorer: Scorer, bundle: Bundle, runtime: HandRuntime, store: TieredStore, kept: bytes
) -> None:
    (item,) = items("wrong")
    (key,) = item_keys(bundle.digest_bytes, [item], uses_prompt=False)
    store.put_many({key: kept})
    scored, _ = await scorer.score_batch(bundle, [item])
    assert (scores(scored), cached(scored)) == ([0.0], [False])


async def test_two_bundles_do_not_share_verdicts(
    tmp_path: Path, runtime: HandRuntime, store: TieredStore
) -> None:
    for version in ("1.0.0", "1.0.1"):
        write_bundle(tmp_path / "two", "def verify(item): ...\n", version=version)
    scorer = Scorer(Registry([tmp_path / "two"]), {"python": runtime}, store)
    for version in ("1.0.0", "1.0.1"):
        await scorer.score_batch(scorer.resolve(f"subject:{version}"), items("right"))
    assert runtime.asked == [["right"], ["right"]]


async def test_a_store_that_is_down_costs_hits_and_no_verdict_and_is_said(
    registry: Registry, bundle: Bundle, runtime: HandRuntime, tmp_path: Path
) -> None:
    store = TieredStore(RedisStore(f"unix://{tmp_path}/nobody"), TieredLimits(lru_entries=1))
    await store.start()
    try:
        scorer = Scorer(registry, {"python": runtime}, store)
        for _ in range(3):
            scored, run = await scorer.score_batch(bundle, items("right", "wrong", "right"))
            assert scores(scored) == [1.0, 0.0, 1.0]
            assert run.degraded == {"store_unavailable"}
    finally:
        await store.close()


async def test_a_verifier_of_a_runtime_that_is_not_here_is_unavailable(
    registry: Registry, bundle: Bundle, store: TieredStore
) -> None:
    with pytest.raises(UnavailableError, match="does not run 'python' verifiers"):
        await Scorer(registry, {}, store).score_batch(bundle, items("right"))


async def test_an_item_that_cannot_be_written_is_refused_with_its_index(
    scorer: Scorer, bundle: Bundle
) -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    for strange in (float, "\ud800", deep):
        with pytest.raises(RequestError, match="item 1 cannot be written as JSON") as refusal:
            await scorer.score_batch(bundle, [*items("right"), Item("right", strange)])
        assert refusal.value.values() == {"item": 1}


def test_as_many_items_as_the_limit_are_taken_and_one_more_is_not(scorer: Scorer, bundle: Bundle) -> None:
    limits = ItemLimits(items=3)
    scorer.check(bundle, items("a", "b", "c"), limits)
    with pytest.raises(TooLargeError, match=r"4 items in one request; this service takes 3") as refusal:
        scorer.check(bundle, items("a", "b", "c", "d"), limits)
    assert (refusal.value.kind, refusal.value.limit) == ("too_many_items", 3)


@pytest.mark.parametrize("response", ["x" * 9, "é" * 5, "😀" * 3])
def test_a_response_is_measured_in_bytes(scorer: Scorer, bundle: Bundle, response: str) -> None:
    limits = ItemLimits(response_bytes=8)
    scorer.check(bundle, items("x" * 8, "é" * 4, "😀" * 2), limits)
    with pytest.raises(TooLargeError) as refusal:
        scorer.check(bundle, items("x", response), limits, first=10)
    assert (refusal.value.kind, refusal.value.values()) == ("response_too_large", {"item": 11, "limit": 8})


@pytest.mark.parametrize(
    ("params", "field", "problem"),
    [
        ({"tolerence": 1}, "params", "'tolerence' was unexpected"),
        ({"tolerance": "1"}, "params.tolerance", "is not of type 'number'"),
        ({"tolerance": -1}, "params.tolerance", "minimum"),
        ({"tolerance": True}, "params.tolerance", "is not of type 'number'"),
        ({"unit": "mile"}, "params.unit", "is not one of ['m', 'km']"),
        ({"tolerance": 1, "unit": "m", "": 1}, "params", "'' was unexpected"),
        ({"x" * 10_000: 1}, "params", "xxx"),
    ],
)
def test_a_parameter_that_the_manifest_does_not_know_is_refused(
    scorer: Scorer, bundle: Bundle, params: dict[str, Any], field: str, problem: str
) -> None:
    with pytest.raises(RequestError) as refusal:
        scorer.check(bundle, [*items("a"), Item("a", "b", params)], ItemLimits())
    assert refusal.value.values() == {"item": 1, "field": field}
    assert problem in str(refusal.value)
    assert str(refusal.value).endswith("subject takes: tolerance, unit.")
    assert len(str(refusal.value)) < 500


def test_parameters_of_the_manifest_are_taken_again_and_again(scorer: Scorer, bundle: Bundle) -> None:
    for n in range(3000):  # more than are remembered
        scorer.check(bundle, [Item("a", "b", {"tolerance": n, "unit": "km"})], ItemLimits())
    with pytest.raises(RequestError):
        scorer.check(bundle, [Item("a", "b", {"tolerance": 1, "unit": 1})], ItemLimits())


def test_a_reward_is_never_made_out_of_a_failure_unless_the_caller_wants_zero() -> None:
    failure = Verdict.failure(Outcome.TIMEOUT, "cpu_limit", "too long")
    right = Verdict.made(Outcome.SCORED, 1.0, b"{}", b"{}")
    assert [reward_of(failure, on_failure) for on_failure in OnFailure] == [None, 0.0, None]
    assert [reward_of(right, on_failure) for on_failure in OnFailure] == [1.0, 1.0, 1.0]


def test_runs_add_up_without_their_times() -> None:
    here, made, lost = (Outcome.SCORED, True), (Outcome.SCORED, False), (Outcome.ERROR, False)
    total = Run(1, Counter({here: 2, lost: 4}), 3, 5.0, {"a"})
    total.add(Run(10, Counter({here: 20, made: 7, lost: 40}), 30, 50.0, {"b"}))
    assert total == Run(11, Counter({here: 22, made: 7, lost: 44}), 33, 5.0, {"a", "b"})
    assert (total.cached, total.failed) == (22, 44)


async def test_a_batch_that_was_found_is_found_again_without_its_keys(
    scorer: Scorer, bundle: Bundle, runtime: HandRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = [Item(f"it is {n}", f"{n % 3}") for n in range(9)]
    made, _ = await scorer.score_batch(bundle, batch)
    found, _ = await scorer.score_batch(bundle, batch)
    hits = scorer.store.counters.lru_hits
    monkeypatch.setattr("countermark_service.scoring.item_keys", None)
    again, run = await scorer.score_batch(bundle, batch)
    assert again == found == [(verdict, True) for verdict, _ in made]
    assert run.cached == 9
    assert scorer.store.counters.lru_hits == hits + 9
    assert len(runtime.all_asked) == 9


async def test_a_batch_that_is_partly_known_gets_every_verdict(
    scorer: Scorer, bundle: Bundle, runtime: HandRuntime
) -> None:
    batch = [Item(f"it is {n}", f"{n % 3}") for n in range(9)]
    for _ in range(3):
        await scorer.score_batch(bundle, batch)
    mixed = [*batch[:4], Item("it is new", "new"), Item("fail", "1"), *batch[4:]]
    for _ in range(3):
        scored, run = await scorer.score_batch(bundle, mixed)
        assert [verdict for verdict, _ in scored] == [
            verdict_of(item.response, item.reference) for item in mixed
        ]
    assert run.cached == 10
    assert runtime.all_asked.count("fail") == 3
