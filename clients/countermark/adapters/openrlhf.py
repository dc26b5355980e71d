"""Rewards for OpenRLHF: the function or the agent that its Python files define.

>>> # reward.py, for --reward.remote_url reward.py (0.11) or --remote_rm_url reward.py (0.8)
>>> from countermark.adapters.openrlhf import reward
>>> reward_func = reward("math-verify:0.9.0-r2")

>>> # agent.py, for --train.agent_func_path agent.py (0.11) or --agent_func_path agent.py (0.8)
>>> from countermark.adapters.openrlhf import agent
>>> AgentExecutor = agent("math-verify:0.9.0-r2")

OpenRLHF hands over the whole text, prompt and response with the tokenizer's special tokens; the response is
what follows the prompt, less the special tokens at its end. Where the prompt cannot be found in the text the
sample has no verdict, as scoring a prompt's own examples would be worse. OpenRLHF has no way to say "no
verdict": a failed one raises. 0.11 then logs it and stops at the first sample without a reward; 0.8 ends.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, TypeAlias

from .._errors import InvalidInputError
from .._types import Outcome
from ._scoring import (
    DEADLINE_SECONDS,
    Ask,
    FailurePolicy,
    ReferenceFormat,
    RewardSource,
    check_policy,
    no_verdict,
)

RewardFunction: TypeAlias = Callable[..., dict[str, Any]]
"""What OpenRLHF looks for under the name ``reward_func``."""

SPECIAL_TOKENS = (
    "<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|end_of_text|>", "<|eom_id|>", "<|end|>", "<|return|>",
    "</s>", "<eos>", "<end_of_turn>", "<|END_OF_TURN_TOKEN|>", "<|assistant_end|>", "<|user|>", "<|observation|>",
    "<\uff5cend\u2581of\u2581sentence\uff5c>", "<pad>", "<|pad|>", "<|finetune_right_pad_id|>",
)  # fmt: skip
"""What current model families end a turn or fill a batch with."""
SHORTEST_OVERLAP = 16
"""Characters of a prompt's end by which a prompt that was cut at its beginning is recognised, at least."""


def reward(
    verifier: str | None = None,
    *,
    release: str | None = None,
    task: str | None = None,
    labels: Literal["reference", "pinned"] = "reference",
    reference_format: ReferenceFormat = "value",
    params: Mapping[str, Any] | None = None,
    special_tokens: Iterable[str] = SPECIAL_TOKENS,
    on_failure: FailurePolicy = "raise",
    deadline: float = DEADLINE_SECONDS,
    base_url: str | None = None,
    api_key: str | None = None,
) -> RewardFunction:
    """Return a function to be called ``reward_func``.

    Args:
        verifier: Ref or pin of the verifier; else ``COUNTERMARK_VERIFIER``.
        release: In place of `verifier`: a registered release, with the `task` of its card.
        task: With `release`: the task.
        labels: ``reference`` if a label is the reference; ``pinned`` if it is a JSON object with ``reference``
            and, for the row, ``verifier`` and ``params``.
        reference_format: ``json`` if references are JSON texts.
        params: The verifier's parameters.
        special_tokens: What is cut off at the end of a response.
        on_failure: ``raise``, ``zero`` or a number.
        deadline: Seconds that one call may take in all.
        base_url: Address of the service; else ``COUNTERMARK_URL``.
        api_key: Bearer key; else ``COUNTERMARK_API_KEY``.

    Raises:
        InvalidInputError: An argument cannot be used.
    """
    source = _source(
        verifier, release, task, reference_format, params, on_failure, deadline, base_url, api_key
    )
    read = _label_reader(labels)
    tokens = tuple(special_tokens)

    def reward_func(
        queries: Sequence[str], prompts: Sequence[str], labels: Sequence[Any], **others: Any
    ) -> dict[str, Any]:
        """Return ``rewards``, ``scores`` and ``extra_logs`` of some samples, in order."""
        if not len(queries) == len(prompts) == len(labels):
            raise InvalidInputError(
                f"OpenRLHF gave {len(queries)} queries, {len(prompts)} prompts and {len(labels)} labels."
            )
        asks = [
            _ask(source, response_of(query, prompt, tokens), read(label))
            for query, prompt, label in zip(queries, prompts, labels, strict=True)
        ]
        # One sample at a time comes from many threads at once, and those travel together.
        verdicts = [source.verdict(asks[0])] if len(asks) == 1 else source.verdicts(asks)
        rewards = _tensor([verdict.reward for verdict in verdicts])
        failed = _tensor([float(verdict.failed) for verdict in verdicts])
        return {"rewards": rewards, "scores": rewards, "extra_logs": {"countermark_failed": failed}}

    return reward_func


def agent(
    verifier: str | None = None,
    *,
    release: str | None = None,
    task: str | None = None,
    max_steps: int = 1,
    feedback: str = "",
    labels: Literal["reference", "pinned"] = "reference",
    reference_format: ReferenceFormat = "value",
    params: Mapping[str, Any] | None = None,
    special_tokens: Iterable[str] = SPECIAL_TOKENS,
    on_failure: FailurePolicy = "raise",
    deadline: float = DEADLINE_SECONDS,
    base_url: str | None = None,
    api_key: str | None = None,
) -> type[Any]:
    """Return a class to be called ``AgentExecutor``; its agents try up to `max_steps` times.

    Args:
        verifier: See `reward`, as for all that is not named here.
        max_steps: How often the model may answer.
        feedback: What it is told after an answer that is not fully right, in the words of its chat template;
            required if `max_steps` is above 1.

    Raises:
        InvalidInputError: An argument cannot be used.
        ImportError: OpenRLHF is not installed.
    """
    if isinstance(max_steps, bool) or not isinstance(max_steps, int) or max_steps < 1:
        raise InvalidInputError(f"max_steps is {max_steps!r}; it must be a whole number of at least 1.")
    if max_steps > 1 and not feedback:
        raise InvalidInputError(
            f"max_steps is {max_steps} and feedback is empty: a model is told why it goes on."
        )
    source = _source(
        verifier, release, task, reference_format, params, on_failure, deadline, base_url, api_key
    )
    read = _label_reader(labels)
    tokens = tuple(special_tokens)

    from openrlhf.utils import agent as framework  # type: ignore[import-not-found]

    class AgentInstance(framework.AgentInstanceBase):  # type: ignore[misc]  # the framework has no types
        """One episode: the model answers, is judged, and may try again."""

        def __init__(self, *args: Any, **others: Any) -> None:
            self._steps = 0

        async def reset(self, states: dict[str, Any], **others: Any) -> dict[str, Any]:
            """Begin with the prompt as it is."""
            return {"observation": states["observation"]}

        async def step(self, state_dict: dict[str, Any], **others: Any) -> dict[str, Any]:
            """Judge an answer. Only the last one is rewarded, as OpenRLHF adds the steps' rewards up."""
            self._steps += 1
            response = _without_tokens(state_dict["action_text"], tokens)
            verdict = await source.verdict_async(_ask(source, response, read(state_dict["label"])))
            done = self._steps >= max_steps or verdict.reward == 1.0
            return {
                "rewards": _tensor(verdict.reward if done else 0.0),
                "scores": _tensor(verdict.reward),
                "environment_feedback": "" if done else feedback,
                "done": done,
                "sampling_params": state_dict.get("sampling_params"),
                "extra_logs": {"countermark_failed": _tensor(float(verdict.failed))},
            }

    if not hasattr(framework, "MultiTurnAgentExecutor"):  # 0.8

        class AgentExecutor(framework.AgentExecutorBase):  # type: ignore[misc]
            """What OpenRLHF 0.8 makes, with the arguments of its engine."""

            def __init__(self, *args: Any, **others: Any) -> None:
                super().__init__(AgentInstance, *args, **others)

        return AgentExecutor

    class MultiTurnExecutor(framework.MultiTurnAgentExecutor):  # type: ignore[misc]
        """What OpenRLHF makes, without arguments."""

        def __init__(self) -> None:
            super().__init__(AgentInstance)

    MultiTurnExecutor.__name__ = "AgentExecutor"
    return MultiTurnExecutor


def response_of(query: str, prompt: str, special_tokens: Sequence[str] = SPECIAL_TOKENS) -> str | None:
    """Return what the model said: `query` less the prompt it begins with and special tokens at its end.

    Before the prompt a tokenizer may have put tokens of its own; of a prompt that was too long it may have cut
    the beginning.

    Returns:
        The response; None if the prompt is not in the query.
    """
    start = query.find(prompt)
    if start >= 0:
        return _without_tokens(query[start + len(prompt) :], special_tokens)
    # What is left of a prompt that was cut: the first place where the query continues after the prompt's end.
    tail = prompt[-SHORTEST_OVERLAP:]
    if len(tail) == SHORTEST_OVERLAP:
        start = query.find(tail)
        while start >= 0:
            end = start + len(tail)
            if prompt.endswith(_without_lead(query[:end])):
                return _without_tokens(query[end:], special_tokens)
            start = query.find(tail, start + 1)
    return None


def _without_lead(text: str) -> str:
    """Return `text` less one special token, like ``<s>`` or ``<|begin_of_text|>``, at its beginning."""
    if text.startswith("<"):
        token, closed, rest = text.partition(">")
        if closed and len(token) < 32 and not any(c.isspace() for c in token):
            return rest.lstrip()
    return text.lstrip()


def _without_tokens(text: str, special_tokens: Sequence[str]) -> str:
    """Return `text` less special tokens, and blanks between them, at its end."""
    while True:
        bare = text.rstrip()
        token = next((token for token in special_tokens if token and bare.endswith(token)), None)
        if token is None:
            return text
        text = bare.removesuffix(token)


def _source(
    verifier: str | None,
    release: str | None,
    task: str | None,
    reference_format: ReferenceFormat,
    params: Mapping[str, Any] | None,
    on_failure: FailurePolicy,
    deadline: float,
    base_url: str | None,
    api_key: str | None,
) -> RewardSource:
    return RewardSource(
        verifier=verifier,
        release=release,
        task=task,
        reference_format=reference_format,
        params=params,
        on_failure=check_policy(on_failure, null=False),
        deadline=deadline,
        base_url=base_url,
        api_key=api_key,
    )


def _label_reader(labels: str) -> Callable[[Any], dict[str, Any]]:
    """Return what reads a label as ``reference`` and, where it has them, ``verifier`` and ``params``."""
    if labels == "reference":
        return lambda label: {"reference": label}
    if labels == "pinned":
        return _pinned
    raise InvalidInputError(f"labels is {labels!r}; it must be 'reference' or 'pinned'.")


def _pinned(label: Any) -> dict[str, Any]:
    try:
        fields = json.loads(label) if isinstance(label, str) else label
    except (ValueError, RecursionError) as exc:
        raise InvalidInputError(
            f"the label {label!r:.200} is not JSON, as labels='pinned' promises: {exc}"
        ) from exc
    if not isinstance(fields, dict) or not {"reference"} <= fields.keys() <= {
        "reference",
        "verifier",
        "params",
    }:
        raise InvalidInputError(
            f"the label {label!r:.200} is not an object with `reference` and, perhaps, `verifier` and `params`, "
            f"as labels='pinned' promises."
        )
    return fields


def _ask(source: RewardSource, response: str | None, label: Mapping[str, Any]) -> Ask:
    """Return what to score; a sample whose response is not known has no verdict."""
    ask = source.ask(
        response or "", label["reference"], row=label.get("verifier"), params=label.get("params")
    )
    if response is not None:
        return ask
    message = "the prompt is not in the text that OpenRLHF gave, so the response in it is not known"
    return ask._replace(fault=no_verdict(Outcome.ERROR, ask.verifier, "prompt_not_found", message))


def _tensor(values: Any) -> Any:
    """Return a tensor, which OpenRLHF concatenates; without torch, where OpenRLHF cannot train, the values."""
    try:
        import torch  # type: ignore[import-not-found]
    except ImportError:
        return values
    return torch.tensor(values, dtype=torch.float32)
