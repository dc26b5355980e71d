"""Reading rows: what people's files hold, and on which line it stands."""

import gzip
import io
from collections.abc import Callable
from typing import Any

import pytest
import zstandard

from countermark_service.audit.readers import lines as lines_module
from countermark_service.audit.readers.lines import InputFileError
from countermark_service.cli.rows import BadRow, Columns, Row, Rows


def read(content: bytes, name: str = "rows.jsonl", **options: Any) -> list[Row | BadRow]:
    """Read all rows of a file with that content."""
    with Rows(name, io.BufferedReader(io.BytesIO(content)), Columns(), {}, **options) as found:
        return list(found)


def problem(content: bytes, name: str = "rows.jsonl") -> str:
    """Return what is wrong with the only row of a file."""
    (row,) = read(content, name)
    assert isinstance(row, BadRow)
    return row.problem


def test_blank_lines_and_a_byte_order_mark_are_no_rows() -> None:
    content = b'\xef\xbb\xbf{"response": "a", "reference": "b"}\r\n\n  \n{"response": "", "reference": null}'

    assert [(row.line, type(row)) for row in read(content)] == [(1, Row), (4, Row)]


def test_chat_messages_are_reduced_to_the_last_answer() -> None:
    messages = b'[{"role": "user", "content": "?"}, {"role": "assistant", "content": "4"}]'

    (row,) = read(b'{"response": %b, "reference": 4}' % messages)

    assert isinstance(row, Row)
    assert row.item.response == "4"


def test_a_rows_own_parameters_win() -> None:
    content = b'{"response": "", "reference": "", "params": {"a": 1}}'

    with Rows("r", io.BufferedReader(io.BytesIO(content)), Columns(), {"a": 0, "b": 2}) as found:
        (row,) = found

    assert isinstance(row, Row)
    assert row.item.params == {"a": 1, "b": 2}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b'{"response": "a", "reference": NaN}', "is no JSON object"),
        (b'{"response": "\\ud800", "reference": "b"}', "half of a surrogate pair"),
        (b'{"response": "\xff", "reference": "b"}', "is no"),
        (b'{"response": "a"', "is no JSON object"),
        (b'[{"response": "a", "reference": "b"}]', "write one object a line"),
        (b'{"response": null, "reference": "b"}', "'response' is null"),
        (b'{"response": [], "reference": "b"}', "no assistant message"),
        (b'{"response": "a", "reference": "b", "prompt": 1}', "'prompt' is a number"),
        (b'{"response": "a", "reference": "b", "id": true}', "'id' is true or false"),
        (b'{"response": "a", "reference": "b", "params": []}', "'params' is a list"),
        (b'{"response": "a", "response": "b", "reference": "b"}', "'response' is given twice"),
        (b'{"response": "a", "reference": {"a": {"b": 1, "b": 2}}}', "'b' is given twice"),
        (b'{"response": "a", "reference": 0.10000000000000000555}', "more digits than a double holds"),
        (b'{"response": "a", "reference": ' + b"[" * 201 + b"]" * 201 + b"}", "nested too deeply"),
        (b'{"response": "a", "reference": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested too deeply"),
    ],
)
def test_a_bad_line_says_what_is_wrong(line: bytes, said: str) -> None:
    assert said in problem(line)


def test_columns_that_are_not_scored_may_hold_what_they_like() -> None:
    (row,) = read(
        b'{"response": "a", "reference": "b", "logprob": -0.10000000000000000555, "m": {"a": 1, "a": 2}}'
    )

    assert isinstance(row, Row)
    assert (row.item.response, row.item.reference) == ("a", "b")


def test_a_line_that_is_too_long_is_bad_and_the_next_one_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines_module, "LARGEST_LINE", 100)
    good = b'{"response": "a", "reference": "b"}\n'

    found = read(b'{"response": "' + b"x" * 500 + b'", "reference": "b"}\n' + good)

    assert [(row.line, type(row)) for row in found] == [(1, BadRow), (2, Row)]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (b"a", "has 1 field, the header has 3"),
        (b"a,b,{", "is no JSON object"),
        (b"a,b,[]", "column 'params' holds a list"),
        (b"\xff,b,", "column 'response' is not UTF-8"),
        (b'a,b,"x"y', "not CSV"),
    ],
)
def test_a_bad_row_of_a_csv_says_what_is_wrong_and_the_next_one_is_read(row: bytes, said: str) -> None:
    content = b"response,reference,params\n" + row + b'\nc,d,"{""k"": 1}"\n'

    bad, good = read(content, "rows.csv")

    assert isinstance(bad, BadRow)
    assert (bad.line, said in bad.problem) == (2, True), bad.problem
    assert "one object a line" not in bad.problem
    assert isinstance(good, Row)
    assert (good.line, good.item.params) == (3, {"k": 1})


@pytest.mark.parametrize(
    ("content", "name", "said"),
    [
        (b"", "rows.csv", "has no header line"),
        (b"answer,reference\n", "rows.csv", "has no column 'response' but answer, reference"),
        (b"response,reference,reference\n", "rows.csv", "names a column twice"),
        (
            gzip.compress(b'{"response": "a", "reference": "b"}\n' * 9, mtime=0)[:-20],
            "rows.jsonl.gz",
            "damaged packed",
        ),
    ],
)
def test_a_file_that_cannot_be_read_on_is_an_error_that_names_it(
    content: bytes, name: str, said: str
) -> None:
    with pytest.raises(InputFileError) as caught:
        read(content, name)

    assert str(caught.value).startswith(name)
    assert said in str(caught.value)


def test_frames_of_zstd_are_read_one_behind_the_other() -> None:
    line = b'{"response": "a", "reference": "b"}\n'
    packed = zstandard.compress(line * 3) + zstandard.compress(line * 2)

    assert [row.line for row in read(packed, "rows.jsonl.zst")] == [1, 2, 3, 4, 5]


def test_zstd_that_is_cut_off_is_an_error_and_no_end() -> None:
    content = b"".join(b'{"response": "%d", "reference": "b"}\n' % number for number in range(9999))

    with pytest.raises(InputFileError, match="damaged packed file"):
        read(zstandard.compress(content)[:-500], "rows.jsonl.zst")


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress], ids=["gzip", "zstd"])
def test_a_file_that_unpacks_beyond_all_measure_is_left(
    pack: Callable[[bytes], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines_module, "_FREE_BYTES", 1 << 20)
    monkeypatch.setattr(lines_module, "_MOST_TIMES", 100)

    with pytest.raises(InputFileError, match="unpacks to over 100 times its size"):
        read(pack(b"\n" * (8 << 20)), "rows.jsonl")


def test_a_table_may_be_separated_by_semicolons() -> None:
    (row,) = read(b"response;reference\r\n2, or so;2\r\n", "rows.csv")

    assert isinstance(row, Row)
    assert (row.item.response, row.item.reference) == ("2, or so", "2")
