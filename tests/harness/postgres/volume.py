"""A small disk of its own for a server, so that it can be filled up."""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import subprocess
import sys
import tempfile
from pathlib import Path

_FILLER = "filler"
_LEAST = 4096


class Volume:
    """A memory disk of `size` MiB at `path`. The watchdog of the server takes it away."""

    def __init__(self, path: Path, size: int) -> None:
        self._filler = path / _FILLER
        path.mkdir(mode=0o755)
        _mount(path, size)

    def fill(self) -> None:
        """Take all the room that is left."""
        with self._filler.open("ab") as file:
            piece, end = 1 << 26, file.tell()
            while piece >= _LEAST:
                try:
                    os.posix_fallocate(file.fileno(), end, piece)
                    end += piece
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise
                    piece //= 2

    def free(self) -> None:
        self._filler.unlink(missing_ok=True)


@functools.cache
def no_volume() -> str | None:
    """Why this process can have none; None when it can."""
    if sys.platform != "linux":
        return "a disk of a fixed size needs Linux"
    with tempfile.TemporaryDirectory(prefix="roost-volume-") as folder:
        try:
            _mount(Path(folder), 1)
        except (OSError, subprocess.SubprocessError) as error:
            return f"a disk of a fixed size needs the right to mount one: {error}"
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            subprocess.run(["umount", folder], check=True, capture_output=True)
    return None


def _mount(path: Path, size: int) -> None:
    options = f"size={size}m,mode=755"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "roost", str(path)], check=True, capture_output=True)
