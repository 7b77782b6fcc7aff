"""Resolve the words of a call to the real paths that it would touch."""

from __future__ import annotations

import itertools
import os
import stat
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeAlias

from roost.policy.command import Analysis, analyse
from roost.policy.command.shell_words import GAP
from roost.policy.globs import Looks, TooMany, is_pattern
from roost.policy.rules import Touches

Reach: TypeAlias = Callable[[Mapping[str, Any], Path], Touches]
"""Function from a call's arguments, valid or not, and the workspace's real folder to the call's effects."""
_MOST_PATTERNS = 200
"""Most patterns of one kind in a command: each is compared with each rule."""
_analysed = lru_cache(maxsize=32)(analyse)
"""Cached: a call is analysed before it runs, perhaps several times, and again after its end."""


def real(path: str, root: Path) -> str | None:
    """Return the real path of `path`, as written in a call, from `root`: links, `~` and `..` resolved. It need not
    exist. None if it cannot be known."""
    if GAP in path or "\0" in path or len(path) > 4096:
        return None
    try:
        whole = os.path.join(root, os.path.expanduser(path))
        return _below(whole, str(root)) or os.path.realpath(whole)
    except (OSError, ValueError):
        return None


def _below(path: str, root: str) -> str | None:
    """Return the real path of a path below `root`, which is real; None if a link or `..` needs full resolution."""
    if not path.startswith(root + "/"):
        return None
    reached = root
    there = True
    for name in path[len(root) :].split("/"):
        if name == "..":
            return None
        if name in ("", "."):
            continue
        reached += "/" + name
        try:
            if there and stat.S_ISLNK(os.lstat(reached).st_mode):
                return None
        except (FileNotFoundError, NotADirectoryError):
            there = False
    return reached


def files(root: Path, *, reads: Iterable[str] = (), writes: Iterable[str] = ()) -> Touches:
    """Return the effects of a tool that touches these paths and no others."""
    there, unknown = _all(reads, root)
    changed, more = _all(writes, root)
    return Touches(reads=there, writes=changed, unknown=unknown or more)


def command(text: str, root: Path) -> Touches:
    """Return the effects of a shell command that starts in `root`, as far as its words tell. The sandbox must contain
    other effects of its programs."""
    found = _analysed(text, str(root))
    if any(not os.path.isdir(os.path.join(root, os.path.expanduser(each))) for each in _not_made(found)):
        found = _analysed(text, str(root), wary=True)
    looks = Looks()
    changed = frozenset(found.writes)
    written = _Paths(found.writes, root, looks)
    read = _Paths((path for path in found.paths if path not in changed), root, looks)
    below, picked = _Paths(found.below, root, looks), _Paths(found.picked, root, looks)
    lost, edited = _Paths(found.loses, root, looks), _Paths(found.edits, root, looks)
    return Touches(
        reads=read.known,
        writes=written.known,
        removes=_Paths(found.removes, root, looks).known,
        below=below.known,
        picked=picked.known,
        named=_Paths(found.named, root, looks).known,
        loses=(*lost.known, str(root)) if lost.many or edited.many else lost.known,
        edits=edited.known,
        links=_Paths(found.links, root, looks).known,
        read_patterns=(*read.patterns, *below.patterns, *picked.patterns),
        write_patterns=written.patterns,
        unknown=written.unknown or read.unknown or bool(found.unclear),
        command=found,
        hosts=found.hosts,
        outside=bool(found.hosts) or not found.read_only,
    )


class _Paths:
    """Words of a command as real paths. known: paths, including the present matches of patterns. patterns: absolute
    patterns, which may match more. unknown: some cannot be resolved. many: there are too many to look at."""

    def __init__(self, words: Iterable[str], root: Path, looks: Looks) -> None:
        found: dict[str, None] = {}
        patterns: dict[str, None] = {}
        self.unknown = self.many = False
        for word in (each for given in words for each in _at_home(given)):
            pattern = word.removesuffix(GAP)
            if len(patterns) > _MOST_PATTERNS:
                self.unknown = self.many = True
                break
            if pattern and is_pattern(pattern) and GAP not in pattern and "\0" not in pattern:
                whole = _pattern(pattern, root)
                patterns[whole] = None
                try:
                    found.update(dict.fromkeys(map(os.path.realpath, looks.on_disk(whole))))
                except TooMany:
                    self.unknown = self.many = True
                except (OSError, ValueError):
                    self.unknown = True
            if pattern == word or not is_pattern(pattern):
                path = real(word, root)
                self.unknown = self.unknown or path is None
                found.update({} if path is None else {path: None})
        self.known = tuple(found)
        self.patterns = tuple(patterns)


def _at_home(word: str) -> tuple[str, ...]:
    """Return both readings of `~`. A command's HOME is the workspace, but rules use `~` for the person's home."""
    return (word, "." + word[1:]) if word == "~" or word.startswith(("~/", "~" + GAP)) else (word,)


def _pattern(pattern: str, root: Path) -> str:
    """Return the absolute pattern, with the part before the first wildcard resolved."""
    segments = os.path.join(root, os.path.expanduser(pattern)).split("/")
    plain = list(itertools.takewhile(lambda segment: not is_pattern(segment), segments))
    rest: list[str] = []
    for segment in segments[len(plain) :]:
        if segment == ".." and rest:
            rest.pop()  # leaves a folder that was just named: perhaps by a link, but to no new place
        elif segment not in ("", "."):
            rest.append(segment)
    return "/".join([os.path.realpath("/".join(plain) or "/").rstrip("/"), *rest])


def _not_made(found: Analysis) -> list[str]:
    """Return the folders that `cd` must reach, without those that the command creates before."""
    made = {os.path.normpath(path) for path in found.writes}
    return [folder for folder in found.reached if os.path.normpath(folder) not in made]


def _all(paths: Iterable[str], root: Path) -> tuple[tuple[str, ...], bool]:
    found = [real(path, root) for path in paths]
    return tuple(dict.fromkeys(path for path in found if path is not None)), None in found


def words(arguments: Mapping[str, Any], name: str, default: str | None = None) -> list[str]:
    """Return a text argument; empty if it is missing or no text, which the tool itself rejects."""
    value = arguments.get(name, default)
    return [value] if isinstance(value, str) else []


def reads_at(name: str, default: str | None = None) -> Reach:
    """Effects of a tool that reads the path in this argument and nothing else."""
    return lambda arguments, root: files(root, reads=words(arguments, name, default))


def writes_at(name: str) -> Reach:
    """Effects of a tool that changes the file in this argument and nothing else."""
    return lambda arguments, root: files(root, writes=words(arguments, name))


def runs_at(name: str) -> Reach:
    """Effects of a tool that runs the shell command in this argument in the workspace."""
    return lambda arguments, root: command("\n".join(words(arguments, name)), root)
