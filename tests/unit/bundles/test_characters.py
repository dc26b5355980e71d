"""Rules know the characters of Unicode 14, also where Python knows more."""

import sys
import unicodedata

import pytest

from countermark_service.bundles.characters import as_known, unassigned
from countermark_service.bundles.composite_table import Penalty
from countermark_service.bundles.judge_table import RULES, Before
from countermark_service.judge.render import as_line
from countermark_service.judge.shown import decide
from countermark_service.runtimes.penalties import penalty_of

LATER = "\U0001fa77"
"""A heart of Unicode 15."""


@pytest.fixture
def later_python(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Python that knows `LATER`: the real one, or this one told so."""
    if unicodedata.unidata_version != "14.0.0":
        return
    category, heart = unicodedata.category, LATER
    monkeypatch.setattr(unicodedata, "unidata_version", "15.0.0")
    monkeypatch.setattr(unicodedata, "category", lambda one: "So" if one == heart else category(one))


def test_what_is_unassigned_is_what_unicode_14_does_not_assign() -> None:
    every = [chr(point) for point in range(sys.maxunicode + 1)]
    ours = {one for one in every if unassigned().match(one)}
    theirs = {one for one in every if unicodedata.category(one) == "Cn"}
    assert ours >= theirs
    assert ours == theirs or unicodedata.unidata_version != "14.0.0"
    assert len(ours) == 829_834


@pytest.mark.usefixtures("later_python")
def test_a_character_that_came_later_is_asked_and_decided_and_measured_as_it_was_before() -> None:
    assert unicodedata.category(LATER) == "So"
    assert as_known(f"a{LATER}é") == "a\uffffé"
    assert as_line(f"a{LATER}é", RULES) == '"a\\ud83e\\ude77é"'
    assert decide(LATER, "42", Before(), RULES) == ("no_answer", "blank")
    letters = Penalty.model_validate({"measure": "language", "weight": 1, "free": 0, "full": 1})
    assert penalty_of(f"a\U0002ebf0{LATER}", letters) == (0.0, 0.0)  # an ideograph of Unicode 15.1


def test_a_text_that_unicode_14_knows_stays_as_it_is() -> None:
    text = "if x < 5: é ∫ «да» 答案 👍 \U0001f979"
    assert as_known(text) == unassigned().sub("?", text) == text
