"""An environment for SkyRL (skyrl-gym), scored by a verifier.

>>> from countermark.adapters.skyrl_gym import register
>>> register("math-verify:0.9.0-r2")

in the process that makes the environments, before the trainer starts, and rows with ``env_class="countermark"``
and the reference in ``reward_spec.ground_truth``, as SkyRL's own data sets have it. A row's ``reward_spec`` may
name a ``verifier``, and the row a ``data_source``. The same settings may stand in the trainer's config, under
``environment.skyrl_gym.countermark``, where it takes keys of one's own.

**What a failed verdict becomes.** `step` raises, and so ends the run: SkyRL has no reward that means "none". The
alternative is a number that the user names, ``on_failure=0.5``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields as dataclass_fields
from dataclasses import is_dataclass
from typing import Any

from skyrl_gym.envs import base_text_env, registration  # type: ignore[import-not-found]

from .._errors import InvalidInputError
from ._columns import prompt_text
from ._rows import Fields
from ._scoring import RewardSource, check_policy

ID = "countermark"


class CountermarkEnv(base_text_env.BaseTextEnv):  # type: ignore[misc]
    """One response, one verdict, one reward.

    Args:
        env_config: Settings from the trainer's config, a mapping or a dataclass, laid over `options`.
        extras: The row, less its prompt.
        options: ``gold`` (the field with the reference) and those of `RewardSource`.

    Raises:
        InvalidInputError: A setting cannot be used, or the row has no reference.
    """

    def __init__(
        self,
        env_config: Any = None,
        extras: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> None:
        super().__init__()
        self._source, self._fields = _settings({**options, **_named(env_config)})
        self._row = extras or {}
        self._prompt: Any = None
        self._failed = 0
        self._fields.ask(
            self._source, "", self._row
        )  # what is wrong with the row is said before anything runs

    def init(self, prompt: Any) -> tuple[Any, dict[str, Any]]:
        """Keep the question for verifiers that read it, and return the prompt as it is."""
        self._prompt = prompt_text(prompt)
        return prompt, {}

    def step(self, action: str) -> Any:
        """Score a response; the episode ends with it.

        Raises:
            CountermarkClientError: There is no verdict, or no service.
        """
        self.turns += 1
        verdict = self._source.verdict(self._fields.ask(self._source, action, self._row, prompt=self._prompt))
        self._failed += verdict.failed
        return base_text_env.BaseTextEnvStepOutput(
            observations=[],
            reward=verdict.reward,
            done=True,
            metadata={"verifier": verdict.pin, "outcome": verdict.outcome.value, "score": verdict.score},
        )

    def get_metrics(self) -> dict[str, float]:
        """Return whether the verdict failed; SkyRL averages it."""
        return {"countermark_failed": float(self._failed)}


def register(verifier: str | None = None, *, id: str = ID, **options: Any) -> None:  # noqa: A002 - theirs
    """Make the environment known to `skyrl_gym.make`.

    Args:
        verifier: Ref or pin of the verifier; that of a row's ``reward_spec`` counts more.
        id: What rows and config call it; several may stand side by side with other settings.
        options: Those of `CountermarkEnv`.

    Raises:
        InvalidInputError: A setting cannot be used.
        skyrl_gym.error.RegistrationError: The id is taken.
    """
    settings = options if verifier is None else {"verifier": verifier, **options}
    _settings(settings)
    registration.register(id=id, entry_point=f"{__name__}:{CountermarkEnv.__name__}", kwargs=settings)


def _named(config: Any) -> dict[str, Any]:
    """Return the settings in a part of the trainer's config; older ones are mappings, newer ones dataclasses.

    Raises:
        InvalidInputError: It is neither.
    """
    if config is None:
        return {}
    if isinstance(config, Mapping):
        return {str(name): value for name, value in config.items()}
    if is_dataclass(config) and not isinstance(config, type):
        return {field.name: getattr(config, field.name) for field in dataclass_fields(config)}
    raise InvalidInputError(f"env_config is a {type(config).__name__}; it must be a mapping or a dataclass.")


def _settings(options: Mapping[str, Any]) -> tuple[RewardSource, Fields]:
    """Return where rewards come from and what rows hold, given the settings by name."""
    rest = dict(options)
    fields = Fields(
        gold=rest.pop("gold", "reward_spec.ground_truth"),
        verifier="reward_spec.verifier",
        params="reward_spec.verifier_params",
    )
    policy = check_policy(rest.pop("on_failure", "raise"), null=False)
    return RewardSource(on_failure=policy, **rest), fields
