"""Release cards that tests start from."""

from typing import Any

EXACT = "exact:1.0.0@sha256:a21a9193d402d7f2e60a346b72f215bb917058e407607b70f43e768a661c2eb6"
NUMERIC = "numeric:1.4.0@sha256:14ea2eba4150c2a258d8becef6d2a5424a7898ee5765ac868d84461225d746b7"


def bare_card(**more: Any) -> dict[str, Any]:
    """Return the least that is a card."""
    return {"schema_version": 1, "name": "tests/bare", "version": "1.0", **more}


def full_card(**more: Any) -> dict[str, Any]:
    """Return a card that says everything, under shipped verifiers."""
    digest = "sha256:" + "0" * 64
    return {
        "schema_version": 1,
        "name": "tests/full",
        "version": "1.0",
        "summary": "Sums and words",
        "license": "apache-2.0",
        "homepage": "https://example.org/full",
        "released": "2026-11-28",
        "verifier": {
            "routes": [
                {
                    "task": "sums",
                    "data_sources": ["openai/gsm8k"],
                    "verifier": NUMERIC,
                    "params": {"rel_tolerance": 0.01},
                    "on_failure": "null",
                },
                {"task": "words", "verifier": EXACT, "on_failure": "zero"},
            ]
        },
        "base_model": {
            "id": "Qwen/Qwen2.5-7B",
            "revision": "d149729398750b98c0af14eb82c78cfe92750796",
            "weights_digest": digest,
            "dtype": "bfloat16",
        },
        "data": {
            "sources": [
                {
                    "id": "openai/gsm8k",
                    "revision": "e53f048856ff4f594e959d75785d2c2d37b678ee",
                    "subset": "main",
                    "split": "train",
                    "rows": 7473,
                    "role": "train",
                }
            ],
            "filters": [{"name": "length", "rows_before": 7473, "rows_after": 7000}],
            "decontamination": {"method": "13-gram overlap", "against": ["MATH-500"], "removed": 12},
            "generator_models": [],
        },
        "optimizer": {
            "algorithm": "grpo",
            "library": "verl",
            "library_version": "0.6.0",
            "hyperparameters": {"algorithm.gamma": 1.0, "actor_rollout_ref.actor.optim.lr": 1e-6},
            "seeds": [1, 2, 3],
            "steps": 300,
            "hardware": "8 H100",
        },
        "scaffold": {
            "prompt_template": "{question}\nPut the answer in \\boxed{}.",
            "system_prompt": "",
            "chat_template_digest": digest,
            "tools": [],
            "environment": {"name": "single turn"},
        },
        "inference": {
            "samples": 16,
            "max_tokens": 4096,
            "context_tokens": 8192,
            "temperature": 1.0,
            "top_p": 1.0,
            "top_k": -1,
            "stop": [],
            "seed": 0,
            "engine": "vllm 0.11.0",
        },
        "results": [
            {
                "metric": "accuracy",
                "value": 0.75,
                "n": 4,
                "task": "sums",
                "dataset": "openai/gsm8k test",
                "model": "tests/full-7b",
                "interval": [0.7, 0.8],
                "outputs": {"file": "outputs.jsonl", "digest": digest},
            }
        ],
        **more,
    }
