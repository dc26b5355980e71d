"""A card in a Croissant file: mlcroissant loads it without a word, and it comes back as it went in."""

import hashlib
import json
import logging
from pathlib import Path
from typing import Any

import mlcroissant as mlc  # type: ignore[import-untyped]  # it ships no types
import pytest

from countermark_service.releases import CardError, release_of
from countermark_service.releases.croissant import (
    card_sha256,
    embed_in_croissant,
    extract_from_croissant,
    is_croissant,
)
from tests.cards import EXACT, NUMERIC, full_card

# rdflib, by which mlcroissant reads JSON-LD, uses a class of its own that it calls outdated.
pytestmark = pytest.mark.filterwarnings("ignore:ConjunctiveGraph is deprecated:DeprecationWarning")

RELEASE = release_of(full_card())
CARD_FILE = json.dumps(full_card(), indent=2).encode()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of two rows."""
    folder = tmp_path_factory.mktemp("data set")
    (folder / "rows.csv").write_text("question,answer\n1+1,2\n2+2,4\n")
    (folder / "countermark.json").write_bytes(CARD_FILE)
    return folder


@pytest.fixture(scope="module")
def plain(folder: Path) -> bytes:
    """Its Croissant file, as mlcroissant itself writes it."""
    data = (folder / "rows.csv").read_bytes()
    columns = [
        mlc.Field(
            id=f"rows/{name}",
            name=name,
            data_types=mlc.DataType.TEXT,
            source=mlc.Source(file_object="rows.csv", extract=mlc.Extract(column=name)),
        )
        for name in ("question", "answer")
    ]
    metadata = mlc.Metadata(
        name="sums",
        description="Sums",
        license="apache-2.0",
        url="https://example.org",
        version="1.0.0",
        cite_as="none",
        date_published="2026-11-28",
        distribution=[
            mlc.FileObject(
                id="rows.csv", name="rows.csv", content_url="rows.csv", encoding_formats=["text/csv"],
                sha256=hashlib.sha256(data).hexdigest(),
            )
        ],
        record_sets=[mlc.RecordSet(id="rows", name="rows", fields=columns)],
    )  # fmt: skip
    return json.dumps(metadata.to_json(), indent=3, default=str).encode() + b"\n"


def embedded(plain: bytes) -> bytes:
    return embed_in_croissant(plain, RELEASE, CARD_FILE, file="croissant.json")


def test_mlcroissant_loads_the_file_and_its_rows_without_a_warning(
    folder: Path, plain: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    file = folder / "croissant.json"
    file.write_bytes(embedded(plain))

    with caplog.at_level(logging.WARNING):
        dataset = mlc.Dataset(jsonld=file)
        rows = list(dataset.records(record_set="rows"))

    assert [row["rows/answer"] for row in rows] == [b"2", b"4"]
    assert not dataset.metadata.ctx.issues.errors
    assert not dataset.metadata.ctx.issues.warnings
    assert not caplog.records
    assert {one.id for one in dataset.metadata.distribution} == {"rows.csv", "countermark.json"}


def test_the_card_its_file_and_its_verifiers_are_in_it(plain: bytes) -> None:
    found = json.loads(embedded(plain))

    assert found["interfaceCard"] == full_card()
    assert found["@context"]["interfaceCard"] == {"@id": "countermark:interfaceCard", "@type": "@json"}
    assert found["rai:machineAnnotationTools"] == [NUMERIC, EXACT]
    assert found["distribution"][-1]["sha256"] == hashlib.sha256(CARD_FILE).hexdigest()
    assert card_sha256(embedded(plain), file="c") == hashlib.sha256(CARD_FILE).hexdigest()


def test_everything_else_stays_as_it_was(plain: bytes) -> None:
    before, after = json.loads(plain), json.loads(embedded(plain))

    for term in ("countermark", "interfaceCard"):
        del after["@context"][term]
    del after["interfaceCard"], after["rai:machineAnnotationTools"], after["distribution"][-1]
    before["@context"].pop("rai", None)
    after["@context"].pop("rai", None)
    assert json.dumps(after) == json.dumps(before)
    assert embedded(plain).startswith(b'{\n   "@context"')
    assert embedded(plain).endswith(b"}\n")


def test_the_card_comes_back_out_of_what_mlcroissant_writes(folder: Path, plain: bytes) -> None:
    file = folder / "again.json"
    file.write_bytes(embedded(plain))
    written = json.dumps(mlc.Dataset(jsonld=file).metadata.to_json(), default=str).encode()

    for content in (embedded(plain), written):
        assert extract_from_croissant(content, file="c") == RELEASE
    assert extract_from_croissant(plain, file="c") is None


def test_embedding_again_replaces_what_was_there(plain: bytes) -> None:
    other = full_card(verifier={"routes": [{"task": "a", "verifier": EXACT}]})
    mine = json.loads(plain)
    mine["rai:machineAnnotationTools"] = "a tool of mine"
    first = embed_in_croissant(json.dumps(mine, indent=3).encode() + b"\n", release_of(other), b"x", file="c")

    again = json.loads(embedded(first))

    assert embedded(embedded(plain)) == embedded(plain)
    assert again["rai:machineAnnotationTools"] == ["a tool of mine", NUMERIC, EXACT]
    assert len(again["distribution"]) == 2
    assert again["interfaceCard"] == full_card()


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"@context": "https://schema.org"}, "@context"),
        ({"@context": {"countermark": "https://other"}}, "@context.countermark"),
        ({"@type": "sc:Person"}, "@type"),
        ({"distribution": [{"@id": "countermark.json", "@type": "cr:FileSet"}]}, "distribution[0]"),
    ],
)
def test_what_is_no_croissant_file_is_refused_with_its_place(
    plain: bytes, change: dict[str, Any], place: str
) -> None:
    with pytest.raises(CardError) as refused:
        embedded(json.dumps({**json.loads(plain), **change}).encode())
    assert refused.value.field == place


@pytest.mark.parametrize("literal", [1, "text", {"name": "x"}, {"@value": 1}])
def test_a_literal_that_is_no_card_is_refused(plain: bytes, literal: Any) -> None:
    with pytest.raises(CardError):
        extract_from_croissant(json.dumps({**json.loads(plain), "interfaceCard": literal}).encode(), file="c")


def test_a_croissant_file_is_known_by_its_content(plain: bytes) -> None:
    assert is_croissant(plain)
    assert not is_croissant(CARD_FILE)
    assert not is_croissant(b"---\na: 1\n---\n")
