"""Lines above the screen, as they came or as cells."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple, TypeAlias

from roost.features.terminals.cells import PLAIN, Row, Style, styled

_SPLIT = re.compile(r"(\x1b\[[0-9;:]*m)")


class RawLine(NamedTuple):
    """A line as it came: `SIMPLE` characters and colours. style: the one that it begins with."""

    text: str
    style: Style
    wraps: bool = False


Line: TypeAlias = Row | RawLine | str
"""A text is a line without colours."""


def wrapped(line: str, style: Style, columns: int) -> list[RawLine]:
    if len(line) <= columns:
        return [RawLine(line, style)]
    starts = range(0, len(line), columns)
    return [RawLine(line[at : at + columns], style, at + columns < len(line)) for at in starts]


def cut(line: str, style: Style, columns: int) -> Iterator[RawLine]:
    """Cut a coloured line into rows."""
    parts, room, begin = list[str](), columns, style
    for token in _SPLIT.split(line):
        if token.startswith("\x1b"):
            parts.append(token)
            style = styled(style, token[2:-1])
            continue
        while token:
            if not room:
                yield RawLine("".join(parts), begin, True)
                parts, room, begin = [], columns, style
            parts.append(token[:room])
            room, token = room - len(parts[-1]), token[room:]
    yield RawLine("".join(parts), begin)


def row_of(line: Line, columns: int, behind: Row | None = None) -> Row:
    """Return the cells of a line. behind: the row that it is written over."""
    if isinstance(line, Row):
        return line
    if isinstance(line, str):
        line = RawLine(line, PLAIN)
    row = Row(columns) if behind is None else behind
    at, style = 0, line.style
    for token in _SPLIT.split(line.text) if "\x1b" in line.text else (line.text,):
        if token.startswith("\x1b"):
            style = styled(style, token[2:-1])
        elif token:
            end = at + len(token)
            if row.wide and end < columns and row.chars[end] == "":
                row.chars[end] = " "
            row.chars[at:end] = token
            row.styles[at:end] = [style] * len(token)
            at = end
    row.wraps = line.wraps
    return row
