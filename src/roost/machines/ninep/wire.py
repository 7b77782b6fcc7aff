"""The messages of 9P2000.L, as Linux's `fs/9p` speaks it (`include/net/9p/9p.h`; the protocol is documented by diod's
`protocol.md`). All input is untrusted: nothing is read beyond the end of a message."""

from __future__ import annotations

import errno
import os
import stat
import struct

HEAD = struct.Struct("<IBH")
"""Header: bytes of the whole message, kind, tag."""
MSIZE = 512 * 1024
"""Most bytes of a message."""
SMALLEST = 4096
INSIDE = 1000
"""The user of the guest's commands."""
NO_FID = 0xFFFFFFFF
WALK = 16
"""Most names in one walk."""

ERROR, STATFS, LOPEN, LCREATE, SYMLINK, MKNOD, RENAME, READLINK = 6, 8, 12, 14, 16, 18, 20, 22
GETATTR, SETATTR, XATTRWALK, XATTRCREATE, READDIR, FSYNC, LOCK, GETLOCK = 24, 26, 30, 32, 40, 50, 52, 54
LINK, MKDIR, RENAMEAT, UNLINKAT, VERSION, AUTH, ATTACH, FLUSH, WALKING = 70, 72, 74, 76, 100, 102, 104, 108, 110
READ, WRITE, CLUNK, REMOVE = 116, 118, 120, 122

U16, U32, U64 = struct.Struct("<H"), struct.Struct("<I"), struct.Struct("<Q")
TWO = struct.Struct("<II")
THREE = struct.Struct("<III")
AT = struct.Struct("<IQI")
"""fid, offset, count."""
SETTING = struct.Struct("<IIIIIQQQQQ")
LOCKING = struct.Struct("<IBIQQI")
ASKING = struct.Struct("<BQQI")
QID = struct.Struct("<BIQ")
ENTRY = struct.Struct("<BIQQBH")
ATTRIBUTES = struct.Struct("<QBIQIIIQQQQQQQQQQQQQQQ")
STATISTICS = struct.Struct("<IIQQQQQQI")
_BASIC = 0x7FF
_MANY = 0x9E3779B97F4A7C15
_ALL = (1 << 64) - 1


class Fields:
    """Reads a message's fields in order. Raises `OSError` (EPROTO) when it ends too early."""

    __slots__ = ("at", "data")

    def __init__(self, data: bytes | bytearray) -> None:
        self.data, self.at = data, 0

    def take(self, layout: struct.Struct) -> tuple[int, ...]:
        end = self.at + layout.size
        if end > len(self.data):
            raise OSError(errno.EPROTO, "a message is too short")
        found = layout.unpack_from(self.data, self.at)
        self.at = end
        return found

    def one(self, layout: struct.Struct = U32) -> int:
        return self.take(layout)[0]

    def rest(self, size: int) -> memoryview:
        if self.at + size > len(self.data):
            raise OSError(errno.EPROTO, "a message is too short")
        self.at += size
        return memoryview(self.data)[self.at - size : self.at]

    def text(self) -> bytes:
        found = bytes(self.rest(self.one(U16)))
        if b"\0" in found:
            raise OSError(errno.EINVAL, "a name with a zero byte")
        return found

    def name(self) -> bytes:
        """Read the name of a folder's entry."""
        found = self.text()
        if b"/" in found or found in (b"", b".", b".."):
            raise OSError(errno.EINVAL, "this is no name of a file")
        return found


def text(value: bytes) -> bytes:
    return U16.pack(len(value)) + value


def identity(device: int, inode: int) -> int:
    """Return one number for a file; stable on one machine."""
    return (inode ^ device * _MANY) & _ALL


def kind_of(mode: int) -> int:
    return 0x80 if stat.S_ISDIR(mode) else 0x02 if stat.S_ISLNK(mode) else 0


def version_of(found: os.stat_result) -> int:
    return (found.st_mtime_ns ^ found.st_size << 8) & 0xFFFFFFFF


def qid(found: os.stat_result) -> bytes:
    return QID.pack(kind_of(found.st_mode), version_of(found), identity(found.st_dev, found.st_ino))


def owner_of(found: os.stat_result) -> tuple[int, int]:
    """Return user and group as the guest sees them: files of the server's user belong to the guest's user 1000."""
    if found.st_uid == os.geteuid():
        return INSIDE, INSIDE if found.st_gid == os.getegid() else found.st_gid
    return found.st_uid, found.st_gid


def attributes(found: os.stat_result) -> bytes:
    times = (part for each in (found.st_atime_ns, found.st_mtime_ns, found.st_ctime_ns) for part in _clock(each))
    return ATTRIBUTES.pack(
        _BASIC, kind_of(found.st_mode), version_of(found), identity(found.st_dev, found.st_ino), found.st_mode,
        *owner_of(found), found.st_nlink, found.st_rdev, found.st_size, found.st_blksize, found.st_blocks,
        *times, 0, 0, 0, 0,
    )  # fmt: skip


def _clock(nanoseconds: int) -> tuple[int, int]:
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    return seconds & _ALL, rest
