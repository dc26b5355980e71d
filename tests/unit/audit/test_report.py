"""What the page is made of, without a browser: texts made visible, plots' places, and its bounds."""

import io
import re
from pathlib import Path

import pytest

from countermark_service.audit.document import Document
from countermark_service.audit.report import plots, render_report
from countermark_service.audit.report.visible import MOST_BYTES, attribute, shown, shown_with
from countermark_service.audit.summary import summarise
from tests.unit.audit.sample import make_work_file


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> Document:
    with make_work_file(tmp_path_factory.mktemp("audit") / "audit.sqlite") as work:
        return summarise(work, io.BytesIO())


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("<b>&\"'", "&lt;b&gt;&amp;&#34;&#39;"),
        ("a\u202eb", 'a<span class="ctl">U+202E</span>b'),
        ("\x00\x00\x00", '<span class="ctl">U+0000 \u00d73</span>'),
        ("x\u200by\ufeff", 'x<span class="ctl">U+200B</span>y<span class="ctl">U+FEFF</span>'),
        ("one\r\ntwo\tthree\rfour", 'one\ntwo\tthree<span class="ctl">U+000D</span>four'),
        ("caf\u00e9 e\u0301 \u05d0\u05d1 \U0001f600", "caf\u00e9 e\u0301 \u05d0\u05d1 \U0001f600"),
        ("a" + "\u0301" * 9, "a" + "\u0301" * 3 + '<span class="ctl">more marks</span>'),
        ("\u3164\u2800", '<span class="ctl">U+3164</span><span class="ctl">U+2800</span>'),
    ],
)
def test_texts_are_escaped_and_what_is_hidden_is_named(text: str, html: str) -> None:
    assert str(shown(text)) == html


@pytest.mark.parametrize("text", ["a\u202e" * 50_000, "\U000e0041\U000e0042" * 50_000, "<" * 100_000])
def test_no_text_grows_beyond_its_bound(text: str) -> None:
    html = shown(text)
    assert len(html.encode()) < MOST_BYTES + 200
    assert html.endswith("cut off here</span>")


def test_what_was_read_is_set_off_where_it_stands_last_on_its_own() -> None:
    assert str(shown_with("7 of 17 is \\boxed{7}.", ["7"])) == "7 of 17 is \\boxed{<mark>7</mark>}."
    assert str(shown_with("at 5:00 <b>8</b>", ["0", "8"])) == (
        "at 5:0<mark>0</mark> &lt;b&gt;<mark>8</mark>&lt;/b&gt;"
    )
    assert str(shown_with("no such thing", ["42", " "])) == "no such thing"
    assert str(shown_with("20\\%", ["20\\%", "20"])) == "<mark>20\\%</mark>"


def test_an_attribute_holds_neither_quotes_nor_hidden_characters() -> None:
    assert str(attribute("\"'><\u202e")) == "&#34;&#39;&gt;&lt;\u27e8U+202E\u27e9"


@pytest.mark.parametrize(
    ("values", "labels"),
    [
        ([0.79, 0.86], ["0.78", "0.80", "0.82", "0.84", "0.86", "0.88"]),
        ([0.0, 1.0], ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
        ([0.5, 0.5], ["0.495", "0.500", "0.505"]),
        ([], ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
    ],
)
def test_scales_run_between_round_numbers_and_hold_every_value(
    values: list[float], labels: list[str]
) -> None:
    axis = plots.Axis.over(values)
    assert [tick.label for tick in axis.ticks] == labels
    places = [tick.at for tick in axis.ticks]
    assert places == sorted(places)
    assert all(0 < axis.at(value) < 100 for value in values)
    for tick in axis.ticks:
        assert axis.at(float(tick.label)) == pytest.approx(tick.at, abs=0.01)


@pytest.mark.parametrize(("share", "step"), [(0.0, 0), (0.0001, 1), (0.25, 5), (1.0, 9)])
def test_heat_tells_small_shares_from_none(share: float, step: int) -> None:
    assert plots.heat(share) == step


def test_the_page_refers_to_nothing_outside_itself_and_holds_no_script(document: Document) -> None:
    html = render_report(document)
    links = re.findall(r"""(?:src|href)\s*=\s*["']?([^"'>\s]*)""", html)
    assert links
    assert [link for link in links if not link.startswith("#") and link != "data:,"] == []
    assert re.findall(r"url\(|@import|https?:", html) == []
    assert re.findall(r"<script|\son\w+=|style=", html) == []
    assert "default-src 'none'" in html


def test_the_page_says_every_number_of_the_document_that_people_ask_for(document: Document) -> None:
    html = render_report(document)
    assert document.headline in html
    for one in document.verifiers:
        assert one.digest in html
    for file in document.inputs:
        assert file.sha256 in html
    for kind in document.kinds:
        assert f"<h3>{kind.title}: {kind.rows} answers</h3>" in html
    assert document.flips is not None
    assert document.flips.sha256 in html


def test_a_page_of_many_parts_shows_the_largest_and_says_so(document: Document) -> None:
    part = document.parts[0]
    many = document.model_copy(
        update={"parts": [part.model_copy(update={"model": f"m{n}", "rows": n}) for n in range(5000)]}
    )
    html = render_report(many)
    assert "The 200 largest of 5,000; audit.json has all." in html
    assert len(html) < 1_000_000
    assert "m4999" in html


def test_an_empty_audit_has_a_page(document: Document, tmp_path: Path) -> None:
    with make_work_file(tmp_path / "audit.sqlite", questions=0) as work:
        html = render_report(summarise(work, io.BytesIO()))
    assert "<h1>Nothing was scored again.</h1>" in html


def test_what_did_not_happen_is_not_explained(document: Document) -> None:
    overall = document.overall
    alike = [
        one.model_copy(
            update={"first_only": 0, "second_only": 0, "changed": 0, "first_alone": 0, "second_alone": 0}
        )
        for one in overall.comparisons
    ]
    whole = [one.model_copy(update={"bounds": None, "refused": 0, "waiting": 0}) for one in overall.columns]
    calm = document.model_copy(
        update={"overall": overall.model_copy(update={"comparisons": alike, "columns": whole}), "kinds": []}
    )

    told, untold = render_report(document), render_report(calm)

    assert "Nobody: on every answer" in untold
    assert "every verifier gave every answer a score" in untold
    for words in ("Not taken</th>", "Could be</th>", "McNemar p</th>", 'class="matrix"'):
        assert words in told
        assert words not in untold


def test_messages_stand_in_the_report_as_sentences(document: Document) -> None:
    html = render_report(document)

    assert "The row has no reference. <span" in html
    assert "The response is read from &#39;output&#39;. <span" in html


def test_a_verifier_that_found_no_answer_read_nothing(document: Document) -> None:
    html = render_report(document)

    assert 'no answer</td><td><span class="quiet">no_answer: said so</span>' in html
    kinds = [
        kind.model_copy(
            update={
                "examples": [
                    one.model_copy(
                        update={"sides": [side.model_copy(update={"reason": None}) for side in one.sides]}
                    )
                    for one in kind.examples
                ]
            }
        )
        for kind in document.kinds
    ]
    assert 'no answer</td><td><span class="quiet">nothing</span>' in render_report(
        document.model_copy(update={"kinds": kinds})
    )
