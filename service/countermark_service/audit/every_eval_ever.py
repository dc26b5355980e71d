"""An audit in the shared schema of Every Eval Ever, for whoever collects results.

For each task and model one aggregate file and one file of instances, under the names
that the schema asks for: ``data/<task>/<developer>/<model>/<uuid>.json`` and
``…_samples.jsonl``. Scores of different verifiers are results of their own. The
schema has no field for a scorer's version or digest, so the pin stands in
`metric_config.additional_details` and in each instance's `extraction_method`. It
has no form for a verdict without a score either: such verdicts are counted in the
result and left out of the instances, since a failure is not a zero.

Source: the JSON Schemas of every-eval-ever 0.3.0.
"""

import hashlib
import math
import re
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from countermark_service import __version__
from countermark_service.audit.rows import OutputRow
from countermark_service.audit.verdict_files import whole
from countermark_service.audit.work_file import NewVerdict, Ready, WorkFile, at_once
from countermark_service.model import Outcome

FOLDER = "every_eval_ever"
SCHEMA_VERSION = "0.3.0"

_UNKNOWN = "unknown"
_UNSAFE = re.compile(r"[^0-9A-Za-z._=,+-]+")
_encode = msgspec.json.Encoder().encode


@dataclass
class _Result:
    """What one verifier says about one variant of a task."""

    scores: int = 0
    total: float = 0.0
    squares: float = 0.0
    outcomes: dict[str, int] = field(default_factory=dict)

    def add(self, outcome: str, score: float | None) -> None:
        self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1
        if score is not None:
            self.scores += 1
            self.total += score
            self.squares += score**2

    @property
    def mean(self) -> float:
        return self.total / self.scores

    @property
    def error(self) -> float | None:
        """Standard error of the mean, rows taken as independent; None for a single score."""
        if self.scores < 2:
            return None
        variance = max(self.squares - self.scores * self.mean**2, 0.0) / (self.scores - 1)
        return math.sqrt(variance / self.scores)


def write_every_eval_ever(
    work: WorkFile, folder: Path, *, ready: Ready = at_once, now: float | None = None
) -> Path:
    """Write the files below ``folder/every_eval_ever`` and return that folder.

    Args:
        work: The audit.
        folder: Folder of the audit.
        ready: The scoring may go on meanwhile; this says how far it is.
        now: Seconds since 1970 that the files are dated with; None is now.

    Raises:
        OutputError: A file cannot be written.
    """
    pins = [str(one.pin) for one in work.verifiers]
    stamp = f"{time.time() if now is None else now:.0f}"
    root = folder / FOLDER
    for task, model in dict.fromkeys((task, model) for task, _, model, _ in work.groups()):
        _write_group(work, root, pins, task, model, stamp, ready)
    return root


def _write_group(
    work: WorkFile, root: Path, pins: Sequence[str], task: str, model: str, stamp: str, ready: Ready
) -> None:
    name = uuid.UUID(bytes=hashlib.sha256(_encode([task, model, pins])).digest()[:16], version=4)
    developer, _, short = model.rpartition("/")
    parts = [_safe(task), _safe(developer or _UNKNOWN), _safe(short or _UNKNOWN)]
    place = Path("data", *parts)
    samples = root / place / f"{name}_samples.jsonl"
    evaluation = f"{task}/{model or _UNKNOWN}/{stamp}"
    results: dict[tuple[str, int], _Result] = {}
    digest, lines = hashlib.sha256(), 0
    with whole(samples) as file:
        for row, verdicts in work.group(task, model, ready):
            shared = _encode(_shared(row, evaluation))[:-1]  # all that the instances of a row have in common
            for verdict in verdicts:
                result = results.get((row.variant, verdict.pin))
                if result is None:
                    result = results[row.variant, verdict.pin] = _Result()
                result.add(verdict.outcome, verdict.score)
                if verdict.score is not None:
                    own = _encode(_own(row, verdict, verdict.score, pins[verdict.pin]))[1:]
                    line = b"%b,%b\n" % (shared, own)
                    file.write(line)
                    digest.update(line)
                    lines += 1
    scored = {key: result for key, result in sorted(results.items()) if result.scores}
    if not scored:
        samples.unlink()
        return
    document = {
        "schema_version": SCHEMA_VERSION,
        "evaluation_id": evaluation,
        "retrieved_timestamp": stamp,
        "source_metadata": {
            "source_name": "countermark audit",
            "source_type": "evaluation_run",
            "source_organization_name": _UNKNOWN,
            "evaluator_relationship": "other",
        },
        "eval_library": {"name": "countermark", "version": __version__},
        "model_info": {
            "name": model or _UNKNOWN,
            "id": model or _UNKNOWN,
            **({"developer": developer} if developer else {}),
            "additional_details": {"deployment_type": _UNKNOWN, "model_availability": _UNKNOWN},
        },
        "evaluation_results": [
            _result(work, task, variant, pins[pin], result) for (variant, pin), result in scored.items()
        ],
        "detailed_evaluation_results": {
            "format": "jsonl",
            "file_path": (place / samples.name).as_posix(),
            "hash_algorithm": "sha256",
            "checksum": digest.hexdigest(),
            "total_rows": lines,
        },
    }
    with whole(root / place / f"{name}.json") as file:
        file.write(msgspec.json.format(_encode(document), indent=2) + b"\n")


def _result(work: WorkFile, task: str, variant: str, pin: str, result: _Result) -> dict[str, Any]:
    failed = {name: count for name, count in result.outcomes.items() if Outcome(name) not in _WITH_SCORE}
    uncertainty: dict[str, Any] = {"num_samples": result.scores}
    if result.error is not None:
        uncertainty["standard_error"] = {"value": result.error, "method": "analytic"}
    return {
        "evaluation_result_id": _result_id(variant, pin),
        "evaluation_name": _name(task, variant),
        "source_data": {
            "dataset_name": task,
            "source_type": "other",
            "additional_details": {one.path: f"sha256:{one.sha256}" for one in work.inputs if one.rows},
        },
        "metric_config": {
            "evaluation_description": "Published outputs, scored again by the verifier that is named here",
            "metric_id": pin.partition("@")[0],
            "metric_name": pin.partition("@")[0],
            "lower_is_better": False,
            "score_type": "continuous",
            "min_score": 0.0,
            "max_score": 1.0,
            "additional_details": {"verifier": pin},
        },
        "score_details": {
            "score": result.mean,
            "details": {f"outcome_{name}": str(count) for name, count in sorted(result.outcomes.items())}
            | {"without_score": str(sum(failed.values()))},
            "uncertainty": uncertainty,
        },
    }


_WITH_SCORE = frozenset({Outcome.SCORED, Outcome.NO_ANSWER})


class _Input(msgspec.Struct, gc=False, omit_defaults=True):
    raw: str
    reference: list[str]
    choices: list[str] | None = None


class _Output(msgspec.Struct, gc=False):
    raw: list[str]


class _Shared(msgspec.Struct, gc=False):
    """The part of an instance that no verdict changes."""

    schema_version: str
    evaluation_id: str
    model_id: str
    evaluation_name: str
    sample_id: str
    sample_hash: str
    interaction_type: str
    input: _Input
    output: _Output


class _Attribution(msgspec.Struct, gc=False):
    turn_idx: int
    source: str
    extracted_value: str
    extraction_method: str
    is_terminal: bool


class _Evaluation(msgspec.Struct, gc=False):
    score: float
    is_correct: bool


class _Metadata(msgspec.Struct, gc=False, omit_defaults=True):
    outcome: str
    file: str
    line: str
    generation: str
    surroundings: str
    published_score: str | None = None
    published_metric: str | None = None


class _Own(msgspec.Struct, gc=False):
    """The part of an instance that one verdict is."""

    evaluation_result_id: str
    answer_attribution: list[_Attribution]
    evaluation: _Evaluation
    metadata: _Metadata


def _shared(row: OutputRow, evaluation: str) -> _Shared:
    references = row.reference if isinstance(row.reference, list) else [row.reference]
    reference = [_text(one) for one in references]
    raw = row.prompt or ""
    choices = row.extras.get("choices")
    return _Shared(
        SCHEMA_VERSION,
        evaluation,
        row.model or _UNKNOWN,
        _name(row.task, row.variant),
        row.sample if not row.generation else f"{row.sample}#{row.generation}",
        hashlib.sha256((raw + "".join(reference)).encode()).hexdigest(),
        "single_turn",
        _Input(raw, reference, [str(one) for one in choices] if isinstance(choices, list) else None),
        _Output([row.response]),
    )


def _own(row: OutputRow, verdict: NewVerdict, score: float, pin: str) -> _Own:
    extracted = _answer(verdict.detail).answer
    published = None if row.published is None else repr(row.published)
    return _Own(
        _result_id(row.variant, pin),
        [_Attribution(0, "output.raw", "" if extracted is None else _text(extracted), pin, True)],
        _Evaluation(score, score == 1.0),
        _Metadata(
            verdict.outcome,
            row.file,
            str(row.line),
            str(row.generation),
            verdict.surroundings.decode(),
            published,
            None if published is None else row.metric or "",
        ),
    )


class _Detail(msgspec.Struct, gc=False):
    """What is looked at of a verdict's detail."""

    answer: Any = None


_answer = msgspec.json.Decoder(_Detail).decode


def _result_id(variant: str, pin: str) -> str:
    return f"{variant}/{pin}" if variant else pin


def _name(task: str, variant: str) -> str:
    return f"{task}/{variant}" if variant else task


def _text(value: Any) -> str:
    return value if isinstance(value, str) else _encode(value).decode()


def _safe(name: str) -> str:
    """Return a name that is one folder on every system."""
    return _UNSAFE.sub("_", name).strip(".")[:100] or _UNKNOWN
