"""A real inference server behind the judges: llama.cpp, with a random model made on the spot."""

import collections
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from countermark import Client
from tests.integration.judge.parts import EQUIVALENCE, MODEL
from tests.integration.judge.random_model import ALIAS, CONTEXT, SLOTS, RandomModel
from tests.support import ServiceProcess

RUBRIC = "judge/rubric:1.3.0"


def things(count: int) -> list[dict[str, Any]]:
    """Return questions that differ, as the answers of a random model hang on the letters that it reads."""
    words = [hashlib.sha256(str(n).encode()).hexdigest()[: 8 + n % 50] for n in range(count)]
    return [
        {
            "response": f"So it is \\boxed{{{word}}}",
            "reference": word[::-1],
            "prompt": f"What is {word} backwards?",
        }
        for word in words
    ]


@dataclass
class Operator:
    """A service, the file that tells it where its models are, and the server that the file names."""

    server: RandomModel
    judges: Path
    service: ServiceProcess

    def judge(self, *words: str, data: Path | None = None) -> str:
        """Run `countermark judge …` and return what it wrote."""
        ended = subprocess.run(
            [sys.executable, "-m", "countermark_service", "judge", *words],
            env={
                **os.environ,
                "COUNTERMARK_JUDGES": str(self.judges),
                "COUNTERMARK_DATA": str(data or self.service.data),
            },
            capture_output=True,
            text=True,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr
        return ended.stdout


@pytest.fixture
def operator(tmp_path: Path) -> Iterator[Operator]:
    """A service whose judges ask a server of their own."""
    server = RandomModel(tmp_path).start()
    judges = tmp_path / "judges.toml"
    judges.write_text(
        f'[models."{MODEL}"]\nbase_url = "{server.url}/v1"\nserved_as = "{ALIAS}"\n'
        f"concurrency = {SLOTS}\nattempts = 2\nbackoff_seconds = 0.05\n"
    )
    service = ServiceProcess(tmp_path / "data", {"COUNTERMARK_JUDGES": str(judges)}).start()
    try:
        yield Operator(server, judges, service)
    finally:
        service.stop()
        server.kill()


def test_a_probe_sees_that_it_heeds_everything(operator: Operator) -> None:
    found = json.loads(operator.judge("probe", "--json"))["models"][MODEL]
    options = ("seed", "temperature", "response_format", "logprobs", "max_tokens")
    assert {name: found[name] for name in options} == dict.fromkeys(options, True)
    assert found["agreement"] == 1.0
    assert found["fingerprints"] == 1
    assert found["model"] == ALIAS


def test_verdicts_are_what_it_said_and_replay_on_another_machine_without_it(
    operator: Operator, tmp_path: Path
) -> None:
    items = things(48)
    with Client(operator.service.url, timeout=300) as client:
        judged = client.score(EQUIVALENCE, items).verdicts
        archive = tmp_path / "transcripts.jsonl"
        operator.judge("export", str(archive))
        operator.server.kill()
        unreachable = client.score(EQUIVALENCE, items[:2], judge_mode="fresh").verdicts
    counted = collections.Counter((one.outcome.value, one.score) for one in judged)
    assert set(counted) == {("scored", 1.0), ("scored", 0.0), ("abstain", None)}, "it says all of its words"
    said = [json.loads(line)["transcript"] for line in archive.read_text().splitlines()]
    assert len({one.detail["fingerprint"] for one in judged} - {None}) == 1
    lasts = collections.Counter(last_line(one) for one in said)
    assert (lasts["SAME"], lasts["DIFFERENT"]) == (counted["scored", 1.0], counted["scored", 0.0])
    assert [(one.outcome.value, one.score) for one in unreachable] == [("error", None)] * 2

    elsewhere = ServiceProcess(tmp_path / "elsewhere")
    operator.judge("import", str(archive), data=elsewhere.data)
    elsewhere.start()
    try:
        with Client(elsewhere.url, timeout=300) as client:
            replayed = client.score(EQUIVALENCE, items, judge_mode="replay").verdicts
            missing = client.score(EQUIVALENCE, things(49)[48:], judge_mode="replay").verdicts
    finally:
        elsewhere.stop()
    assert [document(one) for one in replayed] == [document(one) for one in judged]
    assert [one.outcome.value for one in missing] == ["error"]


def test_a_question_that_its_context_cannot_hold_is_an_error(operator: Operator) -> None:
    long = {**things(1)[0], "response": "It is 12 m. " * (CONTEXT // 8), "reference": ["It names a unit."]}
    with Client(operator.service.url, timeout=300) as client:
        before = client.score(EQUIVALENCE, things(4)).verdicts
        (refused,) = client.score(RUBRIC, [long]).verdicts
        after = client.score(EQUIVALENCE, things(4), judge_mode="fresh").verdicts
    assert (refused.outcome.value, refused.score) == ("error", None)
    assert "400" in str(refused.detail), refused
    assert str(CONTEXT) in str(refused.detail), "the server's own words say how much it can hold"
    assert [one.outcome for one in after] == [one.outcome for one in before]


def last_line(transcript: dict[str, Any]) -> str:
    """Return the last line of a reply."""
    content: str = json.loads(transcript["raw"])["choices"][0]["message"]["content"]
    return content.strip().splitlines()[-1] if content.strip() else ""


def document(verdict: Any) -> tuple[Any, ...]:
    """Return what of a verdict must be the same again."""
    return verdict.outcome, verdict.score, verdict.detail, verdict.surroundings
