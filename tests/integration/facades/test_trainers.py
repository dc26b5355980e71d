"""What the facades of trainers share: rewards as the native API's scores, and no number for a failure."""

import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from tests.support import ServiceProcess

SUBJECT, EXACT, NUMERIC = "subject:1.0.0", "exact:1.0.0", "numeric:1.0.0"
HOSTILE = [
    "", " ", "\x00", "'; DROP TABLE verdicts; --", "{{item.answer}}", "</s><s>", "\u202e\u2066",
    "\U0001f468\u200d\U0001f469", "\\", '"}],"rewards":[1]', "NaN", "%s%n", "x" * 100_000, "\ufeff", "[" * 5000,
    "\r\n\r\nHTTP/1.1 200 OK", "<|im_end|>" * 9000,
]  # fmt: skip


@dataclass(frozen=True)
class Trainer:
    """One facade, as its client uses it."""

    name: str
    path: str
    """With a place for the reference."""
    body: Callable[[str, str, Any], dict[str, Any]]
    """Takes prompt, response and label."""
    reward: Callable[[dict[str, Any]], Any]

    def ask(
        self, http: httpx.Client, ref: str, response: str, label: Any, *, prompt: str = "Why?", before: str = "",
        options: str = "", headers: dict[str, str] | None = None,
    ) -> httpx.Response:  # fmt: skip
        """Send one sample."""
        body = self.body(prompt, response, label)
        return http.post(before + self.path.format(ref) + options, json=body, headers=headers)

    def reward_of(self, http: httpx.Client, ref: str, response: str, label: Any, **more: Any) -> float:
        """Send one sample that must be rewarded."""
        answer = self.ask(http, ref, response, label, **more)
        assert answer.status_code == 200, answer.text
        found = self.reward(answer.json())
        assert isinstance(found, float)
        return found


def _responses(text: str) -> dict[str, Any]:
    content = [{"type": "output_text", "text": text, "annotations": []}]
    message = {"id": "m", "role": "assistant", "type": "message", "status": "completed", "content": content}
    return {"id": "r", "created_at": 0, "model": "policy", "object": "response", "output": [message]}


TRAINERS = [
    Trainer(
        "openrlhf", "/openrlhf/{}/get_reward",
        lambda prompt, response, label: {"query": [prompt + response], "prompts": [prompt], "labels": [label]},
        lambda reply: reply["rewards"][0],
    ),
    Trainer(
        "slime", "/slime/{}",
        lambda prompt, response, label: {"prompt": prompt, "response": response, "label": label},
        lambda reply: reply["score"],
    ),
    Trainer(
        "nemo-gym", "/nemo-gym/{}/verify",
        lambda prompt, response, label: {
            "responses_create_params": {"input": [{"role": "user", "content": prompt}]},
            "response": _responses(response), "expected_answer": label,
        },
        lambda reply: reply["reward"],
    ),
    Trainer(
        "reward-kit", "/reward-kit/{}/evaluate",
        lambda prompt, response, label: {
            "messages": [{"role": "user", "content": prompt}, {"role": "assistant", "content": response}],
            "ground_truth": label,
        },
        lambda reply: reply["score"],
    ),
]  # fmt: skip


@pytest.fixture(params=TRAINERS, ids=lambda one: one.name)
def trainer(request: pytest.FixtureRequest) -> Trainer:
    found: Trainer = request.param
    return found


def direct(http: httpx.Client, ref: str, items: list[tuple[str, Any]]) -> list[float | None]:
    """Return what the native API says."""
    rows = [{"response": response, "reference": reference} for response, reference in items]
    answer = http.post("/v1/score", json={"verifier": ref, "items": rows})
    assert answer.status_code == 200, answer.text
    return [verdict["score"] for verdict in answer.json()["verdicts"]]


def test_right_and_wrong_and_no_answer_are_what_the_verifier_says(
    trainer: Trainer, http: httpx.Client
) -> None:
    cases = [("It is 42.", "42"), ("It is 41.", "42"), ("I do not know.", "42"), ("1e3", "1000")]
    found = [trainer.reward_of(http, NUMERIC, *case) for case in cases]
    assert found == direct(http, NUMERIC, cases)
    assert found[:2] == [1.0, 0.0]


def test_a_pin_with_its_digest_and_a_name_with_a_namespace_lead_to_the_verifier(
    trainer: Trainer, http: httpx.Client
) -> None:
    for ref in ("exact:1.0.0", "openai/string-check:1.0.0"):
        pin = http.get(f"/v1/verifiers/{ref}").json()["ref"]
        assert trainer.reward_of(http, pin, "42", "42") == 1.0
        assert trainer.ask(http, pin[:-1] + ("0" if pin[-1] != "0" else "1"), "42", "42").status_code == 409


@pytest.mark.parametrize("command", ["raise", "crash", "hang", "exit", "lie", "unreadable", "grow"])
def test_a_verdict_without_a_score_is_an_error_and_no_number(
    trainer: Trainer, http: httpx.Client, command: str
) -> None:
    answer = trainer.ask(http, SUBJECT, f"{command} ", "right")

    assert answer.status_code == (424 if command == "unreadable" else 503)
    assert not {"rewards", "scores", "reward", "score"} & answer.json().keys()
    assert "no score" in answer.text


def test_what_the_caller_wants_in_place_of_a_score_is_its_own_choice(
    trainer: Trainer, http: httpx.Client
) -> None:
    options = "?on_failure=zero"
    if trainer.name == "slime":
        answer = trainer.ask(http, SUBJECT, "raise ", "right", options=options).json()
        assert (answer["reward"], answer["score"], answer["outcome"]) == (0.0, None, "error")
    else:
        assert trainer.reward_of(http, SUBJECT, "raise ", "right", options=options) == 0.0
    assert trainer.ask(http, SUBJECT, "raise ", "right", options="?on_failure=maybe").status_code == 422


@pytest.mark.parametrize(
    ("ref", "status"),
    [
        ("nobody:1.0.0", 404),
        ("exact:9.9.9", 404),
        ("exact", 400),
        ("No Such", 400),
        ("exact:1.0.0@sha256:12", 400),
    ],
)
def test_a_reference_that_leads_nowhere_is_said(
    trainer: Trainer, http: httpx.Client, ref: str, status: int
) -> None:
    answer = trainer.ask(http, ref, "42", "42")
    assert (answer.status_code, "score" in answer.json()) == (status, False)


def test_a_verifier_that_cannot_run_here_is_an_error(trainer: Trainer, http: httpx.Client) -> None:
    answer = trainer.ask(http, "unbuildable:1.0.0", "42", "42")
    assert answer.status_code == 503
    assert "countermark-there-is-no-such-package" in answer.text


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b"{}", b'"text"', b"\xff", b'{"query": "one"}', b"[" * 100_000]
)
def test_a_body_that_cannot_be_read_is_refused_without_a_reward(
    trainer: Trainer, http: httpx.Client, body: bytes
) -> None:
    path = trainer.path.format(EXACT)
    answer = http.post(path, content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422, answer.text
    assert http.post(path, content=body, headers={"Content-Type": "text/plain"}).status_code == 415


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: ascii(text[:12]))
def test_hostile_texts_are_scored_as_they_are(trainer: Trainer, http: httpx.Client, text: str) -> None:
    for response, label in ((text, "right"), ("right", text), (f"{text} right", "right")):
        wanted = direct(http, EXACT, [(response, label)])[0]
        answer = trainer.ask(http, EXACT, response, label, options="?strip=&label=text")
        if wanted is None:
            assert answer.status_code == 424, (response, label)
        else:
            assert trainer.reward(answer.json()) == wanted, (response, label)


def test_the_end_of_turn_is_no_part_of_an_answer_and_what_is_cut_can_be_said(
    trainer: Trainer, http: httpx.Client
) -> None:
    def reward(response: str, options: str = "") -> float:
        return trainer.reward_of(http, "openai/string-check:1.0.0", response, "42", options=options)

    assert (
        reward("42<|im_end|>")
        == reward("42<|im_end|>\n<|endoftext|><|endoftext|>")
        == reward("42</s>")
        == 1.0
    )
    assert reward("42\n") == 0.0  # white space is cut with a token only
    assert reward("42<|im_end|>", "?strip=") == reward("42<|im_end|>", "?strip=[END]") == 0.0
    assert reward("42[END]", "?strip=%5BEND%5D") == reward("42[B][A][B]", "?strip=[A]&strip=[B]") == 1.0


def test_a_label_is_json_where_it_is_an_object_and_as_the_url_says(
    trainer: Trainer, http: httpx.Client
) -> None:
    label = {"tests": [{"input": "1", "output": "1"}]}
    code = "```python\nprint(input())\n```"
    assert trainer.reward_of(http, "python-stdio:1.0.0", code, json.dumps(label)) == 1.0
    assert (
        trainer.reward_of(http, EXACT, "[1, 2]", "[1, 2]")
        == trainer.reward_of(http, EXACT, "{}", "{}")
        == 1.0
    )
    assert trainer.reward_of(http, EXACT, '{"a": 1}', '{"a": 1}', options="?label=text") == 1.0
    assert trainer.reward_of(http, EXACT, "two", '["one", "two"]', options="?label=json") == 1.0
    assert trainer.ask(http, EXACT, "two", "two", options="?label=json").status_code == 422


def test_parameters_stand_in_the_url(trainer: Trainer, http: httpx.Client) -> None:
    assert trainer.reward_of(http, EXACT, "YES", "yes") == 0.0
    assert trainer.reward_of(http, EXACT, "YES", "yes", options='?params={"case_fold":true}') == 1.0
    for options in ('?params={"nothing":1}', "?params=[1]", "?params={", "?unknown=1"):
        assert trainer.ask(http, EXACT, "YES", "yes", options=options).status_code == 422


def test_a_key_comes_by_header_or_by_path(
    trainer: Trainer, narrow_service: ServiceProcess, keys: dict[str, str]
) -> None:
    with httpx.Client(base_url=narrow_service.url, timeout=300) as http:
        bearer = {"Authorization": f"Bearer {keys['score']}"}
        assert trainer.ask(http, EXACT, "42", "42").status_code == 401
        assert trainer.ask(http, EXACT, "42", "42", before="/t/wrong").status_code == 401
        assert trainer.ask(http, EXACT, "42", "42", before=f"/t/{keys['audit']}").status_code == 403
        assert trainer.reward_of(http, EXACT, "42", "42", headers=bearer) == 1.0
        assert trainer.reward_of(http, EXACT, "42", "42", before=f"/t/{keys['score']}") == 1.0


def test_a_full_queue_is_try_again_and_nobody_s_reward_is_lost(
    trainer: Trainer, narrow_service: ServiceProcess, keys: dict[str, str]
) -> None:
    """One worker and one place to wait in; each sample takes a while."""
    with httpx.Client(base_url=narrow_service.url, timeout=300) as http, ThreadPoolExecutor(12) as threads:
        before = f"/t/{keys['score']}"

        def ask(number: int) -> tuple[list[int], float]:
            statuses = []
            while True:
                answer = trainer.ask(
                    http, SUBJECT, f"work 60 {trainer.name} {number} right", "right", before=before
                )
                statuses.append(answer.status_code)
                if answer.status_code == 200:
                    return statuses, trainer.reward(answer.json())
                time.sleep(
                    0.05
                )  # as a client would; one that asks without a pause takes the worker's processor

        found = list(threads.map(ask, range(12)))
    assert {reward for _, reward in found} == {1.0}
    assert {status for statuses, _ in found for status in statuses} == {200, 503}


@pytest.fixture
def mixed() -> list[tuple[str, str, Any, float]]:
    """Verifier, response, reference and the score, of several data sets."""
    return [(NUMERIC, "So 42", "42", 1.0), (EXACT, "So 42", "42", 0.0), (EXACT, "42", "42", 1.0)]


@pytest.mark.parametrize("trainer", TRAINERS[:3], ids=lambda one: one.name)
def test_without_a_pin_in_the_path_each_row_names_its_verifier(
    trainer: Trainer, http: httpx.Client, mixed: list[tuple[str, str, Any, float]]
) -> None:
    for ref, response, reference, score in mixed:
        if trainer.name == "nemo-gym":
            body = {**trainer.body("Why?", response, reference), "verifier": ref}
        else:
            body = trainer.body("Why?", response, {"verifier": ref, "reference": reference})
        answer = http.post(trainer.path.replace("/{}", ""), json=body)
        assert trainer.reward(answer.json()) == score
    answer = http.post(trainer.path.replace("/{}", ""), json=trainer.body("Why?", "42", "42"))
    assert answer.status_code == 422
    assert "verifier" in answer.text
