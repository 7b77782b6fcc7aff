"""Format a call for approval: all of it, the dangerous parts first, nothing hidden by special characters."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import sys
import time
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TextIO, cast

import msgspec

from roost.cli.output import Style, styled
from roost.log.session_views import FileDiff, PendingApproval
from roost.terminal_text import visible, visible_line

_QUIET, _PATIENCE = 0.3, 2.0
"""Seconds without a key before a question is asked, and the longest wait for them."""
_LEAST_ROWS = 8
_OWN_ROWS = 6
_IN_DIFF = frozenset(("path", "content", "old", "new", "replace_all", "changes"))
_MARKS: dict[str, tuple[Style | None, str]] = {"+": ("green", "+ "), "-": ("red", "- "), " ": (None, "  ")}
"""Style and mark of a line of a unified diff, by its first character."""


def _pieces(line: str, width: int) -> Iterator[str]:
    """Cut a line into pieces that take at most `width` columns each."""
    piece, columns = "", 0
    for character in line:
        takes = 2 if unicodedata.east_asian_width(character) in "WF" else 1
        if columns + takes > width:
            yield piece
            piece, columns = "", 0
        piece, columns = piece + character, columns + takes
    yield piece


def call_rows(waiting: PendingApproval, *, to: TextIO) -> list[str]:
    """Format all of a call, the dangerous parts first, as rows for `to`; a terminal's rows are wrapped and coloured."""
    width = shutil.get_terminal_size().columns - 4 if to.isatty() else None
    return [row for style, line in _lines(waiting) for row in _wrapped(style, line, width, to)]


def _wrapped(style: Style | None, line: str, width: int | None, to: TextIO) -> list[str]:
    pieces = [line] if width is None else _pieces(line, max(20, width))
    rows = [("  " if at == 0 else "  … ") + piece for at, piece in enumerate(pieces)]
    return [styled(row, style, to=to) if style else row for row in rows]


class Question:
    """One call, as rows for the terminal. `page` returns the next rows that fit."""

    def __init__(self, waiting: PendingApproval) -> None:
        self._rows = max(_LEAST_ROWS, shutil.get_terminal_size().lines - _OWN_ROWS)
        self._lines = call_rows(waiting, to=sys.stderr)
        self._shown = 0

    @property
    def left(self) -> int:
        """Number of rows not shown yet."""
        return len(self._lines) - self._shown

    def page(self, *, all: bool = False) -> list[str]:
        rows = self._lines[self._shown :] if all else self._lines[self._shown : self._shown + self._rows]
        self._shown += len(rows)
        return rows


def _lines(waiting: PendingApproval) -> Iterator[tuple[Style | None, str]]:
    for danger in waiting.dangers:
        yield "red", f"! {visible_line(danger.text)}  ({' '.join(visible(danger.why).split())})"
    if waiting.files:
        yield from _changed(waiting.files)
    yield from call_lines(waiting, diffs=not waiting.files)


def call_lines(waiting: PendingApproval, *, diffs: bool = True) -> Iterator[tuple[Style | None, str]]:
    """Yield the arguments of a call. Without `diffs` those that make up a diff are left out."""
    try:
        arguments = msgspec.json.decode(waiting.arguments, type=dict[str, Any])
    except msgspec.MsgspecError:
        arguments = {"arguments": waiting.arguments}
    if diffs:
        command = isinstance(arguments.get("command"), str)  # also the shells of coding agents
        yield from _CALLS.get(waiting.tool, _command if command else _plain)(arguments)
    else:
        yield from _plain({name: value for name, value in arguments.items() if name not in _IN_DIFF})


def _changed(files: Sequence[FileDiff]) -> Iterator[tuple[Style | None, str]]:
    """Yield the diffs that stand in the place of the arguments that they are made of."""
    for file in files:
        yield None, f"path: {visible_line(file.path)}"
        header, lines = file.diff.split("\n")[:2], file.diff.split("\n")[2:-1]
        if header == [""]:
            yield "dim", "the file already has this content"
        elif "/dev/null" in header[0]:
            yield "dim", "a new file"
        for line in lines:
            style, mark = _MARKS.get(line[:1], (None, ""))
            yield from _block(line[1:] if mark else line, mark, style)


def _plain(arguments: Mapping[str, Any]) -> Iterator[tuple[Style | None, str]]:
    for name, value in arguments.items():
        yield from _named(name, value)


def _named(name: str, value: object) -> Iterator[tuple[Style | None, str]]:
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    if "\n" in text:
        yield "dim", f"{visible_line(name)}:"
        yield from _block(text, "│ ")
    else:
        yield None, f"{visible_line(name)}: {visible(text)}"


def _block(text: object, mark: str, style: Style | None = None) -> Iterator[tuple[Style | None, str]]:
    for line in visible(str(text)).split("\n"):
        yield style, mark + line


def _command(arguments: Mapping[str, Any]) -> Iterator[tuple[Style | None, str]]:
    yield from _block(arguments.get("command", ""), "$ ")
    yield from _plain({name: value for name, value in arguments.items() if name != "command"})


def _written(arguments: Mapping[str, Any]) -> Iterator[tuple[Style | None, str]]:
    yield from _plain({name: value for name, value in arguments.items() if name != "content"})
    yield from _block(arguments.get("content", ""), "+ ", "green")


def _edited(arguments: Mapping[str, Any]) -> Iterator[tuple[Style | None, str]]:
    yield from _plain({name: value for name, value in arguments.items() if name not in ("old", "new")})
    yield from _block(arguments.get("old", ""), "- ", "red")
    yield from _block(arguments.get("new", ""), "+ ", "green")


def _files(arguments: Mapping[str, Any]) -> Iterator[tuple[Style | None, str]]:
    given: object = arguments.get("changes")
    if not isinstance(given, list):
        yield from _plain(arguments)
        return
    for change in cast("list[object]", given):
        fields = _fields(change)
        edits: object = fields.get("edits")
        apart = {"content": fields.get("content"), "edits": edits}
        yield from _plain({name: value for name, value in fields.items() if name not in apart})
        for edit in cast("list[object]", edits) if isinstance(edits, list) else [edits] if edits else []:
            yield from _edited(_fields(edit))
        if apart["content"] is not None:
            yield from _block(apart["content"], "+ ", "green")
    yield from _plain({name: value for name, value in arguments.items() if name != "changes"})


def _fields(value: object) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {"change": value}


FILE_TOOLS = ("write_file", "edit_file", "edit_files")
"""Tools whose calls are shown as diffs."""
_CALLS = {
    "write_file": _written,
    "edit_file": _edited,
    "edit_files": _files,
}


def settle() -> bool:
    """Discard earlier input, and wait until no key has come for a moment, so that a sentence being typed is not taken
    for an answer. Returns whether input was discarded. Does nothing without a terminal."""
    try:
        import termios
        import tty
    except ImportError:  # not on Unix
        return False
    source = sys.stdin.fileno()
    with contextlib.suppress(termios.error):
        before = termios.tcgetattr(source)
        try:
            tty.setcbreak(source, termios.TCSANOW)  # makes an incomplete line readable too
            return _drain(source)
        finally:
            termios.tcsetattr(source, termios.TCSAFLUSH, before)
    return False


def _drain(source: int) -> bool:
    found, until = False, time.monotonic() + _PATIENCE
    while time.monotonic() < until and select.select([source], [], [], _QUIET)[0]:
        if not os.read(source, 64 * 1024):
            break
        found = True
    return found
