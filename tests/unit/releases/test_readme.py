"""A card in a dataset card's YAML: the Hub's own library reads it, and nothing else of the file changes."""

import json
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import DatasetCard
from hypothesis import given
from hypothesis import strategies as st

from countermark_service.releases import CardError, release_of
from countermark_service.releases.readme import embed_in_readme, read_pointer
from tests.cards import EXACT, NUMERIC, bare_card, full_card

RELEASE = release_of(full_card())
README = """---
# who may use it
license: apache-2.0   # checked by legal
language: [en, 'no']
configs:
- config_name: default
  data_files:
    - split: train
      path: "data/*.parquet"

size_categories:
    - 1K<n<10K
pretty_name:   'Sums'
learning_rate: 1e-6
---

# Sums

---
not: yaml
---
"""


def hub_values(card: DatasetCard) -> dict[str, Any]:
    """Return the head of a README as the Hub's library has it."""
    values: dict[str, Any] = card.data.to_dict()  # type: ignore[no-untyped-call]
    return values


def embedded(text: str = README, **more: Any) -> str:
    return embed_in_readme(text, RELEASE, file="README.md", **more)


def test_the_hubs_library_reads_the_key_and_keeps_it(tmp_path: Path) -> None:
    file = tmp_path / "README.md"
    file.write_text(embedded())

    card = DatasetCard.load(file)

    expected = {
        "release": "tests/full:1.0", "card": "countermark.json", "digest": RELEASE.digest,
        "verifiers": [NUMERIC, EXACT],
    }  # fmt: skip
    assert hub_values(card)["countermark"] == expected
    assert card.data.license == "apache-2.0"
    assert hub_values(DatasetCard(str(card)))["countermark"] == expected


@pytest.mark.parametrize("whole", [False, True])
def test_every_other_byte_stays_as_it_was(whole: bool) -> None:
    made = embedded(whole=whole)

    begin = made.index("countermark:\n")
    end = made.index("---\n\n# Sums")
    assert made[:begin] + made[end:] == README


def test_the_whole_card_comes_back_out_of_what_the_hubs_library_writes(tmp_path: Path) -> None:
    file = tmp_path / "README.md"
    file.write_text(embedded(whole=True))
    DatasetCard.load(file).save(file)

    pointer = read_pointer(file.read_text(), file="README.md")

    assert pointer is not None
    release = pointer.release(file="README.md")
    assert release is not None
    assert (release.digest, release.document) == (RELEASE.digest, RELEASE.document)


def test_a_pointer_without_the_card_says_where_it_is() -> None:
    pointer = read_pointer(embedded(card="cards/countermark.json"), file="README.md")

    assert pointer is not None
    assert (pointer.card, pointer.digest, pointer.interface) == (
        "cards/countermark.json",
        RELEASE.digest,
        None,
    )
    assert pointer.release(file="README.md") is None
    with pytest.raises(CardError, match="was edited afterwards"):
        pointer.held_to(release_of(bare_card()), file="README.md")


def test_embedding_again_replaces_the_block_where_it_stands() -> None:
    first = embed_in_readme(README, release_of(bare_card()), whole=True, file="README.md")
    moved = first.replace("# who may use it\n", "").replace("---\nlicense", "---\nx: 1\nlicense", 1)

    assert embedded(embedded()) == embedded()
    assert embedded(first) == embedded()
    assert read_pointer(embedded(moved), file="README.md") is not None


def test_keys_and_comments_after_the_block_stay() -> None:
    text = "---\na: 1\n'countermark':\n  card: x\n\n  digest: y\n# after\nb: [1,\n  2]\n---\n"

    made = embedded(text)

    assert made.startswith("---\na: 1\ncountermark:\n")
    assert made.endswith("# after\nb: [1,\n  2]\n---\n")


@pytest.mark.parametrize(
    "text",
    [
        "", "# Only a title\n", "---\n---\n", "---\n# nothing\n---\n", "\ufeff---\na: 1\n---\n",
        "---\r\na: 1\r\n---\r\nbody\r\n", "---\na: 1\n---",
    ],
)  # fmt: skip
def test_a_readme_with_a_small_head_or_none_gets_one(text: str) -> None:
    made = embedded(text)

    pointer = read_pointer(made, file="README.md")
    assert pointer is not None
    assert pointer.digest == RELEASE.digest
    assert made.count("\r\n") in (0, made.count("\n"))
    assert made.endswith(text.rpartition("---")[2])
    assert hub_values(DatasetCard(made.removeprefix("\ufeff")))["countermark"]["digest"] == RELEASE.digest


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("---\na: [\n---\n", "not YAML"),
        ("---\na: 1\na: 2\n---\n", "not YAML"),
        ("---\n- a\n---\n", "no mapping"),
        ("---\n{a: 1}\n---\n", "cannot be put into this head"),
        ("---\n{a: 1, countermark: {card: x, digest: y}}\n---\n", "cannot be put into this head"),
        ("---\na: 1\n...\n---\n", "cannot be put into this head"),
    ],
)
def test_a_head_that_cannot_take_the_key_is_refused_and_nothing_is_made_up(text: str, said: str) -> None:
    with pytest.raises(CardError) as refused:
        embedded(text)
    assert said in str(refused.value)


@pytest.mark.parametrize(
    "value", ["1", "[a]", "{card: 1, digest: x}", "{card: a}", "{card: a, digest: b, interface: {a: 1}}"]
)
def test_a_key_that_holds_something_else_is_refused(value: str) -> None:
    with pytest.raises(CardError, match="countermark"):
        read_pointer(f"---\ncountermark: {value}\n---\n", file="README.md")


def test_a_card_that_was_edited_in_the_readme_is_refused() -> None:
    edited = embedded(whole=True).replace("Sums and words", "Sums and birds")
    pointer = read_pointer(edited, file="README.md")

    assert pointer is not None
    with pytest.raises(CardError, match="was edited afterwards"):
        pointer.release(file="README.md")


@given(st.text(), st.floats(allow_nan=False, allow_infinity=False))
def test_every_text_and_number_of_a_card_comes_back(text: str, number: float) -> None:
    document = bare_card(optimizer={"hyperparameters": {"number": number}})
    try:
        release = release_of({**document, "notes": text})
    except CardError:  # half a surrogate pair
        return
    pointer = read_pointer(embed_in_readme("---\na: 1\n---\n", release, whole=True, file="R"), file="R")

    assert pointer is not None
    found = pointer.release(file="R")
    assert found is not None
    assert json.dumps(found.document) == json.dumps(release.document)
