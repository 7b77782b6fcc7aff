"""What a screen shows: as text with styles, and as output that draws it again on another terminal."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from copy import copy
from itertools import islice

from roost.features.terminals.cells import PLAIN, Row, Style, sequence_of
from roost.features.terminals.lines import Line, row_of
from roost.features.terminals.screen import Saved, Screen


def snapshot(screen: Screen, scrollback: int) -> Screen:
    """Return a copy with the newest lines above it, for another thread: a large screen in many colours takes long to
    write."""
    made = copy(screen)
    made.saved, made.saved_of_main, made.modes = copy(screen.saved), copy(screen.saved_of_main), {*screen.modes}
    made.lines = [row.copy() for row in screen.lines]
    made.main = None if screen.main is None else [row.copy() for row in screen.main]
    kept = screen.scrollback
    newest = islice(kept, max(0, len(kept) - scrollback), None)
    made.scrollback = deque(line.copy() if isinstance(line, Row) else line for line in newest)
    return made


def above(screen: Screen, count: int) -> list[Row]:
    """Return the newest lines above the screen, oldest first."""
    kept = screen.scrollback
    lines: Iterator[Line] = islice(kept, max(0, len(kept) - count), None) if count > 0 else iter(())
    return [row_of(line, screen.columns) for line in lines]


def drawing(screen: Screen, scrollback: int) -> bytes:
    """Return output that draws the screen and its state on a new terminal of the same size. scrollback: lines above it
    to draw first."""
    parts: list[str] = []
    main = screen.lines if screen.main is None else screen.main
    parts += _drawn([*above(screen, scrollback), *main])
    if screen.main is not None:
        saved = screen.saved_of_main
        parts += [
            _placed(saved.y, saved.x),
            sequence_of(saved.style),
            "\x1b[?1049h",
            "\x1b[0m\x1b[H",
            *_drawn(screen.lines),
        ]
    parts += _saved(screen.saved)
    parts += _state(screen)
    return "".join(parts).encode("utf-8", "replace")


def _drawn(rows: Sequence[Row]) -> Iterator[str]:
    last = len(rows) - 1
    for place, row in enumerate(rows):
        yield from _row(row)
        if place < last and not (row.wraps and len(row.text) == len(row.chars)):
            yield "\r\n"


def _row(row: Row) -> Iterator[str]:
    end = len(row.chars)
    while end and row.chars[end - 1] == " " and row.styles[end - 1] == PLAIN:
        end -= 1
    style = PLAIN
    for start, length, of_run in row.runs():
        if start >= end:
            break
        if of_run != style:
            style = of_run
            yield sequence_of(style)
        yield "".join(row.chars[start : min(end, start + length)])
    if style != PLAIN:
        yield "\x1b[0m"


def _saved(saved: Saved) -> Iterator[str]:
    if (saved.x, saved.y, saved.style) != (0, 0, PLAIN):
        yield f"{_placed(saved.y, saved.x)}{sequence_of(saved.style)}\x1b7"


def _state(screen: Screen) -> Iterator[str]:
    if (screen.top, screen.bottom) != (0, screen.rows - 1):
        yield f"\x1b[{screen.top + 1};{screen.bottom + 1}r"
    yield from _modes(screen)
    for place, charset in enumerate(screen.charsets):
        if charset != "B":
            yield f"\x1b{'()'[place]}{charset}"
    if screen.shift:
        yield "\x0e"
    if screen.title:
        yield f"\x1b]2;{screen.title}\x07"
    yield from _cursor(screen)


def _modes(screen: Screen) -> Iterator[str]:
    yield from (f"\x1b[{number}h" for number, on in ((4, screen.insert), (20, screen.newline)) if on)
    private = {5: (screen.inverse, "h"), 7: (not screen.wrap, "l"), 25: (not screen.cursor_shown, "l")}
    yield from (f"\x1b[?{number}{end}" for number, (other, end) in private.items() if other)
    yield from (f"\x1b[?{number}h" for number in sorted(screen.modes))
    if screen.keypad:
        yield "\x1b="


def _cursor(screen: Screen) -> Iterator[str]:
    if screen.origin:
        yield "\x1b[?6h"
    row = screen.y - (screen.top if screen.origin else 0)
    last = screen.lines[screen.y]
    if screen.x >= screen.columns and last.chars[-1] and not screen.insert and not screen.shift:
        # written again, so that the next character wraps
        yield f"{_placed(row, screen.columns - 1)}{sequence_of(last.styles[-1])}{last.chars[-1]}"
    else:
        yield _placed(row, min(screen.x, screen.columns - 1))
    yield sequence_of(screen.style)


def _placed(row: int, column: int) -> str:
    return f"\x1b[{row + 1};{column + 1}H"


def shown_styles(row: Row) -> list[tuple[int, int, Style]]:
    """Return the runs of a row whose style is not the default."""
    return [run for run in row.runs() if run[2] != PLAIN]
