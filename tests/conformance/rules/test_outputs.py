"""The answer readers on real model outputs with known labels, beside the repository; skipped where these are
absent.

Disagreements were read one by one. They are of two kinds, and the numbers below hold them to that: the
label's own reader took a box and ours by definition the last number, or the output has no answer of its own.
"""

from collections.abc import Callable
from typing import Any

Outputs = Callable[[str], list[dict[str, Any]]]
MODELS = ("6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification")


def solutions(outputs: Outputs) -> list[tuple[str, str, bool]]:
    """Return response, reference and label of the GSM8K model solutions."""
    rows = outputs("gsm8k_model_solutions.jsonl")
    return [
        (row[model]["solution"], row["ground_truth"].rpartition("A: ")[2], row[model]["is_correct"])
        for row in rows
        for model in MODELS
    ]


def tora(outputs: Outputs, name: str) -> list[tuple[str, str, bool]]:
    """Return response, reference and label of ToRA's outputs whose own extraction is a number."""
    items = []
    for row in outputs(name):
        predicted = str(row["pred"][0]).replace(",", "")
        if predicted.replace(".", "", 1).lstrip("-").isdigit():
            items.append((row["code"][0], row["gt"], float(predicted) == float(row["gt"].replace(",", ""))))
    return items


def disagreements(subject: Any, items: list[tuple[str, str, bool]], **params: Any) -> int:
    """Return how many verdicts differ from their labels."""
    return sum(subject.verify(text, gold, **params)["score"] != float(right) for text, gold, right in items)


def test_gsm8k_answer_agrees_with_every_label_of_the_model_solutions(
    bundle: Callable[[str], Any], outputs: Outputs
) -> None:
    items = solutions(outputs)

    assert len(items) == 5276
    assert disagreements(bundle("gsm8k-answer"), items) == 0


def test_numeric_agrees_with_every_label_of_the_model_solutions(
    bundle: Callable[[str], Any], outputs: Outputs
) -> None:
    assert disagreements(bundle("numeric"), solutions(outputs)) == 0


def test_numeric_reads_the_box_where_the_last_number_is_another_one(
    bundle: Callable[[str], Any], outputs: Outputs
) -> None:
    items = tora(outputs, "tora_70b_gsm8k.jsonl") + tora(outputs, "tora_code_34b_gsm8k.jsonl")

    assert len(items) > 2500
    assert disagreements(bundle("numeric"), items) <= 3  # three outputs end in a sentence without a box
    assert disagreements(bundle("numeric"), items, extract="last") > 100


def test_choice_finds_no_letter_in_nine_thousand_texts_that_name_none(
    bundle: Callable[[str], Any], outputs: Outputs
) -> None:
    rows = outputs("gsm8k_model_solutions.jsonl")
    texts = [row[model]["solution"].rpartition("\nA: ")[0] for row in rows for model in MODELS]
    texts += [row["question"] for row in rows]
    for name in ("tora_70b_gsm8k.jsonl", "tora_code_34b_gsm8k.jsonl"):
        texts += [row["code"][0] for row in outputs(name)]

    found = [text for text in texts if bundle("choice").verify(text, "B")["outcome"] != "no_answer"]

    assert len(texts) > 9000
    assert found == []
