"""What commands print is whole on any terminal: no digit, no column and no line end of a file is in the way."""

import pytest

from countermark_service.cli.console import reflowed, show, table


@pytest.mark.parametrize("columns", ["10", "40", "80", "200"])
def test_numbers_and_names_of_a_table_are_whole_on_any_terminal(
    columns: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    numbers = ("items", "mean score", "no answer", "failed", "items/s")
    made = table("verifier", "what it is", numbers=numbers)
    made.add_row("composite/boxed-numeric:1.2.0", "short", "4096", "0.3333", "17", "0", "12,345")
    show(made)
    row = capsys.readouterr().out.splitlines()[-1]
    assert row.split() == ["composite/boxed-numeric:1.2.0", "short", "4096", "0.3333", "17", "0", "12,345"]


def test_texts_of_a_table_fold_to_words_on_a_narrow_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "30")
    made = table("verifier", "summary")
    made.add_row("composite/boxed-numeric:1.2.0", "the answer is read out of the box")
    show(made)
    shown = capsys.readouterr().out
    assert [line[30:].strip() for line in shown.splitlines()[2:]] == [
        "the answer",
        "is read out",
        "of the box",
    ]


def test_a_paragraph_is_one_line_and_a_list_stays_one() -> None:
    text = "\nCounts as equal: what\nis equal.\n\n- one\n- two,\n  and more\n\n1. first\n   | a table\n"
    assert reflowed(text) == (
        "Counts as equal: what is equal.\n\n- one\n- two,\n  and more\n\n1. first\n   | a table"
    )


@pytest.mark.parametrize(
    "text", ["{}", "second: {}", "{} has a warning: it reads years; instead: numeric:1.2.0."]
)
def test_a_pin_is_never_broken_over_two_lines(
    text: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    pin = f"numeric:1.1.0@sha256:{'0123456789abcdef' * 4}"
    show(text.format(pin))
    assert pin in capsys.readouterr().out
