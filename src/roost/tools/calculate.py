"""`calculate`: exact arithmetic on numbers, without running code."""

from __future__ import annotations

import ast
import math
import operator
import re
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import Annotated

import msgspec

from roost.tools.errors import ToolError
from roost.tools.function import tool

_DIGITS = 2_000
"""Most digits of a number, before and after the point."""
_POWER = 4_096
_PLACES = 12
_EXACT = 50
_ROOT = 80
"""Decimal places of an irrational root; more than `_EXACT`, so that it is not shown as exact."""
_BINARY: dict[type[ast.operator], Callable[[Fraction, Fraction], Fraction]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: lambda a, b: a / b,
    ast.FloorDiv: lambda a, b: Fraction(a // b),
    ast.Mod: operator.mod,
}
_SIGNS = str.maketrans({"×": "*", "÷": "/", "−": "-", "–": "-", "€": "", "$": ""})
_PERCENT_OF = re.compile(r"(\d+(?:\.\d+)?)\s*(?:%|percent)\s*of\b", re.IGNORECASE)
_PERCENT = re.compile(r"(\d+(?:\.\d+)?)\s*%(?!\s*[\d(])")
_THOUSANDS = re.compile(r"(?<![\d.,])\d{1,3}(?:,\d{3})+(?![\d,])")
_MEMBERS = re.compile(r"[A-Za-z]\w*\s*\(|\[")
_IN_MEMBERS = re.compile(r"\d,0\d\d(?!\d)")


def _round(number: Fraction, places: Fraction) -> Fraction:
    if abs(places) > _PLACES:
        raise ToolError(f"round to at most {_PLACES} places")
    return Fraction(round(number, int(places)))


def _call(name: str, numbers: list[Fraction]) -> Fraction | int:
    match name, numbers:
        case "abs", [number]:
            return abs(number)
        case "floor", [number]:
            return math.floor(number)
        case "ceil", [number]:
            return math.ceil(number)
        case "sqrt", [number]:
            return _root(number)
        case "round", [number]:
            return round(number)
        case "round", [number, places]:
            return _round(number, places)
        case "sum", _:
            return sum(numbers, Fraction(0))
        case "min" | "max", [_, *_]:
            return min(numbers) if name == "min" else max(numbers)
        case _:
            raise ToolError(f"there is no function {name} of {len(numbers)} numbers")


@tool(safety="read_only", replay="safe", inside=True)
async def calculate(
    expression: Annotated[
        str, msgspec.Meta(min_length=1, max_length=1000, description="such as (12.50 + 3) * 4, 15% of 80 or sqrt(2)")
    ],
) -> str:
    """Work out an arithmetic expression exactly: + - * / // % ** and abs, min, max, sum, round, floor, ceil, sqrt."""
    return shown(value_of(expression))


def value_of(expression: str) -> Fraction:
    """Return the value of an arithmetic expression. Raises `ToolError` for anything else, and for huge numbers."""
    text = _without_thousands(expression.translate(_SIGNS).replace("^", "**"))
    text = _PERCENT.sub(r"(\1/100)", _PERCENT_OF.sub(r"(\1/100)*", text)).strip().rstrip("=? ")
    try:
        return _value(ast.parse(text, mode="eval").body, text)
    except (SyntaxError, RecursionError, MemoryError, UnicodeError):
        raise ToolError(f"{expression!r} is not an arithmetic expression: write it as (12.50 + 3) * 4") from None
    except ZeroDivisionError:
        raise ToolError(f"{expression!r} divides by zero") from None
    except (TypeError, ValueError, OverflowError) as error:
        raise ToolError(f"{expression!r} cannot be worked out: {error}") from None


def _without_thousands(text: str) -> str:
    """Join `1,000`. In a function's arguments a comma separates two numbers: `sum(100,200)` is 300."""
    if _MEMBERS.search(text) is None:
        return _THOUSANDS.sub(lambda found: found[0].replace(",", ""), text)
    if (unclear := _IN_MEMBERS.search(text)) is not None:
        raise ToolError(f"{unclear[0]!r} may be one number or two: write 1000, not 1,000, beside a function")
    return text


def shown(value: Fraction) -> str:
    """Format an integer or a decimal number: exact if it has at most 50 places, else rounded to 12."""
    exact = 10**_EXACT % value.denominator == 0
    places = _EXACT if exact else _PLACES
    whole, rest = divmod(round(abs(value) * 10**places), 10**places)
    text = f"{'-' if value < 0 else ''}{whole}.{rest:0{places}d}".rstrip("0").rstrip(".")
    return text if exact else f"about {text}"


def _value(node: ast.expr, text: str) -> Fraction:
    """Evaluate a node parsed from `text`. Decimals are read from there: a float would have only 17 digits."""
    match node:
        case ast.Constant(value=int() as number) if not isinstance(number, bool):
            return _bounded(Fraction(number))
        case ast.Constant(value=float()):
            return _decimal(ast.get_source_segment(text, node) or "")
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value(operand, text)
        case ast.UnaryOp(op=ast.UAdd(), operand=operand):
            return _value(operand, text)
        case ast.BinOp(left=left, op=ast.Pow(), right=right):
            return _power(_value(left, text), _value(right, text))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
            return _bounded(_BINARY[type(op)](_value(left, text), _value(right, text)))
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]):
            return _bounded(Fraction(_call(name, [_value(argument, text) for argument in _members(arguments)])))
        case _:
            raise ToolError(f"only numbers and arithmetic are allowed, not {ast.unparse(node)[:80]!r}")


def _decimal(text: str) -> Fraction:
    """Return the exact value of a decimal literal. Its exponent is checked before so many digits are made."""
    try:
        number = Decimal(text)
    except InvalidOperation as error:  # the exponent does not fit a machine word
        raise ToolError("the number would be too large") from error
    exponent = number.as_tuple().exponent
    if not isinstance(exponent, int) or max(abs(exponent), abs(number.adjusted())) > _DIGITS:
        raise ToolError("the number would be too large")
    return _bounded(Fraction(number))


def _members(arguments: list[ast.expr]) -> list[ast.expr]:
    """Return the arguments: `sum([1, 2])` is `sum(1, 2)`."""
    if len(arguments) == 1 and isinstance(arguments[0], ast.List | ast.Tuple):
        return arguments[0].elts
    return arguments


def _power(base: Fraction, exponent: Fraction) -> Fraction:
    if exponent.denominator != 1:
        if exponent == Fraction(1, 2):
            return _root(base)
        raise ToolError("only whole powers and square roots can be worked out")
    digits = max(base.numerator.bit_length(), base.denominator.bit_length())
    if abs(exponent) > _POWER or digits * abs(exponent) > _DIGITS * 4:
        raise ToolError("the number would be too large")
    return Fraction(base ** int(exponent))


def _root(number: Fraction) -> Fraction:
    if number < 0:
        raise ToolError("a negative number has no square root here")
    top, bottom = math.isqrt(number.numerator), math.isqrt(number.denominator)
    if top * top == number.numerator and bottom * bottom == number.denominator:
        return Fraction(top, bottom)
    return Fraction(math.isqrt(number.numerator * 10 ** (2 * _ROOT) // number.denominator), 10**_ROOT)


def _bounded(value: Fraction) -> Fraction:
    if max(value.numerator.bit_length(), value.denominator.bit_length()) > _DIGITS * 4:
        raise ToolError("the number would be too large")
    return value
