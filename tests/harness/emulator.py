"""A terminal emulator that keeps what has scrolled away, to check what a person would see."""

from __future__ import annotations

from typing import Any

import pyte


class Emulator:
    """`columns` by `rows`, fed with the bytes of a program. On a resize it cuts what is too wide, as xterm does."""

    def __init__(self, columns: int, rows: int) -> None:
        self.screen: Any = pyte.HistoryScreen(columns, rows, history=100_000, ratio=0.01)
        self._stream: Any = pyte.ByteStream(self.screen)

    def feed(self, data: bytes) -> None:
        self._stream.feed(data)

    def resize(self, columns: int, rows: int) -> None:
        """Rows that do not fit any more scroll away, as in a real terminal; pyte would drop them."""
        screen = self.screen
        over = screen.cursor.y + 1 - rows
        if over > 0:
            screen.history.top.extend(screen.buffer[at] for at in range(over))
            kept = [screen.buffer[at] for at in range(over, screen.lines)]
            screen.buffer.clear()
            screen.buffer.update(enumerate(kept[:rows]))
            screen.cursor.y -= over
        else:
            for at in range(rows, screen.lines):
                screen.buffer.pop(at, None)
        screen.lines, screen.columns = rows, columns
        for row in screen.buffer.values():
            for column in [one for one in row if one >= columns]:
                row.pop(column)
        screen.cursor.x = min(screen.cursor.x, columns - 1)
        screen.set_margins()
        screen.dirty.update(range(rows))

    @property
    def shown(self) -> list[str]:
        """The rows of the screen, without spaces at their ends."""
        return [line.rstrip() for line in self.screen.display]

    @property
    def history(self) -> list[str]:
        """The rows that have scrolled away, the oldest first."""
        return [self._text(row) for row in self.screen.history.top]

    @property
    def lines(self) -> list[str]:
        return self.history + self.shown

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    @property
    def cursor(self) -> tuple[int, int]:
        """Row and column, from 0."""
        return self.screen.cursor.y, self.screen.cursor.x

    def style(self, row: int, column: int) -> Any:
        """The character of a cell with its colours."""
        return self.screen.buffer[row][column]

    def _text(self, row: Any) -> str:
        last = max(row, default=-1)
        return "".join(row[column].data for column in range(last + 1)).rstrip()
