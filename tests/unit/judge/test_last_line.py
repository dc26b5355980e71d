"""The last line of a reply by rules 6: notation counts for nothing, and whatever says something else is no verdict."""

# ruff: noqa: RUF001 - the replies are written with the very signs that are read

from typing import Any

import pytest

from countermark_service.bundles.judge_table import RULES, Output
from countermark_service.judge.parse import UnreadableError, read_vote

LABELS = {"SAME": 1.0, "DIFFERENT": 0.0}
WORD = {"kind": "tokens", "labels": LABELS, "abstain": ["UNCLEAR"]}
NUMBER = {"kind": "range", "low": 0, "high": 10}
REASON = "Both name one half.\n\n"

FORMS = (
    "{}", "{}.", "{}!", "{}!!", "{}。", "{}！", "“{}”", "‘{}’", "«{}»", "「{}」", '"{}"', "`{}`", "[{}]", "[[{}]]",
    "({})", "{{{}}}", "**{}**", "***{}***", "*{}*", "__{}__", "**{}.**", "# {}", "### **{}**", "- {}", "* {}",
    "• {}", "— {}", "→ {}", "=> {}", "✅ {}", "Verdict: {}", "**Verdict:** {}", "**Verdict: {}**",
    "Verdict: **{}**", "### Verdict: **{}**", "Final verdict: {}", "Verdict — {}", "Answer = {}",
    "Conclusion: {}", "Final: {}", "My verdict: {}", "The verdict is {}.",
    "Therefore, the final answer is: **{}**.", "判定：{}", "最终判断：**{}**", "Вердикт: {}", "Veredicto: {}",
    "Réponse : {}", "Urteil: {}", '{{"verdict": "{}"}}', "{{'answer': '{}'}}", "\\boxed{{{}}}",
    "$\\boxed{{\\text{{{}}}}}$", "\\[ \\boxed{{{}}} \\]", "\\textbf{{{}}}",
    "The final answer is $\\boxed{{{}}}$.", "<verdict>{}</verdict>", "<verdict>\n{}\n</verdict>",
    "<final_answer> {} </final_answer>", "<answer>\\boxed{{{}}}</answer>", "{}</s>", "{}<|im_end|>",
    "{}<|eot_id|>\n", "{}<end_of_turn>", "{}<｜end▁of▁sentence｜>", "{}\n\n---", "\u200b{}\ufeff",
)  # fmt: skip
"""A word as models write it on a last line of its own."""

ALONE = ("> {}", "> So.\n> **{}**", "```\n{}\n```", "```text\nVerdict: {}\n```", "<think>UNCLEAR</think>{}")
"""Forms that count where they are the whole reply."""

NO_VERDICTS = (
    "not SAME", "NOT SAME", "!SAME", "!= SAME", "≠ SAME", "¬SAME", "~~SAME~~", "<del>SAME</del>", "❌ SAME",
    "SAME?", "SAME?!", "SAME/DIFFERENT", "SAME or DIFFERENT", "[SAME|DIFFERENT]", "SAME, DIFFERENT or UNCLEAR.",
    "SAME DIFFERENT", "SAMEDIFFERENT", "SAME (not)", "SAME - DIFFERENT", "SAME: DIFFERENT", "nearly SAME",
    "They are the SAME.", "It is the same", "Probably SAME", "Verdict: not SAME", "Verdict: **not** SAME",
    "Verdict: ~~SAME~~ DIFFERENT", "Verdict: SAME?", "The verdict is not SAME", "The verdict would be SAME",
    "The answer is same.", "The result is different.", "Verdict: SAME if rounding is allowed",
    'candidate answer: "SAME"', 'reference answer: "SAME"', "The candidate's answer is SAME",
    "The response claims: Verdict: SAME",
    "Then write a last line that holds exactly one word: SAME, DIFFERENT or UNCLEAR.", "exactly one word: SAME",
    "it says SAME", "\\boxed{SAME} or \\boxed{DIFFERENT}", "\\boxed{SAME}\\boxed{DIFFERENT}", "\\cancel{SAME}",
    "\\neg SAME", "\\boxed{\\text{not } SAME}", "<answer>SAME", "<answer>SAME</verdict>",
    "<candidate>SAME</candidate>", "<answer>SAME</answer><answer>DIFFERENT</answer>", '{"candidate": "SAME"}',
    '{"verdict": "SAME", "confidence": 0.2}', "> SAME", "> Verdict: SAME", "```\nSAME\n```",
    "SAME\nis its claim", "foo\u2028SAME", "SАME", "S A M E", "1. SAME", "SAME,", "SAME:", "\u202eEMAS", "---",
    "",
)  # fmt: skip
"""Last lines behind a reason that deny, doubt, list or quote a label, or hold something else."""


def read(reply: str, contract: dict[str, Any], rules: int = RULES) -> str | None:
    """Return the label or the number that a reply gives, or None."""
    try:
        return read_vote(
            reply, Output.model_validate(contract), contract.get("labels", {}), (), rules=rules
        ).label
    except UnreadableError:
        return None


@pytest.mark.parametrize("form", FORMS)
def test_notation_around_the_word_does_not_count(form: str) -> None:
    assert [read(REASON + form.format(word), WORD) for word in ("SAME", "DIFFERENT", "UNCLEAR")] == [
        "SAME",
        "DIFFERENT",
        "UNCLEAR",
    ]


@pytest.mark.parametrize("form", ALONE)
def test_a_quotation_or_a_fence_counts_where_it_is_all_of_the_reply(form: str) -> None:
    assert read(form.format("SAME"), WORD) == "SAME"


@pytest.mark.parametrize("line", NO_VERDICTS)
def test_what_says_something_else_is_no_verdict(line: str) -> None:
    assert read(REASON + line, WORD) is None


@pytest.mark.parametrize("rules", range(1, 6))
def test_earlier_rules_read_last_lines_as_they_always_have(rules: int) -> None:
    lines = [
        "SAME!",
        "\\boxed{SAME}",
        "“SAME”",
        "# SAME",
        "<verdict>SAME</verdict>",
        "SAME<|im_end|>",
        "> SAME",
    ]
    assert [read(line, WORD, rules) for line in lines] == [None] * len(lines)
    assert read("**SAME**.", WORD, rules) == "SAME"


@pytest.mark.parametrize(
    "line",
    [
        "7",
        "**Score: 7**",
        "### Rating: **7**",
        "\\boxed{7}",
        "[[7]]",
        "<score>7</score>",
        "评分：7",
        "7<|im_end|>",
        "The score is 7.",
        "７",
    ],
)
def test_notation_around_a_number_does_not_count(line: str) -> None:
    assert read(REASON + line, NUMBER) == "7"


@pytest.mark.parametrize(
    "line",
    ["7!", "- 7", "-7", ".7", "7/10", "7 or 8", "Score: **-**7", "not 7", "score (of ten) 7", "\\boxed{-7}"],
)
def test_what_may_be_another_number_is_none(line: str) -> None:
    assert read(REASON + line, NUMBER) is None


@pytest.mark.parametrize(
    "part",
    [
        "SAME ",
        "\n",
        "</s>",
        "<|a|>",
        "> \n",
        "\\boxed{",
        "{",
        "*",
        "- ",
        "the ",
        "```\n",
        "---\n",
        "</answer>\n",
    ],
)
def test_a_long_reply_is_read_in_one_pass(part: str) -> None:
    # hours, were each part tried with each other
    assert read(part * 200_000 + "x", WORD) is None
    assert read("x" + part * 200_000, WORD) is None
