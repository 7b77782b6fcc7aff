"""Search files. Runs as a program: `grep_worker.py CONTEXT MATCHES i|- PATTERN`, paths separated by NUL on stdin.

Uses the standard library alone, nothing of Roost: it is run with `-I -S` to start fast.
"""

from __future__ import annotations

import os
import re
import stat
import sys

_FILE_CAP = 64 * 1024 * 1024
_LINE = 500
_OUTPUT = 48 * 1024


def open_inside(path: str) -> int:
    """Open the file and return its descriptor. Links are not followed, so the path cannot lead out."""
    *folders, name = path.split("/")
    at = os.open(".", os.O_RDONLY | os.O_DIRECTORY)
    try:
        for folder in folders:
            below = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=at)
            os.close(at)
            at = below
        return os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY, dir_fd=at)
    finally:
        os.close(at)


def read_text(path: str) -> str | None:
    """Read a text file; None for binary, missing and too large files."""
    try:
        fd = open_inside(path)
    except OSError:
        return None
    with open(fd, "rb") as file:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode) or status.st_size > _FILE_CAP:
            return None
        data = file.read(_FILE_CAP)
    return None if b"\0" in data[:8192] else data.decode("utf-8", "replace")


def show(path: str, number: int, line: str, matched: bool) -> str:
    name = path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    name = "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in name)
    mark = ":" if matched else "-"
    return f"{name}{mark}{number}{mark} {line if len(line) <= _LINE else line[:_LINE] + ' [...]'}\n"


class Search:
    def __init__(self, pattern: re.Pattern[str], context: int, matches: int) -> None:
        self.pattern, self.context, self.left = pattern, context, matches
        self.room = _OUTPUT

    def file(self, path: str, text: str) -> bool:
        """Print the matches of one file. False when the output limit is reached."""
        lines = text.split("\n")
        shown = -1
        for index, line in enumerate(lines):
            if self.pattern.search(line.rstrip("\r")) is None:
                continue
            if self.left == 0 or self.room <= 0:
                print("[more matches left out: search for something rarer or in fewer files]")
                return False
            self.left -= 1
            first = max(index - self.context, shown + 1)
            if self.context and 0 <= shown < first - 1:
                self.put("--\n")
            shown = min(index + self.context, len(lines) - 1)
            for place in range(first, shown + 1):
                hit = place == index or (place > index and self.pattern.search(lines[place].rstrip("\r")) is not None)
                self.put(show(path, place + 1, lines[place].rstrip("\r"), hit))
        return True

    def put(self, text: str) -> None:
        self.room -= len(text.encode())
        sys.stdout.write(text)
        sys.stdout.flush()


def main() -> None:
    context, matches, case, pattern = sys.argv[1:5]
    sys.stdout.reconfigure(encoding="utf-8", errors="replace")  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
    try:
        compiled = re.compile(pattern, re.IGNORECASE if case == "i" else 0)
    except (re.error, RecursionError, OverflowError) as error:
        sys.exit(f"{pattern!r} is not a regular expression: {error}; escape special characters with a backslash")
    search = Search(compiled, int(context), int(matches))
    paths = sys.stdin.buffer.read().decode("utf-8", "surrogateescape").split("\0")
    for path in filter(None, paths):
        text = read_text(path)
        if text is not None and not search.file(path, text):
            return


if __name__ == "__main__":
    main()
