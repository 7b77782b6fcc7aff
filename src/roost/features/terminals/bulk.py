"""The fast way through plain and coloured lines, such as those of a build or of `cat`.

Lines that a chunk scrolls off the screen go to the scrollback as they came, and become cells when somebody looks."""

from __future__ import annotations

import re
from collections.abc import Iterator

from roost.features.terminals.cells import PLAIN, Row, Style, styled
from roost.features.terminals.lines import Line, RawLine, cut, row_of, wrapped
from roost.features.terminals.screen import Screen

SIMPLE = (
    " -~\xa1-\xac\xae-\u02ff\u0370-\u0482\u048a-\u0558\u2010-\u2027\u2030-\u205e\u20a0-\u20bf\u2190-\u2319\u2500-\u25fc"
)
"""Characters of one cell that combine with nothing."""
_END = "\r\n"
_PRINTABLE = bytes(range(32, 127))
_PRINTABLE_OR_ESCAPE = _PRINTABLE + b"\x1b"
_SCANNED, _AT_ONCE = 131_072, 32_768
"""Characters that one call looks at: a quick look, and one that takes expressions."""
_WORTH = 4
"""The share of the lines that are kept, which must at least be left out."""
_LEAST = 512
"""Characters below which the fast way saves nothing."""
LONGEST = 256
"""Characters of a sequence of colours that count. Those that were understood are kept."""
_COLOUR = re.compile(rf"\x1b\[([0-9;:]{{0,{LONGEST}}})m")
_NO_COLOUR = re.compile(rf"\x1b(?!\[[0-9;:]{{0,{LONGEST}}}m)")
_MOST_COLOURS = 4096
"""Characters of colours in a line."""
_BACKGROUND = re.compile(r"\x1b\[(?:[0-9:;]*;)?(?:4[0-8]|10[0-7])[;:m]")
_LINES = re.compile(rf"(?:[{SIMPLE}]*(?:\x1b\[[0-9;:]{{0,{LONGEST}}}m[{SIMPLE}]*)*\r\n)+")
_CODE = rf"\[(?:[0-9;:]{{0,{LONGEST}}}m|[02]?K)"
_CODES = re.compile(rf"\x1b{_CODE}")
_NO_CODE = re.compile(rf"\x1b(?!{_CODE})")
_REWRITES = re.compile(rf"(?:\r[{SIMPLE}]*(?:\x1b{_CODE}[{SIMPLE}]*)*)+")
"""One line that is written again and again, such as a progress bar."""
_ERASURES = ("\x1b[K", "\x1b[0K", "\x1b[2K")


def rewritten(screen: Screen, text: str, at: int) -> tuple[int, int]:
    """Leave out what stands on the cursor's line only until the line is written again. At `at` is a carriage return.

    Returns the position behind it, and the one up to which a further call finds nothing. What is written last counts,
    from the last erasure on; without one, from the longest line on, since it covers what earlier ones have written."""
    end = at if screen.insert else _end_of_rewrites(text, at)
    if end - at < _LEAST:
        return at, at
    erases = text.rfind(_ERASURES[0], at, end)
    for one in _ERASURES[1:]:
        erases = max(erases, text.rfind(one, max(at, erases), end))
    lengths = [*map(len, text[at:end].split("\r")[1:])]
    if erases < at or max(lengths) > screen.columns:  # what they show may be shorter
        lengths = [*map(len, _CODES.sub("", text[at:end]).split("\r")[1:])]
    longest = max(lengths)
    if longest > screen.columns:
        return at, end
    begin = end
    if erases > at:
        begin, after = text.rfind("\r", at, erases), text.find("\r", erases, end)
        end = after if after > 0 else end
    else:
        for _ in range(lengths[::-1].index(longest) + 1):
            begin = text.rfind("\r", at, begin)
    screen.style = _after(screen.style, text[at:begin])
    return begin, end


def _end_of_rewrites(text: str, at: int) -> int:
    """Return the position behind what `rewritten` understands. Most is ASCII, which is quick to find out."""
    end = text.rfind("\r", at, at + _SCANNED)
    if end - at >= _LEAST and (part := text[at:end]).isascii():
        rest = part.encode("ascii").translate(None, _PRINTABLE_OR_ESCAPE)
        if rest.count(b"\r") == len(rest) and _NO_CODE.search(part) is None:
            return end
    found = _REWRITES.match(text, at, at + _AT_ONCE)
    return at if found is None else found.end()


def scan(text: str, at: int) -> int:
    """Return the position behind the next whole lines that the fast way understands: some of them, so that a call takes
    a millisecond or two. Returns `at` where there are none."""
    end = text.rfind(_END, at, at + _SCANNED) + len(_END)
    if end < at + len(_END):
        return at
    if _is_lines(text[at:end]):
        return end
    found = _LINES.match(text, at, end)
    return at if found is None else found.end()


def _is_lines(text: str) -> bool:
    """Whether a text is whole lines of ASCII, in colours or without: a quick way to find out."""
    if not text.isascii():
        return False
    ends = text.encode("ascii").translate(None, _PRINTABLE).replace(b"\x1b", b"")
    return ends == b"\r\n" * (len(ends) // 2) and _NO_COLOUR.search(text) is None


def skip(screen: Screen, text: str, at: int, end: int) -> int:
    """Leave out lines that scroll away before anybody sees them, of those that `scan` has found from `at` to `end`: of
    the rest not even the scrollback keeps more. The cursor is in the first column. Returns the position behind them."""
    kept = screen.rows + (screen.scrollback.maxlen or 0 if screen.main is None else 0)
    if not is_plain(screen) or text.count(_END, at, end) < kept + kept // _WORTH:
        return at
    begin = end - len(_END)
    for _ in range(kept):
        begin = text.rfind(_END, at, begin)
    begin += len(_END)
    style = _after(screen.style, text[at:begin])
    if style.bg != PLAIN.bg:
        return at
    if screen.main is None:
        screen.scrollback.clear()
    screen.lines = [Row(screen.columns) for _ in range(screen.rows)]
    screen.x, screen.y, screen.style, screen.last = 0, screen.rows - 1, style, ""
    return begin


def take(screen: Screen, text: str, at: int, known: int) -> int:
    """Take whole lines from a position. The cursor is in the first column. known: the position up to which `scan` has
    found lines, if it is behind `at`. Returns the position behind them."""
    if len(text) - at < _LEAST or not is_plain(screen):
        return at
    if known > at:
        end = text.rfind(_END, at, min(known, at + _AT_ONCE)) + len(_END)
        end = end if end >= at + len(_END) else text.find(_END, at) + len(_END)
    else:
        found = _LINES.match(text, at, at + _AT_ONCE)
        end = at if found is None else found.end()
    if end - at < _LEAST:
        return at
    screen.last = ""
    return at + _scroll(screen, text[at:end])


def is_plain(screen: Screen) -> bool:
    """Whether lines only scroll, and nothing else happens."""
    whole = screen.top == 0 and screen.bottom == screen.rows - 1
    usual = screen.wrap and not screen.insert and not screen.newline and screen.charsets[screen.shift] != "0"
    return whole and usual and screen.style.bg == PLAIN.bg


def _scroll(screen: Screen, block: str) -> int:
    """Take lines, each with its end, up to one that ends in another background, which new rows would get. Returns the
    number of characters taken. The cursor is in the first column."""
    lines = block.split("\r\n")
    lines.pop()
    if "\x1b" in block:
        return _scroll_coloured(screen, lines, _COLOUR.sub("", block).split("\r\n"))
    style = screen.style
    raw: list[Line] = [*lines]
    if style != PLAIN or max(map(len, lines)) > screen.columns:
        raw = [one for line in lines for one in wrapped(line, style, screen.columns)]
    _push(screen, raw)
    return len(block)


def _scroll_coloured(screen: Screen, lines: list[str], shown: list[str]) -> int:
    """shown: the lines without colours, and perhaps more."""
    columns, style = screen.columns, screen.style
    raw: list[Line] = []
    taken = 0
    for line, plain in zip(lines, shown, strict=False):
        before = style
        if len(line) - len(plain) > _MOST_COLOURS:  # the scrollback keeps lines as they came
            break
        if line is not plain and "\x1b" in line:
            style = _after(style, line)
            if style.bg != PLAIN.bg:
                style = before
                break
        if len(plain) <= columns:
            raw.append(RawLine(line, before))
        elif _BACKGROUND.search(line):  # perhaps in effect where the line is cut
            style = before
            break
        else:
            raw += cut(line, before, columns)
        taken += len(line) + 2
    if raw:
        _push(screen, raw)
        screen.style = style
    return taken


def _after(style: Style, line: str) -> Style:
    """Return the style behind a line."""
    reset = max(line.rfind("\x1b[0m"), line.rfind("\x1b[m"))
    if reset >= 0:
        style = PLAIN
        if line.find("\x1b", reset + 1) < 0:
            return style
    for codes in _COLOUR.findall(line, reset + 1):
        style = styled(style, codes)
    return style


def _push(screen: Screen, raw: list[Line]) -> None:
    """Write lines from the cursor's row on, and leave the cursor in the first column below."""
    columns, rows = screen.columns, screen.rows
    there = screen.lines[: screen.y]
    below = screen.lines[screen.y :]
    over = len(there) + len(raw) + 1 - rows
    if over <= 0:
        fresh = [row_of(one, columns, behind) for one, behind in zip(raw, below, strict=False)]
        screen.lines = [*there, *fresh, *below[len(fresh) :]]
        screen.y += len(raw)
    else:
        first = below[: len(raw)]
        kept = rows - 1
        gone: list[Line] = [*there, *raw]
        shown, gone = gone[-kept:] if kept else [], gone[: len(gone) - kept]
        if screen.main is None:
            screen.scrollback.extend(_with_tails(gone, first, len(there), columns))
        start = len(gone) - len(there)
        screen.lines = [
            one if isinstance(one, Row) else row_of(one, columns, _at(first, start + place))
            for place, one in enumerate(shown)
        ]
        screen.lines.append(Row(columns))
        screen.y = rows - 1
    screen.x = 0


def _with_tails(gone: list[Line], first: list[Row], above: int, columns: int) -> Iterator[Line]:
    """Yield lines. Those that were written over a row of the screen keep what stood to the right of them."""
    for place, one in enumerate(gone):
        behind = _at(first, place - above)
        yield one if isinstance(one, Row) or behind is None else row_of(one, columns, behind)


def _at(rows: list[Row], place: int) -> Row | None:
    return rows[place] if 0 <= place < len(rows) else None
