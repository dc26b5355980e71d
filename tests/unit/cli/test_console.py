"""What commands print is whole on any terminal: no digit, no column and no line end of a file is in the way."""

import pytest

from countermark_service.cli.console import note, reflowed, show, table


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


@pytest.mark.parametrize("columns", ["20", "80", "120"])
@pytest.mark.parametrize("text", ["{}", "the pin is {}, and it is long", "sha256:{}"])
def test_a_pin_in_a_table_is_never_broken_either(
    columns: str, text: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    pin = text.format(f"numeric:1.1.0@sha256:{'0123456789abcdef' * 4}").removeprefix("sha256:numeric:1.1.0@")
    made = table("is", "rule", "of", "found", numbers=("n",))
    made.add_row("ok", "pin", "verifier.routes[0].verifier", pin, "7")
    show(made)
    shown = capsys.readouterr().out
    assert all(word in shown for word in pin.split() if "sha256:" in word)


@pytest.mark.parametrize("colours", [False, True])
def test_no_text_commands_the_terminal(
    colours: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Texts of models and servers: the title of the window, the colour, the line before, the reading direction."""
    if colours:
        monkeypatch.setenv("FORCE_COLOR", "1")
    text = "a\x1b]0;title\x07b\x1b[1Ac\x9b2Jd\x08e\rf\u202eg\tb\r\nh"
    made = table("what", caption=text)
    made.add_row(text)
    show(made, text)
    note(text)
    told = capsys.readouterr()
    for said in (told.out, told.err):
        assert not set(said) & set("\x07\x08\r\x9b\u202e")
        assert "\x1b]" not in said
        assert "\x1b[1A" not in said
        assert r"a\x1b]0;title\x07b\x1b[1Ac\x9b2Jd\x08e\rf\u202eg" in said
