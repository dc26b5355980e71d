"""Samples that every reward client is given, and what the verifier says of them when it is asked directly."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import httpx

from tests.support import ServiceProcess

MATH = "math-verify:0.9.0-r2"
SUBJECT = "subject:1.0.0"
"""A verifier that does what a response tells it to; the service that has it is `small`."""
PROMPT = "What is {0} + {0}? Put it into a box."
_KINDS = (
    "The sum is \\boxed{{{right}}}.",
    "The sum is \\boxed{{{wrong}}}.",
    "It is $\\boxed{{\\frac{{{twice}}}{{2}}}}$<|im_end|>",
    "I cannot say.",
    "\\boxed{{{right}}} or, wait, \\boxed{{{wrong}}}",
    "",
)


@dataclass(frozen=True)
class Sample:
    """What a policy wrote."""

    prompt: str
    response: str
    reference: str


def samples(count: int) -> list[Sample]:
    """Return samples of every kind, no two with the same reference."""
    made = []
    for number in range(count):
        facts = {"right": 2 * number, "wrong": 2 * number + 1, "twice": 4 * number}
        response = _KINDS[number % len(_KINDS)].format(**facts)
        made.append(Sample(PROMPT.format(number), response, str(2 * number)))
    return made


def direct(url: str, asked: list[Sample], verifier: str = MATH) -> list[float]:
    """Return the verifier's own scores, of responses as a tokenizer leaves them that skips special tokens."""
    items = [
        {"response": one.response.removesuffix("<|im_end|>"), "reference": one.reference} for one in asked
    ]
    answer = httpx.post(f"{url}/v1/score", json={"verifier": verifier, "items": items}, timeout=120)
    assert answer.status_code == 200, answer.text
    scores: list[float] = [verdict["score"] for verdict in answer.json()["verdicts"]]
    assert None not in scores
    assert {0.0, 1.0} == set(scores)
    return scores


def slow(count: int, name: str, milliseconds: int = 60) -> list[Sample]:
    """Return samples of `SUBJECT` that take a while, each of which is right."""
    return [Sample("", f"work {milliseconds} {name} {number} right", "right") for number in range(count)]


@contextmanager
def started_again(service: ServiceProcess) -> Iterator[None]:
    """Start a service again as often as it is killed."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.02):
            if service.process.poll() is not None:
                service.start()

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def kill_at(service: ServiceProcess, number: int) -> Callable[[int], None]:
    """Return what kills a service in mid-run: at the request of that number, from 0, on a `Wire`."""

    def note(at: int) -> None:
        if at == number:
            service.process.kill()

    return note
