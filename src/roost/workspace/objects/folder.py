"""Objects in a folder that nodes share, such as a network file system. A key is a path below it."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path
from urllib.parse import unquote

from roost.errors import ConfigError
from roost.syncing import sync
from roost.workspace.disk_room import Space
from roost.workspace.object_store import ObjectInfo, ObjectMissing, ObjectsFailed, full, is_full

UNFINISHED = "tmp/"
"""Prefix of the keys of unfinished writes. Nothing reads them; `sweep` removes those that a crash left."""


_MARK = "roost-snapshots"
"""A file that distinguishes the folder from the empty mount point of a share that is not mounted."""


class FolderObjects:
    """Implements `Objects` in a folder. `space`: disk reserve to respect there."""

    def __init__(self, root: Path, space: Space | None = None) -> None:
        self._root = root
        self._space = space or Space()

    @classmethod
    def open(cls, path: str) -> FolderObjects:
        """Open an existing folder: making one would turn a share that is not mounted into a local folder. Raises
        `ConfigError`."""
        root = Path(unquote(path))
        if not root.is_dir():
            raise ConfigError(f"the snapshot store's folder {str(root)!r} does not exist: mount it, or make it")
        try:
            (root / _MARK).touch(0o600)
        except OSError as error:
            raise ConfigError(f"the snapshot store's folder {str(root)!r} cannot be used: {error.strerror}") from error
        return cls(root)

    @classmethod
    def make(cls, root: Path, space: Space | None = None) -> FolderObjects:
        """Open a folder of this machine; it is made if it does not exist. Raises `ObjectsFailed`."""
        with _explained(str(root)):
            if not (root / _MARK).exists():
                _folder(root)
                (root / _MARK).touch(0o600)
        return cls(root, space)

    def share(self, keys: Iterable[str], other: FolderObjects) -> None:
        """Add these objects to `other` by hard links, where possible: objects are never changed, only removed. Raises
        `ObjectMissing`."""
        folders: set[Path] = set()
        for key in keys:
            target = other._root / key
            with _explained(key):
                if target.parent not in folders:
                    _folder(target.parent)
                    folders.add(target.parent)
                try:
                    with contextlib.suppress(FileExistsError):
                        os.link(self._root / key, target)
                except FileNotFoundError as error:
                    raise ObjectMissing(f"the snapshot store has no object {key!r}") from error
                except OSError:  # a file system without hard links, or too many of them
                    other.put(key, self.get(key))
        for folder in folders:
            sync(folder)

    def put(self, key: str, data: bytes) -> None:
        place = self._root / key
        fresh = self._root / UNFINISHED / secrets.token_hex(12)
        with _explained(key):
            self._check()
            if place.exists():
                return
            _folder(fresh.parent)
            try:
                with self._space.taking(len(data)):
                    _write(fresh, data)
                _folder(place.parent)
                os.rename(fresh, place)
            except BaseException:
                with contextlib.suppress(OSError):
                    fresh.unlink()
                raise
            sync(place.parent)

    def get(self, key: str) -> bytes:
        with _explained(key):
            try:
                return (self._root / key).read_bytes()
            except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
                self._check()
                raise ObjectMissing(f"the snapshot store has no object {key!r}") from error

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        with _explained(prefix):
            self._check()
            for found in self._below(self._root / prefix, prefix):
                if found.key != _MARK:
                    yield found

    def _below(self, folder: Path, prefix: str) -> Iterator[ObjectInfo]:
        try:
            entries = os.scandir(folder)
        except FileNotFoundError:
            return
        with entries:
            for entry in entries:
                with contextlib.suppress(FileNotFoundError):
                    if entry.is_dir(follow_symlinks=False):
                        yield from self._below(folder / entry.name, f"{prefix}{entry.name}/")
                    else:
                        status = entry.stat(follow_symlinks=False)
                        yield ObjectInfo(prefix + entry.name, status.st_size, status.st_mtime)

    def delete(self, keys: Iterable[str]) -> None:
        for key in keys:
            with _explained(key):
                (self._root / key).unlink(missing_ok=True)

    def close(self) -> None:
        return None

    def _check(self) -> None:
        os.stat(self._root / _MARK)


def _write(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with open(descriptor, "wb", buffering=0) as file:
        view = memoryview(data)
        while view:
            view = view[file.write(view) :]
        os.fsync(descriptor)


def _folder(path: Path) -> None:
    """Make the folder if it does not exist, and sync it into its parents."""
    if path.is_dir():
        return
    _folder(path.parent)
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=0o700)
    sync(path.parent)


@contextlib.contextmanager
def _explained(key: str) -> Generator[None]:
    try:
        yield
    except OSError as error:
        if is_full(error):
            raise full(f"{key!r} could not be written to the snapshot store's folder") from error
        raise ObjectsFailed(f"the snapshot store's folder failed at {key!r}: {error.strerror or error}") from error
