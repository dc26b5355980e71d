"""What candidates are written in, and what they find when they run.

A flavour is an interpreter that the zygote runs on and either candidates in that same
Python (with the packages they may import) or another program that is executed for
them (a compiler and its product, node).
"""

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from countermark_service.sandbox.code.model import SandboxUnavailableError
from countermark_service.sandbox.code.shortage import shortage_told

PRELOAD = (
    "math", "re", "collections", "heapq", "bisect", "itertools", "functools", "string", "operator", "typing",
    "random",
)  # fmt: skip
"""What programs import most. More would make every fork dearer than the imports it saves."""

_INSPECT = (
    "import sys, os, json; print(json.dumps({"
    "'executable': os.path.realpath(getattr(sys, '_base_executable', None) or sys.executable),"
    "'prefix': os.path.realpath(sys.base_prefix), 'version': sys.version.split()[0],"
    "'path': [os.path.realpath(p) for p in sys.path if os.path.isdir(p)]}))"
)
_INSPECT_SECONDS = 30


@dataclass(frozen=True)
class Interpreter:
    """A Python installation, seen through any virtual environment to what is really there."""

    executable: Path
    prefix: Path
    """The folder that holds the installation."""
    version: str
    library: tuple[Path, ...]
    """The folders of the standard library."""

    @classmethod
    def find(cls, python: Path) -> "Interpreter":
        """Ask `python` where it lives.

        Raises:
            SandboxUnavailableError: It does not run.
        """
        try:
            with shortage_told():
                answer = subprocess.run(
                    [str(python), "-I", "-S", "-c", _INSPECT],
                    capture_output=True, check=True, timeout=_INSPECT_SECONDS, stdin=subprocess.DEVNULL,
                )  # fmt: skip
            facts = json.loads(answer.stdout)
        except (OSError, subprocess.SubprocessError, ValueError) as error:
            raise SandboxUnavailableError(f"the interpreter {python} does not run: {error}") from error
        return cls(
            Path(facts["executable"]),
            Path(facts["prefix"]),
            facts["version"],
            tuple(Path(folder) for folder in facts["path"]),
        )


@dataclass(frozen=True)
class Program:
    """How sources become a running program that is not the zygote's Python."""

    source: str
    """File name that the source is written to, in the scratch."""
    compile: tuple[str, ...] | None
    """Command that makes `product` of `source`; None where the source is run as it is."""
    product: str
    """File that the compiler leaves; ignored without one."""
    run: tuple[str, ...] | None
    """Command that runs the source, with `{stack_kib}` for what it may take of the stack; None runs the product
    itself."""


@dataclass(frozen=True)
class Flavour:
    """One kind of slot."""

    name: str
    """For people and records."""
    interpreter: Interpreter
    """What the zygote runs on, and Python candidates with it."""
    site_packages: tuple[Path, ...] = ()
    """Folders of packages that candidates may import."""
    preload: tuple[str, ...] = PRELOAD
    """Modules imported once per slot."""
    program: Program | None = None
    """None: candidates are Python."""


def python_flavour(
    python: Path, *, name: str = "python", site_packages: Sequence[Path] = (), preload: Sequence[str] = ()
) -> Flavour:
    """Return the flavour of candidates in the Python at `python`.

    Args:
        python: The interpreter, or the one of a virtual environment (its packages are not implied).
        name: For records.
        site_packages: Folders that candidates import from after the standard library.
        preload: Modules to import once per slot beyond the usual ones, such as ``numpy``.
    """
    folders = tuple(folder.resolve() for folder in site_packages)
    return Flavour(name, Interpreter.find(python), folders, (*PRELOAD, *preload))


def cpp_flavour(python: Path, compiler: str = "/usr/bin/g++") -> Flavour:
    """Return the flavour of C++ programs; `python` only carries the zygote."""
    command = (compiler, "-O2", "-std=c++20", "-pipe", "-o", "main", "main.cpp")
    program = Program("main.cpp", command, "main", None)
    return Flavour("cpp", Interpreter.find(python), preload=(), program=program)


def javascript_flavour(python: Path, node: str = "/usr/bin/node") -> Flavour:
    """Return the flavour of JavaScript programs on node; `python` only carries the zygote."""
    program = Program("main.js", None, "", (node, "--stack-size={stack_kib}", "main.js"))
    return Flavour("javascript", Interpreter.find(python), preload=(), program=program)
