"""Read and write a workspace's files safely, whatever links its content has.

Every function takes a real path from `Workspace.resolve` and opens it one component at a time without following links,
so a path that became a link after it was resolved is refused. All block: call them in a thread. They raise `NotFound`,
`FileRefused` or `TooLarge`, with a message that a model can act on.
"""

from __future__ import annotations

import errno
import itertools
import os
import secrets
import stat
from collections.abc import Generator
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

from roost.errors import Invalid, NotFound, TooLarge
from roost.workspace.files import PathOutside, Workspace

READ_CAP = 32 * 1024 * 1024
WRITE_CAP = 16 * 1024 * 1024
_SNIFF = 8192
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class FileRefused(Invalid):
    """The path exists but is not a usable file: a folder, a pipe, a device, or not permitted."""

    code = "file_refused"


class WorkspaceFull(Invalid):
    """The workspace's quota, or the disk, is used up."""

    code = "workspace_full"


class FileData(NamedTuple):
    """`mode` holds the permission bits."""

    data: bytes
    digest: str
    mode: int


def digest_of(data: bytes) -> str:
    return blake2b(data, digest_size=16).hexdigest()


def is_binary(data: bytes) -> bool:
    """Return whether the first 8 KiB contain a zero byte, as git does."""
    return b"\0" in data[:_SNIFF]


@contextmanager
def explained(name: str) -> Generator[None]:
    """Turn an `OSError` about the file `name` into an error that says what is wrong with it."""
    try:
        yield
    except FileNotFoundError as error:
        raise NotFound(f"{name!r} does not exist") from error
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EMLINK):
            raise PathOutside(f"{name!r} is or goes through a symbolic link that cannot be followed") from error
        if error.errno == errno.ENXIO:
            raise FileRefused(f"{name!r} is a pipe or a socket, not a file") from error
        raise FileRefused(f"{name!r}: {os.strerror(error.errno or errno.EIO)}") from error


@contextmanager
def open_folder(workspace: Workspace, real: Path, *, create: bool = False) -> Generator[int]:
    """Open the folder `real` and yield its descriptor. With `create`, missing folders are made (and synced)."""
    fd = os.open(workspace.root, _FOLDER)
    try:
        for part in real.relative_to(workspace.root).parts:
            if create:
                _make_folder(workspace, fd, part)
            below = os.open(part, _FOLDER, dir_fd=fd)
            os.close(fd)
            fd = below
        yield fd
    finally:
        os.close(fd)


def _make_folder(workspace: Workspace, fd: int, name: str) -> None:
    try:
        os.mkdir(name, dir_fd=fd)
    except FileExistsError:
        return
    if workspace.user is not None:
        made = os.open(name, _FOLDER, dir_fd=fd)
        try:
            workspace.give(made)
        finally:
            os.close(made)
    os.fsync(fd)


def read_file(workspace: Workspace, real: Path, *, cap: int = READ_CAP) -> FileData:
    """Read the whole file. Raises `TooLarge` above `cap` bytes. Refuses pipes and devices without blocking on them."""
    name = workspace.relative(real)
    not_the_root(workspace, real)
    with explained(name), open_folder(workspace, real.parent) as folder:
        return _read_at(folder, real.name, name, cap)


def _read_at(folder: int, entry: str, name: str, cap: int) -> FileData:
    fd = os.open(entry, _FILE, dir_fd=folder)
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise FileRefused(f"{name!r} is a {_kind(status.st_mode)}, not a file")
        if status.st_size > cap:
            raise TooLarge(
                f"{name!r} has {status.st_size} bytes and the limit is {cap}; search it or read a part of it"
            )
        chunks: list[bytes] = []
        left = cap + 1
        while left and (chunk := os.read(fd, min(left, 1 << 20))):
            chunks.append(chunk)
            left -= len(chunk)
    finally:
        os.close(fd)
    data = b"".join(chunks)
    if len(data) > cap:
        raise TooLarge(f"{name!r} grew above the limit of {cap} bytes while it was read")
    return FileData(data, digest_of(data), stat.S_IMODE(status.st_mode))


def _kind(mode: int) -> str:
    if stat.S_ISDIR(mode):
        return "folder"
    if stat.S_ISFIFO(mode):
        return "pipe"
    if stat.S_ISSOCK(mode):
        return "socket"
    return "device"


def not_the_root(workspace: Workspace, real: Path) -> None:
    if real == workspace.root:
        raise FileRefused("'.' is the workspace's folder, not a file")


def write_file(
    workspace: Workspace, real: Path, data: bytes, *, expected: str | None, create_folders: bool = False
) -> str:
    """Replace the file atomically and durably, and return its new digest. Readers see the old bytes or the new, even
    after a crash. `expected`: digest of the old content, None when no file may exist; `FileRefused` on a mismatch. The
    permission bits are kept; a hard link elsewhere keeps the old bytes. Raises `WorkspaceFull` before it makes any
    folder."""
    name = workspace.relative(real)
    not_the_root(workspace, real)
    if len(data) > WRITE_CAP:
        raise TooLarge(f"{len(data)} bytes are too many for {name!r}; the limit is {WRITE_CAP}")
    folders = missing(workspace, real.parent) if create_folders else ()
    admit(workspace, len(data) - size_of(real), len(folders) + (expected is None))
    with explained(name), open_folder(workspace, real.parent, create=create_folders) as folder:
        mode = checked(folder, real.name, name, expected)
        temporary = f".roost-{secrets.token_hex(8)}.tmp"
        try:
            write_new(workspace, folder, temporary, data, mode)
            checked(folder, real.name, name, expected)
            os.rename(temporary, real.name, src_dir_fd=folder, dst_dir_fd=folder)
        except BaseException:
            remove_entry(folder, temporary)
            raise
        os.fsync(folder)
    return digest_of(data)


def admit(workspace: Workspace, size: int, files: int) -> None:
    """Reserve growth by so many bytes and files. Raises `WorkspaceFull` when the workspace may not grow so much."""
    if (why := workspace.room(size, files)) is not None:
        raise WorkspaceFull(why)


def missing(workspace: Workspace, real: Path) -> list[Path]:
    """Return the missing folders on the path to `real`, itself first."""
    way = [real.parents[n] for n in range(len(real.relative_to(workspace.root).parts) - 1)]
    return list(itertools.takewhile(lambda folder: not os.path.lexists(folder), [real, *way]))


def size_of(real: Path) -> int:
    """Return the file's size, 0 if missing. A hint: a path that changes meanwhile can only change the number."""
    try:
        return os.lstat(real).st_size
    except OSError:
        return 0


def checked(folder: int, entry: str, name: str, expected: str | None) -> int | None:
    """Return the permission bits of the current file, None if missing. Its digest must be the expected one."""
    try:
        current = _read_at(folder, entry, name, READ_CAP)
    except FileNotFoundError:
        if expected is None:
            return None
        raise
    if current.digest != expected:
        raise FileRefused(f"{name!r} has changed since it was read; read it again")
    return current.mode


def write_new(workspace: Workspace, folder: int, entry: str, data: bytes, mode: int | None) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(entry, flags, 0o666, dir_fd=folder)
    with os.fdopen(fd, "wb", buffering=0) as file:
        workspace.give(fd)
        if mode is not None:
            os.fchmod(fd, mode & 0o777)
        view = memoryview(data)
        while view:
            view = view[file.write(view) :]
        os.fsync(fd)


def remove_entry(folder: int, entry: str) -> None:
    try:
        os.unlink(entry, dir_fd=folder)
    except OSError:
        pass
