"""The folder of weights: one per machine user, shared by processes, safe against kills."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Literal, TypeAlias

import msgspec

from roost.errors import RoostError

Stage: TypeAlias = Literal["waiting", "hub", "packages", "checking", "preparing", "trying"]
_MARGIN = 64 * 1024 * 1024


class Progress(msgspec.Struct, frozen=True):
    """`done` of `total` bytes; of tokens when `preparing`, of trials when `trying`. `waiting`: another process is
    fetching the same file."""

    stage: Stage
    done: int
    total: int


Report: TypeAlias = Callable[[Progress], None]
"""Called from the thread that fetches, a few times a second. What it raises stops the fetching; the bytes are kept."""


class WeightsError(RoostError):
    """The weights are missing and could not be fetched. The message says what to do."""

    code, status = "weights_missing", 503


class _Mark(msgspec.Struct, frozen=True):
    size: int
    mtime_ns: int
    sha256: str


def cache_dir() -> Path:
    """Return `$ROOST_CACHE/models`, else the user's cache directory. Does not create it."""
    if own := os.environ.get("ROOST_CACHE"):
        return Path(own) / "models"
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "roost" / "models"


@contextlib.contextmanager
def held(lock: Path, report: Report, total: int) -> Generator[None]:
    """Hold the lock file; wait while another process holds it."""
    with lock.open("a+b") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                report(Progress("waiting", 0, total))
                time.sleep(0.2)
        yield


def is_verified(path: Path, sha256: str, *, mark: Path) -> bool:
    """Return whether this file, by size and modification time, was hashed before and had this SHA-256."""
    try:
        seen = msgspec.json.decode(mark.read_bytes(), type=_Mark)
        stat = path.stat()
    except (OSError, msgspec.MsgspecError):
        return False
    return seen == _Mark(stat.st_size, stat.st_mtime_ns, sha256)


def verify(path: Path, sha256: str, *, mark: Path, report: Report) -> bool:
    """Hash the file. Records a match in `mark`."""
    stat = path.stat()
    digest = hashlib.sha256()
    done = 0
    with path.open("rb") as file:
        while block := file.read(8 * 1024 * 1024):
            digest.update(block)
            done += len(block)
            report(Progress("checking", done, stat.st_size))
    if digest.hexdigest() != sha256:
        return False
    write_whole(mark, msgspec.json.encode(_Mark(stat.st_size, stat.st_mtime_ns, sha256)))
    return True


def write_whole(path: Path, body: bytes) -> None:
    """Replace the file at once: a reader or a kill sees the old bytes or the new."""
    draft = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    with draft.open("wb") as file:
        file.write(body)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def need_space(folder: Path, size: int) -> None:
    """Check the disk for `size` more bytes. Raises `WeightsError`."""
    free = shutil.disk_usage(folder).free
    if free < size + _MARGIN:
        raise no_space(folder, size, free)


def no_space(folder: Path, size: int, free: int) -> WeightsError:
    return WeightsError(
        f"the model needs {gigabytes(size)} more in {str(folder)!r} and the disk has {gigabytes(free)} free: "
        "make room, or set ROOST_CACHE to a folder on another disk",
        code="disk_full",
        status=507,
    )


def gigabytes(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.0f} MB"
