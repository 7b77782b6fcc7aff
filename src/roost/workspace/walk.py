"""Walk a tree of any size and shape: bounded, sorted, never following a link."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from roost.workspace.files import Workspace
from roost.workspace.safe_paths import explained, open_folder

_DEPTH = 64
_SECONDS = 10.0
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Entry(NamedTuple):
    """`path`: relative to the start of the walk, with `/` between names. `size`: bytes of a file, else 0. `held`: the
    policy restricts access to its content."""

    path: str
    folder: bool
    link: bool
    size: int
    held: bool = False


class Walk:
    """Iterate to get the entries in order: a folder, then its content. Blocks.

    `incomplete` says afterwards what was left out: too deep, too many, too slow, not readable, or restricted by the
    policy for `tool`, which reads files. With `names` the tool only shows names: entries that the policy denies to it
    are left out and counted in `hidden`; entries that it restricts otherwise, or for `read_file`, are marked.
    """

    def __init__(
        self,
        workspace: Workspace,
        real: Path,
        *,
        tool: str,
        names: bool = False,
        depth: int = _DEPTH,
        cap: int = 200_000,
        skip: frozenset[str],
        dots: bool = True,
    ) -> None:
        """`depth`: levels of folders. `cap`: most entries. `skip`: names of folders that are not entered. Without
        `dots`, entries whose names begin with a dot are passed over and do not count."""
        self._unseen = workspace.unseen(tool, real)
        self._unread = workspace.unseen("read_file", real) if names else None
        self._names = names
        self.hidden = 0
        self._workspace, self._real = workspace, real
        self._depth, self._left, self._skip, self._dots = depth, cap, skip, dots
        self._deadline = time.monotonic() + _SECONDS
        self.incomplete: set[str] = set()

    def __iter__(self) -> Iterator[Entry]:
        name = self._workspace.relative(self._real)
        with explained(name), open_folder(self._workspace, self._real) as fd:
            yield from self._folder(fd, "", 1)

    def _folder(self, fd: int, prefix: str, level: int) -> Iterator[Entry]:
        for name, status in self._list(fd):
            if self._left <= 0 or time.monotonic() > self._deadline:
                self.incomplete.add("the tree is too large to go through")
                return
            if not self._dots and name.startswith("."):
                continue
            self._left -= 1
            held = self._held(f"{self._real}/{prefix}{name}")
            if held is None:
                continue
            mode = status.st_mode
            folder = stat.S_ISDIR(mode)
            yield Entry(prefix + name, folder, stat.S_ISLNK(mode), status.st_size if stat.S_ISREG(mode) else 0, held)
            if folder and name not in self._skip and not self._workspace.hides(self._real / (prefix + name)):
                yield from self._below(fd, name, prefix, level)

    def _held(self, path: str) -> bool | None:
        """Return whether to mark the entry; None leaves it out."""
        said = None if self._unseen is None else self._unseen(path)
        if not self._names and said is not None:
            self.incomplete.add("what the policy holds back from searches")
            return None
        if said == "deny":
            self.hidden += 1
            return None
        return said is not None or (self._unread is not None and self._unread(path) is not None)

    def _below(self, fd: int, name: str, prefix: str, level: int) -> Iterator[Entry]:
        if level >= self._depth:
            if self._depth == _DEPTH:
                self.incomplete.add(f"folders deeper than {_DEPTH} levels")
            return
        try:
            below = os.open(name, _FOLDER, dir_fd=fd)
        except OSError:
            self.incomplete.add("folders that cannot be read")
            return
        try:
            yield from self._folder(below, f"{prefix}{name}/", level + 1)
        finally:
            os.close(below)

    def _list(self, fd: int) -> list[tuple[str, os.stat_result]]:
        found: list[tuple[str, os.stat_result]] = []
        with os.scandir(fd) as entries:
            for entry in entries:
                if len(found) >= self._left:
                    self.incomplete.add("the tree is too large to go through")
                    break
                try:
                    found.append((entry.name, entry.stat(follow_symlinks=False)))
                except OSError:
                    continue
        return sorted(found)


def printable(path: str) -> str:
    """Return `path` on one line and as valid Unicode: control characters and invalid UTF-8 become escapes."""
    text = path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
