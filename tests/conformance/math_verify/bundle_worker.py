"""A worker as plain as can be: one bundle's `reduce` and `verify` over JSON lines.

Runs inside the bundle's environment with the bundle's folder as its argument. Reads one item a line and
answers ``{"reduction": ..., "verdict": ...}``. Two further keys of an item say how the bundle is called:
`depth`, with so many more frames around it; `thread`, outside the main thread.
"""

import importlib
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

sys.path.insert(0, sys.argv[1])
verifier: Any = importlib.import_module("verifier")


def answer(item: dict[str, Any], depth: int) -> dict[str, Any]:
    """Call `reduce`, then `verify`, below so many further frames."""
    if depth > 0:
        return answer(item, depth - 1)
    return {"reduction": verifier.reduce(item), "verdict": verifier.verify(item)}


if __name__ == "__main__":
    replies = sys.stdout
    sys.stdout = sys.stderr
    for line in sys.stdin:
        item = json.loads(line)
        depth, in_thread = item.pop("depth", 0), item.pop("thread", False)
        with ThreadPoolExecutor(max_workers=1) as thread:
            reply = thread.submit(answer, item, depth).result() if in_thread else answer(item, depth)
        print(json.dumps(reply), file=replies, flush=True)
