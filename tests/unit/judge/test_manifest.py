"""The tables `[judge]` and `[composite]`: what they refuse, and that they say which key."""

import pytest

from countermark_service.bundles.manifest import read_manifest
from countermark_service.errors import ManifestError

HEAD = 'name = "x"\nversion = "1"\nsummary = "s"\nprotocol = 1\nfiles = ["verifier.toml", "vectors.jsonl"]\n'
JUDGE = (
    HEAD
    + """runtime = "judge"
uses_prompt = true
[judge]
rules = 1
model = "m"
messages = [{ role = "system", content = "Hi" }, { role = "user", content = "{{prompt}} {{response}} {{reference}}" }]
sampling = { max_tokens = 5, temperature = 0 }
output = { kind = "tokens", labels = { YES = 1, NO = 0 } }
"""
)
PIN = "a:1@sha256:" + "0" * 64
COMPOSITE = (
    HEAD
    + f'''runtime = "composite"
[composite]
combine = "all"
[[composite.children]]
name = "one"
verifier = "{PIN}"
'''
)


def test_the_plain_tables_are_read() -> None:
    judge = read_manifest(JUDGE.encode()).judge
    assert judge is not None
    assert judge.output.labels == {"YES": 1.0, "NO": 0.0}
    composite = read_manifest(COMPOSITE.encode()).composite
    assert composite is not None
    assert composite.children[0].ref.name == "a"


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ("rules = 1", "rules = 7", "judge.rules"),
        ('model = "m"', "", "judge.model"),
        ('model = "m"', 'model = "m"\nurl = "http://x"', "judge.url"),
        ("max_tokens = 5", 'max_tokens = "5"', "judge.sampling.max_tokens"),
        ("max_tokens = 5", "max_tokens = 0", "judge.sampling.max_tokens"),
        ("temperature = 0", "temperature = nan", "judge.sampling.temperature"),
        ("YES = 1", "YES = 2", "judge.output.labels"),
        ("YES = 1", "no = 1", "judge.output.labels"),
        ("NO = 0 }", "NO = 0 }, low = -1.7e308, high = 1.7e308", "judge.output.high"),
        ('kind = "tokens"', 'kind = "range"', "judge.output.labels"),
        ('kind = "tokens"', 'kind = "json"', "judge.output.schema"),
        ('kind = "tokens"', 'kind = "criteria"', "judge.output.labels"),
        ("{{response}}", "", "judge.messages"),
        ("{{response}}", "{{respnse}}", "judge.messages"),
        ("{{response}}", "{{response.x}}", "judge.messages.1.content"),
        ('content = "Hi"', 'content = "Hi {{response}}"', "judge.messages"),
        ('role = "system"', 'role = "tool"', "judge.messages.0.role"),
        ("uses_prompt = true", "uses_prompt = false", "uses_prompt"),
        ('runtime = "judge"', 'runtime = "composite"', "judge"),
        ("[judge]", "[composite]", "composite.combine"),
        ("rules = 1", "rules = 1\nvotes = { count = 2, least = 3 }", "judge.votes.least"),
        ("rules = 1", "rules = 1\nvotes = { both_orders = true }", "judge.votes"),
        ("rules = 1", 'rules = 1\nreference = "choice"', "judge.messages"),
        ("labels = { YES = 1, NO = 0 }", "by_reference = { a = { YES = 1 } }", "judge.output"),
        ('runtime = "judge"', 'runtime = "judge"\nentry = "a:b"', "entry"),
        ("[judge]", "[parameters.x]\ntype = 'string'\n[judge]", "parameters"),
    ],
)
def test_a_judge_that_cannot_be_is_refused_by_its_key(old: str, new: str, key: str) -> None:
    assert old in JUDGE
    with pytest.raises(ManifestError) as caught:
        read_manifest(JUDGE.replace(old, new, 1).encode(), file="here.toml")
    assert caught.value.key == key
    assert str(caught.value).startswith("here.toml: key `")


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ('combine = "all"', 'combine = "sum"', "composite.combine"),
        ('combine = "all"', 'combine = "fallback"', "composite.on"),
        ('combine = "all"', 'combine = "all"\non = ["error"]', "composite.on"),
        ('combine = "all"', 'combine = "penalty"', "composite.penalties"),
        ('combine = "all"', 'combine = "all"\nfailure = "zero"', "composite.failure"),
        ('combine = "all"', 'combine = "all"\nfailure = "skip"', "composite.failure"),
        (PIN, "a:1", "composite.children.0.verifier"),
        (PIN, "a", "composite.children.0.verifier"),
        ('name = "one"', 'name = "One"', "composite.children.0.name"),
        ('name = "one"', 'name = "one"\nweight = 0.0', "composite.children.0.weight"),
        ('name = "one"', 'name = "one"\nreference = "a"', "composite.children.0.reference"),
        ('name = "one"', 'name = "one"\nforward = { x = "y" }', "parameters"),
        (
            'name = "one"',
            'name = "one"\nparams = { x = 1 }\nforward = { x = "y" }',
            "composite.children.0.forward",
        ),
    ],
)
def test_a_composite_that_cannot_be_is_refused_by_its_key(old: str, new: str, key: str) -> None:
    assert old in COMPOSITE
    with pytest.raises(ManifestError) as caught:
        read_manifest(COMPOSITE.replace(old, new, 1).encode())
    assert caught.value.key == key


TEMPLATE = (
    JUDGE.replace("rules = 1", 'rules = 1\nreference = "template"')
    .replace("uses_prompt = true\n", "")
    .replace("{{prompt}} {{response}} {{reference}}", "{{sample.output_json.a[0]}} {{ item.x }} {{item}}")
)


def test_messages_of_a_template_name_values_of_item_and_sample() -> None:
    judge = read_manifest(TEMPLATE.encode()).judge
    assert judge is not None
    assert judge.messages[1].places == {"sample.output_json.a[0]", "item.x", "item"}
    assert not judge.shows_prompt


@pytest.mark.parametrize(
    "place", ["{{sample.choices}}", "{{item.}}", "{{sample}}", "{{response}}", "{{sample.output_text.x}}"]
)
def test_a_place_that_no_template_has_is_refused(place: str) -> None:
    with pytest.raises(ManifestError) as caught:
        read_manifest(TEMPLATE.replace("{{ item.x }}", place).encode())
    assert caught.value.key == "judge.messages"


def test_a_grader_is_no_folder() -> None:
    with pytest.raises(ManifestError) as caught:
        read_manifest(f'{HEAD}runtime = "grader"\n'.encode())
    assert (caught.value.key, caught.value.value) == ("runtime", "'grader'")
