"""Where a response begins and ends in what a tokenizer wrote."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from countermark_service.api.facades.rows import (
    END_TOKENS,
    Options,
    after_prompt,
    read_options,
    without_end_tokens,
)
from countermark_service.errors import RequestError


@given(st.text(max_size=40), st.text(max_size=40))
def test_a_prompt_and_what_follows_come_apart_again(prompt: str, response: str) -> None:
    for before in ("", "<s>", "<|begin_of_text|>"):
        if not prompt.startswith(("<", " ", "[")) and prompt:
            assert after_prompt(before + prompt + response, prompt, Options(), 0) == response


@given(st.text(max_size=40), st.lists(st.sampled_from(END_TOKENS), max_size=4))
def test_only_tokens_at_the_end_are_cut(text: str, tokens: list[str]) -> None:
    whole = text + "".join(tokens)
    left = without_end_tokens(whole, END_TOKENS)
    assert whole.startswith(left)
    assert without_end_tokens(left, END_TOKENS) == left
    if not tokens and not text.rstrip().endswith(END_TOKENS):
        assert left == text


def test_a_response_of_nothing_but_tokens_takes_linear_time() -> None:
    started = time.process_time()
    assert without_end_tokens("</s> " * 200_000, END_TOKENS) == ""
    assert after_prompt("<s>" * 20 + "x" * 1_000_000, "x" * 999_000, Options(), 0) == "x" * 1000
    assert time.process_time() - started < 10


@pytest.mark.parametrize(
    "query",
    [
        b"strip",
        b"x=1",
        b"label=xml",
        b"on_failure=null",
        b"prompt=",
        b"params=",
        b"params=%FF",
        b"&" * 99 + b"a=1",
    ],
)
def test_an_option_that_there_is_not_is_refused(query: bytes) -> None:
    if query == b"strip":
        assert read_options(query).strip == ()
        return
    with pytest.raises(RequestError):
        read_options(query)


@pytest.mark.parametrize(
    ("query", "field"),
    [
        (b"prompt=cut&prompt=keep", "prompt"),
        (b"on_failure=zero&label=json&on_failure=raise", "on_failure"),
        (b"params={}&params={}", "params"),
        (b'params={"extract":"boxed","extract":"last"}', "params"),
        (b'params={"choices":{"a":1,"a":2}}', "params"),
        (b'params={"absolute_tolerance":0.10000000000000000001}', "params"),
        (b"params=[1]", "params"),
        (b"params=" + b"[" * 5000, "params"),
    ],
)
def test_an_option_of_which_a_part_would_be_dropped_is_refused(query: bytes, field: str) -> None:
    with pytest.raises(RequestError) as caught:
        read_options(query)
    assert caught.value.field == field
    assert caught.value.code == "invalid_request"


def test_tokens_to_strip_are_given_one_by_one() -> None:
    assert read_options(b"strip=%3Ca%3E&strip=%3Cb%3E&prompt=keep").strip == ("<a>", "<b>")
