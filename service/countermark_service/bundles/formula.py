"""Arithmetic over named numbers, as the `calculate_output` of a grader has it.

A formula comes with a request, so it is parsed into a tree of a few kinds of nodes and
nothing else: numbers, names, ``+ - * / % ^`` (``**`` is the same as ``^``), signs, brackets
and some functions. Everything is computed in doubles. What has no finite value (a division by
zero, the root of a negative number, an overflow) is an error and never a number.
"""

import ast
import math
import operator
from collections.abc import Callable, Mapping

MOST_CHARS = 2000
_DEEPEST = 100
_Number = Callable[[Mapping[str, float]], float]
_BINARY: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.Mod: operator.mod, ast.Pow: math.pow,
}  # fmt: skip
_UNARY: dict[type[ast.unaryop], Callable[[float], float]] = {ast.UAdd: operator.pos, ast.USub: operator.neg}
FUNCTIONS: dict[str, Callable[..., float]] = {
    "min": min, "max": max, "abs": abs, "floor": math.floor, "ceil": math.ceil, "exp": math.exp,
    "sqrt": math.sqrt, "log": math.log,
}  # fmt: skip
_ANY_NUMBER = ("min", "max")


class FormulaError(ValueError):
    """A text that is no formula, or a formula without a finite value."""


class Formula:
    """A parsed formula."""

    def __init__(self, text: str) -> None:
        """Parse.

        Raises:
            FormulaError: The text is none; says why.
        """
        self.names: set[str] = set()
        """The numbers that it needs."""
        if len(text) > MOST_CHARS:
            raise FormulaError(f"it has over {MOST_CHARS} characters")
        try:
            tree = ast.parse(text.strip().replace("^", "**"), mode="eval")
        except (SyntaxError, ValueError, RecursionError, MemoryError) as exc:
            raise FormulaError(f"it cannot be read: {type(exc).__name__}") from exc
        self._value = self._compiled(tree.body, 0)

    def value(self, numbers: Mapping[str, float]) -> float:
        """Compute.

        Raises:
            FormulaError: There is no finite value.
        """
        try:
            found = float(self._value(numbers))
        except (ArithmeticError, ValueError) as exc:
            raise FormulaError(f"it has no value: {exc}") from exc
        if not math.isfinite(found):
            raise FormulaError("its value is not finite")
        return found

    def _compiled(self, node: ast.expr, depth: int) -> _Number:
        if depth > _DEEPEST:
            raise FormulaError(f"it is nested over {_DEEPEST} levels deep")
        match node:
            case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
                return self._constant(value)
            case ast.Name(id=name):
                self.names.add(name)
                return lambda numbers: numbers[name]
            case ast.UnaryOp(op=op, operand=operand) if type(op) in _UNARY:
                one, inner = _UNARY[type(op)], self._compiled(operand, depth + 1)
                return lambda numbers: one(inner(numbers))
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
                two = _BINARY[type(op)]
                first, second = self._compiled(left, depth + 1), self._compiled(right, depth + 1)
                return lambda numbers: two(first(numbers), second(numbers))
            case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if name in FUNCTIONS:
                return self._call(name, [self._compiled(each, depth + 1) for each in args])
        raise FormulaError(
            f"{ast.unparse(node)[:60]!r} is no part of a formula: there are numbers, names, + - * / % ^, brackets, "
            f"and {', '.join(FUNCTIONS)}"
        )

    def _constant(self, value: float) -> _Number:
        try:
            number = float(value)
        except OverflowError as exc:
            raise FormulaError("it has a number beyond doubles") from exc
        return lambda numbers: number

    def _call(self, name: str, arguments: list[_Number]) -> _Number:
        if not arguments or (len(arguments) > 1 and name not in _ANY_NUMBER):
            wanted = "one number or more" if name in _ANY_NUMBER else "one number"
            raise FormulaError(f"{name} takes {wanted}, not {len(arguments)}")
        function = FUNCTIONS[name]
        if len(arguments) == 1 and name in _ANY_NUMBER:
            return arguments[0]
        return lambda numbers: function(*(each(numbers) for each in arguments))
