"""The text that a person types: several lines, a cursor, undo, pasted blocks, and the messages of before."""

from __future__ import annotations

import re
from typing import NamedTuple

from roost.cli.terminal.lines import character_width, clusters
from roost.terminal_text import clean

_FOLD_LINES, _FOLD_CHARACTERS = 12, 2000
"""A longer paste stands in the text as a mark, and is put in its place when the text is sent."""
_UNDO = 200
_WORD = re.compile(r"\w+|[^\w\s]+")


class Row(NamedTuple):
    """A drawn row of the text. `begin`: the offset of its first character."""

    text: str
    begin: int


class Editor:
    """The text and its cursor. `at` is an offset in `text`, always at a whole character as a person sees it."""

    def __init__(self) -> None:
        self.text = ""
        self.at = 0
        self._folded: dict[str, str] = {}
        self._undo: list[tuple[str, int]] = []
        self._killed = ""
        self._typing = False

    @property
    def whole(self) -> str:
        """The text with pasted blocks in the place of their marks."""
        text = self.text
        for mark, block in self._folded.items():
            text = text.replace(mark, block)
        return text

    def set(self, text: str) -> None:
        """Replace the text; the cursor stands at its end."""
        self._remember()
        self.text, self.at = text, len(text)

    def clear(self) -> None:
        self.set("")
        self._folded.clear()
        self._undo.clear()

    def insert(self, text: str) -> None:
        if not (self._typing and text not in (" ", "\n")):
            self._remember()
        self._typing = True
        self.text = self.text[: self.at] + text + self.text[self.at :]
        self.at += len(text)

    def paste(self, text: str) -> None:
        """Insert pasted text; a long block as a mark."""
        text = clean(text)
        self._remember()
        lines = text.count("\n") + 1
        if lines > _FOLD_LINES or len(text) > _FOLD_CHARACTERS:
            mark = f"[pasted text {len(self._folded) + 1}: {lines} lines]"
            if lines == 1:
                mark = f"[pasted text {len(self._folded) + 1}: {len(text):,} characters]"
            self._folded[mark] = text
            text = mark
        self.insert(text)
        self._typing = False

    def replace(self, begin: int, text: str) -> None:
        """Replace what stands between `begin` and the cursor."""
        self._remember()
        self.text = self.text[:begin] + text + self.text[self.at :]
        self.at = begin + len(text)

    def do(self, name: str) -> bool:
        """Obey an editing key. Returns False for a key that is none."""
        action = _ACTIONS.get(name)
        if action is None:
            return False
        self._typing = False
        action(self)
        return True

    def left(self) -> None:
        self.at = self._before(self.at)

    def right(self) -> None:
        self.at = self._after(self.at)

    def word_left(self) -> None:
        starts = [found.start() for found in _WORD.finditer(self.text, 0, self.at)]
        self.at = starts[-1] if starts else 0

    def word_right(self) -> None:
        found = _WORD.search(self.text, self.at)
        self.at = found.end() if found else len(self.text)

    def home(self) -> None:
        self.at = self._line_begin()

    def end(self) -> None:
        self.at = self._line_end()

    def up(self) -> bool:
        """Move the cursor a line up. Returns False in the first line."""
        begin = self._line_begin()
        if begin == 0:
            return False
        above = self.text.rfind("\n", 0, begin - 1) + 1
        self.at = self._whole(min(above + self.at - begin, begin - 1))
        return True

    def down(self) -> bool:
        """Move the cursor a line down. Returns False in the last line."""
        end = self._line_end()
        if end == len(self.text):
            return False
        last = self.text.find("\n", end + 1)
        last = len(self.text) if last < 0 else last
        self.at = self._whole(min(end + 1 + self.at - self._line_begin(), last))
        return True

    def backspace(self) -> None:
        self._remove(self._before(self.at), self.at)

    def delete(self) -> None:
        self._remove(self.at, self._after(self.at))

    def kill_word(self) -> None:
        end = self.at
        begin = len(self.text[:end].rstrip())
        while begin and not self.text[begin - 1].isspace():
            begin -= 1
        self._kill(begin, end)

    def kill_word_right(self) -> None:
        begin = self.at
        self.word_right()
        end, self.at = self.at, begin
        self._kill(begin, end)

    def kill_line(self) -> None:
        """Remove the rest of the line; at its end, the line end."""
        end = self._line_end()
        self._kill(self.at, end if end > self.at else min(end + 1, len(self.text)))

    def kill_to_begin(self) -> None:
        self._kill(self._line_begin(), self.at)

    def yank(self) -> None:
        self._remember()
        self.insert(self._killed)
        self._typing = False

    def undo(self) -> None:
        if self._undo:
            self.text, self.at = self._undo.pop()

    def rows(self, columns: int) -> tuple[list[Row], int]:
        """Return the text as rows of at most `columns`, and the number of the row of the cursor."""
        rows: list[Row] = []
        offset = 0
        for line in self.text.split("\n"):
            begin, taken = 0, 0
            at = 0
            for cluster in clusters(line):
                takes = sum(map(character_width, cluster))
                if taken + takes > columns and at > begin:
                    rows.append(Row(line[begin:at], offset + begin))
                    begin, taken = at, 0
                taken += takes
                at += len(cluster)
            rows.append(Row(line[begin:], offset + begin))
            offset += len(line) + 1
        row = max(number for number, one in enumerate(rows) if one.begin <= self.at)
        return rows, row

    def _line_begin(self) -> int:
        return self.text.rfind("\n", 0, self.at) + 1

    def _line_end(self) -> int:
        end = self.text.find("\n", self.at)
        return len(self.text) if end < 0 else end

    def _before(self, at: int) -> int:
        for mark in self._folded:  # a mark is one character for the cursor
            if self.text.endswith(mark, 0, at):
                return at - len(mark)
        if at and self.text[at - 1] == "\n":
            return at - 1
        begin = self.text.rfind("\n", 0, at) + 1
        pieces = list(clusters(self.text[max(begin, at - 32) : at]))
        return at - len(pieces[-1]) if pieces else at

    def _after(self, at: int) -> int:
        for mark in self._folded:
            if self.text.startswith(mark, at):
                return at + len(mark)
        return at + len(next(clusters(self.text[at : at + 32]), ""))

    def _whole(self, at: int) -> int:
        """Move an offset to the beginning of the character that it is inside."""
        begin = self.text.rfind("\n", 0, at) + 1
        for cluster in clusters(self.text[begin : at + 32]):
            if begin + len(cluster) > at:
                return begin
            begin += len(cluster)
        return at

    def _remove(self, begin: int, end: int) -> None:
        if begin < end:
            self._remember()
            self.text, self.at = self.text[:begin] + self.text[end:], begin

    def _kill(self, begin: int, end: int) -> None:
        if begin < end:
            self._killed = self.text[begin:end]
            self._remove(begin, end)

    def _remember(self) -> None:
        self._typing = False
        if not self._undo or self._undo[-1][0] != self.text:
            self._undo.append((self.text, self.at))
            del self._undo[:-_UNDO]


_ACTIONS = {
    "left": Editor.left, "ctrl-b": Editor.left, "right": Editor.right, "ctrl-f": Editor.right,
    "alt-left": Editor.word_left, "ctrl-left": Editor.word_left, "alt-b": Editor.word_left,
    "alt-right": Editor.word_right, "ctrl-right": Editor.word_right, "alt-f": Editor.word_right,
    "home": Editor.home, "ctrl-a": Editor.home, "end": Editor.end, "ctrl-e": Editor.end,
    "backspace": Editor.backspace, "ctrl-h": Editor.backspace, "shift-backspace": Editor.backspace,
    "delete": Editor.delete, "ctrl-w": Editor.kill_word, "alt-backspace": Editor.kill_word,
    "ctrl-backspace": Editor.kill_word, "alt-d": Editor.kill_word_right, "ctrl-k": Editor.kill_line,
    "ctrl-u": Editor.kill_to_begin, "ctrl-y": Editor.yank, "ctrl-_": Editor.undo,
}  # fmt: skip
