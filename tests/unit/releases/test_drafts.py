"""Drafts from files of training runs: what is taken, from where, and what is said to be open."""

import json
from typing import Any

import pytest

from countermark_service.releases import CardError, release_of
from countermark_service.releases.drafts import Draft, read_draft
from tests.cards import EXACT, bare_card


def draft(text: str | bytes, file: str = "run") -> Draft:
    found = read_draft(text.encode() if isinstance(text, str) else text, file=file)
    release_of(bare_card(**found.document))  # whatever is taken is a card
    return found


def said(found: Draft, word: str) -> bool:
    return any(word in sentence for sentence in found.unclear)


VERL_SCRIPT = r"""#!/bin/bash
# a run
set -x
MODEL=Qwen/Qwen2.5-7B
export LR=1e-6
max_prompt_length=$((1024 * 2))
max_response_length=$((1024 * (2 + 6)))
train=data/train.parquet
WHERE="$(dirname "$0")"

python3 -m verl.trainer.main_ppo \
    algorithm.adv_estimator=grpo \
    algorithm.use_kl_in_reward=False \
    data.train_files="['$train', 'data/more.parquet']" \
    data.val_files=$HOME/data/aime.parquet \
    data.train_batch_size=1024 data.seed=7 \
    data.max_prompt_length=$max_prompt_length \
    data.max_response_length=${max_response_length} \
    actor_rollout_ref.model.path=${MODEL} \
    actor_rollout_ref.actor.optim.lr=$LR \
    actor_rollout_ref.actor.fsdp_config.param_offload=True \
    actor_rollout_ref.rollout.name=vllm actor_rollout_ref.rollout.n=${N:-16} \
    actor_rollout_ref.rollout.temperature=1.0 \
    +actor_rollout_ref.rollout.val_kwargs.n=4 \
    trainer.n_gpus_per_node=8 trainer.nnodes=2 trainer.logger=['console','wandb'] $@ 2>&1 | tee log
"""


def test_a_launch_script_of_verl() -> None:
    found = draft(VERL_SCRIPT, "run.sh")

    assert found.kind == "verl configuration"
    assert found.document == {
        "base_model": {"id": "Qwen/Qwen2.5-7B"},
        "data": {
            "sources": [
                {"id": "data/train.parquet", "role": "train"},
                {"id": "data/more.parquet", "role": "train"},
            ]
        },
        "optimizer": {
            "algorithm": "grpo",
            "library": "verl",
            "seeds": [7],
            "hardware": "2 x 8 GPUs",
            "hyperparameters": {
                "actor_rollout_ref.actor.optim.lr": 1e-6,
                "actor_rollout_ref.rollout.n": 16,
                "actor_rollout_ref.rollout.temperature": 1.0,
                "actor_rollout_ref.rollout.val_kwargs.n": 4,
                "algorithm.adv_estimator": "grpo",
                "algorithm.use_kl_in_reward": False,
                "data.train_batch_size": 1024,
            },
        },
        "inference": {
            "samples": 16,
            "temperature": 1.0,
            "engine": "vllm",
            "max_tokens": 8192,
            "context_tokens": 10240,
        },
    }
    assert found.taken["inference.samples"] == "actor_rollout_ref.rollout.n"
    assert said(found, "data.val_files is '$HOME/data/aime.parquet'")
    assert said(found, "the reward is verl's own")
    assert said(found, "validation has its own")
    assert said(found, "version of verl")


VERL_YAML = f"""
actor_rollout_ref:
  model: {{path: Qwen/Qwen2.5-1.5B}}
  actor: {{optim: {{lr: 1e-6}}, clip_ratio: 0.2}}
  rollout: {{n: 8, temperature: 0.6, top_p: 0.95, top_k: -1}}
algorithm: {{adv_estimator: rloo, gamma: 1.0}}
data: {{train_files: [a.parquet], max_response_length: 512, seed: null}}
trainer: {{total_training_steps: 100}}
custom_reward_function:
  path: pkg://countermark.adapters.verl
  reward_kwargs: {{verifier: "{EXACT}", on_failure: zero}}
"""


def test_a_configuration_of_verl_with_countermarks_adapter_gives_the_route() -> None:
    found = draft(VERL_YAML, "config.yaml")

    assert found.document["verifier"] == {
        "routes": [{"task": "default", "verifier": EXACT, "on_failure": "zero"}]
    }
    assert found.document["optimizer"]["steps"] == 100
    assert "seeds" not in found.document["optimizer"]
    assert found.document["inference"]["top_k"] == -1


def test_another_reward_function_is_said_to_be_open() -> None:
    found = draft(VERL_YAML.replace("pkg://countermark.adapters.verl", "rewards/mine.py"), "config.yaml")

    assert "verifier" not in found.document
    assert said(found, "rewards/mine.py")


def test_a_list_of_hydra_overrides_is_read_like_a_command_line() -> None:
    text = "- actor_rollout_ref.model.path=a/b\n- +trainer.total_training_steps=5\n- hydra.verbose=true\n"
    found = draft(text, "overrides.yaml")

    assert (found.document["base_model"]["id"], found.document["optimizer"]["steps"]) == ("a/b", 5)


TRL: dict[str, Any] = {
    "model_name_or_path": "Qwen/Qwen2.5-1.5B", "model_revision": "abc123", "torch_dtype": "bfloat16",
    "dataset_name": "AI-MO/NuminaMath-TIR", "dataset_config": "default", "dataset_train_split": "train",
    "num_generations": 7, "max_prompt_length": 512, "max_completion_length": 1024, "temperature": 0.9,
    "learning_rate": 2e-05, "beta": 0.04, "seed": 42, "max_steps": -1, "bf16": True, "use_vllm": True,
    "output_dir": "out", "hub_token": "hf_secret", "report_to": ["wandb"], "logging_steps": 1,
    "system_prompt": "Think.\nThen answer.", "reward_funcs": ["accuracy", "format"],
}  # fmt: skip


def _printed(arguments: dict[str, Any]) -> str:
    lines = "".join(f"{key}={value},\n" for key, value in arguments.items() if key != "system_prompt")
    return f"12:00 INFO GRPOConfig(\n{lines}optim=OptimizerNames.ADAMW_TORCH,\n)"


@pytest.mark.parametrize(
    ("text", "file"),
    [
        (json.dumps(TRL), "args.json"),
        ("# recipe\n" + "\n".join(f"{key}: {json.dumps(value)}" for key, value in TRL.items()), "grpo.yaml"),
        (_printed(TRL), "log.txt"),
        ("accelerate launch --num_processes 8 grpo.py "
         + " ".join(f"--{key} {value}" for key, value in TRL.items() if isinstance(value, (str, int, float))
                    and " " not in str(value) and key != "system_prompt" and value is not True), "run.sh"),
    ],
)  # fmt: skip
def test_arguments_of_trl_in_every_form(text: str, file: str) -> None:
    found = draft(text, file)

    assert found.kind == "TRL arguments"
    assert found.document["base_model"] == {
        "id": "Qwen/Qwen2.5-1.5B", "revision": "abc123", "dtype": "bfloat16",
    }  # fmt: skip
    assert found.document["data"]["sources"] == [
        {"id": "AI-MO/NuminaMath-TIR", "subset": "default", "split": "train", "role": "train"}
    ]
    optimizer = found.document["optimizer"]
    assert (optimizer["algorithm"], optimizer["library"], optimizer["seeds"]) == ("grpo", "trl", [42])
    assert float(optimizer["hyperparameters"]["learning_rate"]) == 2e-05
    assert not {"hub_token", "output_dir", "report_to", "logging_steps"} & optimizer["hyperparameters"].keys()
    assert "hf_secret" not in json.dumps(found.document)
    inference = found.document["inference"]
    assert (inference["samples"], inference["max_tokens"], inference["context_tokens"]) == (7, 1024, 1536)
    assert said(found, "the reward functions")


def test_a_branch_is_no_revision() -> None:
    found = draft(json.dumps({**TRL, "model_revision": "main"}))

    assert "revision" not in found.document["base_model"]
    assert said(found, "model_revision is 'main', a branch that moves")


OPENRLHF = r"""
set -x
NUM_GPUS=${1:-8}
ray job submit --address="http://127.0.0.1:8265" \
   --runtime-env-json='{"working_dir": "/openrlhf"}' \
   -- python3 -m openrlhf.cli.train_ppo_ray \
   --actor_num_nodes 1 --actor_num_gpus_per_node $((NUM_GPUS)) --vllm_num_engines 2 \
   --pretrain OpenRLHF/Llama-3-8b-sft-mixture \
   --remote_rm_url REWARD \
   --n_samples_per_prompt 8 --advantage_estimator group_norm \
   --prompt_max_len 1024 --generate_max_len 2048 --temperature 0.7 \
   --actor_learning_rate 5e-7 --eps_clip_low_high 0.2 0.27 --use_kl_loss --seed 3 \
   --prompt_data org/one,org/two --save_path ${UNKNOWN}/out --use_wandb secret-token
"""


@pytest.mark.parametrize("reward", [f"http://host:8000/openrlhf/{EXACT}/get_reward",
                                    f"http://host/p/openrlhf/{EXACT.replace(':', '%3A')}/get_reward"])  # fmt: skip
def test_a_script_of_openrlhf_that_calls_countermark_gives_the_route(reward: str) -> None:
    found = draft(OPENRLHF.replace("REWARD", reward), "run.sh")

    assert found.kind == "OpenRLHF arguments"
    assert found.document["verifier"] == {"routes": [{"task": "default", "verifier": EXACT}]}
    assert found.document["base_model"] == {"id": "OpenRLHF/Llama-3-8b-sft-mixture"}
    assert [one["id"] for one in found.document["data"]["sources"]] == ["org/one", "org/two"]
    optimizer = found.document["optimizer"]
    assert (optimizer["algorithm"], optimizer["seeds"]) == ("grpo", [3])
    assert optimizer["hardware"] == "1 x 8 GPUs for the actor"
    assert optimizer["hyperparameters"]["eps_clip_low_high"] == ["0.2", "0.27"]
    assert optimizer["hyperparameters"]["use_kl_loss"] is True
    assert "secret-token" not in json.dumps(found.document)
    assert found.document["inference"] == {
        "samples": 8, "max_tokens": 2048, "context_tokens": 3072, "temperature": 0.7, "engine": "vllm",
    }  # fmt: skip


def test_another_reward_server_is_said_to_be_open() -> None:
    found = draft(OPENRLHF.replace("REWARD", "http://host:5000/get_reward"))

    assert "verifier" not in found.document
    assert said(found, "http://host:5000/get_reward")


def test_a_place_on_a_disk_names_nothing_and_that_is_said() -> None:
    found = draft(
        "- actor_rollout_ref.model.path=/mnt/models/base\n- data.train_files=[~/a.parquet,org/b]\n", "o.yaml"
    )

    assert found.document["base_model"]["id"] == "/mnt/models/base"
    assert said(
        found, "actor_rollout_ref.model.path is '/mnt/models/base', a place on the machine that ran it"
    )
    assert said(found, "data.train_files is '~/a.parquet'")
    assert not said(found, "'org/b'")


def test_a_readme_of_a_data_set() -> None:
    text = (
        "---\nlicense: apache-2.0\npretty_name: Sums\nsource_datasets:\n- original\n- openai/gsm8k\n"
        "dataset_info:\n  splits:\n  - name: train\n    num_examples: 12\n---\n# Sums\n"
    )
    found = draft(text, "README.md")

    assert found.document == {
        "license": "apache-2.0",
        "summary": "Sums",
        "data": {"sources": [{"id": "openai/gsm8k", "role": "seed"}]},
    }
    assert said(found, "12 rows")
    assert said(found, "who wrote the data")


def test_a_readme_of_a_model() -> None:
    found = draft("---\nbase_model: a/b\ndatasets:\n- c/d\n---\n# My model\n", "README.md")

    assert found.document["base_model"] == {"id": "a/b"}
    assert found.document["data"]["sources"] == [{"id": "c/d", "role": "train"}]
    assert found.document["summary"] == "My model"


@pytest.mark.parametrize(
    ("content", "file", "word"),
    [
        (b"", "a.txt", "none of what a card can be begun from"),
        (b"hello there\n", "a.txt", "none of what a card can be begun from"),
        (b'{"a": 1}', "a.json", "none of what a card can be begun from"),
        (b"a: [", "a.yaml", "not YAML"),
        (b"a: 1\na: 2\n", "a.yaml", "not YAML"),
        (b"a: !!python/object/apply:os.system [echo]\n", "a.yaml", "not YAML"),
        (b"\x80\x04K\x01.", "training_args.bin", "is a pickle"),
        (b"PK\x03\x04", "training_args.bin", "is a pickle"),
        (b"\xff\xfe", "a.yaml", "no text"),
        (b"x" * (5 << 20), "a.yaml", "over 4194304 bytes"),
        (b"python -m verl 'data.train_files=a", "a.sh", "cannot be split into words"),
        (b"---\na: [\n---\n", "README.md", "not YAML"),
        (b"[" * 100_000, "a.json", "YAML"),
        (b'{"a":' * 500 + b"1" + b"}" * 500, "a.json", "over 100 levels deep"),
        (b"a: " + b"{a: " * 200 + b"1" + b"}" * 200, "a.yaml", "over 100 levels deep"),
    ],
)  # fmt: skip
def test_what_is_no_such_file_is_refused_in_a_sentence(content: bytes, file: str, word: str) -> None:
    with pytest.raises(CardError) as refused:
        read_draft(content, file=file)

    assert word in str(refused.value)
    assert file in str(refused.value)


def test_aliases_that_stand_for_more_than_memory_holds_are_refused() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]

    with pytest.raises(CardError, match="stands for over"):
        read_draft("\n".join(lines).encode(), file="bomb.yaml")


@pytest.mark.parametrize(
    "value", ["[1, 2]", "{a: 1}", "nan", ".inf", "'x'", "true", "-1", "1.5", "null", "9" * 40]
)
def test_values_of_the_wrong_kind_are_left_out_and_never_break_the_card(value: str) -> None:
    keys = {
        "actor_rollout_ref": ["model.path", "rollout.n", "rollout.temperature", "rollout.top_p", "actor.x"]
    }
    rest = "".join(
        f"{key}: {value}\n"
        for key in (*(f"actor_rollout_ref.{one}" for one in keys["actor_rollout_ref"]), "data.seed", "data.train_files",
                    "data.max_response_length", "data.max_prompt_length", "algorithm.adv_estimator")
    )  # fmt: skip
    draft("actor_rollout_ref: {}\n" + rest, "a.yaml")
    draft(
        "num_generations: 1\n"
        + "".join(f"{key}: {value}\n" for key in sorted(TRL.keys() - {"num_generations"})),
        "a.yaml",
    )
    draft("pretrain: a\nprompt_data: b\n" + "".join(
        f"{key}: {value}\n" for key in ("temperature", "top_p", "seed", "n_samples_per_prompt", "advantage_estimator",
                                        "remote_rm_url", "input_template", "generate_max_len")
    ), "a.yaml")  # fmt: skip
    draft(
        f"---\nlicense: {value}\nbase_model: {value}\ndatasets: {value}\ndataset_info: {value}\n---\n",
        "README.md",
    )
