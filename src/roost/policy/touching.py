"""From the words of a call to the real paths that it would touch."""

from __future__ import annotations

import glob
import itertools
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeAlias

from roost.policy.command import analyse
from roost.policy.command.words import GAP
from roost.policy.rules import Touches

_MATCHES = 256
"""Files of one pattern that are looked at; what it may match beside is not known in any case."""
Reach: TypeAlias = Callable[[Mapping[str, Any], Path], Touches]
"""From a call's arguments, valid or not, and the workspace's real folder to what the call would touch."""
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
    found = _analysed(text)
    writes, gap = _all(_matched(found.writes, root), root)
    reads, more = _all(_matched([path for path in found.paths if path not in found.writes], root), root)
    removes, _ = _all(_matched(found.removes, root), root)
    below, _ = _all(_matched(found.below, root), root)
    picked, _ = _all(_matched(found.picked, root), root)
    return Touches(
        reads=reads,
        writes=writes,
        removes=removes,
        below=below,
        picked=picked,
        unknown=gap or more or bool(found.unclear),
        command=found,
        hosts=found.hosts,
        outside=bool(found.hosts) or not found.read_only,
    )


def _matched(paths: Iterable[str], root: Path) -> Iterator[str]:
    """And what the shell will make of those that are patterns, as far as that is there now."""
    for path in paths:
        yield path
        pattern = path.removesuffix(GAP)
        if GAP not in pattern and "\0" not in pattern and glob.has_magic(pattern):
            yield from itertools.islice(glob.iglob(os.path.join(root, os.path.expanduser(pattern))), _MATCHES)


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
