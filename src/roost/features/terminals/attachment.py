"""`roost attach --tty`: this terminal becomes the window of one in a session."""

from __future__ import annotations

import base64
import contextlib
import os
import re
import select
import shutil
import signal
import sys
import termios
import threading
import time
import tty
from collections.abc import Generator
from typing import Any, NamedTuple

from roost.cli.terminal.tty import Tty
from roost.client.daemon_address import Locate
from roost.client.requests import Unreachable
from roost.client.web_socket import Disconnected, Output, WebSocket
from roost.errors import RoostError
from roost.terminal_text import clean

_RESET = b"\x1b[!p\x1b[?1049l\x1b[0m\x1b[?5;6l\x1b[?7h\x1b[r\x1b[H\x1b[2J"
_RESTORE = (
    "\x1b[?1049l\x1b[!p\x1b[?7h\x1b[?1;5;45;66l\x1b[20l\x1b>\x1b[?9;1000;1002;1003;1004;1005;1006;1007;1015l\x1b[r"
    "\x1b(B\x1b)B\x0f\x1b[0 q\x1b]8;;\x1b\\\x1b[999;1H\r\n"
)
"""Undo what programs set: alternate screen, colours, cursor, mouse, paste, scroll region."""
_PAUSES = (0.2, 0.5, 1.0, 2.0, 2.0, 2.0, 5.0, 5.0, 5.0, 5.0)
_CHUNK = 32 * 1024
_LAST_SECONDS = 1.0
_ANSWER = re.compile(rb"\x1b\[\??[0-9;]*[Rc]|\x1b\[>[0-9;]*c|\x1b\[\?[0-9;]*\$y|\x1bP[^\x1b]*\x1b\\")


class Ended(NamedTuple):
    """How the attachment ended. code: the exit code for this command."""

    code: int
    said: str


class Attachment:
    """Shows a terminal here, and types into it. The connection may break: then it is made again, and output goes on
    where it was."""

    def __init__(self, locate: Locate, session: str, terminal: str, *, name: str | None, look: bool, key: str) -> None:
        self._locate, self._session, self._terminal = locate, session, terminal
        self._name, self._look, self._key = name, look, bytes([ord(key[-1].upper()) & 31])
        self._link: WebSocket | None = None
        self._position: int | None = None
        self._ended: Ended | None = None
        self._wake_read, self._wake_write = os.pipe()
        self._resized = False

    def run(self) -> Ended:
        """Attach until the program ends or the detach key is pressed. This process must have a terminal. Raises
        `RoostError` if the first attempt fails."""
        self._connect()
        with _Window().owned(), _on_signals(self._on_resize, self._stop):
            showing = threading.Thread(target=self._show, name="roost-terminal", daemon=True)
            showing.start()
            try:
                self._fit()
                while self._ended is None:
                    self._step()
            finally:
                if self._link is not None:
                    self._link.close()
                showing.join(_LAST_SECONDS)  # it writes nothing once the terminal is given back
        return self._ended or Ended(1, "")

    def _step(self) -> None:
        ready, _, _ = select.select([sys.stdin, self._wake_read], [], [])
        if self._wake_read in ready:
            os.read(self._wake_read, 4096)
            if self._resized:
                self._resized = False
                self._fit()
        if sys.stdin in ready and self._ended is None:
            self._typed(os.read(sys.stdin.fileno(), _CHUNK))

    def _typed(self, data: bytes) -> None:
        if not data:
            self._end(Ended(0, f"detached; {self._terminal} runs on"))
            return
        data, detached, _ = data.partition(self._key)
        data = _ANSWER.sub(b"", data)
        if data and not self._look:
            self._send("terminals.type", base64=base64.b64encode(data).decode(), **self._named)
        if detached:
            self._end(Ended(0, f"detached; {self._terminal} runs on"))

    @property
    def _named(self) -> dict[str, Any]:
        return {} if self._name is None else {"name": self._name}

    def _send(self, op: str, **args: Any) -> None:
        """Send without waiting. What is typed while there is no connection is lost, with a bell."""
        link = self._link
        try:
            if link is None:
                raise Disconnected("no connection")
            done = link.start(op, session=self._session, terminal=self._terminal, **args)
            done.add_done_callback(lambda each: each.exception() is not None and _out(b"\a"))
        except Disconnected:
            _out(b"\a")

    def _fit(self) -> None:
        """Give the terminal the size of this one."""
        size = shutil.get_terminal_size()
        if not self._look:
            self._send("terminals.resize", columns=max(2, min(size.columns, 500)), rows=max(1, min(size.lines, 200)))

    def _connect(self) -> None:
        self._link = None
        link = WebSocket(self._locate())
        try:
            args = {**self._named, **({} if self._position is None else {"after": self._position})}
            self._channel = link.attach(self._session, self._terminal, **args)
        except BaseException:
            link.close()
            raise
        self._link = link

    def _show(self) -> None:
        """Write output here until the program ends. Runs in a thread."""
        try:
            while self._ended is None:
                try:
                    for got in self._channel:
                        self._take(got)
                    return
                except Disconnected:
                    self._again()
        except RoostError as error:
            self._end(Ended(1, error.message))
        except Exception as error:  # the person gets their terminal back whatever happens
            self._end(Ended(1, f"{type(error).__name__}: {error}"))

    def _take(self, got: Output | dict[str, Any]) -> None:
        if self._ended is not None:
            return
        if isinstance(got, Output):
            if got.redraw and self._position is None:  # what stands here goes into the scrollback
                _out(b"\n" * shutil.get_terminal_size().lines + b"\x1b[H")
            elif got.redraw:
                _out(_RESET)
            _out(got.data)
            self._position = got.next
        elif got["kind"] == "ended":
            code, reason = got.get("code"), got.get("reason")
            how = clean(reason) if reason else f"exit code {code}"
            self._end(Ended(code if isinstance(code, int) and 0 <= code < 256 else 1, f"{self._terminal} ended: {how}"))
        elif got["kind"] == "keyboard" and got["holder"] != (self._name or "owner") and got["holder"]:
            _out(b"\a")

    def _again(self) -> None:
        """Connect again. Raises `RoostError` when that fails for long, or the terminal is no more."""
        if self._ended is not None:
            return
        self._link = None
        for pause in _PAUSES:
            time.sleep(pause)
            try:
                self._connect()
                self._on_resize()
                return
            except (Unreachable, Disconnected, TimeoutError):
                continue
        raise Unreachable("the connection to the daemon is lost")

    def _end(self, how: Ended) -> None:
        if self._ended is None:
            self._ended = how
        self._wake()

    def _on_resize(self, *_: object) -> None:
        self._resized = True
        self._wake()

    def _stop(self, number: int, frame: object) -> None:
        self._end(Ended(128 + number, "detached"))

    def _wake(self) -> None:
        with contextlib.suppress(OSError):
            os.write(self._wake_write, b"x")


class _Window(Tty):
    """This terminal, without any processing of what is typed and shown."""

    restore = _RESTORE

    def take(self) -> None:
        tty.setraw(self._source, termios.TCSADRAIN)
        self._mine = True


@contextlib.contextmanager
def _on_signals(resize: Any, stop: Any) -> Generator[None]:
    kept = {signal.SIGWINCH: resize, signal.SIGTERM: stop, signal.SIGHUP: stop}
    before = {number: signal.signal(number, act) for number, act in kept.items()}
    try:
        yield
    finally:
        for number, act in before.items():
            signal.signal(number, act)


def _out(data: bytes) -> None:
    with contextlib.suppress(OSError):
        while data:
            data = data[os.write(sys.stdout.fileno(), data) :]
