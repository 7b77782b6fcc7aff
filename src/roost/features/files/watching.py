"""Hear of changes in folders by inotify: one instance for a node, since the system has few for each user.

A watch is set on a folder that is open without following a link, so no link of a workspace makes Roost watch, or walk,
what lies elsewhere. Folders that the index leaves out are not watched. Where there is no inotify, or no watch is left,
`watch` says so."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import logging
import os
import struct
import sys
import threading
from pathlib import Path
from typing import Any, NamedTuple

from roost.features.files.protocols import ChangeListener, Folder

log = logging.getLogger("roost.files")
_CLOSE_WRITE, _MOVED_FROM, _MOVED_TO, _CREATE, _DELETE = 0x8, 0x40, 0x80, 0x100, 0x200
_DELETE_SELF, _MOVE_SELF = 0x400, 0x800
_OVERFLOW, _IGNORED = 0x4000, 0x8000
_ONLYDIR, _EXCL_UNLINK = 0x1000000, 0x4000000
_MASK = _CLOSE_WRITE | _MOVED_FROM | _MOVED_TO | _CREATE | _DELETE | _DELETE_SELF | _MOVE_SELF
_HEAD = struct.Struct("iIII")
_READ = 64 * 1024
MOST_FOLDERS = 100_000
"""Most folders that one node watches: each takes about a kilobyte of the system's memory."""


class _Watched(NamedTuple):
    listener: ChangeListener
    folder: Folder


class Inotify:
    """Keeps the contract of `ChangeWatch`. Two listeners may watch the same folder."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._libc: Any = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
        self._fd = -1
        self._failed = self._libc is None
        self._by_number: dict[int, list[_Watched]] = {}
        self._numbers: dict[ChangeListener, dict[Folder, int]] = {}

    def start(self) -> int:
        """Return the descriptor that becomes readable with changes; -1 where there is none."""
        with self._lock:
            self._ready()
            return self._fd

    def watch(self, listener: ChangeListener, root: Path, folder: Folder, fd: int) -> bool:
        with self._lock:
            if not self._ready() or len(self._by_number) >= MOST_FOLDERS:
                return False
            place = f"/proc/self/fd/{fd}".encode()
            number = self._libc.inotify_add_watch(self._fd, place, _MASK | _ONLYDIR | _EXCL_UNLINK)
            if number < 0:
                self._explain(ctypes.get_errno())
                return False
            own = self._numbers.setdefault(listener, {})
            former = own.get(folder)
            if former is not None and former != number:
                self._drop(listener, folder, former)
            watched = self._by_number.setdefault(number, [])
            watched[:] = [one for one in watched if one.listener is not listener]  # the folder was moved here
            watched.append(_Watched(listener, folder))
            own[folder] = number
            return True

    def forget(self, listener: ChangeListener, folder: Folder | None = None) -> None:
        with self._lock:
            own = self._numbers.get(listener, {})
            for path in [one for one in own if folder is None or one == folder or one.startswith(folder + b"/")]:
                self._drop(listener, path, own.pop(path))
            if not own:
                self._numbers.pop(listener, None)

    def poll(self) -> None:
        while self.hear():
            pass

    def hear(self) -> bool:
        """Hand on some of what the system has noted. Returns whether there was any. Takes milliseconds at most."""
        if self._fd < 0:
            return False
        try:
            data = os.read(self._fd, _READ)
        except OSError:  # nothing there, or closed
            return False
        self._take(data)
        return bool(data)

    def close(self) -> None:
        with self._lock:
            fd, self._fd, self._failed = self._fd, -1, True
            self._by_number.clear()
            self._numbers.clear()
        if fd >= 0:
            os.close(fd)

    def _ready(self) -> bool:
        if self._fd < 0 and not self._failed:
            self._fd = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
            self._failed = self._fd < 0
        return self._fd >= 0

    def _explain(self, number: int) -> None:
        if number == errno.ENOSPC:
            log.warning(
                "the system has no watch left for changes of files (fs.inotify.max_user_watches): searches look at all"
                " files of some folders"
            )

    def _drop(self, listener: ChangeListener, folder: Folder, number: int) -> None:
        watched = self._by_number.get(number, [])
        watched[:] = [one for one in watched if not (one.listener is listener and one.folder == folder)]
        if not watched and self._by_number.pop(number, None) is not None and self._libc is not None and self._fd >= 0:
            self._libc.inotify_rm_watch(self._fd, number)

    def _take(self, data: bytes) -> None:
        at = 0
        while at + _HEAD.size <= len(data):
            number, mask, _, size = _HEAD.unpack_from(data, at)
            name = data[at + _HEAD.size : at + _HEAD.size + size].rstrip(b"\0")
            at += _HEAD.size + size
            with self._lock:
                everyone = mask & _OVERFLOW
                heard = list(self._numbers) if everyone else []
                watched = list(self._by_number.get(number, ()))
                if mask & _IGNORED:  # the folder is gone, and the system has dropped the watch
                    for one in self._by_number.pop(number, ()):
                        with contextlib.suppress(KeyError):
                            if self._numbers[one.listener].get(one.folder) == number:
                                del self._numbers[one.listener][one.folder]
            for listener in heard:
                listener.lost()
            for one in watched:
                if name:
                    one.listener.changed(one.folder, name)
                elif mask & (_DELETE_SELF | _MOVE_SELF) and not one.folder:
                    one.listener.lost()
