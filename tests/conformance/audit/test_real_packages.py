"""What an audit writes, read by the schema's own package; what it reads, written by the real writers."""

import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest

from countermark_service.audit.every_eval_ever import write_every_eval_ever
from tests.unit.audit.reading import Content, read
from tests.unit.audit.sample import make_work_file


def validated(python: Path, root: Path) -> list[dict[str, Any]]:
    """Run the package's own validator over every file below a folder; return what it says of each."""
    files = sorted(str(path) for path in root.rglob("*.json*"))
    done = subprocess.run(
        [python, "-m", "every_eval_ever", "validate", "--format", "json", *files],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def test_the_package_of_the_shared_schema_accepts_every_file(tmp_path: Path, every_eval_ever: Path) -> None:
    with make_work_file(tmp_path / "audit.sqlite") as work:
        root = write_every_eval_ever(work, tmp_path)

    said = validated(every_eval_ever, root)

    assert [(one["file_type"], one["valid"], one["errors"]) for one in said] == [
        ("aggregate", True, []), ("instance", True, []),
    ] * 4  # fmt: skip
    # A model without an organisation in its name has no developer that could be told.
    assert {warning["loc"] for one in said for warning in one["warnings"]} == {"model_info"}


def test_the_package_of_the_shared_schema_reads_the_same_scores(
    tmp_path: Path, every_eval_ever: Path
) -> None:
    with make_work_file(tmp_path / "audit.sqlite") as work:
        root = write_every_eval_ever(work, tmp_path)
        marks = [mark for row in work.judged() for mark in row.marks]
    script = (
        "import sys, json\n"
        "from every_eval_ever.instance_level_types import InstanceLevelEvaluationLog as One\n"
        "print(json.dumps([One.model_validate_json(line).evaluation.score for f in sys.argv[1:] for line in open(f)]))"
    )
    files = [str(path) for path in root.rglob("*_samples.jsonl")]

    done = subprocess.run([every_eval_ever, "-c", script, *files], capture_output=True, text=True, check=True)

    scores = [mark.score for mark in marks if mark is not None and mark.score is not None]
    assert sorted(json.loads(done.stdout)) == sorted(scores), "every score is there, and no failure as a zero"


def test_a_file_that_is_not_of_the_schema_is_refused_by_the_package(
    tmp_path: Path, every_eval_ever: Path
) -> None:
    with make_work_file(tmp_path / "audit.sqlite") as work:
        root = write_every_eval_ever(work, tmp_path)
    file = next(path for path in root.rglob("*.json") if not path.name.endswith("_samples.jsonl"))
    document = json.loads(file.read_text())
    del document["evaluation_results"][0]["score_details"]["score"]
    file.write_text(json.dumps(document))

    assert sum(not one["valid"] for one in validated(every_eval_ever, root)) == 1


INSPECT = """
import sys
import tiktoken

class Tokens:
    def encode(self, *args, **named): return [1, 2, 3]
    encode_ordinary = encode

# The mock model counts tokens with a vocabulary that it would fetch.
tiktoken.get_encoding = tiktoken.encoding_for_model = lambda name: Tokens()

from inspect_ai import Task, eval
from inspect_ai.dataset import Sample
from inspect_ai.log._recorders.chunked.convert import convert_eval_logs_to_chunked
from inspect_ai.model import ModelOutput, get_model
from inspect_ai.scorer import includes, match
from inspect_ai.solver import generate

folder = sys.argv[1]
samples = [Sample(id=n, input=f"What is {n}+{n}? " + "long " * (4000 * (n == 2)), target=str(2 * n)) for n in range(4)]
answers = [("thinking " * (4000 * (n == 3))) + f"ANSWER: {2 * n + (n == 1)}" for n in range(4)] * 2
for kind in ("eval", "json"):
    outputs = [ModelOutput.from_content("mockllm/model", answer) for answer in answers]
    task = Task(dataset=samples, solver=generate(), scorer=[match(), includes()], epochs=2, name="sums")
    model = get_model("mockllm/model", custom_outputs=outputs)
    (log,) = eval(task, model=model, log_dir=f"{folder}/{kind}", log_format=kind, display="none",
                  max_samples=1, max_connections=1)
    assert log.status == "success", log.error
convert_eval_logs_to_chunked(f"{folder}/eval", f"{folder}/chunked", attachments_chunk_bytes=1000)
"""


@pytest.fixture(scope="session")
def logs(inspect_ai: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Logs that Inspect itself wrote, in its three shapes."""
    folder = tmp_path_factory.mktemp("logs")
    script = folder / "write.py"
    script.write_text(INSPECT)
    done = subprocess.run(
        [inspect_ai, script, folder], capture_output=True, text=True, check=False, timeout=300, cwd=folder
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.mark.parametrize("shape", ["eval", "json", "chunked"])
def test_logs_that_inspect_wrote_are_read_whole(logs: Path, shape: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        found: Content = read(Path(folder), logs / shape)

    assert (found.formats, found.unusable, found.notes) == (["inspect"], [], [])
    told = sorted((r.sample, r.generation, r.response[-9:], r.reference, r.published) for r in found.rows)
    assert told == [
        (str(n), epoch, f"ANSWER: {2 * n + (n == 1)}", str(2 * n), float(n != 1))
        for n in range(4)
        for epoch in range(2)
    ]
    assert max(len(row.response) for row in found.rows) == 36_009
    assert max(len(row.prompt or "") for row in found.rows) > 20_000
    assert {(row.task, row.model, row.metric) for row in found.rows} == {("sums", "mockllm/model", "match")}
