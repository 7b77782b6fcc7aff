"""Describe an invalid body or query for people, from the decoder's message: the expected type and the path."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

import msgspec

from roost.api.shapes import LABEL_KEY, LABEL_QUERY, MONTH, NAME

_FORMS: Final = {
    NAME: "must begin with a letter or digit and have only those and ._:-",
    LABEL_KEY: "must have no colon and no control characters",
    MONTH: "must be a month, as in 2026-11",
    LABEL_QUERY: "must be a key and a value with a colon between them",
}
_TYPES: Final = {
    "str": "text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "object": "an object",
    "array": "a list",
}
_LONGEST: Final = 500
"""Characters of the decoder's message that are parsed: it may repeat the input."""


def said(error: msgspec.ValidationError, of: str) -> str:
    """Name the field and its fault. `of`: the decoded thing, as in "the body"."""
    what, at, where = str(error).rpartition(" - at `")
    what, place = (what, _place(where)) if at else (where, "")
    what = what[:_LONGEST]
    for pattern, words in _RULES:
        if found := pattern.fullmatch(what):
            return words(_subject(place, of), found)
    return f"{_subject(place, of)}: {what}"


def _place(where: str) -> str:
    key = where.startswith("key` in `")
    path = where.removeprefix("key` in `").removesuffix("`").removeprefix("$").removeprefix(".")
    return f"a key of `{path}`" if key else path


def _subject(place: str, of: str) -> str:
    if not place or place.startswith("a key of "):
        return place or of
    return f"a value of `{place.removesuffix('[...]')}`" if place.endswith("[...]") else f"`{place}`"


def _missing(subject: str, found: re.Match[str]) -> str:
    return f"`{found[1]}` is missing in {subject}"


def _unknown(subject: str, found: re.Match[str]) -> str:
    return f"{subject} has a field `{found[1]}`, which is not known"


def _length(subject: str, found: re.Match[str]) -> str:
    kind, sign, number = found.groups()
    if (sign, number) == (">=", "1"):
        return f"{subject} is empty"
    unit = "characters" if kind == "str" else "entries"
    return f"{subject} must have at {'least' if sign == '>=' else 'most'} {number} {unit}"


def _bound(subject: str, found: re.Match[str]) -> str:
    signs = {">=": "at least ", "<=": "at most ", ">": "more than ", "<": "less than "}
    return f"{subject} must be {signs[found[1]]}{found[2].removesuffix('.0')}"


def _form(subject: str, found: re.Match[str]) -> str:
    # The decoder quotes the pattern as Python does, with doubled backslashes.
    pattern = found[1].replace("\\\\", "\\")
    return f"{subject} {_FORMS.get(pattern, f'must fit {pattern}')}"


def _kind(subject: str, found: re.Match[str]) -> str:
    wanted = " or ".join(_TYPES.get(kind, kind) for kind in found[1].split(" | "))
    return f"{subject} must be {wanted}, not {_TYPES.get(found[2], found[2])}"


def _value(subject: str, found: re.Match[str]) -> str:
    return f"{subject} cannot be {found[1]}; GET /openapi.json has what it can be"


_RULES: Final[list[tuple[re.Pattern[str], Callable[[str, re.Match[str]], str]]]] = [
    (re.compile(pattern, re.DOTALL), words)
    for pattern, words in (
        (r"Object missing required field `(.*)`", _missing),
        (r"Object contains unknown field `(.*)`", _unknown),
        (r"Expected `(\w+)` of length (>=|<=) (\d+)", _length),
        (r"Expected `\w+` (>=|<=|>|<) (\S+)", _bound),
        (r"Expected `str` matching regex '(.*)'", _form),
        (r"Expected `([\w| ]+)`, got `(\w+)`", _kind),
        (r"Invalid (?:enum )?value (.*)", _value),
    )
]
