"""Runs the library's patterns over whole texts, and the bundle's search beside it.

Runs inside the bundle's environment with the bundle's folder as its argument. Reads one text a line, as a
JSON string, and answers ``{"library": [...], "bundle": [...]}``: lists of [start, end, named groups] in the
order in which the matches would be tried.
"""

import importlib
import json
import re
import sys
from collections.abc import Iterator
from typing import Any

sys.path.insert(0, sys.argv[1])
verifier: Any = importlib.import_module("verifier")
parser: Any = importlib.import_module("math_verify.parser")
TARGETS = parser.get_extraction_regexes([parser.LatexExtractionConfig(), parser.ExprExtractionConfig()])


def exhaustive(text: str) -> Iterator[re.Match[str]]:
    """Yield the matches as `extract_target_from_pred` of the library orders them, all patterns run whole."""
    patterns = [entry for entries, _ in TARGETS for entry in entries]
    for priority in sorted({priority for _, priority in patterns}):
        found = [match for pattern, its in patterns if its == priority for match in pattern.finditer(text)]
        yield from sorted(found, key=lambda match: (match.end(), -match.start()), reverse=True)


def described(matches: Iterator[re.Match[str]]) -> list[Any]:
    """Return what tells one match from another."""
    return [
        [*match.span(), {name: value for name, value in match.groupdict().items() if value is not None}]
        for match in matches
    ]


if __name__ == "__main__":
    replies = sys.stdout
    sys.stdout = sys.stderr
    for line in sys.stdin:
        text = json.loads(line)
        bundle = (match for match, _ in verifier._candidates(text))
        both = {"library": described(exhaustive(text)), "bundle": described(bundle)}
        print(json.dumps(both), file=replies, flush=True)
