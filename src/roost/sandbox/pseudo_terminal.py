"""A pseudo-terminal of this machine, for a level 0 command."""

from __future__ import annotations

import fcntl
import os
import struct
import termios

from roost.sandbox.base import User

_LFLAG = 3
_TAKE = 'exec <>"$0" >&0 2>&1; exec "$@"'
"""Shell script that opens a terminal, and by that makes it the controlling one of a new process session."""


class PseudoTerminal:
    """`ours`: the end of Roost, which does not block. `theirs`: the end of the program; closed once it runs. user: the
    program's user, where the daemon is root. Raises `OSError`."""

    def __init__(self, columns: int, rows: int, user: User | None = None) -> None:
        self.ours, self.theirs = os.openpty()
        try:
            os.set_blocking(self.ours, False)
            self._name = os.ttyname(self.theirs)
            if user is not None:
                os.fchown(self.theirs, user.uid, user.gid)
            self.resize(columns, rows)
        except BaseException:
            self.close()
            raise

    def words(self) -> list[str]:
        """Return the words to put before a command, so that this is its controlling terminal."""
        return ["/bin/sh", "-c", _TAKE, self._name]

    def resize(self, columns: int, rows: int) -> None:
        """Change the size, which tells the programs in the foreground."""
        if self.ours >= 0:
            fcntl.ioctl(self.ours, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def hides_input(self) -> bool:
        """Whether a program reads a line without showing it, as for a password."""
        if self.ours < 0:
            return True
        try:
            flags = termios.tcgetattr(self.ours)[_LFLAG]
        except (OSError, termios.error):
            return True
        return bool(flags & termios.ICANON) and not flags & termios.ECHO

    def close_theirs(self) -> None:
        if self.theirs >= 0:
            os.close(self.theirs)
            self.theirs = -1

    def close_ours(self) -> None:
        """Hang up, once the program has no other end here. Idempotent."""
        if self.ours >= 0:
            os.close(self.ours)
            self.ours = -1

    def close(self) -> None:
        self.close_theirs()
        self.close_ours()
