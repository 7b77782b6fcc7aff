"""A terminal's emulation: bytes of a program in, the screen out.

It does what `TERM=xterm-256color` promises. Text of one width and its colours take a fast way (`bulk.py`)."""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Mapping
from time import perf_counter
from typing import ClassVar

from roost.features.terminals import bulk
from roost.features.terminals.cells import PLAIN, styled, width_of
from roost.features.terminals.screen import Saved, Screen

_LONG = 3600.0
_STRETCH = 2048
"""Characters that are taken one by one before the fast way is tried again."""
_SKIPPED = 131_072
"""Characters from which on lines are looked for that nobody will see."""
_RUN = 4096
"""Characters of text that are written at once: a line may have no end."""
_NUMBERS = 64
"""Numbers of a control sequence that count."""
_TOKEN = re.compile(
    rf"([{bulk.SIMPLE}]{{1,{_RUN}}})|\x1b\[([\x00-\x17\x19\x1c-\x1f0-?]*)([ -/]*[@-~])|([\x00-\x1a\x1c-\x1f\x7f-\x9f])"
    r"|\x1b([\]PX^_])((?:[^\x07\x1b\x18\x1a])*)(?:\x07|\x1b\\|[\x18\x1a])|\x1b([ -/]*[0-~])|(\x1b)|(.)",
    re.DOTALL,
)
_TEXT, _PARAMS, _FINAL, _CONTROL, _STRING, _CONTENT, _ESCAPE, _LONE, _OTHER = range(1, 10)
_CONTROLS = re.compile(r"[\x00-\x1f]")

_NEWLINES = "\n\x0b\x0c"
_TITLE = 256
_KEPT_MODES = frozenset({1, 9, 66, 1000, 1002, 1003, 1004, 1005, 1006, 1015, 2004})
"""Modes that concern who types, not the screen."""


class Emulator(Screen):
    """A screen that takes a program's output. answer: called with what the terminal answers to a question."""

    ACTS: ClassVar[Mapping[str, str]] = {
        "@": "insert_cells", "A": "up", "B": "down", "e": "down", "C": "right", "a": "right", "D": "left",
        "E": "next_line", "F": "previous_line", "G": "column", "`": "column", "H": "position", "f": "position",
        "I": "tabs", "J": "erase_screen", "?J": "erase_screen", "K": "erase_line", "?K": "erase_line",
        "L": "insert_lines", "M": "delete_lines", "P": "delete_cells", "S": "scroll_lines", "T": "scroll_lines_down",
        "X": "erase_cells", "Z": "back_tabs", "b": "repeat", "d": "row", "g": "clear_tabs", "h": "set_modes",
        "l": "reset_modes", "?h": "set_private", "?l": "reset_private", "r": "region", "s": "save_here",
        "u": "restore_here", "!p": "soft_reset", "c": "attributes", ">c": "more_attributes", "n": "status",
        "?n": "private_status", "?$p": "mode_asked", "t": "size_asked", ">q": "version",
    }  # fmt: skip
    """The method for each control sequence, by its prefix and its end, named without the leading underscore."""

    def __init__(self, columns: int, rows: int, answer: Callable[[bytes], None] = lambda data: None) -> None:
        super().__init__(columns, rows)
        self.bells = 0
        self._answer = answer
        self._text, self._at = "", 0
        self._known = 0
        """The position up to which lines are known to be those of the fast way."""
        self._looks = True
        """Whether there may be more such lines behind."""
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._acts: Mapping[str, Callable[[list[int]], None]] = {
            end: getattr(self, f"_{name}") for end, name in self.ACTS.items()
        }

    def feed(self, data: bytes) -> None:
        """Take output. Sequences must be whole (`queries.Stream` cuts so)."""
        self.begin(data)
        while self.proceed(_LONG):
            pass

    def begin(self, data: bytes) -> None:
        """Take output as `feed` does, and leave the work to `proceed`."""
        self._text, self._at = self._text[self._at :] + self._decoder.decode(data), 0
        self._known, self._looks = 0, True

    @property
    def behind(self) -> bool:
        """Whether the screen does not show yet all that was taken."""
        return self._at < len(self._text)

    def proceed(self, seconds: float) -> bool:
        """Work for about so long: a few bytes may ask for a lot. Returns whether there is more to do."""
        text, at = self._text, self._at
        end, again, match, until = len(text), 0, _TOKEN.match, perf_counter() + seconds
        moved, rewrites = False, 0
        while at < end:
            if moved and perf_counter() > until:
                break
            if at >= again and self.x == 0 and text[at] != "\n":
                at, moved = self._fast(text, at)
                if moved:
                    continue
                again = at + _STRETCH
            if at >= rewrites and text[at] == "\r" and not text.startswith("\n", at + 1):
                at, rewrites = bulk.rewritten(self, text, at)
                rewrites = max(rewrites, at + 1)
            found = match(text, at)
            assert found is not None  # the last alternative takes any character
            self._do(found)
            at, moved = found.end(), True
        if at < end:
            self._at = at
            return True
        self.leave()
        return False

    def _fast(self, text: str, at: int) -> tuple[int, bool]:
        """Take a step of the fast way. Returns the position behind it, and whether anything was done."""
        if at >= self._known:
            self._known, self._looks = at, len(text) - at >= _SKIPPED and bulk.is_plain(self)
        if self._looks:
            before, self._known = self._known, bulk.scan(text, self._known)
            if self._known > before:
                return at, True
            self._looks = False
            skipped = bulk.skip(self, text, at, self._known)
            if skipped > at:
                return skipped, True
        taken = bulk.take(self, text, at, self._known)
        return taken, taken > at

    def leave(self) -> None:
        """Drop what was taken and is not shown yet."""
        self._text, self._at = "", 0
        self._known, self._looks = 0, True

    def _do(self, found: re.Match[str]) -> None:
        match found.lastindex:
            case 1:
                self.print(found[_TEXT])
                return
            case 3:
                self._csi(found[_PARAMS], found[_FINAL])
            case 4:
                self._control(found[_CONTROL])
            case 6:
                self._string(found[_STRING], found[_CONTENT])
            case 7:
                self._escape(found[_ESCAPE])
            case 9:
                self.put(found[_OTHER])
                return
            case _:
                pass
        self.last = ""

    def _control(self, char: str) -> None:
        if char in _NEWLINES:
            if self.newline:
                self.x = 0
            self.line_feed()
        elif char == "\r":
            self.x = 0
        elif char == "\b":
            self.x = max(0, min(self.x, self.columns - 1) - 1)
        elif char == "\t":
            self.tab(1)
        elif char == "\a":
            self.bells += 1
        elif char in "\x0e\x0f":
            self.shift = int(char == "\x0e")
        elif char in _C1:
            self._escape(_C1[char])

    def _escape(self, what: str) -> None:
        act = _ESCAPES.get(what)
        if act is not None:
            act(self)
        elif len(what) == 2 and what[0] in "()*+":
            if what[0] in "()":
                self.charsets["()".index(what[0])] = what[1]
        elif what == "#8":
            for row in self.lines:
                row.chars[:] = ["E"] * self.columns
                row.styles[:] = [PLAIN] * self.columns
            self.top, self.bottom, self.x, self.y = 0, self.rows - 1, 0, 0

    def _string(self, kind: str, content: str) -> None:
        if kind == "]":
            number, _, text = content.partition(";")
            if number in ("0", "2"):
                self.title = "".join(filter(str.isprintable, text[:_TITLE]))
        elif kind == "P" and content.startswith(("$q", "+q")):
            self._answer(b"\x1bP0" + content[:1].encode() + b"r\x1b\\")

    def _csi(self, params: str, final: str) -> None:
        if (params and params[0] < " ") or "\n" in params or "\r" in params or "\b" in params:
            for char in _CONTROLS.findall(params):
                self._control(char)
            params = _CONTROLS.sub("", params)
        if final == "m":
            if not params or params[0] < "<":
                self.style = styled(self.style, params[: bulk.LONGEST])
            return
        prefix = ""
        if params and params[0] in "<=>?":
            prefix, params = params[0], params[1:]
        act = self._acts.get(prefix + final)
        if act is not None:
            words = params.split(";", _NUMBERS)[:_NUMBERS]
            act([int(one) if one.isdigit() and len(one) < 10 else 0 for one in words])

    def _up(self, numbers: list[int]) -> None:
        least = self.top if self.y >= self.top else 0
        self.move(min(self.x, self.columns - 1), max(least, self.y - (numbers[0] or 1)))

    def _down(self, numbers: list[int]) -> None:
        most = self.bottom if self.y <= self.bottom else self.rows - 1
        self.move(min(self.x, self.columns - 1), min(most, self.y + (numbers[0] or 1)))

    def _right(self, numbers: list[int]) -> None:
        self.move(self.x + (numbers[0] or 1), self.y)

    def _left(self, numbers: list[int]) -> None:
        self.move(min(self.x, self.columns - 1) - (numbers[0] or 1), self.y)

    def _next_line(self, numbers: list[int]) -> None:
        self._down(numbers)
        self.x = 0

    def _previous_line(self, numbers: list[int]) -> None:
        self._up(numbers)
        self.x = 0

    def _column(self, numbers: list[int]) -> None:
        self.move((numbers[0] or 1) - 1, self.y)

    def _row(self, numbers: list[int]) -> None:
        self.place(min(self.x, self.columns - 1), (numbers[0] or 1) - 1)

    def _position(self, numbers: list[int]) -> None:
        self.place(((numbers[1:2] or [1])[0] or 1) - 1, (numbers[0] or 1) - 1)

    def _erase_screen(self, numbers: list[int]) -> None:
        row, x = self.lines[self.y], min(self.x, self.columns - 1)
        match numbers[0]:
            case 0:
                self.erase(row, x, self.columns)
                self.lines[self.y + 1 :] = [self.blank() for _ in range(self.rows - self.y - 1)]
            case 1:
                self.erase(row, 0, x + 1)
                self.lines[: self.y] = [self.blank() for _ in range(self.y)]
            case 2:
                self.lines[:] = [self.blank() for _ in range(self.rows)]
            case 3:
                self.scrollback.clear()
            case _:
                pass

    def _erase_line(self, numbers: list[int]) -> None:
        row, x = self.lines[self.y], min(self.x, self.columns - 1)
        match numbers[0]:
            case 0:
                self.erase(row, x, self.columns)
            case 1:
                self.erase(row, 0, x + 1)
            case 2:
                self.erase(row, 0, self.columns)
            case _:
                pass

    def _insert_lines(self, numbers: list[int]) -> None:
        if self.top <= self.y <= self.bottom:
            top, self.top = self.top, self.y
            self.scroll_down(numbers[0] or 1)
            self.top = top
            self.x = 0

    def _delete_lines(self, numbers: list[int]) -> None:
        if self.top <= self.y <= self.bottom:
            count = min(numbers[0] or 1, self.bottom - self.y + 1)
            del self.lines[self.y : self.y + count]
            end = self.bottom + 1 - count
            self.lines[end:end] = [self.blank() for _ in range(count)]
            self.x = 0

    def _insert_cells(self, numbers: list[int]) -> None:
        row, x = self.lines[self.y], min(self.x, self.columns - 1)
        count = min(numbers[0] or 1, self.columns - x)
        if row.wide:
            self.split(row, x, x)
        row.chars[x:x] = [" "] * count
        row.styles[x:x] = [self.erased] * count
        row.cut(self.columns)

    def _delete_cells(self, numbers: list[int]) -> None:
        row, x = self.lines[self.y], min(self.x, self.columns - 1)
        count = min(numbers[0] or 1, self.columns - x)
        if row.wide:
            self.split(row, x, x + count)
        del row.chars[x : x + count], row.styles[x : x + count]
        row.chars += [" "] * count
        row.styles += [self.erased] * count

    def _erase_cells(self, numbers: list[int]) -> None:
        x = min(self.x, self.columns - 1)
        self.erase(self.lines[self.y], x, min(x + (numbers[0] or 1), self.columns))

    def _repeat(self, numbers: list[int]) -> None:
        last, count = self.last, min(numbers[0] or 1, self.columns)  # programs repeat within a line
        if last and width_of(last) == 1:
            self.print(last * count)
        elif last:
            for _ in range(count):
                self.put(last)

    def _tabs(self, numbers: list[int]) -> None:
        self.tab(numbers[0] or 1)

    def _back_tabs(self, numbers: list[int]) -> None:
        for _ in range(min(numbers[0] or 1, self.columns)):
            self.x = max((at for at in range(min(self.x, self.columns)) if at in self.tabs), default=0)

    def _clear_tabs(self, numbers: list[int]) -> None:
        if numbers[0] == 3:
            self.tabs.clear()
        elif numbers[0] == 0:
            self.tabs.discard(self.x)

    def _region(self, numbers: list[int]) -> None:
        top = max(1, numbers[0]) - 1
        bottom = min((numbers[1:2] or [0])[0] or self.rows, self.rows) - 1
        if top < bottom:
            self.top, self.bottom = top, bottom
            self.place(0, 0)

    def _scroll_lines(self, numbers: list[int]) -> None:
        self.scroll_up(numbers[0] or 1)

    def _scroll_lines_down(self, numbers: list[int]) -> None:
        if len(numbers) == 1:  # with more it is a request for mouse tracking
            self.scroll_down(numbers[0] or 1)

    def _set_modes(self, numbers: list[int]) -> None:
        self._ansi_modes(numbers, on=True)

    def _reset_modes(self, numbers: list[int]) -> None:
        self._ansi_modes(numbers, on=False)

    def _ansi_modes(self, numbers: list[int], *, on: bool) -> None:
        self.insert = on if 4 in numbers else self.insert
        self.newline = on if 20 in numbers else self.newline

    def _set_private(self, numbers: list[int]) -> None:
        for number in numbers:
            self._private(number, on=True)

    def _reset_private(self, numbers: list[int]) -> None:
        for number in numbers:
            self._private(number, on=False)

    def _private(self, number: int, *, on: bool) -> None:
        match number:
            case 5:
                self.inverse = on
            case 6:
                self.origin = on
                self.place(0, 0)
            case 7:
                self.wrap = on
                self.x = min(self.x, self.columns - 1) if not on else self.x
            case 25:
                self.cursor_shown = on
            case 47 | 1047:
                self.show_alternate(on=on)
            case 1048:
                self.save() if on else self.restore()
            case 1049 if on:
                self.save()
                self.show_alternate(on=True)
            case 1049:
                self.show_alternate(on=False)
                self.restore()
            case _ if number in _KEPT_MODES:
                (self.modes.add if on else self.modes.discard)(number)
            case _:
                pass

    def _save_here(self, numbers: list[int]) -> None:
        self.save()

    def _restore_here(self, numbers: list[int]) -> None:
        self.restore()

    def _soft_reset(self, numbers: list[int]) -> None:
        self.style, self.insert, self.origin, self.cursor_shown, self.wrap = PLAIN, False, False, True, True
        self.top, self.bottom = 0, self.rows - 1
        self.charsets, self.shift, self.keypad = ["B", "B"], 0, False
        self.modes.discard(1)
        self.saved = Saved()

    def _attributes(self, numbers: list[int]) -> None:
        if numbers[0] == 0:
            self._answer(b"\x1b[?62;22c")

    def _more_attributes(self, numbers: list[int]) -> None:
        if numbers[0] == 0:
            self._answer(b"\x1b[>0;10;0c")

    def _status(self, numbers: list[int]) -> None:
        if numbers[0] == 5:
            self._answer(b"\x1b[0n")
        elif numbers[0] == 6:
            self._answer(b"\x1b[%d;%dR" % self._place_of_cursor)

    def _private_status(self, numbers: list[int]) -> None:
        if numbers[0] == 6:
            self._answer(b"\x1b[?%d;%dR" % self._place_of_cursor)

    @property
    def _place_of_cursor(self) -> tuple[int, int]:
        return self.y + 1 - (self.top if self.origin else 0), min(self.x, self.columns - 1) + 1

    def _mode_asked(self, numbers: list[int]) -> None:
        number = numbers[0]
        known = {5: self.inverse, 6: self.origin, 7: self.wrap, 25: self.cursor_shown, 1049: self.alternate}
        on = number in self.modes if number in _KEPT_MODES else known.get(number)
        self._answer(b"\x1b[?%d;%d$y" % (number, 0 if on is None else 1 if on else 2))

    def _size_asked(self, numbers: list[int]) -> None:
        if numbers[0] == 18:
            self._answer(b"\x1b[8;%d;%dt" % (self.rows, self.columns))

    def _version(self, numbers: list[int]) -> None:
        self._answer(b"\x1bP>|roost\x1b\\")


def _reverse_index(screen: Emulator) -> None:
    if screen.y == screen.top:
        screen.scroll_down(1)
    elif screen.y > 0:
        screen.y -= 1


def _next_line(screen: Emulator) -> None:
    screen.x = 0
    screen.line_feed()


def _set_tab(screen: Emulator) -> None:
    screen.tabs.add(screen.x)


def _keypad(*, on: bool) -> Callable[[Emulator], None]:
    def act(screen: Emulator) -> None:
        screen.keypad = on

    return act


_ESCAPES: Mapping[str, Callable[[Emulator], None]] = {
    "7": Emulator.save, "8": Emulator.restore, "c": Emulator.reset, "D": Emulator.line_feed, "E": _next_line,
    "H": _set_tab, "M": _reverse_index, "=": _keypad(on=True), ">": _keypad(on=False),
}  # fmt: skip
_C1 = {"\x84": "D", "\x85": "E", "\x88": "H", "\x8d": "M"}
