"""Release cards from the command line: begun, locked, proved, compared, carried and registered."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import DatasetCard

from countermark import Client
from countermark_service.registry import Registry
from countermark_service.releases import card_schema, read_release_file
from tests.cards import EXACT
from tests.integration.cli.conftest import Cli, change
from tests.support import REPOSITORY

SCHEMA = REPOSITORY / "service" / "docs" / "release-card.schema.json"
NUMBER = "last-number:1.0.0"
OUTPUTS = [
    {"id": "a", "q": 1, "response": "so it is 4", "reference": "4"},
    {"id": "b", "q": 1, "response": "so it is 5", "reference": "4"},
    {"id": "c", "q": 2, "response": "it is 7", "reference": "7"},
    {"id": "d", "q": 2, "response": "7", "reference": "7"},
    {"id": "e", "q": 3, "response": "3", "reference": "three"},
    {"id": "f", "q": 3, "response": "3 or 4", "reference": "4"},
]
"""Under last-number: right, wrong, right, right, no score (the reference is no number), right."""

Write = Callable[..., Path]


@pytest.fixture
def write_card(tmp_path: Path) -> Write:
    """Writes a card beside outputs, and returns its file."""

    def write(*results: dict[str, Any], **more: Any) -> Path:
        (tmp_path / "outputs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in OUTPUTS))
        routes = [{"task": "sums", "verifier": NUMBER, "on_failure": "null"}]
        card = {
            "schema_version": 1, "name": "tests/sums", "version": "1.0", "verifier": {"routes": routes},
            "results": list(results), **more,
        }  # fmt: skip
        file = tmp_path / "countermark.json"
        file.write_text(json.dumps(card, indent=4))
        return file

    return write


def told(**more: Any) -> dict[str, Any]:
    """Return a result that holds."""
    return {"metric": "accuracy", "value": 0.8, "task": "sums", "outputs": {"file": "outputs.jsonl"}, **more}


def checks(cli: Cli, *arguments: str, code: int = 0) -> dict[str, dict[str, str]]:
    """Check the card of the folder, and return the lines by rule and subject."""
    ended = cli("release", "check", "--json", *arguments)
    assert ended.code == code, ended.out + ended.err
    assert ended.json["ok"] is (code == 0)
    return {f"{one['rule']} {one['subject']}": one for one in ended.json["checks"]}


# --- init --------------------------------------------------------------------------------------------------


def test_init_fills_what_a_launch_script_says_and_says_what_is_open(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "run.sh").write_text(
        "python3 -m verl.trainer.main_ppo algorithm.adv_estimator=grpo actor_rollout_ref.model.path=Qwen/Q \\\n"
        "  actor_rollout_ref.rollout.n=8 data.val_files=$HOME/x.parquet\n"
    )
    ended = cli(
        "release", "init", "--from", "run.sh", "--name", "my/sums", "--version", "2", "--no-ask", "--json",
        "--verifier", f"sums={NUMBER}", "--verifier", "words=exact:1.0.0", "--on-failure", "zero",
    )  # fmt: skip

    assert ended.code == 0, ended.err
    release = read_release_file(tmp_path)
    routes = release.card.verifier.routes
    assert [route.task for route in routes] == ["sums", "words"]
    assert routes[1].verifier == EXACT
    assert routes[0].ref.pinned
    assert release.card.inference.samples == 8
    assert ended.json["digest"] == release.digest
    assert ended.json["from"][0]["taken"]["base_model.id"] == "actor_rollout_ref.model.path"
    assert any("$HOME/x.parquet" in one for one in ended.json["unclear"])
    assert cli("release", "init", "--name", "a", "--version", "1", "--no-ask").code == 1
    assert cli("release", "init", "--name", "a", "--version", "1", "--no-ask", "--force").code == 0


def test_init_asks_for_what_is_missing_and_asks_again_where_an_answer_is_none(
    cli: Cli, tmp_path: Path
) -> None:
    (tmp_path / "prompt.txt").write_text("{question}\n")
    answers = [
        "Not A Name", "my/sums", "1.0", "Sums",  # name (twice), version, summary
        "sums", "nobody:1", NUMBER, "",  # task, verifier (twice), no more tasks
        "maybe", "null",  # on_failure (twice)
        "Qwen/Q", "abc",  # base model, revision
        "openai/gsm8k", "", "main-commit", "none",  # a source, no more, its revision, decontamination
        "n/a", "a data set only",  # no optimizer
        "@prompt.txt", "none",  # template, system prompt
        "eight", "8", "2048", "0.7",  # samples (twice), tokens, temperature
    ]  # fmt: skip
    ended = cli("release", "init", "--ask", stdin="".join(f"{one}\n" for one in answers).encode())

    assert ended.code == 0, ended.err
    card = read_release_file(tmp_path).card
    assert (card.name, card.version, card.summary) == ("my/sums", "1.0", "Sums")
    assert [(route.task, route.on_failure, route.ref.pinned) for route in card.verifier.routes] == [
        ("sums", "null", True)
    ]
    assert (card.base_model.id, card.base_model.revision) == ("Qwen/Q", "abc")
    assert card.data.sources is not None
    assert card.data.sources[0].revision == "main-commit"
    assert card.data.decontamination is not None
    assert card.optimizer.not_applicable == "a data set only"
    assert (card.scaffold.prompt_template, card.scaffold.system_prompt) == ("{question}\n", "")
    assert (card.inference.samples, card.inference.max_tokens, card.inference.temperature) == (8, 2048, 0.7)
    assert "no verifier 'nobody:1' is here" in ended.err


def test_init_says_what_a_file_is_not(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "training_args.bin").write_bytes(b"PK\x03\x04")

    ended = cli("release", "init", "--from", "training_args.bin", "--name", "a", "--version", "1", "--no-ask")

    assert ended.code == 1
    assert "is a pickle" in ended.err
    assert not (tmp_path / "countermark.json").exists()


# --- lock --------------------------------------------------------------------------------------------------


def test_lock_writes_digests_and_keeps_the_rest(cli: Cli, write_card: Write, bundles: Path) -> None:
    file = write_card(told(), notes="as it is")
    outputs = hashlib.sha256((file.parent / "outputs.jsonl").read_bytes()).hexdigest()

    first, again = cli("release", "lock", "--json"), cli("release", "lock")

    pin = str(Registry([bundles]).resolve(NUMBER).ref)
    assert first.json["changes"] == {
        "verifier.routes[0].verifier": pin,
        "results[0].outputs.digest": f"sha256:{outputs}",
    }
    assert file.read_text().startswith('{\n    "schema_version": 1,\n    "name"')
    assert read_release_file(file).card.notes == "as it is"
    assert (again.code, "nothing to change" in again.out) == (0, True)


def test_lock_leaves_what_is_not_here_and_says_so(cli: Cli, write_card: Write) -> None:
    write_card(
        told(outputs={"file": "nowhere.jsonl"}), verifier={"routes": [{"task": "a", "verifier": "nobody:1"}]}
    )

    ended = cli("release", "lock", "--json")

    assert ended.code == 1
    assert set(ended.json["open"]) == {"verifier.routes[0].verifier", "results[0].outputs.digest"}


def test_lock_refuses_outputs_and_pins_that_are_others_now(cli: Cli, write_card: Write) -> None:
    write_card(told(outputs={"file": "outputs.jsonl", "digest": "sha256:" + "0" * 64}))
    outputs = cli("release", "lock")
    write_card(verifier={"routes": [{"task": "a", "verifier": f"{NUMBER}@sha256:{'0' * 64}"}]})
    pin = cli("release", "lock")

    assert (outputs.code, pin.code) == (1, 1)
    assert "one of the two was changed" in outputs.err
    assert "does not match the pin" in pin.err


# --- check -------------------------------------------------------------------------------------------------


def test_check_runs_vectors_and_scores_outputs_again(cli: Cli, write_card: Write) -> None:
    write_card(
        told(n=6),
        told(metric="mean_score", value=66.7, unit="percent", decimals=1, on_failure="zero"),
        told(metric="pass@1", value=0.8),
        told(
            metric="pass@2", value=1.0, on_failure="zero",
            outputs={"file": "outputs.jsonl", "columns": {"group": "q"}},
        ),
        told(metric="maj@8"),
        told(outputs={"file": "https://example.org/outputs.jsonl"}),
    )  # fmt: skip
    cli("release", "lock")

    found = checks(cli)

    assert found["vectors last-number:1.0.0"]["status"] == "ok"
    assert [found[f"result results[{n}]"]["status"] for n in range(6)] == [
        "ok",
        "ok",
        "ok",
        "ok",
        "skip",
        "skip",
    ]
    assert "over 5 outputs, 1 without a score" in found["result results[0]"]["found"]
    assert found["completeness optimizer"]["status"] == "warn"


@pytest.mark.parametrize(
    ("result", "said"),
    [
        (told(value=0.9), "computed again 0.8000"),
        (told(n=7), "has 6 rows, and the card counts n = 7"),
        (
            told(metric="pass@2", outputs={"file": "outputs.jsonl", "columns": {"group": "q"}}),
            "has 1 scored samples",
        ),
        (told(outputs={"file": "outputs.jsonl", "columns": {"response": "answer"}}), "no column 'answer'"),
        (told(outputs={"file": "outputs.jsonl", "digest": "sha256:" + "0" * 64}), "it is another file"),
    ],
)
def test_check_says_which_result_does_not_hold(
    cli: Cli, write_card: Write, result: dict[str, Any], said: str
) -> None:
    write_card(result)
    if "digest" not in result["outputs"]:
        cli("release", "lock")

    found = checks(cli, "--no-vectors", code=1)

    assert found["result results[0]"]["status"] == "fail"
    assert said in found["result results[0]"]["found"]


def test_check_reads_outputs_in_the_formats_that_people_publish(
    cli: Cli, write_card: Write, tmp_path: Path
) -> None:
    import pyarrow  # type: ignore[import-untyped]  # it ships no types
    import pyarrow.parquet  # type: ignore[import-untyped]

    samples = [
        {
            "doc_id": n, "doc": {"q": "?"}, "target": row["reference"], "arguments": {"gen_args_0": {"arg_0": "?"}},
            "resps": [[row["response"]]], "filtered_resps": [row["response"]], "filter": "none", "metrics": ["acc"],
            "acc": 1.0,
        }
        for n, row in enumerate(OUTPUTS)
    ]  # fmt: skip
    (tmp_path / "samples_sums.jsonl").write_text("".join(json.dumps(one) + "\n" for one in samples))
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(OUTPUTS), tmp_path / "rows.parquet")
    filtered = [*samples, *({**one, "filter": "strict"} for one in samples)]
    (tmp_path / "two.jsonl").write_text("".join(json.dumps(one) + "\n" for one in filtered))
    write_card(
        *(told(outputs={"file": name}) for name in ("samples_sums.jsonl", "rows.parquet", "two.jsonl"))
    )
    cli("release", "lock")

    found = checks(cli, "--no-vectors", code=1)

    assert [found[f"result results[{n}]"]["status"] for n in range(3)] == ["ok", "ok", "fail"]
    assert "2 tasks or variants" in found["result results[2]"]["found"]


def test_check_reads_no_file_outside_of_the_cards_folder(cli: Cli, write_card: Write, tmp_path: Path) -> None:
    write_card(told(outputs={"file": "../../../etc/passwd"}))
    (tmp_path / "link.jsonl").symlink_to("/etc/passwd")
    cli("release", "lock")

    assert "leads out of the card's folder" in checks(cli, "--no-vectors")["result results[0]"]["found"]
    write_card(told(outputs={"file": "link.jsonl"}))
    cli("release", "lock")
    assert "leads out of the card's folder" in checks(cli, "--no-vectors")["result results[0]"]["found"]


def test_check_says_which_pin_parameter_and_vector_does_not_hold(
    cli: Cli, write_card: Write, bundles: Path, tmp_path: Path
) -> None:
    import shutil

    mine = tmp_path / "mine"
    shutil.copytree(bundles / "last-number" / "1.0.0", mine / "last-number" / "9.0.0")
    change(mine / "last-number" / "9.0.0" / "verifier.toml", 'version = "1.0.0"', 'version = "9.0.0"')
    change(mine / "last-number" / "9.0.0" / "verifier.py", "found[-1]", "found[0]")
    routes = [
        {"task": "a", "verifier": "last-number:9.0.0", "params": {"nonsense": 1}},
        {"task": "b", "verifier": f"{NUMBER}@sha256:{'0' * 64}"},
        {"task": "c", "verifier": "nobody:1"},
    ]
    write_card(verifier={"routes": routes})

    ended = cli("release", "check", "--json", env={"COUNTERMARK_BUNDLES": f"{mine}:{bundles}"})

    lines = {f"{one['rule']} {one['subject']}": one for one in ended.json["checks"]}
    assert ended.code == 1
    assert "carries no digest" in lines["pin verifier.routes[0].verifier"]["found"]
    assert "does not match the pin" in lines["pin verifier.routes[1].verifier"]["found"]
    assert "no verifier 'nobody:1'" in lines["pin verifier.routes[2].verifier"]["found"]
    assert "nonsense" in lines["parameters verifier.routes[0].params"]["found"]
    assert lines["vectors last-number:9.0.0"]["status"] == "fail"
    assert "differ, first" in lines["vectors last-number:9.0.0"]["found"]


@pytest.mark.parametrize(
    "content", [b"{", b'{"schema_version": 1, "name": "a", "version": "1", "x": 1}', b"[" * 10**6]
)
def test_check_refuses_what_is_no_card_in_a_sentence(cli: Cli, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "countermark.json").write_bytes(content)

    ended = cli("release", "check")

    assert ended.code == 1
    assert ended.err.startswith("countermark: countermark.json")
    assert "Traceback" not in ended.err


# --- show, diff, schema ------------------------------------------------------------------------------------


def test_diff_names_the_factors_that_differ(cli: Cli, write_card: Write, tmp_path: Path) -> None:
    first = write_card(told())
    second = tmp_path / "second.json"
    second.write_text(first.read_text().replace(NUMBER, "last-number:1.1.0"))

    ended, text = cli("release", "diff", first, second, "--json"), cli("release", "diff", first, second)

    assert ended.json["differs"] == ["verifier"]
    assert ended.json["unknown"] == ["base_model", "data", "optimizer", "scaffold", "inference"]
    (place,) = ended.json["factors"][0]["changes"]
    assert place == {
        "field": "verifier.routes[sums].verifier",
        "first": NUMBER,
        "second": "last-number:1.1.0",
    }
    assert "1 place differs" in text.out


def test_show_prints_the_digest_the_routes_and_the_gaps(cli: Cli, write_card: Write) -> None:
    file = write_card(told())

    text, as_json = cli("release", "show"), cli("release", "show", "--json")

    assert read_release_file(file).digest in text.out
    assert "completeness: F" in text.out
    assert as_json.json["completeness"]["grade"] == "F"
    assert as_json.json["card"]["name"] == "tests/sums"


def test_the_schema_is_the_committed_one(cli: Cli) -> None:
    """Write it anew with: countermark release schema > service/docs/release-card.schema.json"""
    printed = cli("release", "schema").out

    assert json.loads(printed) == card_schema()
    assert printed == SCHEMA.read_text()


# --- embed, extract ----------------------------------------------------------------------------------------


def test_a_card_travels_in_a_dataset_card_and_in_a_croissant_file(
    cli: Cli, write_card: Write, tmp_path: Path
) -> None:
    file = write_card()
    cli("release", "lock")
    readme, croissant = tmp_path / "README.md", tmp_path / "croissant.json"
    readme.write_text("---\nlicense: mit # ours\n---\n# Sums\n")
    croissant.write_text(json.dumps({"@context": {"@vocab": "https://schema.org/"}, "@type": "sc:Dataset"}))
    digest = read_release_file(file).digest

    ended = cli("release", "embed", "--json")

    assert ended.json["files"] == ["README.md", "croissant.json"]
    head = DatasetCard.load(readme).data.to_dict()
    assert head["countermark"]["digest"] == digest
    assert readme.read_text().startswith("---\nlicense: mit # ours\ncountermark:\n")
    for source in (readme, croissant):
        out = tmp_path / f"from-{source.name}.json"
        assert cli("release", "extract", source, "--out", out).code == 0
        assert read_release_file(out).digest == digest
        assert cli("release", "extract", source, "--out", out).code == 1
    lines = checks(cli, "--no-vectors")
    assert (lines["embedded README.md"]["status"], lines["embedded croissant.json"]["status"]) == ("ok", "ok")

    change(file, '"1.0"', '"1.1"')

    assert "was edited afterwards" in cli("release", "extract", readme).err
    lines = checks(cli, "--no-vectors", code=1)
    assert "embed it again" in lines["embedded README.md"]["found"]


def test_embed_writes_all_files_or_none(cli: Cli, write_card: Write, tmp_path: Path) -> None:
    write_card()
    good, bad = tmp_path / "README.md", tmp_path / "croissant.json"
    good.write_text("# Sums\n")
    bad.write_text('{"@context": "https://schema.org"}')

    assert cli("release", "embed").code == 1
    assert good.read_text() == "# Sums\n"
    assert cli("release", "embed", "--into", good).code == 0
    assert cli("release", "extract", bad).code == 1
    below = tmp_path / "docs" / "README.md"
    below.parent.mkdir()
    below.write_text("# Sums\n")
    assert "must lie beside the card or above it" in cli("release", "embed", "--into", below).err


# --- register ----------------------------------------------------------------------------------------------


def test_a_card_is_registered_here_and_scored_by_the_service_on_this_folder(
    cli: Cli, write_card: Write, service: str
) -> None:
    file = write_card(name="tests/registered")
    assert "carries no digest" in cli("release", "register").err
    cli("release", "lock")

    first, again = cli("release", "register", "--json"), cli("release", "register", "--json")
    remote = cli("release", "register", "--server", service, "--json")

    assert (first.json["new"], again.json["new"], remote.json["new"]) == (True, False, False)
    assert "tests/registered:1.0" in cli("release", "list").out
    assert first.json["digest"] in cli("release", "show", "tests/registered:1.0").out
    with Client(service) as client:
        result = client.score(release="tests/registered:1.0", task="sums", items=OUTPUTS_SENT)
    assert result.rewards == [1.0, 0.0, 1.0, 1.0, None, 1.0]
    assert result.release is not None
    assert result.release.digest == first.json["digest"]

    change(file, '"tests/registered"', '"tests/registered",\n    "summary": "Another"')
    for where in ((), ("--server", service)):
        ended = cli("release", "register", *where)
        assert ended.code == 1
        assert "never changes" in ended.err


OUTPUTS_SENT = [{"response": row["response"], "reference": row["reference"]} for row in OUTPUTS]
