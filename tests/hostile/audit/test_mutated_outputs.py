"""Files of every format with bytes changed, cut out, doubled and cut off: never a bug, always a sentence.

The changes are drawn from a fixed seed. `COUNTERMARK_FULL=1` makes many more of them.
"""

import gzip
import json
import os
import random
from collections.abc import Callable
from pathlib import Path

import pyarrow  # type: ignore[import-untyped]
import pyarrow.parquet  # type: ignore[import-untyped]
import pytest
import zstandard

from tests.unit.audit.reading import read, write_json, write_lines
from tests.unit.audit.test_readers import (
    INSPECT_EVAL,
    helm_run,
    inspect_sample,
    lm_eval,
    openr1,
    write_inspect,
)

ROUNDS = 400 if os.environ.get("COUNTERMARK_FULL") == "1" else 12
_WORDS = (
    b"null", b"[]", b"{}", b'"x"', b"1e999", b"NaN", b"\xff", b"\\ud800", b"\n", b"{", b"]", b"-1", b"true",
    b"9" * 30,
)  # fmt: skip

LM_EVAL = "".join(json.dumps(lm_eval(n, "f", 1.0, ["2"])) + "\n" for n in range(5)).encode()
ENTRIES = {"header.json": {"eval": INSPECT_EVAL}} | {
    f"samples/{n}_epoch_1.json": inspect_sample(n, 1) for n in range(4)
}
LOG = {
    "version": 2,
    "status": "success",
    "eval": INSPECT_EVAL,
    "samples": [inspect_sample(n, 1) for n in range(4)],
}


def parquet(folder: Path) -> Path:
    """Write lists of generations in Parquet."""
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(openr1()), folder / "rows.parquet")
    return folder / "rows.parquet"


def written(name: str, content: bytes) -> Callable[[Path], Path]:
    """Return what writes a file of that content."""

    def write(folder: Path) -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    return write


FILES: dict[str, Callable[[Path], Path]] = {
    "lm-eval": written("samples.jsonl", LM_EVAL),
    "gzip": written("samples.jsonl.gz", gzip.compress(LM_EVAL, mtime=0)),
    "zstd": written("samples.jsonl.zst", zstandard.compress(LM_EVAL)),
    "csv": written(
        "rows.csv", b"response,reference,id\n" + b"".join(b'"a,%d",b,%d\n' % (n, n) for n in range(9))
    ),
    "parquet": parquet,
    "inspect": lambda folder: write_inspect(folder / "log.eval", ENTRIES),
    "inspect-unpacked": lambda folder: write_inspect(folder / "log.eval", ENTRIES, 0),
    "inspect-json": lambda folder: write_json(folder / "log.json", LOG, 1),
    "helm": lambda folder: helm_run(folder) / "scenario_state.json",
    "opencompass": lambda folder: write_json(
        folder / "gsm8k.json",
        {str(n): {"origin_prompt": "?", "prediction": "2", "gold": "2"} for n in range(5)},
    ),
    "table": lambda folder: write_lines(folder / "rows.jsonl", openr1()),
}


def mutated(data: bytes, choose: random.Random) -> bytes:
    """Change a file in one to six places."""
    found = bytearray(data)
    for _ in range(choose.randint(1, 6)):
        place, kind = choose.randrange(len(found) + 1), choose.random()
        if kind < 0.3:
            found[place : place + 1] = bytes([choose.randrange(256)])
        elif kind < 0.6:
            found[place : place + choose.randint(0, 12)] = choose.choice(_WORDS)
        elif kind < 0.8:
            del found[place : place + choose.randint(1, 40)]
        elif kind < 0.9:
            del found[place:]
        else:
            found[place:place] = found[: choose.randint(0, 200)]
    return bytes(found)


@pytest.mark.parametrize("kind", FILES)
def test_a_damaged_file_is_read_as_far_as_it_goes_or_said_to_be_none(tmp_path: Path, kind: str) -> None:
    file = FILES[kind](tmp_path)
    whole = file.read_bytes()
    assert read(tmp_path, file).rows
    choose = random.Random(kind)

    for number in range(ROUNDS):
        file.write_bytes(mutated(whole, choose))
        folder = tmp_path / str(number)
        folder.mkdir()
        found = read(folder, file)

        assert found.rows or found.unusable or found.notes, "nothing is dropped in silence"
        assert all(one.message and one.code for one in found.unusable)
