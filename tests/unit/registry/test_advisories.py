"""Advisories: lists that only grow, ids that are made of content, and what stands against a digest."""

import time
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from countermark_service.registry import (
    Advisory,
    AdvisoryBook,
    AdvisoryError,
    append_advisory,
    append_withdrawal,
    make_advisory,
    read_advisories,
)
from tests.cards import EXACT, NUMERIC
from tests.support import REPOSITORY, no_more_than

EXACT_DIGEST, NUMERIC_DIGEST = EXACT.partition("@")[2], NUMERIC.partition("@")[2]


def yanked(pin: str = EXACT, reason: str = "says yes to everything", **more: str) -> Advisory:
    return make_advisory(pin, "yanked", reason, subject="verifier", date="2026-11-28", **more)


def warning(pin: str = EXACT) -> Advisory:
    return make_advisory(pin, "warning", "slow", subject="verifier", date="2026-11-27")


def test_what_is_appended_is_read_again_in_order(tmp_path: Path) -> None:
    file = tmp_path / "data" / "advisories.toml"
    entries = [yanked(replacement=NUMERIC, url="https://example.org"), warning(), yanked(NUMERIC)]

    assert [append_advisory(file, one) for one in entries] == [True, True, True]

    assert read_advisories(file) == entries


def test_an_entry_that_is_there_is_not_added_again(tmp_path: Path) -> None:
    file = tmp_path / "advisories.toml"
    append_advisory(file, yanked())
    before = file.read_bytes()

    assert append_advisory(file, yanked()) is False
    assert file.read_bytes() == before


def test_the_list_only_grows(tmp_path: Path) -> None:
    file = tmp_path / "advisories.toml"
    append_advisory(file, yanked())
    before = file.read_bytes()

    append_advisory(file, warning())
    append_withdrawal(file, yanked().id, "it was the data", date="2026-11-29")

    assert file.read_bytes().startswith(before)
    first, second = read_advisories(file)
    assert (first.withdrawn, second.withdrawn) == ("it was the data", "")


def test_what_is_taken_back_stands_no_more(tmp_path: Path) -> None:
    file = tmp_path / "advisories.toml"
    append_advisory(file, yanked())
    append_withdrawal(file, yanked().id, "it was the data", date="2026-11-29")

    book = AdvisoryBook([file])

    assert book.about([EXACT_DIGEST]) == ()
    assert [one.withdrawn for one, _ in book.all()] == ["it was the data"]
    with pytest.raises(AdvisoryError, match="taken back already"):
        append_withdrawal(file, yanked().id, "again", date="2026-11-29")


def test_what_stands_is_found_by_digest_the_yanked_first(tmp_path: Path) -> None:
    files = [tmp_path / "own.toml", tmp_path / "none.toml", tmp_path / "shipped.toml"]
    append_advisory(files[0], warning())
    append_advisory(files[2], yanked())
    append_advisory(files[2], warning())

    book = AdvisoryBook(files)

    assert book.about([NUMERIC_DIGEST, EXACT_DIGEST]) == (yanked(), warning())
    assert book.about([NUMERIC_DIGEST]) == ()


def test_a_list_that_grows_is_noticed_within_a_second_and_one_that_breaks_clears_nothing(
    tmp_path: Path,
) -> None:
    file = tmp_path / "advisories.toml"
    book = AdvisoryBook([file])
    append_advisory(file, yanked())
    assert _soon(book, 1) == (yanked(),)

    file.write_text("[[advisory")
    time.sleep(1.1)

    assert book.about([EXACT_DIGEST]) == (yanked(),)


def test_a_list_that_could_not_be_read_for_a_while_is_read_when_it_can_be(tmp_path: Path) -> None:
    """It does not change any more, so its time says nothing."""
    file = tmp_path / "advisories.toml"
    book = AdvisoryBook([file])
    append_advisory(file, yanked())
    with no_more_than(0):
        time.sleep(1.1)
        assert book.about([EXACT_DIGEST]) == ()

    assert _soon(book, 1) == (yanked(),)


def _soon(book: AdvisoryBook, count: int) -> tuple[Advisory, ...]:
    deadline = time.monotonic() + 60
    while len(found := book.about([EXACT_DIGEST])) != count and time.monotonic() < deadline:
        time.sleep(0.05)
    return found


ENTRY = f'[[advisory]]\nid = "{yanked().id}"\nsubject = "verifier"\npin = "{EXACT}"\nkind = "yanked"\n'
REASON = 'reason = "says yes to everything"\ndate = "2026-11-28"\n'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[advisory", "not TOML"),
        ("[[advisories]]\n", "`advisories` is neither"),
        ("advisory = 1\n", "no list of tables"),
        (ENTRY, "`date` is missing"),
        (ENTRY + REASON.replace("says", "said"), "is not the id of its content"),
        (ENTRY + REASON + 'reson = "x"\n', "no key `reson`"),
        (ENTRY + REASON + "url = 1\n", "must be a text"),
        (ENTRY.replace("yanked", "deleted") + REASON, "it must be yanked or warning"),
        (ENTRY.replace('"verifier"', '"model"') + REASON, "it must be verifier or release"),
        (ENTRY.replace(EXACT, "exact:1.0.0") + REASON, "is no pin"),
        (
            ENTRY + REASON + '[[withdrawal]]\nid = "adv-0"\nreason = "x"\ndate = "2026-11-28"\n',
            "[[withdrawal]] 1",
        ),
    ],
)
def test_a_list_with_a_fault_is_refused_with_its_place(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "advisories.toml"
    file.write_text(text)

    with pytest.raises(AdvisoryError) as refused:
        AdvisoryBook([file])

    assert said in str(refused.value)
    assert str(file) in str(refused.value)


@pytest.mark.parametrize(
    ("pin", "reason", "date"),
    [
        ("exact:1.0.0", "x", "2026-11-28"),
        (EXACT, " ", "2026-11-28"),
        (EXACT, "x" * 3000, "2026-11-28"),
        (EXACT, "x", "today"),
    ],
)
def test_an_advisory_needs_pin_reason_and_date(pin: str, reason: str, date: str) -> None:
    with pytest.raises(AdvisoryError):
        make_advisory(pin, "yanked", reason, subject="verifier", date=date)


@given(st.text(min_size=1, max_size=50))
def test_every_reason_comes_back_as_it_was_given(
    tmp_path_factory: pytest.TempPathFactory, reason: str
) -> None:
    file = tmp_path_factory.mktemp("advisories") / "advisories.toml"
    try:
        made = yanked(reason=reason)
        append_advisory(file, made)
    except AdvisoryError:
        assert not reason.strip() or any("\ud800" <= letter <= "\udfff" for letter in reason)
        return
    assert read_advisories(file) == [made]


def test_the_shipped_list_can_be_read_and_names_bundles_that_were_published() -> None:
    published = tomllib.loads((REPOSITORY / "verifiers" / "published.toml").read_text())["bundle"]
    pins = {f"{one['name']}:{one['version']}@{one['digest']}" for one in published}

    shipped = read_advisories(REPOSITORY / "verifiers" / "advisories.toml")

    assert (REPOSITORY / "verifiers" / "advisories.toml").is_file()
    assert {one.pin for one in shipped} <= pins
