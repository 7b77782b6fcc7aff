"""A program on a terminal whose screen and scrollback a test can read."""

from __future__ import annotations

import fcntl
import os
import select
import struct
import subprocess
import termios
import time
from collections.abc import Callable

from tests.harness.emulator import Emulator
from tests.harness.processes import Process


class ScreenTerminal:
    """`columns` by `rows`. Conditions are waited for: of what the screen shows, never of a time."""

    def __init__(
        self, spawn: Callable[[int], Process | subprocess.Popen[bytes]], *, columns: int = 100, rows: int = 30
    ) -> None:
        """`spawn` starts the program on a terminal, given as the descriptor of its slave."""
        self.master, slave = os.openpty()
        self.emulator = Emulator(columns, rows)
        self._size(columns, rows)
        self.before = termios.tcgetattr(slave)
        self.raw = b""
        self.process = spawn(slave)
        self._slave = slave
        """Open to the end: a terminal that a shell keeps, too."""

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def paste(self, text: str) -> None:
        self.type(f"\x1b[200~{text}\x1b[201~")

    def resize(self, columns: int, rows: int) -> None:
        self.pump()
        self.emulator.resize(columns, rows)
        self._size(columns, rows)

    def expect(self, wanted: str, timeout: float = 90.0) -> str:
        """Wait until the text stands on the screen or in the scrollback. Returns all of it."""
        return self.until(lambda: wanted in self.emulator.text, f"no {wanted!r}", timeout)

    def gone(self, text: str, timeout: float = 90.0) -> str:
        """Wait until the text does not stand on the screen."""
        return self.until(lambda: text not in "\n".join(self.emulator.shown), f"still {text!r}", timeout)

    def until(self, true: Callable[[], bool], what: str, timeout: float = 90.0) -> str:
        deadline = time.monotonic() + timeout
        self.pump()
        while not true():
            left = deadline - time.monotonic()
            assert left > 0, f"{what} in:\n{self.emulator.text}"
            self.pump(min(left, 0.5))
        return self.emulator.text

    def pump(self, timeout: float = 0.0) -> None:
        """Read what there is; wait at most `timeout` seconds for the first of it."""
        while select.select([self.master], [], [], timeout)[0]:
            try:
                data = os.read(self.master, 65536)
            except OSError:
                return
            if not data:
                return
            self.raw += data
            self.emulator.feed(data)
            timeout = 0.0

    def wait(self, timeout: float = 90.0) -> int:
        """Read to the end of the process."""
        deadline = time.monotonic() + timeout
        while self.process.poll() is None:
            assert time.monotonic() < deadline, self.emulator.text
            self.pump(0.05)
        self.pump()
        return self.process.wait()

    @property
    def restored(self) -> bool:
        """True when the terminal is as it was before the process, with the cursor shown and paste as usual."""
        codes = [self.raw.rfind(code) for code in (b"\x1b[?2004h", b"\x1b[?2004l", b"\x1b[?25l", b"\x1b[?25h")]
        return termios.tcgetattr(self._slave) == self.before and codes[1] >= codes[0] and codes[3] >= codes[2]

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.master)
        os.close(self._slave)

    def _size(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
