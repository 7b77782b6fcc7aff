"""Whether what a command removes or overwrites in a workspace can be had again: from git, or by building it anew."""

from __future__ import annotations

import os
import re
import stat
import struct
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

_MADE = (
    "build dist out target node_modules __pycache__ *.pyc *.pyo *.o *.obj *.a *.so *.class *.egg-info .eggs .tox .nox"
    " .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage coverage htmlcov .cache .next .nuxt .parcel-cache"
    " .turbo .gradle .nyc_output bin obj *.log *.tmp *.swp *~ tmp .tmp"
).split()
"""Names of what builds, tests and editors make, and make again."""
_MADE_NAMES = frozenset(name for name in _MADE if "*" not in name)
_MADE_ENDINGS = tuple(name[1:] for name in _MADE if "*" in name)
_LOOKED = 2_000
_INDEX_BYTES = 32 * 1024 * 1024
_CONFIG_BYTES = 64 * 1024
_RUNS = re.compile(
    rb"fsmonitor|submodule|textconv|external|pager|hookspath|include|command|editor|askpass|driver|clean|smudge|process|alias|worktree"
    rb"|program|uploadpack|receivepack|promisor|partialclone|helper|proxy",
    re.IGNORECASE,
)
_ENTRY = struct.Struct(">10I20sH")
_GITLINK = 0o160000


class _Entered(NamedTuple):
    """What git's index says of a file: its change in seconds and nanoseconds, its size, or that it is a repository."""

    seconds: int
    nanoseconds: int
    size: int
    repository: bool


def lost(paths: Iterable[str], root: str, *, edited: Iterable[str] = ()) -> str | None:
    """Of real paths that a command removes or overwrites, the first in `root` that would be lost for good: neither is
    it in git as it is now, nor does a build make it. Of `edited`, which it changes in place, the first of which git has
    no version. What lies elsewhere is not looked at. Reads git's index alone."""
    left = _LOOKED
    repositories: dict[str, str | None] = {}
    whole = dict.fromkeys(paths)
    for path in (*whole, *edited):
        if path != root and not path.startswith(root + "/"):
            continue
        for file in _files(path, root):
            left -= 1
            if left < 0:
                return path
            if not _kept(file, root, repositories, any_version=path not in whole):
                return file
    return None


def _files(path: str, root: str) -> Iterable[str]:
    """What is at a path, but for what is made; git's own folder as one."""
    waiting = [path]
    while waiting:
        one = waiting.pop()
        name = os.path.basename(one)
        if name == ".git":
            yield one
        elif one != root and _is_made(name):
            continue
        elif os.path.isdir(one) and not os.path.islink(one):
            try:
                waiting += [os.path.join(one, entry) for entry in os.listdir(one)]
            except OSError:
                yield one
        elif os.path.lexists(one):
            yield one


def _is_made(name: str) -> bool:
    return name in _MADE_NAMES or name.endswith(_MADE_ENDINGS)


def _kept(path: str, root: str, repositories: dict[str, str | None], *, any_version: bool = False) -> bool:
    """Whether git has the file as it is now, or in `any_version`. `repositories`: of folders that were looked at, where
    theirs is."""
    parts = path.split("/")
    if ".git" in parts[root.count("/") + 1 :]:
        return False
    if any(map(_is_made, parts[root.count("/") + 1 :])):
        return True
    folder = os.path.dirname(path)
    if folder not in repositories:
        repositories[folder] = _repository(path, root)
    place = repositories[folder]
    if place is None:
        return False
    try:
        found, index = os.lstat(path), os.stat(os.path.join(place, ".git/index"))
        entries = _index(os.path.join(place, ".git/index"), index.st_mtime_ns, index.st_size)
    except (OSError, ValueError, struct.error, IndexError):
        return False
    known = entries.get(path[len(place) + 1 :])
    if known is None or not (stat.S_ISREG(found.st_mode) or stat.S_ISLNK(found.st_mode)):
        return False
    if any_version:
        return True
    seconds, nanoseconds, size, _ = known
    same = (seconds, size) == (int(found.st_mtime) & 0xFFFFFFFF, found.st_size & 0xFFFFFFFF)
    # Git itself does not trust what changed in the very moment in which the index was written.
    return same and nanoseconds in (0, found.st_mtime_ns % 1_000_000_000) and found.st_mtime_ns < index.st_mtime_ns


def _repository(path: str, root: str) -> str | None:
    folder: str = os.path.dirname(path)
    while True:
        if os.path.isfile(os.path.join(folder, ".git/index")):
            return folder
        if folder in (root, "/", ""):
            return None
        folder = os.path.dirname(folder)


@lru_cache(maxsize=8)
def _index(path: str, changed: int, size: int) -> dict[str, _Entered]:
    """Each file in an index of git. Raises `ValueError` for
    one that is too large or of an unknown version."""
    if size > _INDEX_BYTES:
        raise ValueError("too large")
    with open(path, "rb") as file:
        data = file.read(_INDEX_BYTES)
    version, count = struct.unpack(">II", data[4:12])
    if data[:4] != b"DIRC" or version not in (2, 3, 4):
        raise ValueError("unknown index")
    entries: dict[str, _Entered] = {}
    at, before = 12, b""
    for _ in range(count):
        fields = _ENTRY.unpack_from(data, at)
        begin = at + _ENTRY.size + (2 if fields[11] & 0x4000 else 0)
        if version == 4:
            strip, begin = _varint(data, begin)
            end = data.index(b"\0", begin)
            name = before[: len(before) - strip] + data[begin:end]
            at = end + 1
        else:
            end = data.index(b"\0", begin)
            name = data[begin:end]
            at += (end - at + 8) & ~7
        before = name
        entries[os.fsdecode(name)] = _Entered(fields[2], fields[3], fields[9], fields[6] & 0o170000 == _GITLINK)
    return entries


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = data[at] & 0x7F
    while data[at] & 0x80:
        at += 1
        value = ((value + 1) << 7) | (data[at] & 0x7F)
    return value, at + 1


def plain_repository(folder: str) -> bool:
    """Whether nothing makes git run a program in this folder, which is also the HOME of commands: no setting of the
    folder's own, none of the repository around it, and no repository within that, where git looks too."""
    if not all(map(_plain_settings, (f"{folder}/.gitconfig", f"{folder}/.config/git/config"))):
        return False
    while True:
        place = os.path.join(folder, ".git")
        if os.path.lexists(place):
            # Its settings are elsewhere where `commondir` says so; git runs this hook also after `git status`.
            if any(os.path.lexists(f"{place}/{name}") for name in ("commondir", "hooks/post-index-change")):
                return False
            # Without its settings a repository is no plain one, also where `.git` is a file that names another folder.
            return os.path.isfile(f"{place}/config") and _plain_settings(f"{place}/config") and not _nested(place)
        if os.path.lexists(os.path.join(folder, "HEAD")):
            return False  # git takes a folder for a repository by what is in it, whatever its name is
        if folder in ("/", ""):
            return True
        folder = os.path.dirname(folder)


def _plain_settings(path: str) -> bool:
    if os.path.lexists(path) and not os.path.isfile(path):
        return False  # to open a pipe would wait for its writer
    try:
        with open(path, "rb") as file:
            settings = file.read(_CONFIG_BYTES + 1)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return len(settings) <= _CONFIG_BYTES and _RUNS.search(settings) is None


def _nested(place: str) -> bool:
    """Whether a repository's index names other repositories: `git status` looks into them, by their own settings."""
    try:
        index = os.stat(f"{place}/index")
        entries = _index(f"{place}/index", index.st_mtime_ns, index.st_size)
    except FileNotFoundError:
        return False
    except (OSError, ValueError, struct.error, IndexError):
        return True
    return any(entry.repository for entry in entries.values())
