"""Commands that run, and how to start them."""

from __future__ import annotations

import atexit
import contextlib
import functools
import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from typing import IO, Any

from tests.harness import prefork
from tests.harness.prefork import Order

_ANSI = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\r")


class Process:
    """A copy of the prefork process: so much of `subprocess.Popen` as tests ask for."""

    def __init__(self, reply: socket.socket, stdout: IO[str] | None = None, stderr: IO[str] | None = None) -> None:
        self.stdout, self.stderr = stdout, stderr
        self.returncode: int | None = None
        self._reply = reply
        self.pid = self._told()

    def poll(self) -> int | None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            if not select.select([self._reply], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired("roost", timeout or 0)
            self.returncode = self._told()
            self._reply.close()
        return self.returncode

    def _told(self) -> int:
        told = self._reply.recv(4, socket.MSG_WAITALL)
        assert len(told) == 4, "the prefork process has ended"
        return int.from_bytes(told, signed=True)

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """All that is still to be read of its streams."""
        assert self.stdout is not None
        assert self.stderr is not None
        streams = (self.stdout, self.stderr)
        with ThreadPoolExecutor(2) as readers:
            out, err = (readers.submit(_rest, stream) for stream in streams)
            try:
                self.wait(timeout)
            except BaseException:
                self.kill()
                raise
        return out.result(), err.result()

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def end(self) -> None:
        """Kill it, wait for its end, and close its streams."""
        self.kill()
        self.wait()
        for stream in (self.stdout, self.stderr):
            if stream is not None:
                stream.close()


def _rest(stream: IO[str]) -> str:
    if stream.closed:
        return ""
    with stream:
        return stream.read()


class Prefork:
    """The process that commands are copies of; it ends with this one."""

    def __init__(self) -> None:
        self._orders, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, prefork.__file__, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )

    def start(self, order: Order, stdin: int, stdout: int, stderr: int) -> socket.socket:
        """For a `Process`. What it was given may be closed here."""
        mine, theirs = socket.socketpair()
        with theirs, tempfile.TemporaryFile("w+") as file:
            json.dump(order._asdict(), file)
            file.seek(0)
            socket.send_fds(self._orders, [b"x"], [stdin, stdout, stderr, file.fileno(), theirs.fileno()])
        return mine

    def close(self) -> None:
        self._orders.close()
        self._process.wait()


@functools.cache
def prefork_process() -> Prefork:
    """Return the one of this process, which makes processes of the command `roost` for a fraction of what starting the
    executable costs."""
    made = Prefork()
    atexit.register(made.close)
    return made


class Terminal:
    """A process with a terminal of its own."""

    def __init__(self, prefork: Prefork, order: Order) -> None:
        self.master, slave = os.openpty()
        self.process = Process(prefork.start(order._replace(terminal=True), slave, slave, slave))
        os.close(slave)
        self.raw = ""
        self._seen = 0

    @property
    def text(self) -> str:
        return _ANSI.sub("", self.raw)

    def expect(self, wanted: str, timeout: float = 60.0) -> str:
        """Wait for `wanted` in what came since the last `expect`; returns what came up to it."""
        deadline = time.monotonic() + timeout
        while wanted not in self.text[self._seen :]:
            if not self._read(deadline - time.monotonic()):
                raise AssertionError(f"no {wanted!r} in:\n{self.text[self._seen :]}\n(all:\n{self.text})")
        begin = self._seen
        self._seen = self.text.index(wanted, begin) + len(wanted)
        return self.text[begin : self._seen]

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def wait(self, timeout: float = 60.0) -> int:
        deadline = time.monotonic() + timeout
        while self._read(max(0.0, deadline - time.monotonic())):
            pass
        return self.process.wait(max(0.1, deadline - time.monotonic()))

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.master)

    def _read(self, timeout: float) -> bool:
        if timeout <= 0 or not select.select([self.master], [], [], timeout)[0]:
            return False
        try:
            data = os.read(self.master, 65536)
        except OSError:
            return False
        self.raw += data.decode("utf-8", "replace")
        return bool(data)


def start(prefork: Prefork, order: Order, stderr: int | None = None) -> Process:
    """A command whose output can be read while it runs; what it says to `stderr`, if that is given, is not. It has no
    input."""
    (out, to_out), (err, to_err) = os.pipe(), os.pipe()
    nothing = os.open(os.devnull, os.O_RDONLY)
    try:
        reply = prefork.start(order, nothing, to_out, to_err if stderr is None else stderr)
    finally:
        for number in (nothing, to_out, to_err):
            os.close(number)
    return Process(reply, open(out), open(err))


class Piped(Process):
    """A command whose input and output are pipes of the caller: the descriptors `input` and `output`. What it prints to
    standard error is dropped."""

    def __init__(self, prefork: Prefork, order: Order) -> None:
        (theirs_in, self.input), (self.output, theirs_out) = os.pipe(), os.pipe()
        nothing = os.open(os.devnull, os.O_WRONLY)
        try:
            super().__init__(prefork.start(order, theirs_in, theirs_out, nothing))
        finally:
            for number in (theirs_in, theirs_out, nothing):
                os.close(number)


def run(prefork: Prefork, order: Order, stdin: str, timeout: float) -> subprocess.CompletedProcess[str]:
    """A command to its end."""
    with contextlib.ExitStack() as files:
        streams: list[Any] = [files.enter_context(tempfile.TemporaryFile("w+")) for _ in range(3)]
        streams[0].write(stdin)
        streams[0].seek(0)
        process = Process(prefork.start(order, *(stream.fileno() for stream in streams)))
        try:
            code = process.wait(timeout)
        except BaseException:
            process.kill()
            raise
        for stream in streams:
            stream.seek(0)
        return subprocess.CompletedProcess(order.args, code, streams[1].read(), streams[2].read())
