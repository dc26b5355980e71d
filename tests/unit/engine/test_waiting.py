"""Items with equal references wait for one worker, and none waits for want of it."""

import asyncio
from collections.abc import Iterator

import pytest

from countermark_service.engine.jobs import Group, Job, mark_of
from countermark_service.model import Item

SHARES = 4
MUCH = 1 << 20


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


def payload(response: str, reference: object, **params: object) -> bytes:
    return Item(response, reference, params=params).canonical(uses_prompt=False)


def waiting(loop: asyncio.AbstractEventLoop, payloads: list[bytes]) -> Group:
    return Group("verify", payloads, lambda index, result: None, loop.create_future(), SHARES)


def share_of(job: Job) -> int:
    return job.mark % SHARES


@pytest.mark.parametrize("reference", ["12", 'x, "y"', 12, 0.5, None, ["a", 3], {"a": "b"}])
def test_items_with_equal_references_have_equal_marks(reference: object) -> None:
    ends = ["", "\\boxed{12}", 'he said "12"', 'a list: ["12", "13"]', '"', "\\", '"\\"']
    marks = {mark_of(payload(f"Some text. {end}", reference)) for end in ends}

    assert len(marks) == 1
    assert mark_of(payload("Some text.", "13")) not in marks


def test_a_worker_takes_the_items_of_its_share_in_order(loop: asyncio.AbstractEventLoop) -> None:
    payloads = [payload(f"response {n}", str(n % 8)) for n in range(64)]
    group = waiting(loop, payloads)
    mine = [index for index, one in enumerate(payloads) if mark_of(one) % SHARES == 1]

    taken = group.waiting.take(1, 5, MUCH)

    assert [job.index for job in taken] == mine[:5]
    assert len(group.waiting) == 59


def test_all_of_a_reference_come_to_one_worker(loop: asyncio.AbstractEventLoop) -> None:
    group = waiting(loop, [payload(f"response {n}", str(n % 8)) for n in range(64)])
    met: dict[int, set[int]] = {}

    for share in range(SHARES):
        while group.waiting.has(share):
            for job in group.waiting.take(share, 3, MUCH):
                met.setdefault(job.index % 8, set()).add(share)

    assert [len(shares) for shares in met.values()] == [1] * 8
    assert len(group.waiting) == 0


def test_a_worker_without_items_of_its_own_takes_the_last_of_the_fullest_share(
    loop: asyncio.AbstractEventLoop,
) -> None:
    group = waiting(loop, [payload(f"response {n}", "the same") for n in range(10)])
    fullest = group.waiting.fullest()

    taken = group.waiting.take((fullest + 1) % SHARES, 3, MUCH)

    assert [job.index for job in taken] == [9, 8, 7]
    assert [job.index for job in group.waiting.take(fullest, 3, MUCH)] == [0, 1, 2]


def test_a_chunk_holds_so_many_bytes_and_at_least_one_item(loop: asyncio.AbstractEventLoop) -> None:
    group = waiting(loop, [payload("x" * 1000, "1") for _ in range(5)])
    share = group.waiting.fullest()

    assert len(group.waiting.take(share, 5, 10)) == 1
    assert len(group.waiting.take(share, 5, 2500)) == 3


def test_what_is_judged_alone_comes_alone(loop: asyncio.AbstractEventLoop) -> None:
    group = waiting(loop, [payload(f"response {n}", "1") for n in range(4)])
    share = group.waiting.fullest()
    first, *others = group.waiting.take(share, 4, MUCH)
    first.alone = True
    for job in (*reversed(others), first):
        group.waiting.put_back(job)

    assert group.waiting.take(share, 4, MUCH) == [first]
    assert group.waiting.take(share, 4, MUCH) == others


def test_what_is_put_back_is_the_next_of_its_share(loop: asyncio.AbstractEventLoop) -> None:
    group = waiting(loop, [payload(f"response {n}", "1") for n in range(4)])
    share = group.waiting.fullest()
    (job,) = group.waiting.take(share, 1, MUCH)

    group.waiting.put_back(job)

    assert share_of(job) == share
    assert group.waiting.take(share, 1, MUCH) == [job]


def test_to_forget_what_waits_tells_its_bytes(loop: asyncio.AbstractEventLoop) -> None:
    payloads = [payload(f"response {n}", str(n)) for n in range(9)]
    group = waiting(loop, payloads)

    assert group.waiting.clear() == sum(map(len, payloads))
    assert len(group.waiting) == 0
