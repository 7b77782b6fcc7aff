"""Decide whether files that a command removes or overwrites in a workspace are recoverable: from git, or by a build."""

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
"""Names of files that builds, tests and editors generate, and can generate again."""
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
    """A file in git's index: modification time in seconds and nanoseconds, size, and whether it is a repository."""

    seconds: int
    nanoseconds: int
    size: int
    repository: bool


def lost(paths: Iterable[str], root: str, *, edited: Iterable[str] = ()) -> str | None:
    """Return the first path in `root` that a command would lose for good, or None.

    paths: real paths that it removes or overwrites; lost if git lacks the current content and no build generates them.
    edited: paths changed in place; lost if git has no version. Paths outside `root` are ignored. Reads only git's
    index."""
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
    """Yield the files at a path, without generated ones; git's own folder as one."""
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
    """Whether git has the file's current content, or `any_version`. repositories: cache of the repository of each
    folder."""
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
    # Like git, distrust a file changed at the very moment when the index was written.
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
    """Read the files in a git index. Raises `ValueError` if it is too large or of an unknown version."""
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
    """Whether no setting makes git run a program in this folder, which is also the HOME of commands. Checks the
    folder's own settings, those of the repository around it, and that no repository is nested in that, since git visits
    those too."""
    if not all(map(_plain_settings, (f"{folder}/.gitconfig", f"{folder}/.config/git/config"))):
        return False
    while True:
        place = os.path.join(folder, ".git")
        if os.path.lexists(place):
            # `commondir` moves the settings elsewhere; git runs this hook even after `git status`.
            if any(os.path.lexists(f"{place}/{name}") for name in ("commondir", "hooks/post-index-change")):
                return False
            # Without a settings file it is no plain repository, for example if `.git` is a file that names a folder.
            return os.path.isfile(f"{place}/config") and _plain_settings(f"{place}/config") and not _nested(place)
        if os.path.lexists(os.path.join(folder, "HEAD")):
            return False  # git recognizes a bare repository by its content, whatever its name
        if folder in ("/", ""):
            return True
        folder = os.path.dirname(folder)


def _plain_settings(path: str) -> bool:
    if os.path.lexists(path) and not os.path.isfile(path):
        return False  # opening a pipe would block until a writer comes
    try:
        with open(path, "rb") as file:
            settings = file.read(_CONFIG_BYTES + 1)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return len(settings) <= _CONFIG_BYTES and _RUNS.search(settings) is None


def _nested(place: str) -> bool:
    """Whether a repository's index names other repositories: `git status` visits them, with their own settings."""
    try:
        index = os.stat(f"{place}/index")
        entries = _index(f"{place}/index", index.st_mtime_ns, index.st_size)
    except FileNotFoundError:
        return False
    except (OSError, ValueError, struct.error, IndexError):
        return True
    return any(entry.repository for entry in entries.values())
