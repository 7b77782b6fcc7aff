"""Force files to the disk."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path

from roost.ids import new_id


def sync(path: Path) -> None:
    """Sync the file, or the names in the folder, to the disk. Blocks. Raises `OSError`."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:  # some network file systems cannot sync folders; their servers do
        if error.errno not in (errno.EINVAL, errno.ENOTSUP) or not path.is_dir():
            raise
    finally:
        os.close(descriptor)


def make_once(path: Path, text: str, *, mode: int = 0o666) -> str:
    """Make a file with a line of text, whole and on the disk, unless there is one: of several processes the first makes
    it. Return its content. mode: its permissions, less the umask. Blocks. Raises `OSError`, `UnicodeDecodeError`."""
    fresh = path.with_name(f".{path.name}.{new_id('new')}")
    try:
        with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode), "w") as file:
            file.write(text + "\n")
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(fresh, path)
        sync(path.parent)
    finally:
        fresh.unlink(missing_ok=True)
    return path.read_text().strip()
