"""Draw on a terminal: commit history once, and draw the live area below it again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from roost.cli.terminal.lines import Line, Span, cut, drawn, line_width, width

_BEGIN, _END = "\x1b[?2026h\x1b[?25l", "\x1b[?25h\x1b[?2026l"


class Live:
    """The live area of a terminal of `columns` and `rows`. `write` takes a whole frame. `reflows`: whether the terminal
    wraps what it shows again when it gets narrower; others cut it.

    A row has at most `columns - 1` columns, so that none depends on what a terminal does at its edge.
    """

    def __init__(
        self, write: Callable[[str], None], *, columns: int, rows: int, colour: bool = True, reflows: bool = True
    ) -> None:
        self._write = write
        self.columns, self.rows = max(columns, 4), max(rows, 2)
        self.colour = colour
        self.codes: Mapping[str, str] = {}
        """The theme: codes of styles in the place of others."""
        self._reflows = reflows
        self._drawn: list[str] = []
        self._widths: list[int] = []
        self._cursor = 0
        """The drawn row that the cursor stands in."""
        self._column = 0

    @property
    def width(self) -> int:
        """Columns that a row may take."""
        return self.columns - 1

    def frame(
        self, live: Sequence[Line], *, commit: Sequence[Line] = (), cursor: tuple[int, str] | None = None
    ) -> None:
        """Commit lines, which are already wrapped, then draw the live area. `cursor`: its row, and the text left of it;
        without it the cursor rests at the end of the last row."""
        rows = [cut(line, self.width) for line in live][-max(1, self.rows - 1) :] or [()]
        dropped = len(live) - len(rows) if live else 0
        new = [self._text(row) for row in rows]
        at, left = cursor or (len(live) - 1, None)
        at = min(max(0, at - dropped), len(rows) - 1)
        column = line_width(rows[at]) if left is None else width(left)
        if not commit and new == self._drawn and (at, column) == (self._cursor, self._column):
            return
        out = [_BEGIN, self._up(self._cursor)]
        if commit:
            out += [
                f"{drawn(cut(line, self.width), colour=self.colour, codes=self.codes)}\x1b[K\r\n" for line in commit
            ]
            out.append(self._all(new, len(commit)))
        else:
            out.append(self._changed(new))
        out.append(self._place(rows[at], at, len(rows) - 1, left))
        out.append(_END)
        self._drawn, self._widths = new, [line_width(row) for row in rows]
        self._cursor, self._column = at, column
        self._write("".join(out))

    def resize(self, columns: int, rows: int) -> None:
        """Remove the live area as the terminal shows it at its new size; the next frame draws it again."""
        above = self._cursor
        if self._reflows and columns < self.columns:
            above = sum(max(1, -(-taken // columns)) for taken in self._widths[: self._cursor])
            above += max(0, self._column - 1) // columns if self._column else 0
        self.columns, self.rows = max(columns, 4), max(rows, 2)
        self._write(f"{_BEGIN}{self._up(min(above, rows - 1))}\x1b[J{_END}")
        self._forget()

    def clear(self) -> None:
        """Remove the live area, so that other programs can write at its place."""
        self._write(f"{_BEGIN}{self._up(self._cursor)}\x1b[J{_END}")
        self._forget()

    def redraw(self) -> None:
        """Draw all of the live area with the next frame."""
        self.clear()

    def _forget(self) -> None:
        self._drawn, self._widths, self._cursor, self._column = [], [], 0, 0

    def _up(self, rows: int) -> str:
        return f"\r\x1b[{rows}A" if rows else "\r"

    def _text(self, row: Line) -> str:
        return drawn(row, colour=self.colour, codes=self.codes)

    def _all(self, new: Sequence[str], above: int) -> str:
        text = "\r\n".join(f"{row}\x1b[K" for row in new)
        return text + ("\x1b[J" if len(self._drawn) > len(new) + above else "")

    def _changed(self, new: Sequence[str]) -> str:
        """Draw the rows that are not as before. The cursor ends in the last row."""
        old, out = self._drawn, ""
        for at, row in enumerate(new):
            if at:
                out += "\r\n"
            if at >= len(old) or old[at] != row:
                out += f"{row}\x1b[K"
        if len(old) > len(new):
            out += "\x1b[J" if old[len(new) - 1] != new[-1] else f"\r{new[-1]}\x1b[K\x1b[J"
        return out

    def _place(self, row: Line, at: int, last: int, left: str | None) -> str:
        """Place the cursor behind `left` by writing it again: so the terminal counts its columns, and not this."""
        up = self._up(last - at)
        if left is None:
            return up + self._text(row)
        return up + self._text(_beginning(row, left))


def _beginning(row: Line, left: str) -> Line:
    """Return the spans of the row that make up `left`, as far as it is drawn."""
    kept: list[Span] = []
    for span in row:
        if not left:
            break
        text = span.text[: len(left)]
        kept.append(Span(text, span.style))
        left = left[len(text) :]
    return tuple(kept)
