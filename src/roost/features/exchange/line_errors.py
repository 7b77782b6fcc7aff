"""Describe a wrong line of an imported file for the user: which line, what is wrong with it, and what is expected
there."""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn

from roost.errors import Invalid

_SHOWN = 40
"""Characters that are shown of the line, from where it stops being JSON."""
_PACKED = (b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"PK\x03\x04", b"BZh", b"\xfd7zXZ")
_KINDS = {
    "object": "an object", "array": "a list", "str": "text", "int": "a whole number", "float": "a number",
    "bool": "true or false", "null": "null",
}  # fmt: skip
_OF_JSON = {dict: "object", list: "array", str: "str", int: "int", float: "float", bool: "bool", type(None): "null"}
_AT = r"(?: - at `\$\.?([^`]*)`)?"
_MISSING = re.compile(rf"Object missing required field `([^`]+)`{_AT}")
_UNKNOWN = re.compile(rf"Object contains unknown field `([^`]+)`{_AT}")
_TYPE = re.compile(rf"Expected `([^`]+)`(?:, got `([^`]+)`)?{_AT}")
_VALUE = re.compile(rf"Invalid (?:enum )?value (.+?){_AT}")


def wrong_line(number: int, line: bytes, error: Exception, *, expected: str, whole: bool = True) -> Invalid:
    """Make the error for a line. `error`: the decoder's. `expected`: what the line must be, as in `an event,
    {"seq":3,...}`. `whole`: it ends with a line break."""
    if isinstance(error, RecursionError):
        return _bad(f"line {number} is nested too deeply")
    try:
        found = json.loads(line.decode(), parse_constant=_refuse)
    except UnicodeDecodeError:
        packed = number == 1 and line.startswith(_PACKED)
        said = "is packed: unpack the file, then import it" if packed else "is not text in UTF-8"
    except json.JSONDecodeError as mistake:
        if not whole:
            return Invalid(
                f"line {number}, the last one, is cut off in the middle: the file was not written or copied to its end."
                f" Expected is {expected}",
                code="cut_off",
            )
        said = _no_json(number, line, mistake)
    except RecursionError:
        return _bad(f"line {number} is nested too deeply")
    except ValueError as mistake:
        said = f"is not JSON: {mistake}"
    else:
        if not isinstance(found, dict):
            said = f"is {_kind(_OF_JSON[type(found)])}, and not an object"
        else:
            return _bad(f"line {number}: {_of_field(str(error))}. Expected is {expected}")
    return _bad(f"line {number} {said}. Expected is {expected}")


def _bad(message: str) -> Invalid:
    return Invalid(message, code="bad_line")


def _refuse(word: str) -> NoReturn:
    raise ValueError(f"it has {word}")


def _no_json(number: int, line: bytes, mistake: json.JSONDecodeError) -> str:
    if number == 1 and line in (b"{", b"["):
        return (
            "is not a whole object: the file is one JSON text over many lines, and not one object a line (JSON Lines)"
        )
    if mistake.pos >= len(mistake.doc) or mistake.msg.startswith("Unterminated"):
        return "is not JSON: it ends before it is whole"
    rest = mistake.doc[mistake.pos : mistake.pos + _SHOWN]
    return f"is not JSON from character {mistake.pos + 1} on: {rest!r}"


def _of_field(said: str) -> str:
    """Reword msgspec's message; an unknown one is returned unchanged."""
    if found := _MISSING.match(said):
        return f"the field `{_path(found[2], found[1])}` is missing"
    if found := _UNKNOWN.match(said):
        return f"there is no field `{_path(found[2], found[1])}`"
    if found := _TYPE.match(said):
        wanted = " or ".join(map(_kind, found[1].split(" | ")))
        is_ = f" is {_kind(found[2])}," if found[2] else " is something else,"
        return f"`{found[3] or 'it'}`{is_} where {wanted} is expected"
    if found := _VALUE.match(said):
        return f"`{found[2]}` is {found[1]}, which is none of what may stand there"
    return said


def _path(at: str | None, field: str) -> str:
    return f"{at}.{field}" if at else field


def _kind(name: str) -> str:
    return _KINDS.get(name, name)


def fields_of(found: dict[str, Any]) -> str:
    """Name the fields of a first line, for the message about an unknown format."""
    return ", ".join(repr(name[:_SHOWN]) for name in list(found)[:8]) or "none"
