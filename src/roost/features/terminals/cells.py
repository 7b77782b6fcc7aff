"""Cells of a screen: styles, rows, and the width of characters."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

DEFAULT_COLOUR = -1
RGB = 0x1000000
"""Added to the 24 bits of a colour that is none of the palette's 256."""
BOLD, DIM, ITALIC, UNDERLINE, BLINK, INVERSE, HIDDEN, STRIKE = (1 << bit for bit in range(8))
FLAGS = {
    "bold": BOLD,
    "dim": DIM,
    "italic": ITALIC,
    "underline": UNDERLINE,
    "blink": BLINK,
    "inverse": INVERSE,
    "hidden": HIDDEN,
    "strike": STRIKE,
}
_SET = {1: BOLD, 2: DIM, 3: ITALIC, 4: UNDERLINE, 5: BLINK, 6: BLINK, 7: INVERSE, 8: HIDDEN, 9: STRIKE, 21: UNDERLINE}
_CLEAR = {22: BOLD | DIM, 23: ITALIC, 24: UNDERLINE, 25: BLINK, 27: INVERSE, 28: HIDDEN, 29: STRIKE}
_CODES = {BOLD: 1, DIM: 2, ITALIC: 3, UNDERLINE: 4, BLINK: 5, INVERSE: 7, HIDDEN: 8, STRIKE: 9}


class Style(NamedTuple):
    """fg, bg: 0 to 255, `RGB` plus 24 bits, or `DEFAULT_COLOUR`. flags: a sum of `FLAGS`."""

    fg: int = DEFAULT_COLOUR
    bg: int = DEFAULT_COLOUR
    flags: int = 0


PLAIN = Style()


@lru_cache(maxsize=4096)
def styled(style: Style, codes: str) -> Style:
    """Return the style after `CSI codes m`."""
    fg, bg, flags = style
    rest = [_numbers(part) for part in codes.split(";")]
    while rest:
        code, *more = rest.pop(0)
        if code == 0:
            fg, bg, flags = PLAIN
        elif code == 4 and more:
            flags = flags & ~UNDERLINE if more[0] == 0 else flags | UNDERLINE
        elif code in _SET:
            flags |= _SET[code]
        elif code in _CLEAR:
            flags &= ~_CLEAR[code]
        elif code in (38, 48):
            colour = _colour(more or _taken(rest), colons=bool(more))
            if colour is not None:
                fg, bg = (colour, bg) if code == 38 else (fg, colour)
        elif code == 58 and not more:
            _taken(rest)
        else:
            fg, bg = _palette(code, fg, bg)
    return Style(fg, bg, flags)


def _numbers(part: str) -> list[int]:
    return [int(one) if one.isdigit() and len(one) < 6 else 0 for one in part.split(":")]


def _taken(rest: list[list[int]]) -> list[int]:
    """Take the parameters of a colour from those that follow, separated by semicolons."""
    count = 2 if rest and rest[0] == [5] else 4 if rest and rest[0] == [2] else 1
    taken = [one[0] for one in rest[:count]]
    del rest[:count]
    return taken


def _colour(given: Sequence[int], *, colons: bool) -> int | None:
    match given:
        case [5, number, *_] if number < 256:
            return number
        case [2, _, red, green, blue, *_] if colons and max(red, green, blue) < 256:
            return RGB | red << 16 | green << 8 | blue
        case [2, red, green, blue, *_] if max(red, green, blue) < 256:
            return RGB | red << 16 | green << 8 | blue
        case _:
            return None


def _palette(code: int, fg: int, bg: int) -> tuple[int, int]:
    if 30 <= code <= 37:
        return code - 30, bg
    if 40 <= code <= 47:
        return fg, code - 40
    if 90 <= code <= 97:
        return code - 82, bg
    if 100 <= code <= 107:
        return fg, code - 92
    return (DEFAULT_COLOUR, bg) if code == 39 else (fg, DEFAULT_COLOUR) if code == 49 else (fg, bg)


@lru_cache(maxsize=4096)
def sequence_of(style: Style) -> str:
    """Return the sequence that sets a style, whatever was set before."""
    codes = ["0", *(str(code) for flag, code in _CODES.items() if style.flags & flag)]
    codes += [*_codes(style.fg, 38), *_codes(style.bg, 48)]
    return f"\x1b[{';'.join(codes)}m"


def _codes(colour: int, kind: int) -> list[str]:
    if colour == DEFAULT_COLOUR:
        return []
    if colour & RGB:
        return [f"{kind};2;{colour >> 16 & 255};{colour >> 8 & 255};{colour & 255}"]
    return [f"{kind};5;{colour}"]


class Row:
    """A row of cells. chars: the character of each cell with its combining ones; empty for the second half of a wide
    one. wraps: the text goes on in the next row. wide: some characters may be wide."""

    __slots__ = ("chars", "styles", "wide", "wraps")

    def __init__(self, columns: int, style: Style = PLAIN) -> None:
        self.chars = [" "] * columns
        self.styles = [style] * columns
        self.wraps = self.wide = False

    def copy(self) -> Row:
        made = Row(0)
        made.chars, made.styles, made.wraps, made.wide = [*self.chars], [*self.styles], self.wraps, self.wide
        return made

    def resize(self, columns: int) -> None:
        more = columns - len(self.chars)
        if more > 0:
            self.chars += [" "] * more
            self.styles += [PLAIN] * more
        elif more < 0:
            self.cut(columns)
            self.wraps = False

    def cut(self, columns: int) -> None:
        """Drop the cells behind a column, and the first half of a wide character that ends there."""
        del self.chars[columns:], self.styles[columns:]
        if self.wide and (last := self.chars[-1]) and width_of(last[0]) == 2:
            self.chars[-1] = " "

    @property
    def text(self) -> str:
        return "".join(self.chars).rstrip(" ")

    def runs(self) -> Iterator[tuple[int, int, Style]]:
        """Yield the column, the length and the style of each run of cells of one style."""
        start, styles = 0, self.styles
        for at in range(1, len(styles) + 1):
            if at == len(styles) or styles[at] != styles[start]:
                yield start, at - start, styles[start]
                start = at


@lru_cache(maxsize=4096)
def width_of(char: str) -> int:
    """Return the number of cells of a character: 0 for one that is drawn over the one before."""
    if char in "\u200b\u200c\u200d\u2060\ufe0e\ufe0f" or unicodedata.category(char) in ("Mn", "Me", "Cf"):
        return 0 if char != "\xad" else 1
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1
