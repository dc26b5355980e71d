"""What a test program wants of a program that no program in another process can give it.

A right program fails such a test, so that one who fails it has not shown to be wrong: the test is a bad reference
then. One that passes it all the same has passed. All of this is read in the test's own source, which no candidate has
a say in.
"""

import ast
import re

_SHARED = frozenset(
    f"{owner}.{name}"
    for owner, names in (("builtins", ("input", "print")), ("sys", ("stdin", "stdout", "stderr")))
    for name in names
)
"""What a test may put something else in the place of, for both processes."""
_CAUGHT = (
    "assertLogs",
    "assertNoLogs",
    "assertWarns",
    "assertWarnsRegex",
    "catch_warnings",
    "warns",
    "caplog",
    "capfd",
)
_TIMED = ("wait_for",)
_NAMES = ("__name__", "__qualname__")
_LOOKED_INTO = re.compile(
    r"(?:dataclasses\.)?(?:asdict|astuple|is_dataclass)|dataclasses\.fields|vars|inspect\.(?:getsource|getmembers|getmro)"
)
_DOTTED = re.compile(r"[A-Za-z_]\w*(?:\.\w+)+")


def wanted(source: str, names: list[str]) -> str | None:
    """Return what a test program wants, as the end of a sentence; None where nothing of it is known to be in the way.

    Args:
        source: The test program, with what stands before it.
        names: Of the functions and classes of the candidate that it uses.
    """
    tree = ast.parse(source)
    found = (_of(node, set(names)) for node in ast.walk(tree))
    return next((one for one in found if one is not None), None)


def _of(node: ast.AST, names: set[str]) -> str | None:
    if isinstance(node, ast.ClassDef):
        derived = [base.id for base in node.bases if isinstance(base, ast.Name) and base.id in names]
        return f"derives a class from {derived[0]}" if derived else None
    if isinstance(node, ast.Compare):
        sides = [node.left, *node.comparators]
        own = any(isinstance(side, ast.Name) and side.id in names for side in sides)
        return "compares types" if own and any(_is_call_of_type(side) for side in sides) else None
    if isinstance(node, (ast.Attribute, ast.Name)):
        name = node.attr if isinstance(node, ast.Attribute) else node.id
        if name in _TIMED:
            return f"stops it after a time ({name})"
        if name in _CAUGHT:
            return f"catches what is logged or warned of ({name})"
        return _asked_of(node, names) if isinstance(node, ast.Attribute) else None
    caught = [node.type] if isinstance(node, ast.ExceptHandler) else getattr(node, "args", None)
    if isinstance(caught, list) and any(_is_end(one) for one in caught):
        return "waits for it to end (SystemExit)"
    if not isinstance(node, ast.Call):
        return None
    if _LOOKED_INTO.fullmatch(ast.unparse(node.func)):
        return f"looks into it ({ast.unparse(node.func)})"
    return _patched(node)


def _asked_of(node: ast.Attribute, names: set[str]) -> str | None:
    """Return what a test asks of an object or a function, where a stand-in has another."""
    owner = node.value.id if isinstance(node.value, ast.Name) else ""
    if node.attr == "__class__" and owner not in ("self", "cls"):
        return "asks for the class of an object"
    if node.attr in _NAMES and _is_call_of_type(node.value):
        return "asks for the class of an object"
    if owner in names and owner[:1].islower() and not node.attr.startswith("__"):
        return f"asks for {node.attr} of a function"
    return None


def _is_end(node: ast.expr | None) -> bool:
    """Return whether what is caught, or one of several, is what the program's own process does not outlive."""
    several = node.elts if isinstance(node, ast.Tuple) else [node]
    return any(isinstance(one, ast.Name) and one.id == "SystemExit" for one in several)


def _is_call_of_type(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "type"


def _patched(call: ast.Call) -> str | None:
    """Return what a call patches, where the program would not see it."""
    function = ast.unparse(call.func)
    last = function.rpartition(".")[2]
    if not (
        last == "patch" or ".patch." in f".{function}." or (last == "setattr" and "monkeypatch" in function)
    ):
        return None
    texts = [one.value for one in call.args if isinstance(one, ast.Constant) and isinstance(one.value, str)]
    target = texts[0] if texts else ""
    if call.args and not _DOTTED.fullmatch(target):
        target = f"{ast.unparse(call.args[0])}.{target}"
    return None if target in _SHARED else f"patches {target or function}"
