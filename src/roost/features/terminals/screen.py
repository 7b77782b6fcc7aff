"""The state of a screen, and what can be done to it."""

from __future__ import annotations

from collections import deque

from roost.features.terminals.cells import PLAIN, Row, Style, width_of
from roost.features.terminals.lines import Line, row_of

SCROLLBACK = 2000
"""Lines kept above the screen. Above a wide one there are fewer: `_CELLS`."""
_CELLS = 240_000
_GRAPHICS = str.maketrans("`abcdefghijklmnopqrstuvwxyz{|}~_", "◆▒␉␌␍␊°±␤␋┘┐┌└┼⎺⎻─⎼⎽├┤┴┬│≤≥π≠£·\xa0")


class Saved:
    """What `ESC 7` saves."""

    def __init__(self) -> None:
        self.x = self.y = 0
        self.style = PLAIN
        self.origin = False
        self.charsets = ["B", "B"]
        self.shift = 0


class Screen:
    """columns, rows: the size. `x` may be one behind the last column: then the next character wraps."""

    def __init__(self, columns: int, rows: int) -> None:
        self.columns, self.rows = columns, rows
        self.scrollback: deque[Line] = deque(maxlen=_kept(columns))
        self.reset()

    def reset(self) -> None:
        """Return to the state of a new terminal, as `ESC c` does. The scrollback stays."""
        self.x = self.y = 0
        self.style = PLAIN
        self.title = ""
        self.top, self.bottom = 0, self.rows - 1
        self.wrap, self.insert, self.newline, self.origin = True, False, False, False
        self.cursor_shown, self.keypad, self.inverse = True, False, False
        self.modes: set[int] = set()
        self.charsets, self.shift = ["B", "B"], 0
        self.tabs = set(range(8, 1000, 8))
        self.saved = Saved()
        self.saved_of_main = Saved()
        self.lines = [Row(self.columns) for _ in range(self.rows)]
        self.main: list[Row] | None = None
        """The main screen while the alternate one is shown."""
        self.last = ""
        """The character that was written last, if nothing else came since."""

    @property
    def alternate(self) -> bool:
        return self.main is not None

    def print(self, text: str) -> None:
        """Write characters of one cell each."""
        if self.charsets[self.shift] == "0":
            text = text.translate(_GRAPHICS)
        self.last = text[-1]
        at, end = 0, len(text)
        while at < end:
            if self.x >= self.columns:
                self._wrap()
            part = text[at : at + self.columns - self.x]
            at += len(part)
            if at < end and not self.wrap:  # the last column takes the last character
                part, at = part[:-1] + text[-1], end
            self._write(part)

    def _write(self, part: str) -> None:
        """Write characters into the cursor's row, which has room for them."""
        row, size = self.lines[self.y], len(part)
        if self.insert:
            self._shift_right(row, size)
        end = self.x + size
        if row.wide:
            self.split(row, self.x, end)
        row.chars[self.x : end] = part
        row.styles[self.x : end] = [self.style] * size
        self.x = end if self.wrap else min(end, self.columns - 1)

    def put(self, char: str) -> None:
        """Write a character of any width."""
        width = width_of(char)
        if width == 1:
            self.print(char)
            return
        if width == 0:
            self._combine(char)
            return
        if self.columns < 2:
            return
        self.last = char
        if self.x > self.columns - 2:
            if not self.wrap:
                return
            self._wrap()
        row, end = self.lines[self.y], self.x + 2
        if self.insert:
            self._shift_right(row, 2)
        if row.wide:
            self.split(row, self.x, end)
        row.wide = True
        row.chars[self.x : end] = [char, ""]
        row.styles[self.x : end] = [self.style] * 2
        self.x = end if self.wrap else min(end, self.columns - 1)

    def _combine(self, char: str) -> None:
        row, at = self.lines[self.y], min(self.x, self.columns) - 1
        if at > 0 and row.chars[at] == "":
            at -= 1
        if at >= 0 and len(row.chars[at]) < 16:
            row.chars[at] += char

    def _wrap(self) -> None:
        if not self.wrap:
            self.x = self.columns - 1
            return
        self.lines[self.y].wraps = True
        self.x = 0
        self.line_feed()

    def split(self, row: Row, start: int, end: int) -> None:
        """Replace the other half of wide characters that a write from `start` to `end` cuts."""
        if 0 < start < self.columns and row.chars[start] == "":
            row.chars[start - 1] = " "
        if end < self.columns and row.chars[end] == "":
            row.chars[end] = " "

    def _shift_right(self, row: Row, count: int) -> None:
        row.chars[self.x : self.x] = [" "] * count
        row.styles[self.x : self.x] = [PLAIN] * count
        row.cut(self.columns)

    def line_feed(self) -> None:
        if self.y == self.bottom:
            self.scroll_up(1)
        elif self.y < self.rows - 1:
            self.y += 1

    def blank(self) -> Row:
        """Return an empty row in the background colour."""
        return Row(self.columns, self.erased)

    @property
    def erased(self) -> Style:
        return PLAIN if self.style.bg == PLAIN.bg else Style(bg=self.style.bg)

    def scroll_up(self, count: int) -> None:
        """Move the lines of the scroll region up."""
        for _ in range(min(count, self.bottom - self.top + 1)):
            gone = self.lines.pop(self.top)
            if self.top == 0 and self.main is None:
                self.scrollback.append(gone)
            self.lines.insert(self.bottom, self.blank())

    def scroll_down(self, count: int) -> None:
        for _ in range(min(count, self.bottom - self.top + 1)):
            del self.lines[self.bottom]
            self.lines.insert(self.top, self.blank())

    def erase(self, row: Row, start: int, end: int) -> None:
        size = end - start
        if size <= 0:
            return
        if row.wide:
            self.split(row, start, end)
        row.chars[start:end] = [" "] * size
        row.styles[start:end] = [self.erased] * size
        if end == self.columns:
            row.wraps = False

    def tab(self, count: int) -> None:
        for _ in range(min(count, self.columns)):
            self.x = min(
                next((at for at in range(self.x + 1, self.columns) if at in self.tabs), self.columns - 1),
                self.columns - 1,
            )

    def move(self, x: int, y: int) -> None:
        self.x = max(0, min(x, self.columns - 1))
        self.y = max(0, min(y, self.rows - 1))

    def place(self, x: int, y: int) -> None:
        """Move to a row counted from the scroll region's top in origin mode."""
        if self.origin:
            y = min(self.top + y, self.bottom)
        self.move(x, y)

    def show_alternate(self, *, on: bool) -> None:
        if on and self.main is None:
            self.main, self.lines = self.lines, [self.blank() for _ in range(self.rows)]
            self.saved_of_main, self.saved = self.saved, Saved()
        elif not on and self.main is not None:
            self.lines, self.main = self.main, None
            self.saved = self.saved_of_main

    def save(self) -> None:
        kept = self.saved
        kept.x, kept.y, kept.style, kept.origin = self.x, self.y, self.style, self.origin
        kept.charsets, kept.shift = [*self.charsets], self.shift

    def restore(self) -> None:
        kept = self.saved
        self.style, self.origin = kept.style, kept.origin
        self.charsets, self.shift = [*kept.charsets], kept.shift
        self.x, self.y = min(kept.x, self.columns - 1), min(kept.y, self.rows - 1)

    def resize(self, columns: int, rows: int) -> None:
        """Change the size. Lines are cut or filled, and not wrapped anew. Lines that leave above go to the scrollback,
        and come back when there is room."""
        screens = [self.lines] if self.main is None else [self.main, self.lines]
        for lines in screens:
            main = lines is screens[0]
            y = self.y if lines is self.lines else self.saved.y
            while len(lines) > rows and len(lines) - 1 > y and not lines[-1].text:
                lines.pop()
            while len(lines) > rows:
                gone = lines.pop(0)
                if main:
                    self.scrollback.append(gone)
                if lines is self.lines:
                    self.y -= 1
            while main and len(lines) < rows and self.scrollback:
                lines.insert(0, row_of(self.scrollback.pop(), self.columns))
                self.y += lines is self.lines
            lines += [Row(columns) for _ in range(rows - len(lines))]
            for row in lines:
                row.resize(columns)
        if columns != self.columns:
            self.scrollback = deque(self.scrollback, maxlen=_kept(columns))
        self.columns, self.rows = columns, rows
        self.top, self.bottom = 0, rows - 1
        self.move(self.x, self.y)


def _kept(columns: int) -> int:
    """Return how many lines are kept above a screen of a width."""
    return min(SCROLLBACK, _CELLS // columns)
