"""Enforce the quota of a workspace and the disk reserve of the machine, by watching. The same at every level.

A check costs one statvfs: as long as the file system has lost less space than the workspace may still grow by, the
workspace is within its quota, no matter which process wrote. Only then is the tree measured, at most for a twentieth of
the time over all callers, or for a fifth where the disk shows that space was freed. So a command that is short or
writes little pays for no walk. Growth that the file system does not show at once (some count late, or count no files)
is found by an occasional measure.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

from roost.sandbox.disk_reserve import DiskReserve, Free, free_of
from roost.sandbox.folder_size import Measure, Size

EVERY, SOON = 0.25, 0.02
"""Seconds between two checks: usually, and when little space is left."""
SMALL = 64 * 1024
"""Bytes of a file that a command may write when no space is left: a program that removes files may write a note."""
_RATE = 2 * 10**9
"""Assumed write rate of a fast writer, in bytes a second."""
_REST, _HOPEFUL, _CALM = 20, 4, (2.0, 200)
"""Rest after a measure, as a multiple of its duration: usually; when as much was freed as the workspace is too large
by; without a sign of growth (the least seconds, the multiple)."""
_SAVED = 2.0
"""Seconds of rest credited in advance: small workspaces are measured at every sign of growth."""
_UNKNOWN = 16
"""Before the first measure: one part in so many of the quota may be written before the tree is measured."""
_SLACK = (1024**2, 64)
"""Bytes and files of tolerance for changes by other processes while files are being removed."""
_MOST = 4_000_000
"""Names that are counted where files have no limit."""
_LARGE = 1024**3
_walks = threading.BoundedSemaphore(2)
"""Over all sessions: each walk takes a thread of a shared pool."""


class WorkspaceQuota:
    """Quota of one session's workspace. Thread-safe; its methods block.

    They return the name of an exceeded limit: `workspace_bytes`, `workspace_files`, `free_bytes`. `folder` may not
    exist yet."""

    def __init__(
        self, folder: Callable[[], Path], bounds: tuple[int | None, int | None], floor: DiskReserve | None = None
    ) -> None:
        self._folder, self._floor = folder, floor
        self.bounds = self._bytes, self._files = bounds
        self._lock, self._measuring = threading.Lock(), threading.Lock()
        self._known: Size | None = None
        self._over: Size | None = None
        """The smallest size measured since it exceeds the quota; None within it."""
        self._free: Free | None = None
        self._lost = (0, 0)
        """Space lost by the file system since the last measure began, while commands ran. Includes writes of other
        sessions' file tools in the same workspace, and before the first measure those of this session's."""
        self._home: tuple[Free | None, Free | None] = (None, None)
        """Free space of the home: when the first of the running commands began, and now."""
        self._next = self._calm = self._took = 0.0
        self._then: Free | None = None
        """Free space when the last measure began."""

    @property
    def interval(self) -> float:
        """Seconds until the next check."""
        left = [] if self._bytes is None or self._over is not None else [self._left()[0]]
        if self._floor is not None and (home := self._home[1]) is not None:
            left.append(self._floor.room(home))
        return min(EVERY, max(SOON, min(left, default=_RATE) / _RATE))

    def begin(self, *, alone: bool) -> int | None:
        """Record the start of a command. `alone`: no other command runs. Returns the limit in bytes on each file that
        it writes when space is short, else None."""
        self._read(afresh=alone)
        self._calm = self._calm or time.monotonic() + _CALM[0]
        if self._over is not None:
            self._try()
        most = None
        if self._floor is not None and (home := self._home[1]) is not None:
            room = self._floor.room(home)
            most = max(room, SMALL) if room < _LARGE else None
            self._floor.keep(home)
        return SMALL if self._over is not None else most

    def look(self, stop: Callable[[], bool]) -> str | None:
        """Check while commands run. Returns the limit for which they must be killed. `stop` ends a walk early."""
        self._read()
        if self._is_low():
            return "free_bytes"
        if not self._bounded or not (self._is_due() or time.monotonic() >= self._calm):
            return None
        return self._try(stop)

    def finish(self) -> str | None:
        """Record the end of a command. Returns the limit that it left exceeded."""
        self._read()
        if self._floor is not None and (home := self._home[1]) is not None:
            self._floor.give(home)
        if self._is_low():
            return "free_bytes"
        if self._bounded and self._is_due():
            self._try()
            return self._passed()
        return None

    def lose(self, size: int, files: int) -> None:
        """Count a write by a file tool of another session that shares this workspace."""
        with self._lock:
            self._lost = (self._lost[0] + max(0, size), self._lost[1] + max(0, files))

    def admit(self, size: int, files: int = 0) -> str | None:
        """Check and count a file tool's growth of the workspace before it writes. Returns the limit that forbids it."""
        if size <= 0 and files <= 0:
            return None
        if self._floor is not None:
            home = free_of(self._floor.folder)
            if home is not None and self._floor.room(home) < size:
                return "free_bytes"
        if not self._bounded:
            return None
        self._calm = self._calm or time.monotonic() + _CALM[0]
        late = self._known is None and time.monotonic() >= self._calm
        if late or self._over is not None or min(self._left(size, files)) < 0:
            self._try()
        with self._lock:
            if self._known is None:  # not measured: no need yet, or not possible
                self._lost = (self._lost[0] + max(0, size), self._lost[1] + max(0, files))
                return None
            after = Size(self._known.bytes + size, self._known.files + files, self._known.whole)
            if size > 0 and self._bytes is not None and after.bytes > self._bytes:
                return "workspace_bytes"
            if files > 0 and (not after.whole or (self._files is not None and after.files > self._files)):
                return "workspace_files"
            self._known = after
            return None

    @property
    def _bounded(self) -> bool:
        return self._bytes is not None or self._files is not None

    def _read(self, *, afresh: bool = False) -> None:
        """Read the free space. `afresh`: losses since the last read are not counted, as no command ran."""
        new = free_of(self._folder()) if self._bounded else None
        home = free_of(self._floor.folder) if self._floor is not None else None
        with self._lock:
            old, self._free = self._free, new
            if old is not None and new is not None and not afresh:
                files = 0 if old.files is None or new.files is None else old.files - new.files
                self._lost = (self._lost[0] + max(0, old.bytes - new.bytes), self._lost[1] + max(0, files))
            self._home = (home if afresh else self._home[0], home)

    def _is_low(self) -> bool:
        """True once when commands made the disk low: later commands are not blamed for earlier losses."""
        with self._lock:
            before, now = self._home
            if self._floor is None or before is None or now is None or self._floor.room(now) >= 0:
                return False
            files = 0 if before.files is None or now.files is None else before.files - now.files
            low = before.bytes - now.bytes > _SLACK[0] or files > _SLACK[1]
            self._home = (now, now) if low else self._home
            return low

    def _left(self, size: int = 0, files: int = 0) -> tuple[float, float]:
        """Return by how much the workspace may grow at least: bytes, files."""
        known, lost = self._known, self._lost
        spent = (0, 0) if known is None else (known.bytes, known.files)
        part = _UNKNOWN if known is None else 1
        mosts = (self._bytes, self._files)
        sums = (spent[0] + lost[0] + size, spent[1] + lost[1] + files)
        left = [float("inf") if most is None else most // part - each for most, each in zip(mosts, sums, strict=True)]
        return left[0], left[1]

    def _is_due(self) -> bool:
        return any(self._lost) and min(self._left()) <= 0

    def _try(self, stop: Callable[[], bool] = lambda: False) -> str | None:
        """Measure and judge, if a measure is due. Concurrent callers wait, so that losses are counted once."""
        with self._measuring:
            wait = self._next - time.monotonic()
            if wait > (_REST - _HOPEFUL) * self._took or (wait > 0 and not self._is_freed()):
                return None
            if not _walks.acquire(blocking=False):
                return None
            try:
                return self._judge(self._measure(stop))
            finally:
                _walks.release()

    def _is_freed(self) -> bool:
        """True when at least the excess was freed since the last measure, by any process."""
        known, then, now = self._known, self._then, free_of(self._folder())
        if self._over is None or known is None or then is None or now is None:
            return False
        if self._bytes is not None and known.bytes - (now.bytes - then.bytes) > self._bytes:
            return False
        most = _MOST if self._files is None else self._files
        files = 0 if now.files is None or then.files is None else now.files - then.files
        return known.files - files <= most or (now.files is None and now.bytes > then.bytes)

    def _measure(self, stop: Callable[[], bool]) -> Size | None:
        """Return the size; None when it was stopped or failed."""
        with self._lock:
            lost = self._lost
        self._then = free_of(self._folder())
        began = time.thread_time()
        most = _MOST if self._files is None else 2 * self._files
        try:
            size = Measure(most=most, stop=stop).of(self._folder())
        except OSError:
            size = None
        took, now = time.thread_time() - began, time.monotonic()
        with self._lock:
            self._took, self._next = took, max(self._next, now - _SAVED) + _REST * took
            self._calm = now + max(_CALM[0], _CALM[1] * took)
            if size is not None and size.torn:
                size = self._at_most(size, lost)
            if size is not None:
                self._lost = (self._lost[0] - lost[0], self._lost[1] - lost[1])
                before = Size(size.bytes - lost[0], size.files - lost[1], size.whole)
                if self._known is None and self._passed(before) is not None:
                    self._over = size  # it was too large before any command ran
                self._known = size
        return size

    def _at_most(self, size: Size, lost: tuple[int, int]) -> Size:
        """Correct a torn measure upwards: count all that was lost as written to the workspace. Else moving folders
        about would hide their content."""
        known = self._known or Size(0, 0)
        return Size(max(size.bytes, known.bytes + lost[0]), max(size.files, known.files + lost[1]))

    def _passed(self, size: Size | None = None) -> str | None:
        size = size or self._known
        if size is None:
            return None
        if self._bytes is not None and size.bytes > self._bytes:
            return "workspace_bytes"
        return "workspace_files" if not size.whole or (self._files is not None and size.files > self._files) else None

    def _judge(self, size: Size | None) -> str | None:
        """Return the exceeded limit, if it is newly exceeded or the excess has grown."""
        if size is None:
            return None
        with self._lock:
            was, passed = self._over, self._passed(size)
            if passed is None:
                self._over = None
                return None
            if was is not None and size.bytes <= was.bytes + _SLACK[0] and size.files <= was.files + _SLACK[1]:
                self._over = Size(min(size.bytes, was.bytes), min(size.files, was.files))
                return None
            self._over = size
            return passed
