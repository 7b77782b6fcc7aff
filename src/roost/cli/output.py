"""Print answers to standard output, and notes about them to standard error."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import time
from collections.abc import Callable, Generator, Sequence
from typing import Any, Literal, TextIO, TypeAlias

import msgspec

from roost.terminal_text import clean, one_line, printable

Style: TypeAlias = Literal["dim", "bold", "red", "green", "yellow", "cyan"]

_CODES: dict[Style, str] = {"dim": "2", "bold": "1", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}


_UNESCAPED = re.compile("[\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""Characters that JSON need not escape, and terminals obey."""
_note_sinks: list[Callable[[str], None]] = []


@contextlib.contextmanager
def notes_to(sink: Callable[[str], None]) -> Generator[None]:
    """Give notes to `sink` while the block runs, whichever thread writes them: the terminal is drawn by another."""
    _note_sinks.append(sink)
    try:
        yield
    finally:
        _note_sinks.remove(sink)


def coloured(stream: TextIO) -> bool:
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def styled(text: str, style: Style, *, to: TextIO | None = None) -> str:
    return f"\x1b[{_CODES[style]}m{text}\x1b[0m" if coloured(to or sys.stdout) else text


def say(text: str = "") -> None:
    put(text + "\n", sys.stdout)


def put(text: str, stream: TextIO) -> None:
    """Write a text. To a terminal it brings nothing but text and styles, whoever has named what it is about."""
    stream.write(printable(text) if stream.isatty() else text)
    stream.flush()


def note(text: str, style: Style | None = "dim") -> None:
    if _note_sinks:
        _note_sinks[-1](text)
        return
    put((styled(text, style, to=sys.stderr) if style else text) + "\n", sys.stderr)


def say_json(value: Any, *, lines: bool = False) -> None:
    """Print JSON. `lines`: compact, as one line of many."""
    body = msgspec.json.encode(value)
    text = (body if lines else msgspec.json.format(body, indent=2)).decode()
    say(_UNESCAPED.sub(lambda found: f"\\u{ord(found[0]):04x}", text))


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print columns as wide as needed, each row one line; on a terminal the last column is cut at its edge."""
    rows = [[_indented(cell) for cell in row] for row in rows]
    widths = [max(len(row[place]) for row in [head, *rows]) for place in range(len(head))]
    edge = _columns() - sum(widths[:-1]) - 2 * (len(head) - 1) if sys.stdout.isatty() else None
    for number, row in enumerate([head, *rows]):
        cells = [cell.ljust(width) for cell, width in zip(row[:-1], widths, strict=False)]
        last = row[-1] if edge is None else one_line(row[-1], max(10, edge))
        line = "  ".join([*cells, last]).rstrip()
        say(styled(line, "bold") if number == 0 else line)


def _indented(cell: str) -> str:
    """Join the cell into one line, keeping its indentation."""
    return cell[: len(cell) - len(cell.lstrip(" "))] + " ".join(clean(cell).split())


def _columns() -> int:
    """Return the width of the terminal as `shutil` does, whose import costs a listing 4 ms."""
    given = os.environ.get("COLUMNS", "")
    return int(given) if given.isdecimal() and int(given) else os.get_terminal_size(sys.stdout.fileno()).columns or 80


def ago(moment: float) -> str:
    """Return how long ago the moment was, in one unit."""
    seconds = max(0.0, time.time() - moment)
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= size:
            return f"{int(seconds // size)}{unit} ago"
    return f"{int(seconds)}s ago"


def size(count: float) -> str:
    for unit in ("B", "KB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            return f"{count:.1f} {unit}" if count < 100 and unit not in ("B",) else f"{count:.0f} {unit}"
        count /= 1000
    raise AssertionError
