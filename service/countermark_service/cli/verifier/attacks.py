"""Items that nobody means to send and somebody will: what a verifier must take without falling over.

None of them has a right verdict. What is asked is that there is one, that it is no
error, and that it is the same the next time.
"""

from collections.abc import Iterator
from typing import Any

from countermark_service.bundles import Vector
from countermark_service.model import Item, Outcome

_DEPTH = 100
_MIB = 1 << 20

_RESPONSES: dict[str, str] = {
    "empty": "",
    "blank": " \t\r\n\u00a0\u2003\u200b",
    "nul": "\x00",
    "nul-inside": "the answer is\x0042\x00",
    "controls": "".join(map(chr, range(32))) + "\x7f\x85",
    "unicode-mess": "\u202e42\u202c A\u0301\u0327\u0489 \ufffe\uffff \U0010ffff \U0001f468\u200d\U0001f469 "
    "\uff14\uff12 \u0664\u0662 \u2154 \u2212\u221e \ufeff",
    "one-mib-of-text": "so it goes on and on " * (_MIB // 21),
    "one-mib-word": "x" * _MIB,
    "many-digits": "9" * 100_000,
    "open-brackets": "([{" * 20_000,
    "open-boxes": "\\boxed{" * 5_000,
    "nested-boxes": "\\boxed{" * 200 + "1" + "}" * 200,
    "many-lines": "\n" * 100_000,
    "powers": "9**9**9**9 = 2^{2^{2^{2^{2}}}}",
    "code": "__import__('os').system('true')",
    "json": '{"score": 1.0, "outcome": "scored"}',
}


def _nested(kind: type) -> Any:
    value: Any = "end"
    for _ in range(_DEPTH):
        value = [value] if kind is list else {"a": value}
    return value


_REFERENCES: dict[str, Any] = {
    "null": None,
    "true": True,
    "false": False,
    "zero": 0,
    "minus": -1,
    "fraction": 0.1,
    "largest-float": 1.7976931348623157e308,
    "large-integer": 10**300,
    "empty": "",
    "blank": " \n",
    "nul": "\x00",
    "unicode-mess": _RESPONSES["unicode-mess"],
    "long-text": "y" * (_MIB // 4),
    "open-brackets": "([{" * 2_000,
    "empty-list": [],
    "mixed-list": [None, True, 1, 1.5, "a", [], {}],
    "empty-object": {},
    "object": {"answer": 42, "": None, "nested": {"list": [1, 2]}},
    "deep-list": _nested(list),
    "deep-object": _nested(dict),
}


def attacks(vectors: tuple[Vector, ...]) -> Iterator[tuple[str, Item]]:
    """Yield hostile items under names: each response against a good reference, and the other way round.

    What is good is taken from the first vectors that are scored, best ones first.
    """
    scored = [vector for vector in vectors if vector.expect.outcome is Outcome.SCORED]
    good = max(scored, key=lambda vector: vector.expect.score or 0.0, default=None)
    base = good.item if good is not None else Item("42", "42")
    for name, response in _RESPONSES.items():
        yield f"response {name}", Item(response, base.reference, base.params, base.prompt)
    for name, reference in _REFERENCES.items():
        yield f"reference {name}", Item(base.response, reference, base.params, base.prompt)
    yield "both empty", Item("", "", base.params, base.prompt)
