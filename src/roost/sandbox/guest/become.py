"""Turn root into another user for good: `become.py UID GID PROGRAM ARGUMENT…`. Standard library only."""

from __future__ import annotations

import os
import sys

_SET_DUMPABLE, _DROP_BOUNDING = 4, 24
_VERSION, _NEWEST = 0x20080522, 63


def become(user: int, group: int) -> None:
    """Become the user and drop every capability for good. Raises `OSError`."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    for capability in range(_NEWEST + 1):
        libc.prctl(_DROP_BOUNDING, capability, 0, 0, 0)  # fails for those that the kernel does not know
    os.setgroups([])
    os.setresgid(group, group, group)
    os.setresuid(user, user, user)
    if libc.capset((ctypes.c_uint32 * 2)(_VERSION, 0), (ctypes.c_uint32 * 6)()) != 0:
        raise OSError(ctypes.get_errno(), "the capabilities cannot be given up")
    libc.prctl(_SET_DUMPABLE, 1, 0, 0, 0)  # else the process may not even write to its own /proc/self


if __name__ == "__main__":
    become(int(sys.argv[1]), int(sys.argv[2]))
    os.execv(sys.argv[3], sys.argv[3:])
