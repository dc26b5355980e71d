"""Runs the `sandbox-fusion` SDK: reads what to call, prints what came out.

Told: ``url`` and ``calls``: ``run`` or ``submit`` with the request's fields, ``attempts``, and
whether to call the coroutine. Says: each result as JSON, or the error as a text.
"""

import asyncio
import json
import logging
import sys
import warnings
from typing import Any

warnings.simplefilter("ignore")
logging.disable(logging.CRITICAL)

import sandbox_fusion as sdk  # type: ignore[import-not-found]  # noqa: E402 - it warns when it is imported


def one(url: str, call: dict[str, Any]) -> Any:
    """Make one call."""
    kinds = {
        "run": (sdk.RunCodeRequest, sdk.run_code, sdk.run_code_async),
        "submit": (sdk.SubmitRequest, sdk.submit, sdk.submit_async),
    }
    make, plain, coroutine = kinds[call["kind"]]
    asked = make(**call["fields"])
    try:
        if call.get("async"):
            result = asyncio.run(coroutine(asked, endpoint=url, max_attempts=call.get("attempts", 5)))
        else:
            result = plain(asked, max_attempts=call.get("attempts", 5))
    except Exception as exc:  # noqa: BLE001 - the SDK raises nothing narrower
        return f"raised: {exc}"
    return json.loads(result.json())


def main() -> None:
    """Make every call, one after the other."""
    told = json.load(sys.stdin)
    sdk.set_endpoint(told["url"])
    print(json.dumps([one(told["url"], call) for call in told["calls"]]))


main()
