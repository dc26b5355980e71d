"""A small work file with known numbers, for tests of what is computed and shown from one.

Three tasks, two models, two generations of some questions, two verifiers (one of the
card, one asked for), and every outcome: see `make_work_file`.
"""

from pathlib import Path

import msgspec

from countermark_service.audit import AuditVerifier, Input, OutputRow, Refusal, Unusable, WorkFile
from countermark_service.audit.work_file import NewVerdict, Route
from countermark_service.model import BundleRef, Outcome

STRICT = BundleRef("strict", "1.0.0", "sha256:" + "a" * 64)
LENIENT = BundleRef("lenient", "2.0.0", "sha256:" + "b" * 64)

MODELS = ("model-a", "model-b")
SURROUNDINGS = b'{"python":"3.11.9","platform":"linux-x86_64","containment":"bubblewrap"}'


def make_work_file(path: Path, questions: int = 24) -> WorkFile:
    """Make a work file of `questions` questions for each of two tasks and both models.

    On question ``q`` both verifiers say right, unless: ``q % 8 == 1`` both wrong; ``2`` strict no_answer and
    lenient right; ``3`` strict wrong and lenient right; ``4`` strict right and lenient wrong; ``5`` strict
    timeout and lenient right; ``6`` bad_reference under both; ``7`` error under lenient. The published
    score is what strict said, and missing where strict has none. Row 0 is refused by lenient.
    """
    work = WorkFile.create(path)
    with work.transaction():
        work.set_meta("plan", {"outputs": ["outputs.jsonl"]})
        work.add_input(Input("outputs.jsonl", 1234, "0" * 64, "jsonl"))
        work.set_verifiers([AuditVerifier(STRICT, "card"), AuditVerifier(LENIENT, "asked")])
        index = 0
        for task in ("algebra", "geometry"):
            work.add_routes(task, [Route(0, {}, "null"), Route(1, {}, "null")])
            for model in MODELS:
                for question in range(questions):
                    _add(work, index, task, model, question)
                    index += 1
        work.finish_input("outputs.jsonl", "jsonl", index)
        work.add_unusable([Unusable("outputs.jsonl", 1000, "no_reference", "the row has no reference")])
        work.add_note("outputs.jsonl", 7, "columns_guessed", "the response is read from 'output'")
        work.set_meta("state", "scored")
    return work


def _add(work: WorkFile, index: int, task: str, model: str, question: int) -> None:
    strict, lenient = _said(question % 8)
    published = _score(strict)
    row = OutputRow(
        index=index, file="outputs.jsonl", line=index + 1, task=task, model=model, sample=str(question),
        prompt=f"What is {question} + {question}?", response=f"It is <b>\\boxed{{{2 * question}}}</b>.",
        reference=str(2 * question), published=published, metric=None if published is None else "accuracy",
        extras={"metrics": {"accuracy": published}},
    )  # fmt: skip
    work.add_rows([row])
    for pin, outcome in enumerate((strict, lenient)):
        if index == 0 and pin == 1:
            work.add_refusal(Refusal(0, 1, "params.x: unknown parameter"))
            continue
        kind = Outcome.SCORED if outcome in ("right", "wrong") else Outcome(outcome)
        detail = (
            {"answer": str(2 * question)} if kind is Outcome.SCORED else {"code": kind, "message": "said so"}
        )
        work.add_verdicts(
            [
                NewVerdict(
                    index, pin, kind, _score(outcome), _score(outcome), False,
                    msgspec.json.encode(detail), SURROUNDINGS,
                )
            ]
        )  # fmt: skip


def _said(kind: int) -> tuple[str, str]:
    return {
        1: ("wrong", "wrong"),
        2: ("no_answer", "right"),
        3: ("wrong", "right"),
        4: ("right", "wrong"),
        5: ("timeout", "right"),
        6: ("bad_reference", "bad_reference"),
        7: ("right", "error"),
    }.get(kind, ("right", "right"))


def _score(said: str) -> float | None:
    return {"right": 1.0, "wrong": 0.0, "no_answer": 0.0}.get(said)
