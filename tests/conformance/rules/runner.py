"""Runs one bundle's `verify` (and `reduce`) over items read as JSON lines, one answer line per item.

Started as ``python -I runner.py BUNDLE [CPU_SECONDS]`` with the interpreter of the bundle's own environment,
so a bundle is tested with what its lock pins and nothing else. Standard library only. CPU_SECONDS is a hard
limit on the whole process: a verifier that is not linear is killed by the kernel, and the reader of the
answers sees the pipe end.
"""

import importlib.util
import json
import os
import resource
import sys
from pathlib import Path


def main() -> None:
    """Answer every line of standard input; whatever the verifier prints goes to standard error."""
    bundle = Path(sys.argv[1])
    if len(sys.argv) > 2:
        seconds = int(sys.argv[2])
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    answers = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(2, 1)
    spec = importlib.util.spec_from_file_location("verifier", bundle / "verifier.py")
    if spec is None or spec.loader is None:
        raise SystemExit(f"{bundle} has no verifier.py that Python can load")
    sys.dont_write_bytecode = True
    module = importlib.util.module_from_spec(spec)
    sys.modules["verifier"] = module
    spec.loader.exec_module(module)
    for line in sys.stdin:
        call = json.loads(line)
        try:
            result = {"value": getattr(module, call["call"])(call["item"])}
        except Exception as error:  # noqa: BLE001 - the edge where a raised error becomes a reported one
            result = {"raised": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(result) + "\n")
        answers.flush()


main()
