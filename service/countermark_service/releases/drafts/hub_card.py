"""Hugging Face: the metadata at the head of a data set's or a model's README."""

from collections.abc import Mapping
from typing import Any

from countermark_service.releases.drafts.draft import Draft, texts, whole
from countermark_service.releases.front_matter import split_front_matter
from countermark_service.releases.yaml_text import load_yaml

POINTER_KEY = "countermark"


def read_hub_card(text: str, *, file: str) -> Draft:
    """Return what the head of a README says.

    Raises:
        CardError: It has no head, or one that is not YAML.
    """
    head = load_yaml(split_front_matter(text, file=file).head, file=file)
    found: Mapping[str, Any] = head if isinstance(head, Mapping) else {}
    draft = Draft("dataset or model card")
    licenses = texts(found.get("license"))
    draft.put("license", licenses[0] if licenses else None, "license")
    draft.put("summary", _line(found.get("pretty_name")) or _title(text), "pretty_name")
    models = texts(found.get("base_model"))
    if models:
        draft.put("base_model.id", models[0], "base_model")
    for name in texts(found.get("datasets")):
        draft.add("data.sources", {"id": name, "role": "train"}, "datasets")
    for name in texts(found.get("source_datasets")):
        if name not in ("original", "extended"):
            draft.add(
                "data.sources", {"id": name.removeprefix("extended|"), "role": "seed"}, "source_datasets"
            )
    rows = _rows(found.get("dataset_info"))
    if rows:
        draft.unclear.append(f"the card counts {rows} rows; say in the filters how many there were before.")
    if "original" in texts(found.get("source_datasets")):
        draft.unclear.append("source_datasets says `original`: who wrote the data, people or which models?")
    if POINTER_KEY in found:
        draft.unclear.append(
            "the README names a release card already: `countermark release extract` takes it out."
        )
    draft.unclear.append(
        "a README says little of verifier, training, scaffold and inference: they are to be filled in."
    )
    return draft


def _line(value: Any) -> str | None:
    return " ".join(value.split())[:500] or None if isinstance(value, str) else None


def _title(text: str) -> str | None:
    return next((_line(line[2:]) for line in text.splitlines() if line.startswith("# ")), None)


def _rows(info: Any) -> int:
    """Return how many rows all splits of a `dataset_info` have together."""
    total = 0
    for one in info if isinstance(info, list) else [info]:
        splits = one.get("splits") if isinstance(one, Mapping) else None
        for split in splits if isinstance(splits, list) else []:
            total += whole(split.get("num_examples")) or 0 if isinstance(split, Mapping) else 0
    return total
