"""Which entries of a folder an index leaves out: by name, and by ignore files (`.gitignore`, `.ignore`,
`.roostignore`).

A folder may come from a stranger, so each pattern is matched in time proportional to it and the path
(`roost.workspace.pattern`), and the number of patterns is bounded."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

from roost.features.files.protocols import Folder
from roost.workspace.pattern import BadPattern, matcher

IGNORE_FILES = (b".gitignore", b".ignore", b".roostignore")
SKIPPED = frozenset(
    b".git .hg .svn .jj node_modules __pycache__ .venv .tox .nox .mypy_cache .ruff_cache .pytest_cache"
    b" .gradle .terraform .DS_Store .Trash".split()
)
"""Names that are never looked at."""
_BYTES = 64 * 1024
_LINES = 1000
_KEPT = 2000
"""Folders whose patterns are kept in memory."""


class _Line(NamedTuple):
    """only: it is about folders alone. keeps: it takes back an earlier pattern."""

    matches: Callable[[str], bool]
    only: bool
    keeps: bool


class Ignoring:
    """The ignore files of one tree. read: returns the bytes of a file of a folder, or None. Not thread-safe."""

    def __init__(self, read: Callable[[Folder, bytes, int], bytes | None]) -> None:
        self._read = read
        self._known: OrderedDict[Folder, tuple[_Line, ...]] = OrderedDict()

    def forget(self, folder: Folder) -> None:
        """Read a folder's ignore files again at the next question."""
        self._known.pop(folder, None)

    def clear(self) -> None:
        self._known.clear()

    def leaves_out(self, folder: Folder, name: bytes, *, is_folder: bool) -> bool:
        """Whether an entry of a folder is left out. The folders on the way are not asked about."""
        if name in SKIPPED:
            return True
        path = b"/".join((*_parts(folder), name))
        said = False
        parts = path.split(b"/")
        for depth in range(len(parts)):
            lines = self._lines(b"/".join(parts[:depth]))
            if lines:
                said = _ask(lines, os.fsdecode(b"/".join(parts[depth:])), is_folder, said)
        return said

    def leaves_out_way(self, path: Folder) -> bool:
        """Whether a folder, or one on the way to it, is left out."""
        parts = _parts(path)
        return any(self.leaves_out(b"/".join(parts[:depth]), name, is_folder=True) for depth, name in enumerate(parts))

    def _lines(self, folder: Folder) -> tuple[_Line, ...]:
        known = self._known.get(folder)
        if known is None:
            texts = [self._read(folder, name, _BYTES) for name in IGNORE_FILES]
            known = tuple(line for text in texts if text for line in _parsed(text))
            self._known[folder] = known
            if len(self._known) > _KEPT:
                self._known.popitem(last=False)
        return known


def _ask(lines: tuple[_Line, ...], path: str, is_folder: bool, said: bool) -> bool:
    for line in lines:
        if line.keeps == said and (is_folder or not line.only) and line.matches(path):
            said = not line.keeps
    return said


def _parts(path: Folder) -> list[bytes]:
    return path.split(b"/") if path else []


def _parsed(text: bytes) -> list[_Line]:
    found: list[_Line] = []
    for raw in text.decode("utf-8", "surrogateescape").splitlines()[:_LINES]:
        line = raw.rstrip("\r")
        line = line if line.endswith("\\ ") else line.rstrip(" ")
        keeps = line.startswith("!")
        line = line[1:] if keeps else line
        if not line or line.startswith("#"):
            continue
        only = line.endswith("/")
        pattern = _glob(line.rstrip("/"))
        try:
            found.append(_Line(matcher(pattern), only, keeps))
        except BadPattern:
            continue
    return found


def _glob(line: str) -> str:
    """Return git's pattern as one of `roost.workspace.pattern`, which has alternatives in braces besides."""
    anchored = "/" in line
    line = line.lstrip("/").replace("{", "[{]")
    plain = "".join(f"[{one[1]}]" if one[:1] == "\\" and one[1:] else one for one in _escapes(line))
    return plain if anchored else f"**/{plain}"


def _escapes(line: str) -> list[str]:
    found: list[str] = []
    at = 0
    while at < len(line):
        step = 2 if line[at] == "\\" and at + 1 < len(line) else 1
        found.append(line[at : at + step])
        at += step
    return found
