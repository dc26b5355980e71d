"""The page of an attribution in a real browser, with names and cards that attack whoever opens it."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from countermark_service.audit.attribution.cells import Crossed, SideScores
from countermark_service.audit.attribution.design import Run, analyse
from countermark_service.audit.attribution.factors import remainder
from countermark_service.audit.attribution.page import write_page
from countermark_service.audit.attribution.pair import decompose
from countermark_service.audit.attribution.sides import Published, Side
from countermark_service.audit.attribution.words import PairFinding, RunsFinding
from countermark_service.releases.difference import Change, FactorDifference
from tests.browser.conftest import DESK, PHONE, SMALL_PHONE, OpenPage
from tests.browser.hostile import ATTACKS, LONG, ONE, SCRIPT, TEMPLATE, TWO

EVERYTHING = "".join(ATTACKS)


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of a pair and of a set of runs, in which every text of strangers is an attack."""
    file = tmp_path_factory.mktemp("attribution") / "attribution.html"
    write_page([pair(), runs()], file)
    return file


def pair() -> PairFinding:
    """Two releases whose names, cards and failures attack."""
    sides = [
        Side(f"lab/{name} {EVERYTHING}", EVERYTHING, str(pin), {"x": SCRIPT}, None, {}, published=published)
        for name, pin, published in (
            ("one", ONE, Published(SCRIPT, 0.5)),
            ("two", TWO, Published("mean_score", 0.1)),
        )
    ]
    counts = [
        SideScores(
            side.name, rows=9, without_score=[Counter({SCRIPT: 1}), Counter({LONG: 2})], unusable={SCRIPT: 3}
        )
        for side in sides
    ]
    scores = np.array([[0.0, 1.0, 0.0, 1.0]] * 5 + [[1.0, 0.0, 1.0, 1.0]] * 7)
    differences = [
        FactorDifference(
            "base_model", "differs", tuple(Change(f"id[{one}]", one, EVERYTHING) for one in ATTACKS)
        ),
        FactorDifference("scaffold", "unknown", (), (SCRIPT,)),
    ]
    return PairFinding(
        sides[0], sides[1], (str(ONE), str(TWO)), (str(ONE), str(TWO)),
        Crossed(scores.reshape(12, 2, 2), counts, 14, 1, 1), decompose(scores), differences, remainder(differences),
    )  # fmt: skip


def runs() -> RunsFinding:
    """Runs whose factors and levels attack."""
    low, high = f"low {EVERYTHING}", f"high {EVERYTHING}"
    factors = (SCRIPT, f"{TEMPLATE} {LONG}")
    found = [
        Run(f"run {number}", dict(zip(factors, levels, strict=True)), 0.1 * number)
        for number, levels in enumerate([(low, low), (low, high), (high, low), (high, high)] * 2)
    ]
    return RunsFinding(EVERYTHING, str(TWO), "mean_score", analyse(found))


def test_it_opens_without_an_error_and_asks_for_nothing(page_file: Path, open_page: OpenPage) -> None:
    opened = open_page(page_file)

    assert opened.messages == []
    assert opened.requests == [page_file.as_uri()]


def test_nothing_in_a_name_or_a_card_runs_or_becomes_an_element(page_file: Path, open_page: OpenPage) -> None:
    opened = open_page(page_file)
    page = opened.page
    page.mouse.click(200, 300)

    assert page.evaluate("window.attacked") is None
    assert opened.dialogs == []
    forbidden = (
        "script, iframe, img, object, embed, form, input, base, a, link, svg path, [onerror], [onload]"
    )
    assert page.locator(forbidden).count() == 0
    text = page.inner_text("body")
    assert SCRIPT in text
    assert "{{ 7 * 7 }}" in text


@pytest.mark.parametrize("size", [PHONE, SMALL_PHONE, DESK])
def test_no_width_scrolls_sideways(size: tuple[int, int], page_file: Path, open_page: OpenPage) -> None:
    page = open_page(page_file, size).page

    assert page.evaluate("document.documentElement.scrollWidth") <= size[0]


def test_every_estimate_can_be_read_at_every_width(page_file: Path, open_page: OpenPage) -> None:
    for size in (PHONE, DESK):
        page = open_page(page_file, size).page
        shown = page.locator("table.estimates" if size == PHONE else "div.drawing").first
        assert shown.is_visible()
        box = shown.bounding_box()
        assert box is not None
        assert box["x"] + box["width"] <= size[0]
    phone = open_page(page_file, PHONE).page
    assert not phone.locator("div.drawing").first.is_visible()
    assert "the verifier" in phone.locator("table.estimates").first.inner_text()
