"""Runs the OpenAI SDK's own grader calls: reads what to call, prints what came out.

Told: ``base_url``, ``key``, ``calls`` (grader, model_sample, item) and ``at_once``.
Says: for each call its reward, flags, digest; or the class of the SDK's exception and its status.
"""

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from typing import Any

openai: Any = import_module("openai")  # by name: it is not here when types are checked


def main() -> None:
    """Run every grader."""
    told = json.load(sys.stdin)
    client = openai.OpenAI(base_url=told["base_url"], api_key=told["key"], max_retries=told.get("retries", 2))

    def one(call: dict[str, Any]) -> dict[str, Any]:
        try:
            reply = client.fine_tuning.alpha.graders.run(**call)
        except openai.APIStatusError as exc:
            return {"raised": type(exc).__name__, "status": exc.status_code, "body": exc.body}
        errors = reply.metadata.errors.to_dict()
        return {
            "reward": reply.reward,
            "flags": sorted(name for name, value in errors.items() if value is True),
            "sub_rewards": reply.sub_rewards,
            "type": reply.metadata.type,
            "seconds": reply.metadata.execution_time,
            "digest": reply.model_extra["countermark"]["digest"],
        }

    validated = [
        client.fine_tuning.alpha.graders.validate(grader=grader).to_dict()
        for grader in told.get("validate", [])
    ]
    with ThreadPoolExecutor(told["at_once"]) as threads:
        print(json.dumps({"runs": list(threads.map(one, told["calls"])), "validated": validated}))


main()
