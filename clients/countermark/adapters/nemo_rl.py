"""An environment for NeMo RL, scored by a verifier.

Prefer the route over NeMo Gym (``env.should_use_nemo_gym``), whose client speaks to the service itself. Where a run
has its environments in NeMo RL:

>>> from nemo_rl.environments.utils import register_env
>>> from countermark.adapters.nemo_rl import actor_path
>>> register_env("countermark", actor_path())

    env:
      countermark: {verifier: "math-verify:0.9.0-r2"}

Rows have the task name ``countermark`` and the reference in ``extra_env_info["ground_truth"]``, which is where NeMo
RL's own processors put it; a ``verifier`` beside it counts more than the environment's.

**What a failed verdict becomes.** `step` raises, and so ends the run: NeMo RL has no reward that means "none", and
its rewards are tensors, in which one would be trained on. The alternative is a number that the user names,
``on_failure: 0.5``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ._columns import prompt_text
from ._rows import Fields
from ._scoring import RewardSource, check_policy

GOLD = "ground_truth"
INFO_KEY = "countermark"
"""Where a row's metadata keeps who judged it and how that ended."""


def actor_path() -> str:
    """Return the path of the environment's Ray actor, and tell NeMo RL which Python it runs in: the system's.

    The environment needs nothing but this package, torch and NeMo RL itself.
    """
    from nemo_rl.distributed.ray_actor_environment_registry import (  # type: ignore[import-not-found]
        ACTOR_ENVIRONMENT_REGISTRY,
    )
    from nemo_rl.distributed.virtual_cluster import PY_EXECUTABLES  # type: ignore[import-not-found]

    path = f"{__name__}.CountermarkEnvironment"
    ACTOR_ENVIRONMENT_REGISTRY.setdefault(path, PY_EXECUTABLES.SYSTEM)
    return path


class Scorer:
    """What the environment does, without Ray: one request for a whole batch.

    Args:
        config: The environment's part of the trainer's config: ``gold`` and the fields of `RewardSource`.

    Raises:
        InvalidInputError: A setting cannot be used.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        settings = dict(config)
        policy = check_policy(settings.pop("on_failure", "raise"), null=False)
        self._fields = Fields(gold=settings.pop("gold", GOLD))
        self._stop_strings = settings.pop("stop_strings", None)
        self._source = RewardSource(on_failure=policy, **settings)

    def step(
        self,
        message_log_batch: Sequence[Sequence[Mapping[str, Any]]],
        metadata: Sequence[Any],
        return_extracted_answer: bool = False,
    ) -> Any:
        """Score a batch of conversations, each ending with it.

        Args:
            message_log_batch: Conversations; what the assistant said in one, joined, is the response.
            metadata: The rows' ``extra_env_info``.
            return_extracted_answer: NeMo RL's evaluation asks for answers to count majorities of; they are what
                the verifier says it read, None where it does not say.

        Raises:
            CountermarkClientError: There is no verdict, or no service.
        """
        import torch  # type: ignore[import-not-found]
        from nemo_rl.environments.interfaces import EnvironmentReturn  # type: ignore[import-not-found]

        asks = [
            self._fields.ask(self._source, _response(log), info, prompt=prompt_text(list(log)))
            for log, info in zip(message_log_batch, metadata, strict=True)
        ]
        verdicts = self._source.verdicts(asks)
        return EnvironmentReturn(
            observations=[
                {"role": "environment", "content": f"Environment: {verdict.outcome.value}"}
                for verdict in verdicts
            ],
            metadata=[
                {**info, INFO_KEY: {"verifier": verdict.pin, "outcome": verdict.outcome.value}}
                for info, verdict in zip(metadata, verdicts, strict=True)
            ],
            next_stop_strings=[self._stop_strings] * len(verdicts),
            rewards=torch.tensor([verdict.reward for verdict in verdicts], dtype=torch.float32),
            terminateds=torch.ones(len(verdicts)),
            answers=[_answer(verdict.detail) for verdict in verdicts] if return_extracted_answer else None,
        )

    def global_post_process_and_metrics(self, batch: Any) -> tuple[Any, dict[str, float]]:
        """Return the batch as it is, and metrics; a rollout that was cut off counts as wrong, as in NeMo RL's own."""
        rewards = batch["rewards"] * batch["is_end"]
        return batch, {
            "accuracy": float(rewards.mean()),
            "fraction_of_samples_properly_ended": float(batch["is_end"].float().mean()),
            "num_problems_in_batch": float(batch["is_end"].shape[0]),
        }

    def shutdown(self) -> None:
        """Give back the connections."""
        self._source.close()


def __getattr__(name: str) -> Any:
    """Make the Ray actor when it is asked for, so that nothing else here needs Ray."""
    if name != "CountermarkEnvironment":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import ray  # type: ignore[import-not-found]
    from nemo_rl.environments.interfaces import EnvironmentInterface

    class CountermarkEnvironment(Scorer, EnvironmentInterface):  # type: ignore[misc]
        """The environment as NeMo RL makes it: ``CountermarkEnvironment.options(…).remote(config)``."""

    CountermarkEnvironment.__qualname__ = "CountermarkEnvironment"
    actor = ray.remote(max_restarts=-1, max_task_retries=-1, max_concurrency=1000)(CountermarkEnvironment)
    globals()["CountermarkEnvironment"] = actor
    return actor


def _response(log: Sequence[Mapping[str, Any]]) -> str:
    return "".join(str(message["content"]) for message in log if message["role"] == "assistant")


def _answer(detail: Mapping[str, Any]) -> str | None:
    """Return what a verifier says it read in a response."""
    answer = detail.get("answer")
    if isinstance(answer, list) and answer:
        answer = answer[0]
    return answer if isinstance(answer, str) else None
