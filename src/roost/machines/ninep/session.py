"""Answer a guest's requests, message by message."""

from __future__ import annotations

import errno
import os
import stat
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from roost.machines.ninep import tree, wire
else:
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    import tree

    import wire

_MODE, _UID, _GID, _SIZE, _ATIME, _MTIME, _ATIME_SET, _MTIME_SET = 1, 2, 4, 8, 0x10, 0x20, 0x80, 0x100
_REMOVE_FOLDER = 0x200
_MADE = (stat.S_IFREG, stat.S_IFIFO, stat.S_IFSOCK)
"""File types that a guest may make beside folders and links: no devices."""
_MAGIC = 0x01021997
_UNLOCKED = 2
_WORLD = 0o1777
"""Mode bits that a guest may set. A file with the set-user-id or set-group-id bit would grant the rights of its owner,
the daemon's user."""


class Session:
    """One connection. `answer` raises `OSError` for an error answer. `fsync` returns a descriptor that the caller must
    sync and close: the only slow request."""

    def __init__(self, files: tree.Tree) -> None:
        self.tree = files
        self.msize = wire.MSIZE
        self._handlers: dict[int, Callable[[wire.Fields], bytes]] = {
            wire.VERSION: self._version, wire.ATTACH: self._attach, wire.WALKING: self._walk, wire.LOPEN: self._open,
            wire.LCREATE: self._create, wire.READ: self._read, wire.WRITE: self._write, wire.CLUNK: self._clunk,
            wire.REMOVE: self._remove, wire.GETATTR: self._getattr, wire.SETATTR: self._setattr,
            wire.READDIR: self._readdir, wire.STATFS: self._statfs, wire.SYMLINK: self._symlink,
            wire.MKNOD: self._mknod, wire.MKDIR: self._mkdir, wire.LINK: self._link, wire.READLINK: self._readlink,
            wire.RENAME: self._rename, wire.RENAMEAT: self._renameat, wire.UNLINKAT: self._unlinkat,
            wire.LOCK: self._lock, wire.GETLOCK: self._getlock,
        }  # fmt: skip

    def answer(self, kind: int, fields: wire.Fields) -> bytes:
        handler = self._handlers.get(kind)
        if handler is None:
            raise OSError(errno.EOPNOTSUPP, "this cannot be done here")
        return handler(fields)

    def fsync(self, fields: wire.Fields) -> int:
        return os.dup(self.tree.fd(self.tree.fid(fields.one())))

    def _version(self, fields: wire.Fields) -> bytes:
        asked, name = fields.one(), fields.text()
        if asked < wire.SMALLEST:
            raise OSError(errno.EINVAL, "messages would be too small")
        self.tree.clear()
        self.msize = min(asked, wire.MSIZE)
        return wire.U32.pack(self.msize) + wire.text(b"9P2000.L" if name == b"9P2000.L" else b"unknown")

    def _attach(self, fields: wire.Fields) -> bytes:
        number, _ = fields.take(wire.TWO)
        fid = self.tree.start()
        self.tree.put(number, fid)
        return wire.qid(os.lstat(self.tree.where(fid)))

    def _walk(self, fields: wire.Fields) -> bytes:
        number, new = fields.take(wire.TWO)
        count = fields.one(wire.U16)
        fid = self.tree.fid(number)
        if count > wire.WALK:
            raise OSError(errno.EINVAL, "too many names in a walk")
        names = [fields.text() for _ in range(count)]
        if names:
            self.tree.where(fid)
        made, found = tree.Fid(fid.path, fid.mark), list[os.stat_result]()
        made.gone, made.twin = fid.gone, fid if fid.gone and fid.fd >= 0 else fid.twin
        mode = self.tree.stat(fid).st_mode if names else 0
        for name in names:
            try:
                if b"/" in name or name in (b"", b"."):
                    raise OSError(errno.EINVAL, "this is no name of a file")
                if not stat.S_ISDIR(mode):
                    raise OSError(errno.ENOTDIR, "this is no folder")
                made.path, status = self.tree.step(made.path, name)
            except OSError:
                if not found:
                    raise
                break
            mode = status.st_mode
            found.append(status)
        if len(found) == count:
            if found:
                made.mark = wire.identity(found[-1].st_dev, found[-1].st_ino)
            if new == number:
                self.tree.drop(number)
            self.tree.put(new, made)
        return wire.U16.pack(len(found)) + b"".join(map(wire.qid, found))

    def _open(self, fields: wire.Fields) -> bytes:
        number, flags = fields.take(wire.TWO)
        return wire.qid(self.tree.open(self.tree.fid(number), flags)) + bytes(4)

    def _create(self, fields: wire.Fields) -> bytes:
        number, name = fields.one(), fields.name()
        flags, mode, _ = fields.take(wire.THREE)
        fid = self.tree.fid(number)
        if fid.flags is not None:
            raise OSError(errno.EINVAL, "it is open")
        how = tree.flags_of(flags)
        only = os.O_EXCL if flags & tree.EXCLUSIVE else 0
        folder = self.tree.folder(fid)
        path = fid.path + b"/" + name
        try:
            new = tree.Fid(path, 0)
            make = os.O_CREAT | only | how
            found = self.tree.opened(new, lambda: os.open(name, make, mode & _WORLD, dir_fd=folder), how)
        finally:
            os.close(folder)
        if not stat.S_ISREG(found.st_mode):
            self.tree.shut(new)
            raise OSError(errno.EEXIST, "something else is there")
        self.tree.drop(number)
        self.tree.put(number, new)
        return wire.qid(found) + bytes(4)

    def _read(self, fields: wire.Fields) -> bytes:
        number, offset, count = fields.take(wire.AT)
        data = os.pread(self.tree.fd(self.tree.fid(number)), self._most(count), _place(offset))
        return wire.U32.pack(len(data)) + data

    def _write(self, fields: wire.Fields) -> bytes:
        number, offset, count = fields.take(wire.AT)
        fid = self.tree.fid(number)
        return wire.U32.pack(os.pwrite(self.tree.fd(fid), fields.rest(count), _place(offset)))

    def _clunk(self, fields: wire.Fields) -> bytes:
        self.tree.drop(fields.one())
        return b""

    def _remove(self, fields: wire.Fields) -> bytes:
        number = fields.one()
        fid = self.tree.fid(number)
        try:
            self.tree.allow()
            path = self.tree.where(fid)
            if path == (self.tree.root or b"/"):
                raise OSError(errno.EBUSY, "the root cannot be removed")
            (os.rmdir if stat.S_ISDIR(os.lstat(path).st_mode) else os.unlink)(path)
            self.tree.removed(path)
        finally:
            self.tree.drop(number)
        return b""

    def _getattr(self, fields: wire.Fields) -> bytes:
        return wire.attributes(self.tree.stat(self.tree.fid(fields.one())))

    def _setattr(self, fields: wire.Fields) -> bytes:
        number, valid, mode, uid, gid, size, *times = fields.take(wire.SETTING)
        fid = self.tree.fid(number)
        self.tree.allow()
        at = self.tree.handle(fid)
        place = self.tree.where(fid) if at is None else at
        found = self.tree.stat(fid)
        if stat.S_ISLNK(found.st_mode) and valid & (_MODE | _SIZE):
            raise OSError(errno.EOPNOTSUPP, "a link has neither mode nor size")
        if valid & _SIZE:
            self._resize(fid, _place(size))
        if valid & (_UID | _GID):
            known = wire.owner_of(found)
            if (uid if valid & _UID else known[0], gid if valid & _GID else known[1]) != known:
                raise OSError(errno.EPERM, "files belong to whom they belong")
        if valid & _MODE and mode & ~_WORLD & ~found.st_mode & 0o7777:
            raise OSError(errno.EPERM, "no file gets the set-user-id or set-group-id bit")
        if valid & _MODE:
            os.chmod(place, mode & _WORLD)
        if valid & (_ATIME | _MTIME):
            _set_times(place, found, valid, times)
        return b""

    def _resize(self, fid: tree.Fid, size: int) -> None:
        at = self.tree.handle(fid)
        if at is not None:
            try:
                os.ftruncate(at, size)
                return
            except OSError as error:  # opened for reading only
                if error.errno not in (errno.EINVAL, errno.EBADF) or fid.gone:
                    raise
        writing = tree.Fid(fid.path, 0)
        self.tree.open(writing, os.O_WRONLY)
        try:
            os.ftruncate(writing.fd, size)
        finally:
            self.tree.shut(writing)

    def _readdir(self, fields: wire.Fields) -> bytes:
        number, offset, count = fields.take(wire.AT)
        fid = self.tree.fid(number)
        data = bytearray()
        for entry in self.tree.entries(fid, offset):
            if len(data) + len(entry) > self._most(count):
                self.tree.unread(fid, entry)
                if not data:
                    raise OSError(errno.EINVAL, "there is no room for one name")
                break
            data += entry
        return wire.U32.pack(len(data)) + data

    def _statfs(self, fields: wire.Fields) -> bytes:
        found = os.statvfs(self.tree.where(self.tree.fid(fields.one())))
        return wire.STATISTICS.pack(
            _MAGIC, found.f_bsize, found.f_blocks, found.f_bfree, found.f_bavail, found.f_files, found.f_ffree,
            found.f_fsid & (1 << 64) - 1, found.f_namemax,
        )  # fmt: skip

    def _made(self, folder: int, path: bytes) -> bytes:
        return wire.qid(os.stat(path.rpartition(b"/")[2], dir_fd=folder, follow_symlinks=False))

    def _symlink(self, fields: wire.Fields) -> bytes:
        fid, name, target = self.tree.fid(fields.one()), fields.name(), fields.text()
        with _Folder(self.tree, fid) as folder:
            os.symlink(target, name, dir_fd=folder)
            return self._made(folder, name)

    def _mknod(self, fields: wire.Fields) -> bytes:
        fid, name, mode = self.tree.fid(fields.one()), fields.name(), fields.one()
        if stat.S_IFMT(mode) not in _MADE:
            raise OSError(errno.EPERM, "no devices can be made")
        with _Folder(self.tree, fid) as folder:
            os.mknod(name, stat.S_IFMT(mode) | mode & _WORLD, dir_fd=folder)
            return self._made(folder, name)

    def _mkdir(self, fields: wire.Fields) -> bytes:
        fid, name, mode = self.tree.fid(fields.one()), fields.name(), fields.one()
        with _Folder(self.tree, fid) as folder:
            os.mkdir(name, mode & _WORLD, dir_fd=folder)
            return self._made(folder, name)

    def _link(self, fields: wire.Fields) -> bytes:
        number, old = fields.take(wire.TWO)
        fid, source, name = self.tree.fid(number), self.tree.where(self.tree.fid(old)), fields.name()
        with _Folder(self.tree, fid) as folder:
            os.link(source, name, dst_dir_fd=folder, follow_symlinks=False)
        return b""

    def _readlink(self, fields: wire.Fields) -> bytes:
        return wire.text(os.readlink(self.tree.where(self.tree.fid(fields.one()))))

    def _rename(self, fields: wire.Fields) -> bytes:
        number, to = fields.take(wire.TWO)
        old = self.tree.where(self.tree.fid(number))
        if old == (self.tree.root or b"/"):
            raise OSError(errno.EBUSY, "the root has no other name")
        self._move(old, None, self.tree.fid(to), fields.name())
        return b""

    def _renameat(self, fields: wire.Fields) -> bytes:
        source, name = self.tree.fid(fields.one()), fields.name()
        self._move(name, source, self.tree.fid(fields.one()), fields.name())
        return b""

    def _move(self, old: bytes, source: tree.Fid | None, target: tree.Fid, name: bytes) -> None:
        with _Folder(self.tree, target) as folder:
            if source is None:
                os.rename(old, name, dst_dir_fd=folder)
            else:
                with _Folder(self.tree, source) as above:
                    os.rename(old, name, src_dir_fd=above, dst_dir_fd=folder)
                old = source.path + b"/" + old
        if not os.path.lexists(old):  # a rename between two names of one file keeps both
            self.tree.moved(old, target.path + b"/" + name)

    def _unlinkat(self, fields: wire.Fields) -> bytes:
        fid, name, flags = self.tree.fid(fields.one()), fields.name(), fields.one()
        with _Folder(self.tree, fid) as folder:
            (os.rmdir if flags & _REMOVE_FOLDER else os.unlink)(name, dir_fd=folder)
        self.tree.removed(fid.path + b"/" + name)
        return b""

    def _lock(self, fields: wire.Fields) -> bytes:
        """Grant every lock: the guest's kernel separates its programs, and no other process here uses locks."""
        self.tree.fid(fields.take(wire.LOCKING)[0])
        return b"\0"

    def _getlock(self, fields: wire.Fields) -> bytes:
        self.tree.fid(fields.one())
        _, start, length, pid = fields.take(wire.ASKING)
        return wire.ASKING.pack(_UNLOCKED, start, length, pid) + wire.text(fields.text())

    def _most(self, count: int) -> int:
        return max(0, min(count, self.msize - wire.HEAD.size - 4))


class _Folder:
    def __init__(self, files: tree.Tree, fid: tree.Fid) -> None:
        self._fd = files.folder(fid)

    def __enter__(self) -> int:
        return self._fd

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)


def _place(offset: int) -> int:
    if offset >> 63:
        raise OSError(errno.EINVAL, "this is no place in a file")
    return offset


def _set_times(place: int | bytes, found: os.stat_result, valid: int, times: list[int]) -> None:
    import time

    now = time.time_ns()
    wanted: list[int] = []
    for which, chosen, old, (seconds, rest) in (
        (_ATIME, _ATIME_SET, found.st_atime_ns, times[0:2]),
        (_MTIME, _MTIME_SET, found.st_mtime_ns, times[2:4]),
    ):
        seconds -= 1 << 64 if seconds >> 63 else 0
        said = seconds * 1_000_000_000 + rest if valid & chosen else now
        wanted.append(said if valid & which else old)
    try:
        if isinstance(place, int):
            os.utime(place, ns=(wanted[0], wanted[1]))
        else:
            os.utime(place, ns=(wanted[0], wanted[1]), follow_symlinks=False)
    except OverflowError:
        raise OSError(errno.EINVAL, "this is no time") from None
