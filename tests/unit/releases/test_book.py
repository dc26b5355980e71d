"""The store of releases: what is registered stays as it is, whoever writes, and says so where it does not."""

import json
import multiprocessing
from pathlib import Path
from typing import Any

import pytest

from countermark_service.errors import CountermarkError, UnavailableError
from countermark_service.releases import (
    CardError,
    DamagedReleaseError,
    Release,
    ReleaseBook,
    ReleaseConflictError,
    ReleaseMismatchError,
    ReleaseRefError,
    ReleaseVersionRequiredError,
    UnknownReleaseError,
    UnknownTaskError,
    release_of,
)
from tests.cards import bare_card, full_card


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "releases"


def release(**more: Any) -> Release:
    return release_of(full_card(**more))


def test_a_registered_release_is_found_by_every_name_and_by_every_service(folder: Path) -> None:
    first, second = ReleaseBook(folder), ReleaseBook(folder)
    registered, new = first.register(release())

    assert new
    assert registered.since.endswith("Z")
    for book in (first, second, ReleaseBook(folder)):
        for ref in ("tests/full:1.0", f"tests/full:1.0@{release().digest}"):
            assert book.resolve(ref).digest == release().digest
        assert [str(one.release.ref) for one in book.all()] == [str(release().ref)]


def test_the_same_card_again_changes_nothing_and_another_is_refused(folder: Path) -> None:
    ReleaseBook(folder).register(release())
    another = ReleaseBook(folder)

    _, new = another.register(release())
    with pytest.raises(ReleaseConflictError) as refused:
        another.register(release(summary="Other sums"))

    assert not new
    assert refused.value.registered == release().digest
    assert ReleaseBook(folder).resolve("tests/full:1.0").card.summary == "Sums and words"


def _register(folder: Path, number: int, at: Any, out: Any) -> None:
    book, mine = ReleaseBook(folder), release(summary=f"Card {number}")
    at.wait()
    try:
        out.put(book.register(mine)[1] and number)
    except ReleaseConflictError:
        out.put(None)


def test_of_many_that_register_one_name_at_the_same_moment_exactly_one_wins(folder: Path) -> None:
    fork = multiprocessing.get_context("fork")
    at, out = fork.Barrier(8), fork.Queue()
    racers = [fork.Process(target=_register, args=(folder, n + 1, at, out)) for n in range(8)]
    for racer in racers:
        racer.start()
    answers = [out.get(timeout=300) for _ in racers]
    for racer in racers:
        racer.join()

    (winner,) = [answer for answer in answers if answer is not None]

    assert ReleaseBook(folder).resolve("tests/full:1.0").card.summary == f"Card {winner}"
    assert [file.name for file in folder.glob("*/*")] == ["1.0.json"]


@pytest.mark.parametrize(
    ("ref", "error"),
    [
        ("tests/full", ReleaseVersionRequiredError),
        ("tests/full:2.0", UnknownReleaseError),
        ("nobody:1.0", UnknownReleaseError),
        ("tests/full:1.0@sha256:" + "0" * 64, ReleaseMismatchError),
        ("Tests Full", ReleaseRefError),
        ("../../etc/passwd:1", ReleaseRefError),
        ("tests/full:../1.0", ReleaseRefError),
        ("", ReleaseRefError),
    ],
)
def test_what_names_no_registered_release_is_an_error_of_its_own(
    folder: Path, ref: str, error: type[CountermarkError]
) -> None:
    book = ReleaseBook(folder)
    book.register(release())

    with pytest.raises(error) as refused:
        book.resolve(ref)

    assert "tests/full" in str(refused.value) or error is ReleaseRefError


def test_a_card_that_was_changed_on_the_disk_is_refused_and_the_others_go_on(folder: Path) -> None:
    ReleaseBook(folder).register(release())
    ReleaseBook(folder).register(release(version="2.0"))
    file = folder / "tests@full" / "1.0.json"
    file.write_text(file.read_text().replace("Sums and words", "Sums and birds"))

    book = ReleaseBook(folder)

    with pytest.raises(DamagedReleaseError, match="was registered with the card"):
        book.resolve("tests/full:1.0")
    with pytest.raises(DamagedReleaseError):
        book.register(release())
    assert book.versions("tests/full") == ["2.0"]


@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", b'{"digest": 1}', b"\xff"])
def test_a_file_that_is_damaged_is_an_error_for_who_asks(folder: Path, content: bytes) -> None:
    ReleaseBook(folder).register(release())
    (folder / "tests@full" / "1.0.json").write_bytes(content)

    with pytest.raises(DamagedReleaseError) as refused:
        ReleaseBook(folder).resolve("tests/full:1.0")

    assert "1.0.json" in str(refused.value)


def test_a_card_without_digests_is_not_registered(folder: Path) -> None:
    draft = release_of(bare_card(verifier={"routes": [{"task": "a", "verifier": "exact:1.0.0"}]}))

    with pytest.raises(CardError) as refused:
        ReleaseBook(folder).register(draft)

    assert refused.value.field == "verifier.routes[0].verifier"
    assert "countermark release lock" in str(refused.value)


def test_a_folder_that_cannot_be_written_registers_nothing_and_says_so(folder: Path) -> None:
    folder.write_text("in the way")
    book = ReleaseBook(folder)

    with pytest.raises(UnavailableError, match="Not a directory"):
        book.register(release())

    folder.unlink()
    assert book.register(release())[1] is True


def test_folders_of_cards_are_registered_with_the_start(folder: Path, tmp_path: Path) -> None:
    cards = tmp_path / "cards"
    (cards / "full").mkdir(parents=True)
    (cards / "full" / "countermark.json").write_text(json.dumps(full_card()))
    (cards / "bare.json").write_text(json.dumps(bare_card()))

    book = ReleaseBook(folder, [cards])

    assert [one.release.card.name for one in book.all()] == ["tests/bare", "tests/full"]
    assert book.register(release())[1] is False
    with pytest.raises(ReleaseConflictError):
        book.register(release(summary="Other sums"))
    (cards / "other.json").write_text(json.dumps(full_card(summary="Other sums")))
    with pytest.raises(CardError, match="another card"):
        ReleaseBook(folder, [cards])
    with pytest.raises(CardError, match="no folder of release cards"):
        ReleaseBook(folder, [tmp_path / "nowhere"])


def test_a_task_is_found_under_each_of_its_names_and_others_are_refused_with_those_there_are(
    folder: Path,
) -> None:
    book = ReleaseBook(folder)
    book.register(release())

    assert book.use("tests/full:1.0", "sums").route is book.use("tests/full:1.0", "openai/gsm8k").route
    with pytest.raises(UnknownTaskError) as refused:
        book.use("tests/full:1.0", "Sums")
    assert refused.value.values() == {"release": "tests/full:1.0", "task": "Sums", "tasks": ["sums", "words"]}
