"""Similarity of two texts by the metrics that OpenAI's grader `text_similarity` names.

Each metric is its published form: rapidfuzz's ratio, sacreBLEU's sentence BLEU, Google's sentence GLEU, ROUGE-N
and ROUGE-L as F1. What is ignored depends on the metric: nothing for `fuzzy_match`, white space for BLEU and GLEU,
case and everything but letters and digits for ROUGE. What is not attempted: METEOR (it needs WordNet) and the
cosine of embeddings (it needs a model); an approximation of either would be another metric under its name.

GLEU and ROUGE are a few lines each and stand here; their vectors were made with nltk and rouge-score. There is no
`reduce`: any difference in the text may matter.
"""

from __future__ import annotations

import re
from collections import Counter
from functools import cache
from typing import Any

from rapidfuzz import fuzz  # type: ignore[import-not-found]  # pinned in requirements.lock
from rapidfuzz.distance import LCSseq  # type: ignore[import-not-found]
from sacrebleu.metrics.bleu import BLEU  # type: ignore[import-not-found]
from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a  # type: ignore[import-not-found]

MOST_CHARS = 200_000
"""Characters of either text: the slowest metric takes the product of the two lengths."""
MOST_GRAM = 4
"""Words of the longest n-gram of GLEU."""

_WORD = re.compile(r"[a-z0-9]+")
_SURROGATE = re.compile("[\ud800-\udfff]")


def verify(item: dict[str, Any]) -> dict[str, Any]:
    """Score the similarity of response and reference, in [0, 1].

    Args:
        item: `response` (str), `reference` (str), and `metric` in `params`.
    """
    response, reference = item["response"], item["reference"]
    metric = (item.get("params") or {}).get("metric", "fuzzy_match")
    if not isinstance(reference, str) or not reference.strip():
        return _bad_reference("not_a_text", "the reference must be a text that is not blank")
    if len(reference) > MOST_CHARS:
        return _bad_reference("too_long", f"the reference has over {MOST_CHARS} characters")
    if len(_rouge_words(reference)) < _least_words(metric):
        message = f"{metric} needs a reference of {_least_words(metric)} words of a-z and 0-9"
        return _bad_reference("too_few_words", message)
    if len(response) > MOST_CHARS:
        detail = {"code": "too_long", "message": f"the response has over {MOST_CHARS} characters"}
        return {"outcome": "no_answer", "score": 0.0, "detail": detail}
    score = _similarity(metric, _SURROGATE.sub("\ufffd", response), _SURROGATE.sub("\ufffd", reference))
    return {"outcome": "scored", "score": min(1.0, max(0.0, score)), "detail": {"metric": metric}}


def _bad_reference(code: str, message: str) -> dict[str, Any]:
    return {"outcome": "bad_reference", "score": None, "detail": {"code": code, "message": message}}


def _least_words(metric: str) -> int:
    """Return how many words a reference needs, so that a response can be like it at all."""
    size = metric.removeprefix("rouge_")
    return 0 if size == metric else int(size) if size.isdigit() else 1


def _similarity(metric: str, response: str, reference: str) -> float:
    if metric == "fuzzy_match":
        return float(fuzz.ratio(response, reference)) / 100
    if metric == "bleu":
        return float(_bleu().sentence_score(response, [reference]).score) / 100
    if metric == "gleu":
        return _gleu(_bleu_words(response), _bleu_words(reference))
    words, wanted = _rouge_words(response), _rouge_words(reference)
    if metric == "rouge_l":
        return _f1(LCSseq.similarity(words, wanted), len(words), len(wanted))
    size = int(metric.removeprefix("rouge_"))
    ours, theirs = _grams(words, size), _grams(wanted, size)
    return _f1((ours & theirs).total(), ours.total(), theirs.total())


def _f1(common: int, ours: int, theirs: int) -> float:
    return 2 * common / (ours + theirs) if common else 0.0


def _gleu(words: list[str], wanted: list[str]) -> float:
    ours: Counter[tuple[str, ...]] = Counter()
    theirs: Counter[tuple[str, ...]] = Counter()
    for size in range(1, MOST_GRAM + 1):
        ours += _grams(words, size)
        theirs += _grams(wanted, size)
    total = max(ours.total(), theirs.total())
    return (ours & theirs).total() / total if total else 0.0


def _grams(words: list[str], size: int) -> Counter[tuple[str, ...]]:
    return Counter(zip(*(words[start:] for start in range(size)), strict=False))


def _rouge_words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def _bleu_words(text: str) -> list[str]:
    return str(_tokenizer()(text)).split()


@cache
def _bleu() -> Any:
    return BLEU(effective_order=True)


@cache
def _tokenizer() -> Any:
    return Tokenizer13a()
