"""Processes that need not import anything: copies of one that has, made where a test starts the same program often.

    process = spawn("tests.harness.crash.daemon", "{…}", output=log)

runs the module's `main("{…}")` as `python -m` would, in a session of its own, some ten times sooner. Where the system
cannot watch a process that is not a child (all but Linux), it is `python -m`.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from typing import IO, Protocol

_MOST = 1_000_000
"""Bytes of one order: the environment, mostly."""


class Process(Protocol):
    """What `subprocess.Popen` and a copy have in common. Of how a copy ended nothing is known."""

    @property
    def pid(self) -> int: ...

    def poll(self) -> int | None: ...

    def wait(self) -> int: ...

    def send_signal(self, sig: int) -> None: ...


def spawn(module: str, *arguments: str, output: IO[bytes]) -> Process:
    """Starts `module.main(*arguments)` with this process's environment and folder. Its output goes to that file. What
    the module names in `PARTS` is imported before the first copy is made, where it is installed."""
    if not hasattr(os, "pidfd_open"):
        return subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    return _template(module).copy(list(arguments), output)


class Copy:
    """A process that is not our child. Its number is not given to another one while this lives."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        try:
            self._fd: int | None = os.pidfd_open(pid)
        except ProcessLookupError:  # it has ended already
            self._fd = None

    def poll(self) -> int | None:
        """0 once it has ended."""
        return self._ended(0)

    def wait(self) -> int:
        while self._ended(None) is None:
            pass
        return 0

    def send_signal(self, sig: int) -> None:
        if self._fd is not None and self.poll() is None:
            signal.pidfd_send_signal(self._fd, sig)

    def _ended(self, patience: int | None) -> int | None:
        if self._fd is not None:
            poll = select.poll()
            poll.register(self._fd, select.POLLIN)
            if not poll.poll(patience):
                return None
            os.close(self._fd)
            self._fd = None
        return 0


class _Template:
    """Ends with the process that made it."""

    def __init__(self, module: str) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _MOST)
        self._socket = ours
        self._lock = threading.Lock()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", __name__, module, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        atexit.register(self._close)

    def copy(self, arguments: list[str], output: IO[bytes]) -> Copy:
        order = json.dumps([arguments, os.getcwd(), dict(os.environ)]).encode()
        with self._lock:
            socket.send_fds(self._socket, [order], [output.fileno()])
            answer = self._socket.recv(100)
        if not answer:
            raise RuntimeError("the process that makes copies has ended: see its output above")
        return Copy(int(answer))

    def _close(self) -> None:
        self._socket.close()
        self._process.wait()


@functools.cache
def _template(module: str) -> _Template:
    return _Template(module)


def _serve(module: str, fd: int) -> list[str]:
    """Makes copies until nobody wants any more. Returns only in a copy, with its arguments."""
    name = importlib.import_module(module)
    for part in getattr(name, "PARTS", ()):
        with contextlib.suppress(ImportError):
            importlib.import_module(part)
    assert threading.active_count() == 1, "a copy has one thread only"
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the copies
    with socket.socket(fileno=fd) as line:
        while True:
            order, fds, _, _ = socket.recv_fds(line, _MOST, 1)
            if not order:
                os._exit(0)
            if not (pid := os.fork()):
                break
            os.close(fds[0])
            line.send(str(pid).encode())
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()
    for number in (1, 2):
        os.dup2(fds[0], number)
    os.close(fds[0])
    arguments, folder, environ = json.loads(order)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environ)
    return arguments


if __name__ == "__main__":
    sys.argv = [sys.argv[1], *_serve(sys.argv[1], int(sys.argv[2]))]
    sys.modules[sys.argv[0]].main(*sys.argv[1:])
