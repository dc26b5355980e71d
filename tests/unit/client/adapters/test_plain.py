"""Values as data sets hold them: numpy's, pyarrow's, chat messages."""

from __future__ import annotations

import json
from typing import Any

import pytest

from countermark.adapters._plain import plain, text_of

numpy = pytest.importorskip("numpy")
pyarrow = pytest.importorskip("pyarrow")

VALUES: list[tuple[Any, Any]] = [
    (numpy.array([1, 2]), [1, 2]),
    (numpy.array([{"a": numpy.int64(3)}, None], dtype=object), [{"a": 3}, None]),
    (numpy.array([[0.5], [1.5]], dtype=numpy.float32), [[0.5], [1.5]]),
    (numpy.float32(0.5), 0.5),
    (numpy.float64(0.5), 0.5),
    (numpy.int64(7), 7),
    (numpy.bool_(True), True),
    (numpy.str_("text"), "text"),
    (
        {"tests": numpy.array([{"input": "1", "output": "2"}], dtype=object)},
        {"tests": [{"input": "1", "output": "2"}]},
    ),
    ((1, (2, 3)), [1, [2, 3]]),
    (pyarrow.array([[1, 2], None]), [[1, 2], None]),
    (pyarrow.scalar({"a": [1]}), {"a": [1]}),
    ("text", "text"),
    (None, None),
]


@pytest.mark.parametrize(("value", "expected"), VALUES, ids=lambda value: type(value).__name__)
def test_what_a_parquet_row_holds_becomes_json(value: Any, expected: Any) -> None:
    assert json.loads(json.dumps(plain(value))) == expected


def test_what_json_has_no_form_for_is_left_for_the_encoder_to_name() -> None:
    odd = object()
    assert plain({"a": [odd]}) == {"a": [odd]}


@pytest.mark.parametrize(
    ("completion", "text"),
    [
        ("as it is", "as it is"),
        ([{"role": "assistant", "content": "said"}], "said"),
        (
            [
                {"role": "assistant", "content": "first"},
                {"role": "tool", "content": "42"},
                {"role": "assistant", "content": "last"},
                {"role": "user", "content": "thanks"},
            ],
            "last",
        ),
        (
            [
                {
                    "role": "assistant",
                    "content": [{"type": "text", "text": "a"}, {"type": "image"}, {"text": "b"}],
                }
            ],
            "ab",
        ),
        ([{"role": "assistant", "content": None, "tool_calls": [{}]}], ""),
        (numpy.array([{"role": "assistant", "content": "said"}], dtype=object), "said"),
    ],
)
def test_the_last_assistant_message_is_the_response(completion: Any, text: str) -> None:
    assert text_of(completion) == text


def test_messages_without_the_assistant_are_left_for_the_service_to_refuse() -> None:
    assert text_of([{"role": "user", "content": "x"}]) == [{"role": "user", "content": "x"}]
