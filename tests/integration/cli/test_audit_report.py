"""What `countermark audit` leaves for people and programs, computed again from its verdicts by other means."""

import hashlib
import json
import math
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import pytest

from countermark_service.audit.document import PUBLISHED, Document, Standing
from countermark_service.audit.flips import FlipKind
from tests.cards import bare_card
from tests.integration.cli.conftest import Cli
from tests.support import REPOSITORY

FIRST, SECOND = "last-number:1.0.0", "last-number:1.1.0"
PAGE = (REPOSITORY / "service/docs/audit-report.md").read_text()
QUESTIONS, MODELS = 30, ("org/a", "org/b")


def outputs(path: Path) -> Path:
    """Two models' answers; on every fifth question the first number is not the last."""
    records = []
    for model in MODELS:
        for number in range(QUESTIONS):
            right = number % 3 != 0 or model == "org/b"
            answer = number if right else number + 1
            lead = f"After {number + 7} steps: " if number % 5 == 0 else ""
            records.append(
                {
                    "id": number, "task": "sums", "model": model, "prompt": f"{number}?",
                    "response": f"{lead}it is {answer}", "reference": str(number), "score": float(right),
                }
            )  # fmt: skip
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def audited(cli: Cli, folder: Path, *arguments: Any) -> tuple[Document, list[dict[str, Any]]]:
    """Run an audit into ``a`` and return its document and its verdicts."""
    ended = cli("audit", outputs(folder / "rows.jsonl"), *arguments, "--out", "a")
    assert ended.code == 0, ended.err
    document = Document.model_validate_json((folder / "a" / "audit.json").read_bytes())
    assert document.headline in " ".join(ended.out.split())
    verdicts = [json.loads(line) for line in (folder / "a" / "verdicts.jsonl").read_text().splitlines()]
    return document, verdicts


def binomial_p(one: int, other: int) -> float:
    """Return the exact two-sided p-value of a fair coin, from binomial coefficients."""
    tosses = one + other
    tail = sum(math.comb(tosses, k) for k in range(min(one, other) + 1))
    return float(min(1.0, 2 * tail / 2**tosses))


def mean(values: Sequence[float]) -> float:
    """Return the plain mean."""
    return math.fsum(values) / len(values)


def test_the_numbers_of_the_document_are_those_of_the_verdicts(cli: Cli, tmp_path: Path) -> None:
    document, verdicts = audited(cli, tmp_path, "--verifier", FIRST, "--verifier", SECOND)

    ids = [one["verifier"] for one in verdicts[0]["verdicts"]]
    assert [one.pin for one in document.verifiers] == ids
    said = {
        PUBLISHED: [one["published"] for one in verdicts],
        **{pin: [one["verdicts"][place]["score"] for one in verdicts] for place, pin in enumerate(ids)},
    }
    for name, scores in said.items():
        column = document.overall.column(name)
        assert column is not None
        assert column.score is not None
        assert column.score.value == pytest.approx(mean(scores), abs=1e-12)
    assert len(document.overall.comparisons) == 3
    for pair in document.overall.comparisons:
        both = list(zip(said[pair.first], said[pair.second], strict=True))
        assert pair.first_only == both.count((1.0, 0.0))
        assert pair.second_only == both.count((0.0, 1.0))
        assert pair.both_right == both.count((1.0, 1.0))
        assert pair.mcnemar_p == pytest.approx(binomial_p(pair.first_only, pair.second_only))
        assert pair.difference is not None
        assert pair.difference.value == pytest.approx(mean(said[pair.second]) - mean(said[pair.first]))
        assert pair.difference.low <= pair.difference.value <= pair.difference.high
    assert [(part.model, part.rows, part.items) for part in document.parts] == [
        (model, QUESTIONS, QUESTIONS) for model in MODELS
    ]
    assert [part.finding.standing for part in document.parts] == ["reproduced", "reproduced"]


def test_rows_on_which_verifiers_differ_are_in_the_flips_with_what_each_read(
    cli: Cli, tmp_path: Path
) -> None:
    document, verdicts = audited(cli, tmp_path, "--verifier", FIRST, "--verifier", SECOND)

    data = (tmp_path / "a" / "flips.jsonl").read_bytes()
    flips = [json.loads(line) for line in data.splitlines()]
    assert document.flips is not None
    assert document.flips.sha256 == hashlib.sha256(data).hexdigest()
    differing = [one["row"] for one in verdicts if len({v["score"] for v in one["verdicts"]}) > 1]
    assert differing
    assert [flip["row"] for flip in flips] == differing
    by_column = {side["column"]: side for side in flips[0]["sides"]}
    assert [by_column[one.pin]["extracted"] for one in document.verifiers] == [["5"], ["12"]]
    assert [kind.kind for kind in document.kinds] == ["extraction"]
    html = (tmp_path / "a" / "report.html").read_text()
    assert document.headline in html
    assert all(one.digest in html for one in document.verifiers)


def test_the_command_of_the_report_names_digests_and_makes_the_same_numbers(cli: Cli, tmp_path: Path) -> None:
    document, _ = audited(cli, tmp_path, "--verifier", FIRST, f"--verifier={SECOND}")

    told = document.command[1:]
    assert sum("@sha256:" in word for word in told) == 2
    again = [word if word != "a" else "b" for word in told]
    ended = cli(*again)
    assert ended.code == 0, ended.err
    second = Document.model_validate_json((tmp_path / "b" / "audit.json").read_bytes())
    same = {"made_at", "command"}
    assert second.model_dump(exclude=same) == document.model_dump(exclude=same)
    assert (tmp_path / "a/flips.jsonl").read_bytes() == (tmp_path / "b/flips.jsonl").read_bytes()


def test_the_example_of_the_page_reads_the_document(cli: Cli, tmp_path: Path) -> None:
    document, _ = audited(cli, tmp_path, "--verifier", FIRST)
    (tmp_path / "a").rename(tmp_path / "audit")

    example = re.findall(r"^```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)[0]
    done = subprocess.run(
        [sys.executable, "-c", example], cwd=tmp_path, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    first, *rest = done.stdout.splitlines()
    assert first == document.headline
    assert len(rest) == len(MODELS) * 2
    assert rest[0].startswith("sums org/a published 0.6")


def test_the_page_names_every_kind_and_standing_and_no_other() -> None:
    def words(heading: str) -> list[str]:
        section = PAGE.split(f"## {heading}\n")[1].split("\n## ")[0]
        return re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)

    assert words("Claims") == list(get_args(Standing))
    assert sorted(words("Kinds of disagreement")) == sorted(FlipKind)


def test_what_a_release_card_states_stands_beside_what_was_recomputed(cli: Cli, tmp_path: Path) -> None:
    stated = {
        "metric": "accuracy",
        "value": 99.0,
        "unit": "percent",
        "decimals": 1,
        "task": "sums",
        "model": "org/b",
    }
    content = bare_card(verifier={"routes": [{"task": "sums", "verifier": FIRST}]}, results=[stated])
    card = tmp_path / "countermark.json"
    card.write_text(json.dumps(content))

    document, _ = audited(cli, tmp_path, "--card", card)

    assert [(claim.value, claim.task, claim.model) for claim in document.claims] == [(0.99, "sums", "org/b")]
    html = (tmp_path / "a" / "report.html").read_text()
    assert "What the release card states" in html
    assert "0.990" in html
    column = document.parts[1].columns[1]
    assert column.score is not None
    assert column.score.value == 1.0  # 99.0 % to one decimal is another number
    assert '<td data-label="The same, as stated">no</td>' in html
