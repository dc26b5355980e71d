"""Every fault of a manifest is one sentence that names the file, the key, the value and the rule."""

import tomllib
from typing import Any

import jsonschema
import pytest

from countermark_service.bundles import read_manifest
from countermark_service.errors import ManifestError

FILE = "bundles/subject/1.0.0/verifier.toml"
GOOD: dict[str, str] = {
    "name": '"subject"',
    "version": '"1.0.0"',
    "summary": '"What it is for"',
    "protocol": "1",
    "runtime": '"python"',
    "entry": '"verifier:verify"',
    "python": '"3.11"',
    "files": '["verifier.toml", "verifier.py", "requirements.lock", "vectors.jsonl"]',
    "limits": "{ cpu_seconds = 2, wall_seconds = 10, memory_mib = 256 }",
}


def manifest(**changes: str | None) -> bytes:
    """Return a good manifest with some keys changed (None: left out)."""
    keys = {key: value for key, value in {**GOOD, **changes}.items() if value is not None}
    return "".join(f"{key} = {value}\n" for key, value in keys.items()).encode()


def refusal(content: bytes) -> ManifestError:
    with pytest.raises(ManifestError) as refused:
        read_manifest(content, file=FILE)
    return refused.value


def test_a_manifest_is_read_with_its_defaults() -> None:
    read = read_manifest(manifest(limits=None))
    assert (read.name, read.version, read.entry, read.reduce) == ("subject", "1.0.0", "verifier:verify", None)
    assert (read.limits.cpu_seconds, read.limits.wall_seconds, read.limits.memory_mib) == (5.0, 60.0, 512)
    assert read.uses_prompt is False
    assert read.files == tuple(tomllib.loads(f"files = {GOOD['files']}")["files"])


def test_whole_numbers_of_seconds_are_seconds() -> None:
    limits = read_manifest(manifest()).limits
    assert (limits.cpu_seconds, limits.wall_seconds) == (2.0, 10.0)


FAULTS: list[tuple[dict[str, str | None], str, str, str]] = [
    # what is changed, the key that the error names, the value it shows, a word of the rule
    ({"name": None}, "name", "missing", "required"),
    ({"version": None}, "version", "missing", "required"),
    ({"summary": None}, "summary", "missing", "required"),
    ({"protocol": None}, "protocol", "missing", "required"),
    ({"runtime": None}, "runtime", "missing", "required"),
    ({"files": None}, "files", "missing", "required"),
    ({"name": '"Subject"'}, "name", "Subject", "lowercase"),
    ({"name": '"a/b/c"'}, "name", "a/b/c", "one `/` at most"),
    ({"name": "1"}, "name", "1", "string"),
    ({"name": '"../subject"'}, "name", "../subject", "lowercase"),
    ({"version": '"1.0 0"'}, "version", "1.0 0", "1 to 128 characters"),
    ({"version": "1.0"}, "version", "1.0", "string"),
    ({"version": '""'}, "version", "''", "1 to 128 characters"),
    ({"summary": '""'}, "summary", "''", "at least 1 character"),
    ({"summary": f'"{"x" * 201}"'}, "summary", "xxx", "at most 200 characters"),
    ({"protocol": "2"}, "protocol", "2", "1"),
    ({"protocol": '"1"'}, "protocol", "'1'", "1"),
    ({"runtime": '"docker"'}, "runtime", "docker", "'python'"),
    ({"entry": None}, "entry", "missing", "needs it"),
    ({"entry": '"verify"'}, "entry", "verify", "module:function"),
    ({"entry": '"pack.verifier:verify"'}, "entry", "pack.verifier:verify", "module:function"),
    ({"entry": '"../verifier:verify"'}, "entry", "../verifier:verify", "module:function"),
    ({"entry": '"other:verify"'}, "files", "verifier.py", "other.py"),
    ({"reduce": '"reducer:reduce"'}, "files", "verifier.py", "reducer.py"),
    ({"reduce": '"reduce"'}, "reduce", "reduce", "module:function"),
    ({"python": None}, "python", "missing", "needs it"),
    ({"python": '"3"'}, "python", "3", "minor version"),
    ({"python": '"3.11.7"'}, "python", "3.11.7", "minor version"),
    ({"python": "3.11"}, "python", "3.11", "string"),
    ({"uses_prompt": '"yes"'}, "uses_prompt", "yes", "boolean"),
    ({"uses_prompt": "1"}, "uses_prompt", "1", "boolean"),
    ({"files": "[]"}, "files", "()", "at least 1 item"),
    ({"files": '"verifier.py"'}, "files", "verifier.py", "tuple"),
    ({"files": '["verifier.toml"]'}, "files", "verifier.toml", "requirements.lock, vectors.jsonl, verif"),
    ({"files": "[1]"}, "files.0", "1", "string"),
    ({"files": '["/etc/passwd"]'}, "files", "/etc/passwd", "plain relative path"),
    ({"files": '["../../secret"]'}, "files", "../../secret", "plain relative path"),
    ({"files": '["data/../verifier.py"]'}, "files", "data/../verifier.py", "plain relative path"),
    ({"files": '["./verifier.py"]'}, "files", "./verifier.py", "plain relative path"),
    ({"files": '["a\\\\b"]'}, "files", "a", "plain relative path"),
    ({"files": f'["{"a/" * 2000}b"]'}, "files", "a/a/", "longer than 255"),
    ({"files": '["verifier.py", "verifier.py/x"]'}, "files", "verifier.py/x", "is a file and a folder"),
    ({"files": '["a\\u0000b"]'}, "files", "a", "plain relative path"),
    ({"files": '["a", "a"]'}, "files", "'a', 'a'", "twice"),
    ({"limits": "5"}, "limits", "5", "dictionary"),
    ({"limits": "{ cpu_seconds = 0 }"}, "limits.cpu_seconds", "0.0", "greater than 0"),
    ({"limits": "{ cpu_seconds = -1 }"}, "limits.cpu_seconds", "-1.0", "greater than 0"),
    ({"limits": "{ cpu_seconds = nan }"}, "limits.cpu_seconds", "nan", "finite"),
    ({"limits": "{ cpu_seconds = inf }"}, "limits.cpu_seconds", "inf", "finite"),
    ({"limits": '{ cpu_seconds = "2" }'}, "limits.cpu_seconds", "'2'", "number"),
    ({"limits": "{ cpu_seconds = true }"}, "limits.cpu_seconds", "True", "number"),
    ({"limits": "{ memory_mib = 1 }"}, "limits.memory_mib", "1", "32"),
    ({"limits": "{ memory_mib = 256.5 }"}, "limits.memory_mib", "256.5", "integer"),
    ({"limits": "{ memory = 256 }"}, "limits.memory", "256", "not permitted"),
    ({"limits": "{ cpu_seconds = 9, wall_seconds = 3 }"}, "limits", "9.0", "wall_seconds (3.0) must not be"),
    ({"parameters": "{ tolerance = 1 }"}, "parameters.tolerance", "1", "dictionary"),
    ({"parameters": '{ tolerance = { type = "float" } }'}, "parameters", "float", "'tolerance' is no JSON"),
    ({"parameters": '{ name = { pattern = "(" } }'}, "parameters", "(", "'name' is no JSON Schema"),
    ({"sumary": '"a slip"'}, "sumary", "a slip", "not permitted"),
    ({"runtime": '"judge"'}, "entry", "verifier:verify", "runs no code"),
    ({"runtime": '"judge"', "entry": None, "reduce": '"a:b"'}, "reduce", "a:b", "runs no code"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "key", "value", "rule"), FAULTS, ids=[f"{sorted(f[0].items())}"[:70] for f in FAULTS]
)
def test_a_fault_names_file_key_value_and_rule(
    changes: dict[str, str | None], key: str, value: str, rule: str
) -> None:
    error = refusal(manifest(**changes))

    assert (error.code, error.file, error.key) == ("invalid_manifest", FILE, key)
    assert value in error.value
    assert rule in error.problem
    assert str(error).startswith(f"{FILE}: key `{key}` is {error.value}: ")


@pytest.mark.parametrize(
    "content",
    [b"\xff\xfe", b"name = ", b"name = 'a'\nname = 'b'\n", b"x = " + b"[" * 5000, b"\x00", b"= 1"],
)
def test_what_is_not_toml_is_said_to_be_not_toml(content: bytes) -> None:
    error = refusal(content)
    assert error.file == FILE
    assert error.problem.startswith("not TOML")


def test_an_empty_manifest_misses_its_first_key() -> None:
    assert refusal(b"").key == "name"


def test_a_large_value_is_shown_in_part() -> None:
    assert len(str(refusal(manifest(name=f'"{"X" * 100_000}"')))) < 600


@pytest.mark.parametrize(
    ("params", "good"),
    [({}, True), ({"tolerance": 0.5}, True), ({"tolerance": "0.5"}, False), ({"tolerence": 0.5}, False)],
)
def test_parameters_make_a_schema_that_knows_no_others(params: dict[str, Any], good: bool) -> None:
    read = read_manifest(manifest(parameters='{ tolerance = { type = "number", minimum = 0 } }'))
    assert jsonschema.Draft202012Validator(read.parameters_schema()).is_valid(params) is good
