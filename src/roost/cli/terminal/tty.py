"""Own a terminal: raw input and its protocols, taken and given back on every way out."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import termios
import tty
from collections.abc import Generator, Mapping

TAKE = "\x1b[?2004h\x1b[?u"
"""Switch bracketed paste on, and ask whether the terminal knows the kitty protocol."""
KITTY = "\x1b[>1u"
GIVE_BACK = "\x1b[?2026l\x1b[?2004l\x1b[<u\x1b[0m\x1b[?25h"
_GUARD = r"""
read -r line
[ "$line" = done ] && exit 0
printf '%s\033[?2026l\033[<u\033[?25h' "$TERMINAL_RESTORE"
case "$(stty -a <&1)" in *-icanon*) ;; *) exit 0 ;; esac
case "$(stty -a <&1)" in *-isig*) ;; *) exit 0 ;; esac
end=$1
shift
stty "$@" <&1
printf '%s\033[?2004l\033[0m\r\n' "$end"
"""
"""Waits for the end of this process, and restores a terminal that is still as `take` left it: a shell may be faster."""
_FLAGS = {
    "icanon": (3, termios.ICANON), "echo": (3, termios.ECHO), "isig": (3, termios.ISIG), "iexten": (3, termios.IEXTEN),
    "icrnl": (0, termios.ICRNL), "ixon": (0, termios.IXON), "brkint": (0, termios.BRKINT), "opost": (1, termios.OPOST),
}  # fmt: skip
"""What `tty.setraw` switches off: the field of the attributes, and the bit."""


def usable(environment: Mapping[str, str]) -> bool:
    """True when a conversation can be drawn here: a terminal that is not dumb, for reading and writing."""
    if environment.get("TERM", "dumb") in ("dumb", "") or os.name != "posix":
        return False
    return sys.stdin.isatty() and sys.stdout.isatty()


def reflows(environment: Mapping[str, str]) -> bool:
    """True when the terminal wraps what it shows again when it gets narrower, as nearly all do; xterm, the console of
    Linux and GNU screen cut it."""
    name = environment.get("TERM", "")
    screen = name.startswith("screen") and "TMUX" not in environment
    return not ("XTERM_VERSION" in environment or name == "linux" or screen)


class Tty:
    """The terminal of standard input and output. Main thread only. restore: what a program that was shown here may have
    changed is undone by this text."""

    restore = ""

    END = ""
    """What else restores it."""

    def __init__(self) -> None:
        self._source, self._target = sys.stdin.fileno(), sys.stdout.fileno()
        self._before = termios.tcgetattr(self._source)
        self._guard: subprocess.Popen[bytes] | None = None
        self._kitty = self._mine = False
        self._gone = False
        """The window was closed: what is to be done at the end is done all the same."""
        self.written = 0
        """Bytes written so far."""

    def size(self) -> tuple[int, int]:
        """Return columns and rows."""
        with contextlib.suppress(OSError):
            columns, rows = os.get_terminal_size(self._target)
            if columns > 0 and rows > 0:
                return columns, rows
        return 80, 24

    def write(self, text: str) -> None:
        data = text.encode("utf-8", "replace")
        self.written += len(data)
        view = memoryview(data)
        while view and not self._gone:
            try:
                view = view[os.write(self._target, view) :]
            except BlockingIOError:  # a program that was shown here has left it so
                select.select([], [self._target], [], 1.0)
            except OSError:
                self._gone = True

    def read(self) -> bytes:
        """Return what was typed; nothing when the terminal is gone."""
        try:
            return os.read(self._source, 65536)
        except OSError:
            return b""

    def take(self) -> None:
        """Read keys as they come. Keys typed before stay to be read."""
        try:
            tty.setraw(self._source, termios.TCSADRAIN)
            raw = termios.tcgetattr(self._source)
            raw[1] |= termios.OPOST | termios.ONLCR  # what threads print in an emergency stays readable
            termios.tcsetattr(self._source, termios.TCSADRAIN, raw)
        except termios.error:
            self._gone = True
        self._mine = True
        self.write(TAKE + (KITTY if self._kitty else ""))

    def use_kitty(self) -> None:
        """Ask for unambiguous keys, on a terminal that has said that it knows them."""
        if not self._kitty and self._mine:
            self._kitty = True
            self.write(KITTY)

    def give_back(self) -> None:
        """Restore the terminal. May be called twice, and in a signal handler."""
        if not self._mine:
            return
        self._mine = False
        with contextlib.suppress(OSError):
            self.write(self.restore + (GIVE_BACK if self._kitty else GIVE_BACK.replace("\x1b[<u", "")))
        with contextlib.suppress(termios.error):
            termios.tcsetattr(self._source, termios.TCSADRAIN, self._before)

    @contextlib.contextmanager
    def lent(self) -> Generator[None]:
        """Give the terminal to another program while the block runs."""
        self.give_back()
        try:
            yield
        finally:
            self.take()

    def begin(self) -> None:
        """Own the terminal until `end`, and have it restored if this process is killed. May be called twice."""
        if not self._mine:
            self.take()
        self._guard = self._guard or self._watch()

    def end(self) -> None:
        """Restore the terminal. May be called twice."""
        self.give_back()
        self._release()

    @contextlib.contextmanager
    def owned(self) -> Generator[None]:
        """Own the terminal while the block runs, and restore it however the process ends."""
        self.begin()
        try:
            yield
        finally:
            self.end()

    def suspend(self) -> None:
        """Give the terminal to the shell, as Ctrl-Z asks, until the shell continues this process."""
        self.give_back()
        before = signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        os.kill(0, signal.SIGTSTP)
        signal.signal(signal.SIGTSTP, before)
        self.take()

    def _watch(self) -> subprocess.Popen[bytes] | None:
        """Start a shell that restores the terminal if this process is killed."""
        was = [name if self._before[field] & bit else f"-{name}" for name, (field, bit) in _FLAGS.items()]
        with contextlib.suppress(OSError):
            return subprocess.Popen(
                ["/bin/sh", "-c", _GUARD, "roost-terminal", self.END, *was],
                stdin=subprocess.PIPE,
                stdout=self._target,
                stderr=subprocess.DEVNULL,
                env={**os.environ, "TERMINAL_RESTORE": self.restore},
                start_new_session=True,
            )
        return None

    def _release(self) -> None:
        if self._guard is not None and self._guard.stdin is not None:
            with contextlib.suppress(OSError):
                self._guard.stdin.write(b"done\n")
                self._guard.stdin.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._guard.wait(1.0)
            self._guard = None
