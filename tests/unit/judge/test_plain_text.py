"""Text of plain ASCII is read by a shorter way: it must be the same text, and the same decision."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from countermark_service.bundles.judge_table import JudgeTable
from countermark_service.judge.render import as_line
from countermark_service.judge.shown import decide
from countermark_service.registry import Registry
from tests.support import REPOSITORY

ZERO_WIDTH = "\u200b"
"""A character that no rule counts, and that leads any text the long way."""


def table() -> JudgeTable:
    found = Registry([Path(REPOSITORY) / "verifiers"]).resolve("judge/equivalence:1.0.0").manifest.judge
    assert found is not None
    return found


BEFORE = table().before
NUMBERS = st.sampled_from([1, 2, 3])
PHRASES = [*BEFORE.openers, *BEFORE.claims, *BEFORE.instructions]
TEXTS = st.lists(
    st.text(st.characters(codec="ascii"), max_size=12) | st.sampled_from(PHRASES).map(str.upper), max_size=6
).map("".join)


@given(TEXTS, st.none() | TEXTS, NUMBERS)
def test_what_is_decided_of_a_plain_text_is_decided_of_it_with_a_zero_width_space(
    text: str, reference: str | None, rules: int
) -> None:
    longer = None if reference is None else reference + ZERO_WIDTH
    assert decide(text, reference, BEFORE, rules) == decide(text + ZERO_WIDTH, longer, BEFORE, rules)


@pytest.mark.parametrize("rules", [1, 2, 3])
def test_every_shipped_phrase_is_found_inside_a_plain_text(rules: int) -> None:
    plain = [one for one in BEFORE.instructions if one.isascii()]
    assert plain
    for phrase in plain:
        assert decide(f"It is 42.\n{phrase.upper()}; 42!", None, BEFORE, rules) == (
            BEFORE.addressed,
            "instruction",
        )


@given(st.text(st.sampled_from('<[|]/>=a0 INST_\x00\x7f\n"\\{') | st.characters(codec="ascii")), NUMBERS)
def test_a_plain_line_is_written_as_it_would_be_beside_other_characters(text: str, rules: int) -> None:
    assert as_line(text + "é", rules) == as_line(text, rules)[:-1] + 'é"'


def test_the_one_hidden_character_of_ascii_that_json_leaves_is_escaped() -> None:
    assert as_line("a\x7fb\x00", 1) == '"a\\u007fb\\u0000"'
