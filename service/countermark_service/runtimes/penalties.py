"""Measures of a response that a composite may take off: length, repetition, language.

The formulas stand in `bundles.composite_table`. They are pure and linear in the
response, so they run in the service itself; those of long responses in a thread.
"""

import re
import unicodedata
from collections.abc import Sequence
from itertools import islice

from countermark_service.bundles.characters import as_known
from countermark_service.bundles.composite_table import Penalty

_WORD = re.compile(r"\w+")
_GRAMS_AT_ONCE = 4096
"""N-grams that are counted before other threads may run."""


def penalty_of(response: str, penalty: Penalty) -> tuple[float, float]:
    """Return the measure of a response, and what it takes off."""
    measure = _MEASURES[penalty.measure](as_known(response), penalty)
    share = (measure - penalty.free) / (penalty.full - penalty.free)
    return measure, penalty.weight * min(1.0, max(0.0, share))


def _length(response: str, penalty: Penalty) -> float:
    return float(len(response) if penalty.unit == "chars" else sum(1 for _ in _WORD.finditer(response)))


def _repetition(response: str, penalty: Penalty) -> float:
    words = [word.casefold() for word in _WORD.findall(response)]
    count = len(words) - penalty.ngram + 1
    grams, found = _windows(words, penalty.ngram), set[tuple[str, ...]]()
    for _ in range(0, count, _GRAMS_AT_ONCE):
        found.update(islice(grams, _GRAMS_AT_ONCE))
    return 0.0 if count < 1 else 1.0 - len(found) / count


def _windows(words: Sequence[str], size: int) -> "zip[tuple[str, ...]]":
    return zip(*(words[start:] for start in range(size)), strict=False)


def _language(response: str, penalty: Penalty) -> float:
    letters = foreign = 0
    known: dict[str, bool] = {}
    for character in response:
        if character.isalpha():
            own = known.get(character)
            if own is None:
                own = known[character] = unicodedata.name(character, "").startswith(penalty.script)
            letters += 1
            foreign += not own
    return foreign / letters if letters else 0.0


_MEASURES = {"length": _length, "repetition": _repetition, "language": _language}
