"""Composites over real children: a rule in a real worker, a judge behind a scripted server."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from countermark_service.bundles import read_bundle
from countermark_service.engine.pool import Pool
from countermark_service.errors import BundleError
from countermark_service.model import Item, Outcome, Verdict
from countermark_service.registry import Registry
from countermark_service.runtimes import PythonRuntime
from tests.integration.judge.parts import EQUIVALENCE, Judging, write_judge
from tests.integration.judge.scripted import ScriptedJudge, status
from tests.support import REPOSITORY, write_bundle

Make = Callable[..., Judging]
MATH = "composite/numeric-then-judge:1.4.0"
GRADE = '''
def verify(item):
    """Score as the reference says."""
    said = item["reference"]
    if said == "crash":
        raise RuntimeError("crash")
    outcome = said if isinstance(said, str) else "scored"
    return {"outcome": outcome, "score": {"no_answer": 0.0, "bad_reference": None}.get(outcome, said), "detail": {}}
'''


def write_composite(
    root: Path, table: str, *, name: str = "subject-composite", uses_prompt: bool = False
) -> str:
    """Write a composite below `root`; return its reference."""
    folder = root / name / "1.0.0"
    folder.mkdir(parents=True)
    (folder / "verifier.toml").write_text(
        f"""name = "{name}"
version = "1.0.0"
summary = "A composite of the tests"
protocol = 1
runtime = "composite"
uses_prompt = {str(uses_prompt).lower()}
files = ["verifier.toml", "vectors.jsonl"]
[composite]
{table}
"""
    )
    (folder / "vectors.jsonl").touch()
    return f"{name}:1.0.0"


@pytest.fixture
async def rules(pool: Pool) -> dict[str, Any]:
    """The runtime of rules."""
    return {"python": PythonRuntime(pool)}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder of bundles with one rule that scores as the reference says."""
    write_bundle(tmp_path / "bundles", GRADE, name="grade")
    return tmp_path / "bundles"


def children(root: Path, *facts: str) -> str:
    """Return children a, b, … that all are the rule, each with its part of the reference and its own facts."""
    pin = read_bundle(root / "grade" / "1.0.0").ref
    return "\n".join(
        f'[[composite.children]]\nname = "{name}"\nverifier = "{pin}"\nreference = "/{name}"\n{fact}'
        for name, fact in zip("abcdef", facts, strict=False)
    )


async def test_the_judge_is_asked_only_where_the_rule_finds_nothing(
    judging_in_memory: Make, server: ScriptedJudge, rules: dict[str, Any]
) -> None:
    made = judging_in_memory(runtimes=rules)
    items = [
        Item(text, "12", {}, "How many?") for text in ("\\boxed{12}", "\\boxed{13}", "The answer is a dozen")
    ]
    right, wrong, judged = await made.verdicts(items, MATH)
    assert [one.score for one in (right, wrong, judged)] == [1.0, 0.0, 1.0]
    assert len(server.seen) == 1
    rule, judge = judged.detail()["children"]
    assert (rule["name"], rule["outcome"], judge["name"], judge["outcome"]) == (
        "rule",
        "no_answer",
        "judge",
        "scored",
    )
    assert judge["verifier"].startswith(f"{EQUIVALENCE}@sha256:")
    assert judge["detail"]["transcripts"]


async def test_a_childs_verdict_is_kept_under_its_own_pin_and_a_composites_under_its(
    judging_in_memory: Make, server: ScriptedJudge, rules: dict[str, Any]
) -> None:
    made = judging_in_memory(runtimes=rules)
    item = Item("The answer is a dozen", "12", {}, "How many?")
    await made.verdict(item, MATH)
    ((_, composite_cached),) = await made.scored([item], MATH)
    ((_, child_cached),) = await made.scored([item], EQUIVALENCE)
    assert (composite_cached, child_cached) == (True, True)
    assert len(server.seen) == 1


async def test_a_judge_that_is_down_makes_the_composite_an_error_that_is_not_kept(
    judging_in_memory: Make, server: ScriptedJudge, rules: dict[str, Any]
) -> None:
    server.faults = [status(400)]
    made = judging_in_memory(runtimes=rules)
    item = Item("The answer is a dozen", "12", {}, "How many?")
    failed = await made.verdict(item, MATH)
    assert (failed.outcome, failed.score, failed.detail()["failed"]) == (Outcome.ERROR, None, "judge")
    assert (await made.verdict(item, MATH)).score == 1.0


async def test_fresh_reaches_through_a_composite(
    judging_in_memory: Make, server: ScriptedJudge, rules: dict[str, Any]
) -> None:
    made = judging_in_memory(runtimes=rules, mode="fresh")
    item = Item("The answer is a dozen", "12", {}, "How many?")
    assert (await made.verdict(item, MATH)).score == 1.0
    server.reply = lambda body: "DIFFERENT"
    assert (await made.verdict(item, MATH)).score == 0.0


@pytest.mark.parametrize(
    ("table", "facts", "reference", "outcome", "score"),
    [
        ('combine = "weighted"', ["weight = 3.0", ""], {"a": 1, "b": 0.5}, Outcome.SCORED, 0.875),
        ('combine = "weighted"', ["", ""], {"a": 1, "b": "no_answer"}, Outcome.SCORED, 0.5),
        ('combine = "weighted"', ["", ""], {"a": "no_answer", "b": "no_answer"}, Outcome.NO_ANSWER, 0.0),
        ('combine = "weighted"', ["", ""], {"a": 1, "b": "bad_reference"}, Outcome.BAD_REFERENCE, None),
        ('combine = "weighted"', ["", ""], {"a": "crash", "b": 1}, Outcome.ERROR, None),
        (
            'combine = "weighted"\nfailure = "abstain"',
            ["", ""],
            {"a": "crash", "b": 1},
            Outcome.ABSTAIN,
            None,
        ),
        ('combine = "weighted"\nfailure = "skip"', ["", ""], {"a": "crash", "b": 0.5}, Outcome.SCORED, 0.5),
        (
            'combine = "weighted"\nfailure = "skip"',
            ["weight = 1e6", "weight = 5e-324"],
            {"a": "crash", "b": 0.5},
            Outcome.SCORED,
            0.5,
        ),
        (
            'combine = "weighted"\nfailure = "skip"',
            ["", ""],
            {"a": "crash", "b": "crash"},
            Outcome.ERROR,
            None,
        ),
        ('combine = "all"', ["", "threshold = 0.5"], {"a": 1, "b": 0.5}, Outcome.SCORED, 1.0),
        ('combine = "all"', ["", ""], {"a": 1, "b": 0.5}, Outcome.SCORED, 0.0),
        ('combine = "any"', ["", ""], {"a": 0, "b": 1}, Outcome.SCORED, 1.0),
        ('combine = "any"', ["", ""], {"a": 1, "b": "crash"}, Outcome.ERROR, None),
        ('combine = "gate"', ["", ""], {"a": 1, "b": 0.25}, Outcome.SCORED, 0.25),
        ('combine = "gate"', ["", ""], {"a": 0, "b": "crash"}, Outcome.SCORED, 0.0),
        ('combine = "gate"', ["", ""], {"a": "crash", "b": 1}, Outcome.ERROR, None),
        (
            'combine = "fallback"\non = ["no_answer"]',
            ["", ""],
            {"a": "no_answer", "b": 0.5},
            Outcome.SCORED,
            0.5,
        ),
        ('combine = "fallback"\non = ["no_answer"]', ["", ""], {"a": "crash", "b": 1}, Outcome.ERROR, None),
        ('combine = "fallback"\non = ["error"]', ["", ""], {"a": "crash", "b": 1}, Outcome.SCORED, 1.0),
        ('combine = "all"', ["", ""], {"a": 1}, Outcome.BAD_REFERENCE, None),
    ],
)
async def test_children_combine_as_declared(
    judging_in_memory: Make, rules: dict[str, Any], root: Path, table: str, facts: list[str],
    reference: dict[str, Any], outcome: Outcome, score: float | None,
) -> None:  # fmt: skip
    ref = write_composite(root, f"{table}\n{children(root, *facts)}")
    made = judging_in_memory(runtimes=rules, roots=[root])
    verdict = await made.verdict(Item("x", reference), ref)
    assert (verdict.outcome, verdict.score) == (outcome, score)
    assert {one["outcome"] for one in verdict.detail()["children"]} <= {one.value for one in Outcome}
    passing = "crash" in reference.values()
    ((_, cached),) = await made.scored([Item("x", reference)], ref)
    asked_crash = any(one["outcome"] == "error" for one in verdict.detail()["children"])
    assert cached is (
        outcome in (Outcome.SCORED, Outcome.NO_ANSWER, Outcome.BAD_REFERENCE)
        and not (passing and asked_crash)
    )


@pytest.mark.parametrize(
    ("pointer", "score"),
    [("/l/0", 0.25), ("/l/1", 0.5), ("/l/01", None), ("/l/00", None), ("/l/2", None), ("/d/01", 0.75)],
)
async def test_a_selector_names_a_place_in_a_list_without_leading_zeros(
    judging_in_memory: Make, rules: dict[str, Any], root: Path, pointer: str, score: float | None
) -> None:
    ref = write_composite(
        root, f'combine = "all"\n{children(root, "threshold = 0.0")}'.replace('"/a"', f'"{pointer}"')
    )
    made = judging_in_memory(runtimes=rules, roots=[root])
    (child,) = (await made.verdict(Item("x", {"l": [0.25, 0.5], "d": {"01": 0.75}}), ref)).detail()[
        "children"
    ]
    assert child["score"] == score
    assert child["outcome"] == ("bad_reference" if score is None else "scored")


@pytest.mark.parametrize(("chars", "items", "parts"), [(100_000, 4, 4), (1_000, 60, 2)])
async def test_other_requests_are_served_while_penalties_are_measured(
    judging_in_memory: Make, rules: dict[str, Any], root: Path, chars: int, items: int, parts: int
) -> None:
    penalty = '[[composite.penalties]]\nmeasure = "repetition"\nweight = 0.5\nfree = 0\nfull = 1\n'
    ref = write_composite(root, f'combine = "penalty"\n{children(root, "")}\n{penalty}')
    made = judging_in_memory(runtimes=rules, roots=[root])
    bundle = made.scorer.resolve(ref)
    turns = 0
    scores: list[float | None] = []
    turns_at: list[int] = []

    async def others() -> None:
        nonlocal turns
        while len(scores) < items:
            turns += 1
            await asyncio.sleep(0)

    def on_verdict(index: int, verdict: Verdict) -> None:
        scores.append(verdict.score)
        turns_at.append(turns)

    payload = Item("a " * (chars // 2), {"a": 1.0}).canonical(uses_prompt=False)
    served = asyncio.create_task(others())
    await made.scorer.runtime(bundle).verify(bundle, [payload] * items, on_verdict)
    await served
    assert scores == pytest.approx([0.5] * items, abs=0.01)
    assert len(set(turns_at)) >= parts


def test_a_composite_with_a_child_that_is_not_here_or_changed_is_set_aside_with_its_reason(
    root: Path,
) -> None:
    good = children(root, "")
    write_composite(root, f'combine = "all"\n{good}', name="good")
    write_composite(root, f'combine = "all"\n{good.replace("grade:", "nowhere:")}', name="unknown")
    pin = str(read_bundle(root / "grade" / "1.0.0").ref)
    write_composite(root, f'combine = "all"\n{good.replace(pin[-8:], "0" * 8)}', name="changed")
    write_composite(root, f'combine = "all"\n{children(root, "params = { no = 1 }")}', name="params")
    inner = read_bundle(root / "unknown" / "1.0.0").ref
    outer = f'combine = "all"\n[[composite.children]]\nname = "a"\nverifier = "{inner}"'
    write_composite(root, outer, name="outer")
    registry = Registry([root])
    assert [bundle.manifest.name for bundle in registry] == ["good", "grade"]
    assert set(registry.broken) == {"unknown:1.0.0", "changed:1.0.0", "params:1.0.0", "outer:1.0.0"}
    with pytest.raises(BundleError, match="child 'a'"):
        registry.resolve("unknown:1.0.0")


def test_a_composite_that_names_itself_is_a_circle(root: Path) -> None:
    table = f'combine = "all"\n[[composite.children]]\nname = "a"\nverifier = "self:1.0.0@sha256:{"0" * 64}"'
    write_composite(root, table, name="self")
    assert "a circle: self:1.0.0 -> self:1.0.0" in str(Registry([root]).broken["self:1.0.0"])


def test_a_composite_that_asks_too_many_below_its_children_is_set_aside_at_once(root: Path) -> None:
    pin = read_bundle(root / "grade" / "1.0.0").ref
    for name in ("level-1", "level-2", "level-3"):
        rows = (f'[[composite.children]]\nname = "c{n}"\nverifier = "{pin}"' for n in range(32))
        write_composite(root, "\n".join(('combine = "weighted"', *rows)), name=name)
        pin = read_bundle(root / name / "1.0.0").ref
    registry = Registry([root])
    assert [bundle.manifest.name for bundle in registry] == ["grade", "level-1"]
    assert "more than 1024 verifiers would be asked" in str(registry.broken["level-3:1.0.0"])


@pytest.mark.parametrize("value", ["nan", "inf", "1979-05-27", "[1, nan]", "{ a = 07:32:00 }"])
def test_a_childs_parameter_that_is_no_json_value_is_refused_when_it_is_read(root: Path, value: str) -> None:
    write_composite(root, f'combine = "all"\n{children(root, f"params = {{ no = {value} }}")}')
    assert "composite.children.0.params" in str(Registry([root]).broken["subject-composite:1.0.0"])


def test_a_child_that_uses_the_prompt_needs_a_composite_that_does(root: Path) -> None:
    table = (
        'messages = [{ role = "user", content = "{{prompt}} {{response}}" }]\nsampling = { max_tokens = 5 }\n'
    )
    output = 'output = { kind = "tokens", labels = { YES = 1, NO = 0 } }'
    write_judge(root, table + output, uses_prompt=True)
    pin = read_bundle(root / "judge" / "subject" / "1.0.0").ref
    write_composite(root, f'combine = "all"\n[[composite.children]]\nname = "a"\nverifier = "{pin}"')
    assert "uses_prompt" in str(Registry([root]).broken["subject-composite:1.0.0"])


def test_the_shipped_composites_are_usable() -> None:
    registry = Registry([REPOSITORY / "verifiers"])
    assert [ref for ref in registry.broken if ref.startswith("composite/")] == []
