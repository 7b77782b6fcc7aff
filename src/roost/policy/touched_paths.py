"""From the words of a call to the real paths that it would touch."""

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
"""From a call's arguments, valid or not, and the workspace's real folder to what the call would touch."""
_MOST_PATTERNS = 200
"""Patterns of one kind in a command: each is compared with each rule."""
_analysed = lru_cache(maxsize=32)(analyse)
"""A call is looked at before it runs, perhaps by several, and again when it has ended."""


def real(path: str, root: Path) -> str | None:
    """Where `path`, as written in a call, leads from `root`: links followed, `~` and `..` gone, whether it is there or
    not. None where nobody can know."""
    if GAP in path or "\0" in path or len(path) > 4096:
        return None
    try:
        whole = os.path.join(root, os.path.expanduser(path))
        return _below(whole, str(root)) or os.path.realpath(whole)
    except (OSError, ValueError):
        return None


def _below(path: str, root: str) -> str | None:
    """The real path of what lies below `root`, which is real; None where a link or `..` asks for a longer look."""
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
    """Of a tool that touches these paths and no others."""
    there, unknown = _all(reads, root)
    changed, more = _all(writes, root)
    return Touches(reads=there, writes=changed, unknown=unknown or more)


def command(text: str, root: Path) -> Touches:
    """Of a shell command that begins in `root`, as far as its words say: what programs do beyond them is for the
    sandbox to hold."""
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
    """Words of a command as real paths: `known`, with what patterns match now; `patterns`, which may match more;
    `unknown`: some cannot be told; `many`: there are too many to look at."""

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
    """A command's HOME is the workspace. That `~` means the person's home is judged too: rules speak of it so."""
    return (word, "." + word[1:]) if word == "~" or word.startswith(("~/", "~" + GAP)) else (word,)


def _pattern(pattern: str, root: Path) -> str:
    """The absolute pattern, with what stands before the first wildcard as it really is."""
    segments = os.path.join(root, os.path.expanduser(pattern)).split("/")
    plain = list(itertools.takewhile(lambda segment: not is_pattern(segment), segments))
    rest: list[str] = []
    for segment in segments[len(plain) :]:
        if segment == ".." and rest:
            rest.pop()  # out of a folder that was just named: it may be another way, but no other place
        elif segment not in ("", "."):
            rest.append(segment)
    return "/".join([os.path.realpath("/".join(plain) or "/").rstrip("/"), *rest])


def _not_made(found: Analysis) -> list[str]:
    """Folders that `cd` must reach, but for those that the command makes before."""
    made = {os.path.normpath(path) for path in found.writes}
    return [folder for folder in found.reached if os.path.normpath(folder) not in made]


def _all(paths: Iterable[str], root: Path) -> tuple[tuple[str, ...], bool]:
    found = [real(path, root) for path in paths]
    return tuple(dict.fromkeys(path for path in found if path is not None)), None in found


def words(arguments: Mapping[str, Any], name: str, default: str | None = None) -> list[str]:
    """The text of an argument; none where it is missing or no text: then the tool refuses the call itself."""
    value = arguments.get(name, default)
    return [value] if isinstance(value, str) else []


def reads_at(name: str, default: str | None = None) -> Reach:
    """For a tool that reads the path in this argument and nothing else."""
    return lambda arguments, root: files(root, reads=words(arguments, name, default))


def writes_at(name: str) -> Reach:
    """For a tool that changes the file in this argument and nothing else."""
    return lambda arguments, root: files(root, writes=words(arguments, name))


def runs_at(name: str) -> Reach:
    """For a tool that runs the shell command in this argument in the workspace."""
    return lambda arguments, root: command("\n".join(words(arguments, name)), root)
