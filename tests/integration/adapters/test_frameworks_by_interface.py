"""open-instruct, rLLM and NeMo RL, which have no package to fetch, or none that runs without a training stack.

What their callers ask for is stated here again, as small modules in their places: the
constructor, the arguments and the values that come back. The rewards are the real
service's.
"""

import asyncio
import dataclasses
import importlib
import pickle
import sys
import types
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
import yaml

from countermark import DeadlineExceededError, InvalidInputError, VerdictFailedError
from tests.conformance.frameworks.adapters import ROWS, hung_service, pasted
from tests.integration.adapters.conftest import REF, Direct

RESPONSES = [row["response"] for row in ROWS]
REFERENCES = [row["reference"] for row in ROWS]
FAILING = 3
"""The row whose reference cannot be read."""


class Place:
    """Puts modules in place for a test."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch

    def put(self, name: str, **facts: Any) -> types.ModuleType:
        """Put a module in place, and the packages that it is in."""
        for end in (i for i, character in enumerate(name) if character == "."):
            if name[:end] not in sys.modules:
                self.put(name[:end])
        module = types.ModuleType(name)
        module.__path__ = []
        module.__dict__.update(facts)
        self._monkeypatch.setitem(sys.modules, name, module)
        parent, _, last = name.rpartition(".")
        if parent:
            self._monkeypatch.setattr(sys.modules[parent], last, module, raising=False)
        return module

    def adapter(self, name: str) -> Any:
        """Import an adapter anew, with what is in place now."""
        self._monkeypatch.delitem(sys.modules, f"countermark.adapters.{name}", raising=False)
        return importlib.import_module(f"countermark.adapters.{name}")


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """Modules in place, gone after the test."""
    yield Place(monkeypatch)
    for name in ("open_instruct", "rllm", "nemo_rl"):
        sys.modules.pop(f"countermark.adapters.{name}", None)


# open-instruct ------------------------------------------------------------------------------------


@dataclasses.dataclass
class VerificationResult:
    """What a verifier function returns."""

    score: float
    cost: float = 0.0
    reasoning: str | None = None


@pytest.fixture
def verifier_function(place: Place) -> type:
    """The base class of open-instruct's verifiers, whose subclasses make its table."""

    class VerifierFunction(ABC):
        def __init__(self, name: str, weight: float = 1.0, verifier_config: Any = None) -> None:
            self.name, self.weight, self.verifier_config = name, weight, verifier_config

        @abstractmethod
        def __call__(
            self,
            tokenized_prediction: Any,
            prediction: str,
            label: Any,
            query: Any = None,
            rollout_state: Any = None,
        ) -> VerificationResult: ...

    place.put(
        "open_instruct.ground_truth_utils",
        VerifierFunction=VerifierFunction,
        VerificationResult=VerificationResult,
    )
    return VerifierFunction


def table(base: type) -> dict[str, Any]:
    """Return the table as open-instruct builds it."""
    kinds: list[Any] = base.__subclasses__()
    made = [kind(object()) for kind in kinds]
    return {instance.name.lower(): instance for instance in made}


async def test_rows_of_open_instruct_choose_a_registered_verifier_by_its_name(
    place: Place, verifier_function: type, direct: Direct
) -> None:
    adapter = place.adapter("open_instruct")
    adapter.register(REF)
    adapter.register(direct.pin, name="Capitals", on_failure=0.5)
    functions = table(verifier_function)
    assert set(functions) == {REF, "capitals"}

    kept = [i for i in range(len(ROWS)) if i != FAILING]
    calls = [
        functions[REF].async_call(
            tokenized_prediction=[1],
            prediction=RESPONSES[i],
            label=REFERENCES[i],
            query="?",
            rollout_state=None,
        )
        for i in kept
    ]
    results = await asyncio.gather(*calls)
    scores = direct.rewards(RESPONSES, REFERENCES)
    assert [result.score for result in results] == [scores[i] for i in kept]
    assert results[0].reasoning == f"scored by {direct.pin}"

    with pytest.raises(VerdictFailedError):
        await functions[REF].async_call([1], RESPONSES[FAILING], REFERENCES[FAILING])
    assert functions["capitals"]([1], RESPONSES[FAILING], REFERENCES[FAILING]).score == 0.5


async def test_the_lines_of_the_page_register_two_verifiers(place: Place, verifier_function: type) -> None:
    place.adapter("open_instruct")
    exec(pasted("open_instruct", "python")[0], {})
    functions = table(verifier_function)
    assert set(functions) == {REF, "math"}
    assert (await functions["math"].async_call([1], "x", "x")).score == 1.0


def test_registering_twice_is_no_second_verifier_and_never_another_one(
    place: Place, verifier_function: type
) -> None:
    adapter = place.adapter("open_instruct")
    assert adapter.register(REF) is adapter.register(REF)
    with pytest.raises(InvalidInputError, match="registered already"):
        adapter.register(REF, on_failure=0.5)
    with pytest.raises(InvalidInputError, match="no way to carry 'null'"):
        adapter.register(REF, name="other", on_failure="null")
    with pytest.raises(InvalidInputError, match="name is None"):
        adapter.register(release="tests/adapters:1.0", task="words")
    assert len(table(verifier_function)) == 1


async def test_open_instruct_gets_an_error_in_time_from_a_hung_service(
    place: Place, verifier_function: type
) -> None:
    with hung_service() as hung:
        made = place.adapter("open_instruct").register(REF, base_url=hung, deadline=0.5)
        with pytest.raises(DeadlineExceededError):
            await made().async_call([1], "a", "a")


# rLLM ---------------------------------------------------------------------------------------------


@dataclasses.dataclass(slots=True, kw_only=True)
class RewardOutput:
    """What a reward function returns."""

    reward: float
    metadata: dict[str, Any] = dataclasses.field(default_factory=dict)
    is_correct: bool | None = None


def test_a_reward_function_of_rllm_gives_reward_correctness_and_pin(place: Place, direct: Direct) -> None:
    place.put("rllm.rewards.reward_types", RewardOutput=RewardOutput)
    place.adapter("rllm")
    names: dict[str, Any] = {}
    exec(pasted("rllm", "python")[0], names)
    reward = names["reward_fn"]
    scores = direct.rewards(RESPONSES, REFERENCES)
    for i, score in enumerate(scores):
        task = {"question": "?", "ground_truth": REFERENCES[i], "data_source": "capitals"}
        if score is None:
            with pytest.raises(VerdictFailedError):
                reward(task, RESPONSES[i])
            continue
        for action in (RESPONSES[i], types.SimpleNamespace(action=RESPONSES[i])):
            output = reward(task, action)
            assert (output.reward, output.is_correct) == (score, score == 1.0)
            assert output.metadata["verifier"] == direct.pin


# NeMo RL ------------------------------------------------------------------------------------------


class EnvironmentReturn(NamedTuple):
    """What a step returns, all of it batched."""

    observations: Any
    metadata: Any
    next_stop_strings: Any
    rewards: Any
    terminateds: Any
    answers: Any


class Actor:
    """What `ray.remote` makes of a class: its constructor is `remote`, after `options`."""

    def __init__(self, wrapped: type) -> None:
        self.wrapped = wrapped

    def options(self, **_: Any) -> "Actor":
        """Return itself."""
        return self

    def remote(self, *arguments: Any) -> Any:
        """Make an instance."""
        return self.wrapped(*arguments)


@pytest.fixture
def nemo_rl(place: Place) -> Any:
    """The adapter, with what it asks of Ray, torch and NeMo RL in place."""

    class EnvironmentInterface(ABC):
        @abstractmethod
        def step(self, message_log_batch: Any, metadata: Any) -> EnvironmentReturn: ...

        @abstractmethod
        def global_post_process_and_metrics(self, batch: Any) -> Any: ...

    place.put("ray", remote=lambda **_: Actor)
    place.put(
        "torch",
        tensor=lambda values, dtype: list(values),
        ones=lambda count: [1.0] * count,
        float32="float32",
    )
    place.put(
        "nemo_rl.environments.interfaces",
        EnvironmentReturn=EnvironmentReturn, EnvironmentInterface=EnvironmentInterface,
    )  # fmt: skip
    place.put("nemo_rl.distributed.ray_actor_environment_registry", ACTOR_ENVIRONMENT_REGISTRY={})
    place.put("nemo_rl.distributed.virtual_cluster", PY_EXECUTABLES=types.SimpleNamespace(SYSTEM="python"))
    return place.adapter("nemo_rl")


def logs(responses: list[str]) -> list[list[dict[str, str]]]:
    """Return conversations."""
    return [
        [{"role": "user", "content": "?"}, {"role": "assistant", "content": response}]
        for response in responses
    ]


def test_a_step_of_nemo_rl_scores_a_batch_and_keeps_the_pin_in_its_metadata(
    place: Place, nemo_rl: Any, direct: Direct
) -> None:
    registered: dict[str, str] = {}
    place.put("nemo_rl.environments.utils", register_env=registered.__setitem__)
    exec(pasted("nemo_rl", "python")[0], {})
    (config,) = yaml.safe_load(pasted("nemo_rl", "yaml")[0])["env"].items()
    path = registered[config[0]]
    module, _, name = path.rpartition(".")
    registry = sys.modules["nemo_rl.distributed.ray_actor_environment_registry"]
    assert {path: "python"} == registry.ACTOR_ENVIRONMENT_REGISTRY
    environment = getattr(sys.modules[module], name).options(runtime_env={}).remote(config[1])

    kept = [i for i in range(len(ROWS)) if i != FAILING]
    infos = [{"ground_truth": REFERENCES[i], "row": i} for i in kept]
    back = environment.step(logs([RESPONSES[i] for i in kept]), infos)
    scores = direct.rewards(RESPONSES, REFERENCES)
    assert back.rewards == [scores[i] for i in kept]
    assert back.terminateds == [1.0] * len(kept)
    assert back.answers is None
    assert [info["row"] for info in back.metadata] == kept
    assert {info["countermark"]["verifier"] for info in back.metadata} == {direct.pin}


def test_a_step_of_nemo_rl_without_a_verdict_raises_or_gives_the_number_that_was_said(nemo_rl: Any) -> None:
    infos = [{"ground_truth": reference} for reference in REFERENCES]
    with pytest.raises(VerdictFailedError, match="item 3: bad_reference"):
        nemo_rl.Scorer({"verifier": REF}).step(logs(RESPONSES), infos)
    lenient = nemo_rl.Scorer({"verifier": REF, "on_failure": -1})
    assert lenient.step(logs(RESPONSES), infos, return_extracted_answer=True).rewards[FAILING] == -1.0
    with pytest.raises(InvalidInputError):
        nemo_rl.Scorer({"verifier": REF, "on_failure": "null"})


def test_rewards_of_areal_travel_between_processes() -> None:
    adapter = importlib.import_module("countermark.adapters.areal")
    reward = pickle.loads(pickle.dumps(adapter.reward(REF, end_tokens=["</s>"])))
    assert reward == adapter.reward(REF, end_tokens=["</s>"])
    assert reward("?", "Paris</s>", [1], [2], answer="Paris") == 1.0
    assert asyncio.run(reward.in_the_loop()("?", "Paris</s>", [1], [2], answer="Paris")) == 1.0
