"""The files that a guest refers to, each by a number of its choice (fid), and their paths.

A fid is a path, plus an open file if it was opened: so a server can restore another's table, and thousands of fids in a
guest's cache cost no descriptors. When the guest renames or removes files, the paths of its other fids are updated or
marked as gone. Symbolic links are never followed. A concurrent change by another process may lead elsewhere, but never
out of this process's namespace, which holds only the view.
"""

from __future__ import annotations

import collections
import errno
import itertools
import os
import stat
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Protocol

    class _Scan(Protocol):
        def close(self) -> None: ...

    from roost.machines.ninep import wire
else:
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    import wire

_ROOM = 128 * 1024**2
"""Bytes that all fids of one guest may take, by the estimate here."""
_EACH = 400
OPEN = 4096
"""Most files open at once."""
_BARE = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_KEPT = {0o1000: os.O_TRUNC, 0o2000: os.O_APPEND, 0o10000: os.O_DSYNC, 0o4010000: os.O_SYNC}
"""Linux's flags in the protocol, and those of this system; all others are ignored."""
EXCLUSIVE = 0o200


class Fid:
    """`mark`: the file's identity. `flags`: those that it is open with, None when it is not. `fd`: -1 for a restored
    one until it is needed. `twin`: an open fid of the same file, for a removed one."""

    __slots__ = ("closing", "fd", "flags", "gone", "listing", "mark", "next", "path", "twin")

    def __init__(self, path: bytes, mark: int, flags: int | None = None) -> None:
        self.path, self.mark, self.flags = path, mark, flags
        self.fd = -1
        self.gone = False
        self.twin: Fid | None = None
        self.closing: _Scan | None = None
        self.listing: Iterator[bytes] | None = None
        self.next = 0

    def close(self) -> None:
        if self.closing is not None:
            self.closing.close()
            self.closing = self.listing = None
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
        self.flags = None


class Tree:
    """The fids of one stream. `root`: a folder. Unless `writable`, nothing is written, whatever the file system
    allows."""

    def __init__(self, root: str, *, writable: bool) -> None:
        self.root = os.fsencode(root).rstrip(b"/")
        self.writable = writable
        self.fids: dict[int, Fid] = {}
        self._room = _ROOM
        self._open = 0

    def fid(self, number: int) -> Fid:
        try:
            return self.fids[number]
        except KeyError:
            raise OSError(errno.EBADF, "there is no such fid") from None

    def put(self, number: int, fid: Fid) -> None:
        """Add a fid. Raises `OSError` when the number is in use or the guest has too many."""
        if number in self.fids or number == wire.NO_FID:
            raise OSError(errno.EINVAL, "this fid is in use")
        if self._room < 0:
            raise OSError(errno.ENFILE, "too many fids")
        self._room -= _EACH + len(fid.path)
        self.fids[number] = fid

    def drop(self, number: int) -> None:
        fid = self.fid(number)
        del self.fids[number]
        self._room += _EACH + len(fid.path)
        self._shut(fid)

    def clear(self) -> None:
        for number in list(self.fids):
            self.drop(number)

    def start(self) -> Fid:
        found = os.stat(self.root or b"/")
        return Fid(self.root, wire.identity(found.st_dev, found.st_ino))

    def step(self, path: bytes, name: bytes) -> tuple[bytes, os.stat_result]:
        """Go from a folder to one of its entries, or to its parent; never above the root."""
        above = path if path == self.root else path.rpartition(b"/")[0]
        path = above if name == b".." else path + b"/" + name
        return path, os.lstat(path or b"/")

    def where(self, fid: Fid) -> bytes:
        if fid.gone:
            raise OSError(errno.ESTALE, "it was removed")
        return fid.path or b"/"

    def stat(self, fid: Fid) -> os.stat_result:
        at = self.handle(fid)
        return os.lstat(self.where(fid)) if at is None else os.fstat(at)

    def handle(self, fid: Fid) -> int | None:
        """Return an open descriptor of the fid's file; None where there is none."""
        if fid.fd >= 0:
            return fid.fd
        if fid.gone and fid.twin is not None and fid.twin.fd >= 0:
            return fid.twin.fd
        return None

    def folder(self, fid: Fid) -> int:
        """Open the fid's folder; the caller closes it. Raises `OSError` when it is no folder."""
        self.allow()
        return os.open(self.where(fid), _BARE | os.O_DIRECTORY)

    def allow(self) -> None:
        if not self.writable:
            raise OSError(errno.EROFS, "it is read-only")

    def open(self, fid: Fid, flags: int) -> os.stat_result:
        """Open a folder or plain file. The guest handles other kinds itself, or they would block."""
        if fid.flags is not None:
            raise OSError(errno.EINVAL, "it is open")
        kind = os.lstat(self.where(fid)).st_mode
        if not stat.S_ISREG(kind) and not stat.S_ISDIR(kind):
            raise OSError(errno.ENXIO, "it cannot be opened")
        how = flags_of(flags)
        if how & (os.O_ACCMODE | os.O_TRUNC):
            self.allow()
        return self.opened(fid, lambda: os.open(fid.path or b"/", how), how)

    def opened(self, fid: Fid, make: Callable[[], int], flags: int) -> os.stat_result:
        if self._open >= OPEN:
            raise OSError(errno.ENFILE, "too many open files")
        fid.fd, fid.flags = make(), flags & ~os.O_TRUNC
        self._open += 1
        found = os.fstat(fid.fd)
        fid.mark = wire.identity(found.st_dev, found.st_ino)
        return found

    def fd(self, fid: Fid) -> int:
        """Return the descriptor of an open fid. Raises `OSError`: a restored one may be gone by now."""
        if fid.fd >= 0:
            return fid.fd
        if fid.flags is None:
            raise OSError(errno.EBADF, "it is not open")
        flags = fid.flags
        try:
            found = os.lstat(self.where(fid))
        except FileNotFoundError:
            raise OSError(errno.ESTALE, "it was removed") from None
        if wire.identity(found.st_dev, found.st_ino) != fid.mark:
            raise OSError(errno.ESTALE, "another file has its place")
        self.opened(fid, lambda: os.open(fid.path or b"/", flags), flags)
        return fid.fd

    def moved(self, old: bytes, new: bytes) -> None:
        """Update the fids after the guest has renamed `old` to `new`."""
        self.removed(new)
        below = old + b"/"
        for fid in self.fids.values():
            if not fid.gone and (fid.path == old or fid.path.startswith(below)):
                self._room += len(old) - len(new)
                fid.path = new + fid.path[len(old) :]

    def removed(self, path: bytes) -> None:
        below = path + b"/"
        found = [each for each in self.fids.values() if not each.gone]
        found = [each for each in found if each.path == path or each.path.startswith(below)]
        twin = next((each for each in found if each.fd >= 0 and each.path == path), None)
        for each in found:
            each.gone, each.twin = True, twin

    def entries(self, fid: Fid, offset: int) -> Iterator[bytes]:
        """Yield the entries of an open folder in the protocol's form, from position `offset`. An entry that the caller
        cannot use goes to `unread`. Memory does not grow with the folder: only the system's position is kept."""
        if offset == 0 or offset != fid.next:
            self._rewind(fid, offset)
        assert fid.listing is not None
        for entry in fid.listing:
            fid.next += 1
            yield entry

    def unread(self, fid: Fid, entry: bytes) -> None:
        assert fid.listing is not None
        fid.listing = itertools.chain([entry], fid.listing)
        fid.next -= 1

    def _rewind(self, fid: Fid, offset: int) -> None:
        at = self.fd(fid)
        if fid.closing is not None:
            fid.closing.close()
        os.lseek(at, 0, os.SEEK_SET)
        scanned = fid.closing = os.scandir(at)
        fid.listing, fid.next = _listing(at, scanned), offset
        collections.deque(itertools.islice(fid.listing, offset), maxlen=0)

    def table(self) -> dict[str, Any]:
        return {
            str(number): [os.fsdecode(fid.path), fid.mark, fid.flags, fid.gone] for number, fid in self.fids.items()
        }

    def restore(self, table: dict[str, Any]) -> None:
        for number, (path, mark, flags, gone) in table.items():
            fid = Fid(os.fsencode(path), mark, flags)
            fid.gone = gone
            self.put(int(number), fid)

    def shut(self, fid: Fid) -> None:
        self._shut(fid)

    def _shut(self, fid: Fid) -> None:
        if fid.fd >= 0:
            self._open -= 1
        fid.close()


def flags_of(flags: int) -> int:
    how = flags & 3
    if how == 3:
        raise OSError(errno.EINVAL, "this is no way to open a file")
    for theirs, ours in _KEPT.items():
        if flags & theirs == theirs:
            how |= ours
    return how | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


def _listing(folder: int, scanned: Iterator[os.DirEntry[str]]) -> Iterator[bytes]:
    found = os.fstat(folder)
    kinds = [(b".", 4, found.st_ino), (b"..", 4, found.st_ino)]
    rest = ((os.fsencode(each.name), _type(each), each.inode()) for each in scanned)
    for place, (name, kind, inode) in enumerate(itertools.chain(kinds, rest), 1):
        mark = wire.identity(found.st_dev, inode)
        qid = {4: 0x80, 10: 0x02}.get(kind, 0)
        yield wire.ENTRY.pack(qid, 0, mark, place, kind, len(name)) + name


def _type(entry: os.DirEntry[str]) -> int:
    """Return the entry's `d_type`; 0 makes the guest ask."""
    if entry.is_symlink():
        return 10
    if entry.is_dir(follow_symlinks=False):
        return 4
    return 8 if entry.is_file(follow_symlinks=False) else 0
