"""Who may call: keys are kept as hashes, read again when their file changes, and lost by nobody's slip."""

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from countermark_service.errors import ForbiddenError, UnauthorizedError
from countermark_service.store.access_keys import AccessKeys, AccessKeysError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "data" / "keys.json"


@pytest.fixture
def keys(file: Path) -> AccessKeys:
    return AccessKeys(file)


def test_without_any_key_everybody_may_call(keys: AccessKeys) -> None:
    assert keys.require(None, "score") is None
    assert keys.require("Bearer whatever", "score") is None


def test_a_key_opens_what_its_scopes_say_and_nothing_else(keys: AccessKeys) -> None:
    secret, key = keys.add(["score", "audit"], "trainer 1")

    assert keys.require(f"Bearer {secret}", "score") == key.id
    assert keys.require(f"bearer  {secret} ", "audit") == key.id
    with pytest.raises(ForbiddenError) as refusal:
        keys.require(f"Bearer {secret}", "admin")
    assert (refusal.value.scope, refusal.value.granted) == ("admin", ["audit", "score"])


@pytest.mark.parametrize(
    "header",
    [None, "", "Bearer", "Bearer ", "Bearer cmk_wrong", "Basic {}", "{}", "Bearer {}x", "Bearer \udcff"],
)
def test_whoever_has_no_key_of_the_file_is_refused(keys: AccessKeys, header: str | None) -> None:
    secret, _ = keys.add(["score"], "trainer 1")
    with pytest.raises(UnauthorizedError):
        keys.require(header and header.format(secret), "score")


def test_the_file_holds_the_hash_and_not_the_key(keys: AccessKeys, file: Path) -> None:
    secret, key = keys.add(["score"], "trainer 1")
    text = file.read_text()

    assert secret not in text
    assert secret.removeprefix("cmk_") not in text
    (row,) = json.loads(text)["keys"]
    assert row["hash"] == hashlib.sha256(secret.encode()).hexdigest() == key.hash
    assert (row["scopes"], row["label"]) == (["score"], "trainer 1")
    assert file.stat().st_mode & 0o077 == 0
    assert sorted(entry.name for entry in file.parent.iterdir()) == ["keys.json"]


def test_two_keys_never_look_alike(keys: AccessKeys) -> None:
    secrets = {keys.add(["score"], "same label")[0] for _ in range(20)}
    assert len(secrets) == 20
    assert len({key.id for key in keys.all()}) == 20
    assert all(len(secret) > 40 for secret in secrets)


def test_a_key_that_another_process_makes_or_removes_counts_at_once(keys: AccessKeys, file: Path) -> None:
    first, _ = keys.add(["score"], "first")
    elsewhere = AccessKeys(file)
    second, made = elsewhere.add(["score"], "second")
    assert keys.require(f"Bearer {second}", "score") == made.id

    elsewhere.remove(made.id)
    with pytest.raises(UnauthorizedError):
        keys.require(f"Bearer {second}", "score")
    keys.require(f"Bearer {first}", "score")


def test_taking_away_the_last_key_opens_nothing(keys: AccessKeys, file: Path) -> None:
    secret, key = keys.add(["score"], "only")
    keys.require(f"Bearer {secret}", "score")
    AccessKeys(file).remove(key.id)
    with pytest.raises(UnauthorizedError):
        keys.require(None, "score")

    file.unlink()
    with pytest.raises(UnauthorizedError):
        keys.require(f"Bearer {secret}", "score")


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"keys": [{}]}', '{"keys": [{"id": "x"}]}', '{"keys": {"a": 1}}']
)
def test_a_file_that_cannot_be_read_opens_nothing(keys: AccessKeys, file: Path, content: str) -> None:
    keys.add(["score"], "first")
    file.write_text(content)
    with pytest.raises(AccessKeysError, match=r"keys\.json cannot be read"):
        keys.require(None, "score")


@pytest.mark.parametrize("scopes", [[], ["everything"], ["score", "root"]])
def test_scopes_that_do_not_exist_cannot_be_given(keys: AccessKeys, file: Path, scopes: list[str]) -> None:
    with pytest.raises(AccessKeysError, match="score, admin, audit"):
        keys.add(scopes, "somebody")
    assert not file.exists()


def test_a_key_that_is_not_there_cannot_be_removed(keys: AccessKeys) -> None:
    _, key = keys.add(["score"], "first")
    with pytest.raises(AccessKeysError, match="no key has the id 'nobody'"):
        keys.remove("nobody")
    assert keys.all() == [key]


def test_keys_that_are_made_and_removed_at_once_are_all_there_or_gone(file: Path) -> None:
    gone = [AccessKeys(file).add(["score"], "old")[1].id for _ in range(20)]
    with ThreadPoolExecutor(8) as several:
        removed = [several.submit(AccessKeys(file).remove, one) for one in gone]
        made = [several.submit(AccessKeys(file).add, ["score"], str(n)) for n in range(20)]
        for one in removed:
            one.result()
        secrets = [one.result()[0] for one in made]
    keys = AccessKeys(file)
    assert {key.label for key in keys.all()} == {str(n) for n in range(20)}
    assert all(keys.require(f"Bearer {secret}", "score") for secret in secrets)


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("no folder")
    with pytest.raises(AccessKeysError, match=r"data/keys\.json cannot be written: "):
        AccessKeys(tmp_path / "data" / "keys.json").add(["score"], "x")
