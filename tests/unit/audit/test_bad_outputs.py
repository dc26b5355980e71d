"""Files as people have them: cut off, mixed, damaged, hostile. Each is a sentence with its place; nothing is lost."""

import bz2
import gzip
import json
import lzma
import pickle
import struct
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import msgspec
import pyarrow  # type: ignore[import-untyped]
import pyarrow.parquet  # type: ignore[import-untyped]
import pytest
import zipfile_zstd  # type: ignore[import-untyped]  # noqa: F401 - teaches zipfile to write zstd

from countermark_service.audit.readers import inspect_log, json_stream
from countermark_service.audit.readers import lines as lines_module
from countermark_service.audit.readers.lines import InputFileError
from tests.unit.audit.reading import Content, read, write_json, write_lines
from tests.unit.audit.test_readers import INSPECT_EVAL, inspect_sample, lm_eval, write_inspect

GOOD = {"id": "a", "response": "2", "reference": "2"}


def content(folder: Path, data: bytes, name: str = "rows.jsonl", **plan: Any) -> Content:
    """Read a file with that content."""
    (folder / name).write_bytes(data)
    return read(folder, folder / name, **plan)


def lines(*records: Any) -> bytes:
    """Return records as JSON lines; bytes go as they are."""
    return b"".join((r if isinstance(r, bytes) else msgspec.json.encode(r)) + b"\n" for r in records)


def test_a_last_line_that_is_cut_off_is_said_and_the_others_count(tmp_path: Path) -> None:
    found = content(tmp_path, lines(GOOD, GOOD | {"id": "b"}) + b'{"id": "c", "resp')

    assert [row.sample for row in found.rows] == ["a", "b"]
    assert found.reasons == [(3, "not_json")]
    assert "the file is cut off" in found.unusable[0].message


def test_a_file_of_two_formats_is_read_as_it_began_and_the_rest_is_said(tmp_path: Path) -> None:
    found = content(tmp_path, lines(lm_eval(1, "none", 1.0, ["2"]), GOOD, b"[1, 2]", b"plain text"))

    assert [row.sample for row in found.rows] == ["1"]
    assert found.reasons == [(2, "not_of_format"), (3, "not_json"), (4, "not_json")]
    assert "no record of lm-eval" in found.unusable[0].message
    assert "'response'" in found.unusable[0].message


def test_a_broken_first_line_does_not_hide_the_format(tmp_path: Path) -> None:
    found = content(tmp_path, lines(b'{"doc_id": 1, ', lm_eval(2, "none", 1.0, ["4"])))

    assert found.formats == ["lm-eval"]
    assert found.reasons == [(1, "not_json")]
    assert [row.sample for row in found.rows] == ["2"]


def test_rows_without_reference_or_response_are_counted_by_reason(tmp_path: Path) -> None:
    found = content(
        tmp_path,
        lines(GOOD, {"id": "b", "response": "2"}, {"id": "c", "reference": "2"}, GOOD | {"id": "d", "reference": None},
              GOOD | {"id": "e", "response": 5}),
    )  # fmt: skip

    assert len(found.rows) == 1
    assert found.reasons == [(2, "no_reference"), (3, "no_response"), (4, "no_reference"), (5, "no_response")]
    assert "its columns are 'id', 'response'" in found.unusable[0].message
    assert "--columns reference=COLUMN" in found.unusable[0].message


def test_unknown_columns_are_named_beside_those_that_exist(tmp_path: Path) -> None:
    found = content(tmp_path, lines(GOOD), columns={"response": "answer_text", "published": "points"})

    assert found.reasons == [(1, "no_response")]
    assert "no column 'answer_text'" in found.unusable[0].message
    assert "'id', 'response', 'reference'" in found.unusable[0].message
    assert [note.code for note in found.notes if "'points'" in note.message] == ["column_missing"]


def test_the_same_sample_twice_is_counted_once_and_names_the_first(tmp_path: Path) -> None:
    write_lines(tmp_path / "samples" / "a.jsonl", [lm_eval(1, "none", 1.0, ["2"])] * 2)
    write_lines(tmp_path / "samples" / "b.jsonl", [lm_eval(1, "none", 1.0, ["2"])])

    found = read(tmp_path, tmp_path / "samples", task="gsm8k")

    assert len(found.rows) == 1
    assert found.reasons == [(2, "duplicate_id"), (1, "duplicate_id")]
    assert f"row 1 of {tmp_path}/samples/a.jsonl" in found.unusable[1].message


def test_scores_that_are_no_numbers_are_unknown_and_the_rows_are_used(tmp_path: Path) -> None:
    scores = [b"NaN", b"Infinity", b"-Infinity", b'"n/a"', b"null", b"1e999", b"true", b"0.5"]
    data = b"".join(
        b'{"id": %d, "response": "2", "reference": "2", "score": %s}\n' % pair for pair in enumerate(scores)
    )

    found = content(tmp_path, data)

    assert [row.published for row in found.rows] == [None] * 6 + [1.0, 0.5]
    assert {note.code: note.count for note in found.notes} == {
        "columns_guessed": 1,
        "published_not_a_number": 5,
    }


def test_a_reference_that_is_no_number_is_none(tmp_path: Path) -> None:
    assert content(tmp_path, b'{"response": "2", "reference": NaN}\n').reasons == [(1, "no_reference")]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b'{"response": "\xff", "reference": "2"}\n', "not UTF-8"),
        (b'{"response": "\\ud800", "reference": "2"}\n', "surrogate"),
        (b'{"response": "\\ud800", "reference": "2", "score": NaN}\n', "surrogate"),
        (b'{"response": "2", "reference": ' + b"[" * 20_000 + b"]" * 20_000 + b"}\n", "nested too deeply"),
    ],
    ids=["utf8", "surrogate", "surrogate-and-nan", "deep"],
)
def test_what_is_no_text_spoils_its_row_and_no_other(tmp_path: Path, data: bytes, said: str) -> None:
    found = content(tmp_path, lines(GOOD) + data + lines(GOOD | {"id": "b"}))

    assert [row.sample for row in found.rows] == ["a", "b"]
    assert [one.line for one in found.unusable] == [2]
    assert said in found.unusable[0].message


def test_half_a_surrogate_pair_in_a_document_spoils_its_row_and_no_other(tmp_path: Path) -> None:
    rows = [{"response": "\ud800", "reference": "2"}, {"response": "2", "reference": "2"}]

    found = read(tmp_path, write_json(tmp_path / "rows.json", rows, 2))

    assert [row.line for row in found.rows] == [2]
    assert found.reasons == [(1, "not_utf8")]


def test_a_line_without_measure_is_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines_module, "LARGEST_LINE", 4096)

    found = content(tmp_path, lines(GOOD, GOOD | {"response": "x" * 100_000}, GOOD | {"id": "b"}))

    assert [row.sample for row in found.rows] == ["a", "b"]
    assert found.reasons == [(2, "line_too_long")]


def test_a_value_without_measure_ends_a_document(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_stream, "_LARGEST_VALUE", 4096)
    monkeypatch.setattr(json_stream, "_WINDOW", 1024)

    found = read(tmp_path, write_json(tmp_path / "rows.json", [GOOD, GOOD | {"response": "x" * 100_000}]))

    assert len(found.rows) == 1
    assert "over 4096 characters" in found.unusable[0].message


def test_a_packed_file_that_is_cut_off_keeps_the_rows_before(tmp_path: Path) -> None:
    packed = gzip.compress(lines(*(GOOD | {"id": str(number)} for number in range(20_000))))

    found = content(tmp_path, packed[:-50], "rows.jsonl.gz")

    assert len(found.rows) > 1000
    assert found.reasons[-1] == (None, "unreadable")
    assert "damaged packed file" in found.unusable[-1].message
    assert f"The {len(found.rows)} rows before it are used." in found.unusable[-1].message


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "the file is empty"),
        (
            b"\x81\x04\x95bytes",
            "none of JSON, JSON lines, CSV, Parquet or an Inspect log: it begins with b'\\x81",
        ),
        ("\ufeff{}".encode("utf-16"), "UTF-16"),
        ('{"response": "2"}\n{"response": "3"}\n'.encode("utf-16-le"), "UTF-16; convert it to UTF-8"),
        ('{"response": "2"}\n'.encode("utf-32"), "UTF-32; convert it to UTF-8"),
        (b"\n \n", "nothing but blank lines"),
        (b"response,reference\r2,2\r3,3\r", "lines of the file end in CR alone"),
        (b'{"response": "2"}\r{"response": "3"}', "lines of the file end in CR alone"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "`git lfs pull`"),
        (bz2.compress(b"{}"), "packed with bzip2; unpack it"),
        (lzma.compress(b"{}"), "packed with xz; unpack it"),
        (pickle.dumps([GOOD]), "a pickle"),
        (gzip.compress(b"a" * (1 << 22)), "it begins with b'aaaa"),
        (b"{'response': '2', 'reference': '2'}\n" * 2, "its first line is no JSON object"),
        (b'{"response": "2", "reference": ' + b"9" * 5000 + b"}\n", "its first line is no JSON object"),
        (b'{"response": "2"}{"response": "3"}', "write one object a line"),
        (b"response,reference\n", "has no row in it"),
        (b"PK\x03\x04 and then nothing of the kind", "ZIP archive that is cut off"),
        (b"PAR1 and then nothing of the kind", "no whole Parquet file"),
        (b'{"results": {"gsm8k": {"acc": 1}}, "config": {}}', "no response"),
        (b"just a sentence", "none of JSON"),
    ],
)
def test_a_file_of_another_kind_is_a_sentence(tmp_path: Path, data: bytes, said: str) -> None:
    found = content(tmp_path, data)

    assert found.rows == []
    assert said in (found.unusable[0] if found.unusable else found.notes[0]).message


def test_a_tar_archive_is_told_and_none_of_its_bytes_is_a_row(tmp_path: Path) -> None:
    write_lines(tmp_path / "rows.jsonl", [GOOD] * 3)
    with tarfile.open(tmp_path / "rows.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "rows.jsonl")

    found = read(tmp_path, tmp_path / "rows.tar.gz")

    assert found.rows == []
    assert "tar archive" in found.unusable[0].message


@pytest.mark.parametrize(
    ("tail", "count"), [(b"garbage", 3), (None, 3)], ids=["garbage behind it", "cut off in its last bytes"]
)
def test_a_small_packed_file_that_is_damaged_keeps_the_rows_before(
    tmp_path: Path, tail: bytes | None, count: int
) -> None:
    packed = gzip.compress(lines(*(GOOD | {"id": name} for name in "abc")))

    found = content(tmp_path, packed[:-4] if tail is None else packed + tail, "rows.jsonl.gz")

    assert len(found.rows) == count
    assert found.reasons == [(None, "unreadable")]
    assert f"The {count} rows before it are used." in found.unusable[0].message


def test_a_document_that_is_packed_and_cut_off_keeps_the_rows_before(tmp_path: Path) -> None:
    rows = [GOOD | {"id": str(number), "response": str(number**9)} for number in range(3000)]
    (tmp_path / "rows.json.gz").write_bytes(gzip.compress(json.dumps(rows).encode())[:-200])

    found = read(tmp_path, tmp_path / "rows.json.gz")

    assert len(found.rows) > 2000
    assert found.reasons == [(None, "unreadable")]


@pytest.mark.parametrize("mark", [",", ";", "\t", "|"])
def test_the_header_of_a_table_shows_what_separates_its_columns(tmp_path: Path, mark: str) -> None:
    text = "id;response;reference;score\n1;so 2;2;1\n2;so 3;4;0\n".replace(";", mark)

    found = content(tmp_path, text.encode(), "rows.csv")

    assert [(row.response, row.reference, row.published) for row in found.rows] == [
        ("so 2", "2", 1.0),
        ("so 3", "4", 0.0),
    ]


@pytest.mark.parametrize("indent", [None, 1])
def test_a_list_of_records_within_an_object_is_found_on_one_line_too(
    tmp_path: Path, indent: int | None
) -> None:
    found = read(tmp_path, write_json(tmp_path / "rows.json", {"made": 1, "data": [GOOD, GOOD]}, indent))

    assert [row.line for row in found.rows] == [1, 2]


def test_samples_that_a_log_tells_of_and_does_not_hold_are_said(tmp_path: Path) -> None:
    told = [{"id": number, "epoch": 1} for number in (1, 2)]
    entries: dict[str, Any] = {
        "header.json": {"eval": INSPECT_EVAL, "results": {"completed_samples": 2}},
        "samples/1_epoch_1.json": inspect_sample(1, 1),
    }
    listed = write_inspect(tmp_path / "listed.eval", entries | {"summaries.json": told})
    counted = write_inspect(tmp_path / "counted.eval", entries)

    found = read(tmp_path, listed, counted, task="t")

    assert found.reasons == [(None, "missing_sample"), (None, "missing_sample"), (1, "duplicate_id")]
    assert "sample 2, epoch 1" in found.unusable[0].message
    assert "tells of 2 samples, and the log holds 1" in found.unusable[1].message


def test_other_files_of_a_folder_are_noted_and_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "results"
    write_lines(folder / "samples.jsonl", [GOOD])
    write_json(folder / "results.json", {"results": {}}, 2)
    (folder / "README.md").write_text("# Results, of a model\n")
    (folder / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n\x00\x00")
    (folder / "old.csv").write_bytes(b"response,reference\r2,2\r")
    (folder / ".cache").mkdir()
    (folder / ".cache" / "hidden.jsonl").write_bytes(lines(GOOD))

    found = read(tmp_path, folder)

    assert len(found.rows) == 1
    assert found.unusable == []
    assert sorted(Path(n.file).name for n in found.notes if n.code == "not_outputs") == [
        "README.md", "old.csv", "picture.png", "results.json",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "said"), [("none.jsonl", "does not exist"), ("empty", "holds no file"), ("-", "regular")]
)
def test_what_is_not_there_is_an_error(tmp_path: Path, name: str, said: str) -> None:
    (tmp_path / "empty").mkdir()

    with pytest.raises(InputFileError, match=said):
        read(tmp_path, Path(name) if name == "-" else tmp_path / name)


def test_a_file_that_is_named_twice_is_read_once(tmp_path: Path) -> None:
    file = write_lines(tmp_path / "rows.jsonl", [GOOD])
    (tmp_path / "link.jsonl").symlink_to(file)

    assert len(read(tmp_path, file, tmp_path / "link.jsonl").rows) == 1


def test_an_entry_that_claims_to_be_small_and_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inspect_log, "_LARGEST_ENTRY", 1 << 16)
    big = inspect_sample(2, 1, metadata={"x": "y" * (1 << 20)})
    entries = {
        "header.json": {"eval": INSPECT_EVAL},
        "samples/1_epoch_1.json": inspect_sample(1, 1),
        "samples/2_epoch_1.json": big,
    }
    file = write_inspect(tmp_path / "log.eval", entries, zipfile.ZIP_STORED)
    honest = file.read_bytes()
    size = struct.pack("<I", len(json.dumps(big)))
    assert honest.count(size) >= 2

    said = read(tmp_path, file)
    file.write_bytes(honest.replace(size, struct.pack("<I", 100)))
    (tmp_path / "read.sqlite").unlink()
    lied = read(tmp_path, file)

    assert said.reasons == lied.reasons == [(2, "unreadable_entry")]
    assert "the limit is 65536" in said.unusable[0].message
    assert len(said.rows) == len(lied.rows) == 1


def test_an_entry_that_is_a_bomb_is_not_unpacked(tmp_path: Path) -> None:
    entries = {
        "header.json": {"eval": INSPECT_EVAL},
        "samples/1_epoch_1.json": b" " * (200 << 20),
        "samples/2_epoch_1.json": inspect_sample(2, 1),
    }

    found = read(tmp_path, write_inspect(tmp_path / "log.eval", entries))

    assert found.reasons == [(1, "unreadable_entry")]
    assert "unpacks to 209715200 bytes" in found.unusable[0].message
    assert len(found.rows) == 1


def test_a_damaged_or_odd_entry_spoils_its_sample_and_no_other(tmp_path: Path) -> None:
    entries: dict[str, Any] = {
        "header.json": {"eval": "no object"},
        "samples/1_epoch_1.json": b"{ no json",
        "samples/2_epoch_1.json": {"id": 2, "epoch": 1, "output": {"choices": "none"}, "scores": ["C"]},
        "samples/3_epoch_1.json": [1, 2],
        "samples/4_epoch_1.json": inspect_sample(4, 1),
    }

    found = read(tmp_path, write_inspect(tmp_path / "log.eval", entries))

    assert [one.code for one in found.unusable] == ["unreadable_entry", "not_of_format", "unreadable_entry"]
    assert [row.sample for row in found.rows] == ["4"]


def test_a_member_of_another_kind_is_never_a_bug(tmp_path: Path) -> None:
    odd = [None, 5, "text", [], [1], {}, {"a": 1}, True]
    records = [lm_eval(0, "none", 1.0, ["2"])]
    samples = [inspect_sample(0, 1)]
    for value in odd:
        for name in records[0]:
            records.append(lm_eval(len(records), "none", 1.0, ["2"]) | {name: value})
        for name in samples[0]:
            samples.append(inspect_sample(len(samples), 1) | {name: value})
    log = {"version": 2, "status": "success", "eval": INSPECT_EVAL, "samples": samples}

    found = read(tmp_path, write_lines(tmp_path / "s.jsonl", records), write_json(tmp_path / "log.json", log))

    assert len(found.rows) + len(found.unusable) == len(records) + len(samples)
    assert {one.code for one in found.unusable} <= {
        "not_of_format", "no_response_text", "no_response", "no_reference", "duplicate_id", "sample_error",
    }  # fmt: skip


def test_parquet_with_text_that_is_not_utf8(tmp_path: Path) -> None:
    broken = pyarrow.array([b"2", b"\xff\xfe", b"3"], pyarrow.binary()).view(pyarrow.string())
    table = pyarrow.table({"response": broken, "reference": ["2", "2", "3"], "id": ["a", "b", "c"]})
    pyarrow.parquet.write_table(table, tmp_path / "rows.parquet")

    found = read(tmp_path, tmp_path / "rows.parquet")

    assert [row.sample for row in found.rows] == ["a", "c"]
    assert found.reasons == [(2, "not_utf8")]


def test_parquet_whose_columns_have_no_name_that_can_be_read(tmp_path: Path) -> None:
    file = tmp_path / "rows.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"response": ["2"], "reference": ["2"]}), file)
    file.write_bytes(file.read_bytes().replace(b"response", b"resp\xe8nse"))

    found = read(tmp_path, file)

    assert found.reasons == [(None, "unreadable")]
    assert "no whole Parquet file" in found.unusable[0].message


def test_parquet_that_is_damaged_inside_keeps_the_rows_before(tmp_path: Path) -> None:
    table = pyarrow.table(
        {"response": [f"{n}" for n in range(4000)], "reference": [f"{n}" for n in range(4000)]}
    )
    file = tmp_path / "rows.parquet"
    pyarrow.parquet.write_table(table, file, row_group_size=1000, compression="zstd", use_dictionary=False)
    data = bytearray(file.read_bytes())
    meta = pyarrow.parquet.read_metadata(file).row_group(2).column(0)
    for place in range(meta.data_page_offset + 40, meta.data_page_offset + 140):
        data[place] ^= 0xFF
    file.write_bytes(data)

    found = read(tmp_path, file)

    assert len(found.rows) == 2000
    assert found.reasons == [(None, "unreadable")]
    assert "cannot be read behind row 2000" in found.unusable[0].message


def test_dates_and_decimals_of_parquet_are_references_too(tmp_path: Path) -> None:
    import datetime
    import decimal

    table = pyarrow.table(
        {
            "response": ["a", "b"],
            "reference": [datetime.date(2026, 1, 2)] * 2,
            "score": [decimal.Decimal("0.5"), None],
        }
    )
    pyarrow.parquet.write_table(table, tmp_path / "rows.parquet")

    found = read(tmp_path, tmp_path / "rows.parquet")

    assert [row.reference for row in found.rows] == ["2026-01-02"] * 2
    assert [row.published for row in found.rows] == [0.5, None]
