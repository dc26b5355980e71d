"""How a bundle of each kind turns items into verdicts."""

from countermark_service.runtimes.interface import OnReduction, OnVerdict, Runtime
from countermark_service.runtimes.python import PythonRuntime
from countermark_service.runtimes.sandbox import SandboxRuntime
from countermark_service.runtimes.sandboxes import Sandboxes

__all__ = ["OnReduction", "OnVerdict", "PythonRuntime", "Runtime", "SandboxRuntime", "Sandboxes"]
