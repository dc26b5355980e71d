"""How a bundle of each kind turns items into verdicts."""

from countermark_service.runtimes.composite import Children, CompositeRuntime
from countermark_service.runtimes.grader import GraderRuntime
from countermark_service.runtimes.interface import OnReduction, OnVerdict, OwnKeys, Runtime
from countermark_service.runtimes.judge import JudgeRuntime
from countermark_service.runtimes.python import PythonRuntime
from countermark_service.runtimes.sandbox import SandboxRuntime
from countermark_service.runtimes.sandboxes import Sandboxes

__all__ = [
    "Children",
    "CompositeRuntime",
    "GraderRuntime",
    "JudgeRuntime",
    "OnReduction",
    "OnVerdict",
    "OwnKeys",
    "PythonRuntime",
    "Runtime",
    "SandboxRuntime",
    "Sandboxes",
]
