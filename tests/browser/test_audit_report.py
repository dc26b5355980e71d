"""The report of an audit in a real browser, with texts that attack whoever opens it."""

import re
import time
from pathlib import Path

import pytest

from countermark_service.audit.outputs import REPORT, write_outputs
from tests.browser.conftest import DESK, PHONE, SMALL_PHONE, OpenPage, Scheme
from tests.browser.hostile import make_hostile_work_file
from tests.unit.audit.sample import make_work_file

CONTRAST = (Path(__file__).parent / "contrast.js").read_text()
UNFOLD = "document.querySelectorAll('details').forEach(one => { one.open = true })"


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two reports: one of ordinary outputs, one of outputs that attack."""
    folder = tmp_path_factory.mktemp("reports")
    made = {}
    for name, make in (("ordinary", make_work_file), ("hostile", make_hostile_work_file)):
        with make(folder / f"{name}.sqlite") as work:
            write_outputs(work, folder / name)
        made[name] = folder / name / REPORT
    return made


@pytest.mark.parametrize("name", ["ordinary", "hostile"])
def test_it_opens_without_an_error_and_asks_for_nothing(
    name: str, reports: dict[str, Path], open_page: OpenPage
) -> None:
    began = time.perf_counter()
    opened = open_page(reports[name])
    print(f"{name}: {reports[name].stat().st_size / 1e3:.0f} kB open in {time.perf_counter() - began:.2f} s")
    assert opened.messages == []
    outside = [
        url for url in opened.requests if not url.startswith("data:") and url != reports[name].as_uri()
    ]
    assert outside == []
    assert reports[name].stat().st_size < 3_000_000


def test_nothing_in_a_response_runs_or_becomes_an_element(
    reports: dict[str, Path], open_page: OpenPage
) -> None:
    opened = open_page(reports["hostile"])
    page = opened.page
    page.evaluate(UNFOLD)
    page.mouse.click(200, 300)
    assert page.evaluate("window.attacked") is None
    assert opened.dialogs == []
    forbidden = (
        "script, iframe, img, object, embed, form, input, base, svg path, [onerror], [onload], [onclick]"
    )
    assert page.locator(forbidden).count() == 0
    links = page.eval_on_selector_all("a", "all => all.map(one => one.getAttribute('href'))")
    assert links
    assert [link for link in links if not re.fullmatch(r"#[a-z]+", link)] == []
    assert [link for link in links if page.locator(link).count() != 1] == []
    assert page.evaluate("document.querySelectorAll('link, style, meta, title').length") == 8
    text = page.inner_text("body")
    assert "<script>window.attacked = 1</script>" in text
    assert "{{ 7 * 7 }}" in text


def test_the_policy_of_the_page_stops_what_escaping_would_have_let_through(
    reports: dict[str, Path], open_page: OpenPage, tmp_path: Path
) -> None:
    injected = (
        "<script>window.attacked = 1</script><img src=x onerror='window.attacked = 1'>"
        "<iframe srcdoc='<script>parent.attacked = 1</script>'></iframe>"
        "<style>body { visibility: hidden }</style><link rel=stylesheet href='data:text/css,*{color:red}'>"
    )
    file = tmp_path / "injected.html"
    file.write_text(reports["ordinary"].read_text().replace("</main>", injected + "</main>"))
    opened = open_page(file)
    opened.page.wait_for_load_state()
    assert opened.page.evaluate("window.attacked") is None
    assert opened.page.evaluate("getComputedStyle(document.body).visibility") == "visible"
    assert len([text for text in opened.messages if "Content Security Policy" in text]) >= 4


def test_what_cannot_be_seen_is_shown_by_its_number(reports: dict[str, Path], open_page: OpenPage) -> None:
    text = open_page(reports["hostile"]).page.inner_text("body")
    for label in ("U+202E", "U+2066", "U+0000", "U+001B", "U+200B \u00d73", "U+E0041", "more marks"):
        assert label in text
    hidden = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2066-\u2069\ufeff]")
    assert hidden.findall(text) == []


@pytest.mark.parametrize("name", ["ordinary", "hostile"])
@pytest.mark.parametrize("size", [PHONE, SMALL_PHONE, DESK])
def test_no_width_scrolls_sideways(
    name: str, size: tuple[int, int], reports: dict[str, Path], open_page: OpenPage
) -> None:
    page = open_page(reports[name], size).page
    page.evaluate(UNFOLD)
    assert page.evaluate("document.documentElement.scrollWidth") <= size[0]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["ordinary", "hostile"])
def test_every_text_stands_out_from_what_is_behind_it(
    name: str, scheme: Scheme, reports: dict[str, Path], open_page: OpenPage
) -> None:
    page = open_page(reports[name], DESK, scheme).page
    page.evaluate(UNFOLD)
    assert page.evaluate(f"({CONTRAST})(21.1)") != []  # it sees texts at all
    assert page.evaluate(f"({CONTRAST})(4.5)") == []


def test_dark_is_dark_and_print_is_on_white(reports: dict[str, Path], open_page: OpenPage) -> None:
    page = open_page(reports["ordinary"], DESK, "dark").page
    ground = "getComputedStyle(document.body).backgroundColor"
    assert page.evaluate(ground) == "rgb(20, 24, 26)"
    page.emulate_media(media="print")
    assert page.evaluate(ground) == "rgb(255, 255, 255)"
    assert page.pdf(format="A4").startswith(b"%PDF-")


def test_the_first_screen_says_what_was_claimed_what_holds_and_why(
    reports: dict[str, Path], open_page: OpenPage
) -> None:
    page = open_page(reports["ordinary"]).page
    heading = page.locator("h1")
    assert heading.count() == 1
    titles = page.locator(".answers h2").all_inner_texts()
    assert titles == ["What was claimed", "What holds", "Under other verifiers"]
    box = page.locator(".answers").bounding_box()
    assert box is not None
    assert box["y"] < DESK[1] / 2
