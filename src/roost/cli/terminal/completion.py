"""Complete slash commands and names of files while they are typed."""

from __future__ import annotations

import fnmatch
import os
import re
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

_MOST, _SECONDS = 50_000, 2.0
"""Files that are listed, and seconds that a walk may take."""
_SHOWN = 200
_FRESH = 5.0
"""Seconds for which a list of files is used again."""
_SKIPPED = frozenset((".git", "node_modules", "__pycache__", ".venv", ".hg", ".svn", ".mypy_cache", ".ruff_cache"))
_AT = re.compile(r"(?:^|\s)@(\S*)$")


class Offer(NamedTuple):
    """A completion. `text` takes the place of what stands from `begin` to the cursor. `help`: shown behind it.
    `whole`: nothing follows it, so that Enter may send it."""

    text: str
    help: str = ""
    whole: bool = False


class Completion(NamedTuple):
    begin: int
    offers: list[Offer]


class Listed(NamedTuple):
    """A slash command. `whole`: Enter sends it when it is chosen from the list; else Enter only completes it, as it may
    need more words or do more than one expects."""

    name: str
    help: str
    whole: bool


def commands_for(text: str, at: int, commands: Sequence[Listed]) -> Completion | None:
    """Return the slash commands that fit the beginning of the text: by prefix, then by letters in their order."""
    if not text.startswith("/") or " " in text[:at] or "\n" in text:
        return None
    word = text[1:at].lower()
    first = [one for one in commands if one.name.startswith(word)]
    rest = [one for one in commands if one not in first and one.whole and _in_order(word, one.name)]
    offers = [Offer(f"/{one.name}", one.help, one.whole) for one in (*first, *rest)]
    return Completion(0, offers) if offers else None


def file_word(text: str, at: int) -> tuple[int, str] | None:
    """Return where the `@` of a file's name begins that ends at the cursor, and the name so far."""
    found = _AT.search(text, 0, at)
    return (found.start(1) - 1, found[1]) if found else None


def files_for(begin: int, word: str, names: Sequence[str]) -> Completion | None:
    """Return the files that fit: those whose own name begins so first, then shorter paths."""
    lower = word.lower()
    ranked: list[tuple[int, int, str]] = []
    for name in names:
        rank = _rank(lower, name.lower())
        if rank is not None:
            ranked.append((rank, len(name), name))
    ranked.sort()
    offers = [Offer(f"@{name} " if not name.endswith("/") else f"@{name}") for _, _, name in ranked[:_SHOWN]]
    return Completion(begin, offers) if offers else None


def _rank(word: str, name: str) -> int | None:
    last = name.rstrip("/").rpartition("/")[2]
    if not word:
        return name.count("/")
    if name.startswith(word):
        return 0
    if last.startswith(word):
        return 1
    if word in name:
        return 2
    return 3 if _in_order(word, name) else None


def _in_order(word: str, name: str) -> bool:
    rest = iter(name)
    return all(letter in rest for letter in word)


class FileNames:
    """The files below a folder that no ignore file leaves out. `read` blocks: call it in another thread."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.names: list[str] = []
        self._read_at = 0.0

    @property
    def fresh(self) -> bool:
        return time.monotonic() - self._read_at < _FRESH

    def read(self) -> list[str]:
        """Return files and folders (which end with `/`), relative to the folder."""
        files = _by_git(self.folder)
        if files is None:
            files = _by_walk(self.folder)
        folders: dict[str, None] = {}
        for name in files:
            place = name.rpartition("/")[0]
            while place and f"{place}/" not in folders:
                folders[f"{place}/"] = None
                place = place.rpartition("/")[0]
        return sorted([*folders, *files])

    def take(self, names: list[str]) -> None:
        self.names, self._read_at = names, time.monotonic()


def _by_git(folder: Path) -> list[str] | None:
    """Ask git, which knows all ignore files. None outside a work tree, or without git."""
    command = ["git", "-c", "core.fsmonitor=false", "ls-files", "-z", "-c", "-o", "--exclude-standard"]
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, timeout=_SECONDS, stdin=subprocess.DEVNULL, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    if done.returncode != 0:
        return None
    return [name for name in done.stdout.decode("utf-8", "replace").split("\0") if name.isprintable() and name][:_MOST]


def _by_walk(folder: Path) -> list[str]:
    """List files without git. Obeys `.gitignore` and `.ignore` of each folder, for names and simple patterns."""
    found: list[str] = []
    until = time.monotonic() + _SECONDS
    waiting: list[tuple[str, list[str]]] = [("", [])]
    while waiting and len(found) < _MOST and time.monotonic() < until:
        prefix, patterns = waiting.pop(0)
        here = patterns + _patterns(folder / prefix)
        try:
            entries = sorted(os.scandir(folder / prefix), key=lambda entry: entry.name)
        except OSError:
            continue
        for entry in entries:
            name = prefix + entry.name
            inside = entry.is_dir(follow_symlinks=False)
            if not entry.name.isprintable() or entry.name in _SKIPPED or _ignored(name, inside, here):
                continue
            if inside:
                waiting.append((f"{name}/", here))
            else:
                found.append(name)
    return found


def _patterns(folder: Path) -> list[str]:
    lines: list[str] = []
    for name in (".gitignore", ".ignore"):
        try:
            lines += (folder / name).read_text(encoding="utf-8", errors="replace").splitlines()[:500]
        except OSError:
            continue
    return [line.strip() for line in lines if line.strip() and not line.startswith(("#", "!"))]


def _ignored(path: str, folder: bool, patterns: Sequence[str]) -> bool:
    name = path.rpartition("/")[2]
    for pattern in patterns:
        if pattern.endswith("/"):
            if not folder:
                continue
            pattern = pattern[:-1]
        rooted = "/" in pattern
        if fnmatch.fnmatch(path if rooted else name, pattern.lstrip("/")):
            return True
    return False
