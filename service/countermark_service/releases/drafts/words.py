"""Launch scripts and command lines as words, with the variables that a script sets put in.

Nothing is run: a script is split as a shell would, lines that set a variable to a
text or a sum are noted, and `$NAME`, `${NAME}`, `${NAME:-default}` and `$((2 * 3))`
are replaced where the script itself says what they are. What only the machine knew
stays as it is written.
"""

import ast
import operator
import re
import shlex
from collections.abc import Callable, Mapping

from countermark_service.releases.release import CardError

_ASSIGNMENT = re.compile(r"^(?:export\s+|local\s+|readonly\s+)?([A-Za-z_]\w*)=(.*)$")
_VARIABLE = re.compile(r"\$(?:\{(\w+)(?::?-([^}]*))?\}|(\w+))")
_SUM = re.compile(r"\$\(\(([^$`()]*(?:\([^$`()]*\)[^$`()]*)*)\)\)")
_COMMAND = re.compile(r"[|&;`]|\$\((?!\()")
_OPEN = re.compile(rf"{_VARIABLE.pattern}|\$\(")
_DEEPEST = 8
_LARGEST = 1 << 53
_OPERATIONS: Mapping[type[ast.operator], Callable[[int, int], int]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.floordiv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}


def command_words(text: str, *, file: str) -> list[str]:
    """Return every word of a script or command line.

    Raises:
        CardError: A quote is never closed.
    """
    text = text.replace("\\\r\n", " ").replace("\\\n", " ")
    variables: dict[str, str] = {}
    words: list[str] = []
    try:
        for line in text.splitlines():
            if line.lstrip().startswith("#"):
                continue
            found = _ASSIGNMENT.match(line.strip())
            if found and not _COMMAND.search(found[2]):
                value = [found[2]] if "$((" in found[2] else shlex.split(found[2], comments=True)
                if len(value) <= 1:
                    variables[found[1]] = _filled("".join(value), variables)
                    continue
            words += shlex.split(line, comments=True)
    except ValueError:
        try:  # a quote that goes over several lines
            words = shlex.split(text, comments=True)
        except ValueError as exc:
            raise CardError(file, "", f"cannot be split into words: {exc}") from exc
    return [_filled(word, variables) for word in words]


def _filled(word: str, variables: dict[str, str]) -> str:
    """Return a word with the variables that are known."""

    def known(found: re.Match[str]) -> str:
        name = found[1] or found[3]
        return variables.get(name, found[2] if found[2] is not None else found[0])

    for _ in range(_DEEPEST):
        filled = _SUM.sub(lambda found: _summed(found, variables), _VARIABLE.sub(known, word))
        if filled == word or len(filled) > 100_000:
            break
        word = filled
    return word


def _summed(found: re.Match[str], variables: Mapping[str, str]) -> str:
    """Return what an arithmetic expression of whole numbers comes to, or the expression where it cannot be told."""
    text = re.sub(r"[A-Za-z_]\w*", lambda name: variables.get(name[0], name[0]), found[1])
    try:
        return str(_value(ast.parse(text.strip(), mode="eval").body))
    except (SyntaxError, ValueError, ZeroDivisionError, RecursionError, MemoryError):
        return found[0]


def _value(node: ast.expr) -> int:
    if isinstance(node, ast.Constant) and type(node.value) is int:
        return node.value
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATIONS:
        made = _OPERATIONS[type(node.op)](_value(node.left), _value(node.right))
        if abs(made) < _LARGEST:
            return made
    raise ValueError("no sum of whole numbers")


def is_open(value: object) -> bool:
    """Whether a value still holds a variable that only the machine knew."""
    return isinstance(value, str) and _OPEN.search(value) is not None
