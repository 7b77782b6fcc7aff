"""Lines of styled text: how wide they are, how they wrap, and the bytes that draw them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import groupby
from types import MappingProxyType
from typing import NamedTuple, TypeAlias

from roost.terminal_text import clean


class Span(NamedTuple):
    """Text in one style. `style`: parameters of an SGR sequence as in `1;31`; empty for none. The text has no control
    characters."""

    text: str
    style: str = ""


Line: TypeAlias = tuple[Span, ...]

BOLD, DIM, ITALIC, UNDERLINE, REVERSED = "1", "2", "3", "4", "7"
RED, GREEN, YELLOW, BLUE, MAGENTA, CYAN = "31", "32", "33", "34", "35", "36"
_ASCII = re.compile(r"[\x20-\x7e]*")
_JOINER = "\u200d"
_REGIONAL = range(0x1F1E6, 0x1F200)
_WORD = re.compile(r" +|[^ ]+")
TAB = "    "


@lru_cache(4096)
def character_width(character: str) -> int:
    """Return the most columns that terminals give a character: sequences of emoji are summed up, so that a row that
    fits by this count wraps on no terminal."""
    number = ord(character)
    if number in _REGIONAL:
        return 2
    if number == 0xFE0F:  # asks for the emoji form of the character before it, which may be wider by one
        return 1
    if unicodedata.category(character) in ("Mn", "Me", "Cf", "Cc"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def width(text: str) -> int:
    return len(text) if _ASCII.fullmatch(text) else sum(map(character_width, text))


def clusters(text: str) -> Iterator[str]:
    """Yield what a person sees as one character: with its accents, and sequences of emoji whole."""
    begin, joined, flags = 0, False, 0
    for at, character in enumerate(text):
        flag = ord(character) in _REGIONAL
        extends = joined or _extends(character) or (flag and flags % 2 == 1)
        if at > begin and not extends:
            yield text[begin:at]
            begin, flags = at, 0
        flags = flags + 1 if flag else 0
        joined = character == _JOINER
    if begin < len(text):
        yield text[begin:]


def _extends(character: str) -> bool:
    if character < "\u0300":
        return False
    return 0x1F3FB <= ord(character) <= 0x1F3FF or unicodedata.category(character) in ("Mn", "Me", "Cf")


def plain(text: str, style: str = "") -> Line:
    """Return text from outside as one line: cleaned, tabs as spaces, line ends as a sign."""
    return (Span(clean(text).replace("\t", TAB).replace("\n", " ⏎ "), style),)


def text_of(line: Iterable[Span]) -> str:
    return "".join(span.text for span in line)


def line_width(line: Iterable[Span]) -> int:
    return sum(width(span.text) for span in line)


def cut(line: Iterable[Span], columns: int) -> Line:
    """Return the line if it fits into `columns`, else its beginning with `…`."""
    line = tuple(line)
    if line_width(line) <= columns:
        return line
    kept: list[Span] = []
    left = max(0, columns - 1)
    for span in line:
        text = _fitting(span.text, left)
        kept.append(Span(text, span.style))
        left -= width(text)
        if len(text) < len(span.text):
            kept.append(Span("…" if columns > 0 else "", span.style))
            break
    return tuple(kept)


def _fitting(text: str, columns: int) -> str:
    """Return the beginning of the text that takes at most `columns`."""
    if _ASCII.fullmatch(text):
        return text[:columns]
    taken = at = 0
    for cluster in clusters(text):
        taken += width(cluster)
        if taken > columns:
            break
        at += len(cluster)
    return text[:at]


def wrap(line: Sequence[Span], columns: int, *, hang: Line = ()) -> list[Line]:
    """Wrap a line at words. `hang`: what every row but the first begins with. A word wider than a row is cut."""
    rows: list[Line] = []
    row: list[Span] = []
    taken = 0
    start = line_width(hang)
    columns = max(columns, start + 2)

    def close() -> None:
        nonlocal row, taken
        while len(row) > len(hang) and row[-1].text.isspace():
            row.pop()
        rows.append(tuple(row))
        row, taken = list(hang), start

    for piece in _words(line):
        takes = line_width(piece)
        space = piece[0].text.startswith(" ")
        if taken + takes <= columns:
            row += piece
            taken += takes
        elif space:
            close()  # spaces at the end of a row are not drawn
        else:
            if taken > start and (rows or takes <= columns - start or taken > columns // 2):
                close()
            for part in _parts(piece, columns - taken, columns - start):
                if taken + line_width(part) > columns:
                    close()
                row += part
                taken += line_width(part)
    if row != list(hang) or not rows:
        rows.append(tuple(row))
    return rows


def _words(line: Sequence[Span]) -> Iterator[list[Span]]:
    """Yield runs of spaces, and words, of which each may have several styles."""
    word: list[Span] = []
    for span in line:
        for found in _WORD.findall(span.text):
            space = found[0] == " "
            if word and (space or word[-1].text[0] == " "):
                yield word
                word = []
            word.append(Span(found, span.style))
    if word:
        yield word


def _parts(piece: Sequence[Span], first: int, rest: int) -> Iterator[list[Span]]:
    """Cut a word into parts of at most `first`, then `rest` columns."""
    part: list[Span] = []
    taken, most = 0, first
    for span in piece:
        text = span.text
        while text:
            fits = _fitting(text, most - taken) or ("" if part else next(clusters(text)))
            if fits:
                part.append(Span(fits, span.style))
                taken += width(fits)
                text = text[len(fits) :]
            if text:
                yield part
                part, taken, most = [], 0, rest
    if part:
        yield part


def cut_rows(line: Sequence[Span], columns: int) -> list[Line]:
    """Cut a line at exactly `columns`: for code and output, whose spaces mean something."""
    return [tuple(part) for part in _parts(line, columns, columns)] or [()]


def drawn(line: Iterable[Span], *, colour: bool, codes: Mapping[str, str] = MappingProxyType({})) -> str:
    """Return what draws the line. Without `colour` styles are left out, but for reversed text: it marks what is
    dangerous. `codes`: codes in the place of others; an empty one is left out."""
    if not colour:
        line = [Span(span.text, REVERSED if REVERSED in span.style.split(";") else "") for span in line]
    out = ""
    for style, spans in groupby(line, key=lambda span: span.style):
        text = text_of(spans)
        if codes and style:
            style = ";".join(code for part in style.split(";") if (code := codes.get(part, part)))
        out += f"\x1b[{style}m{text}\x1b[0m" if style and text else text
    return out
