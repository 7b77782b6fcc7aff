"""A process that has read the modules of the command once and makes each `roost` as a copy of itself.

A copy is a process of its own, with the environment, the folder, the streams and the arguments that it is given, and
runs the entry point of the executable. What it spares is reading the modules and taking them apart again: 0.3 s of
processor for each command. What an interpreter takes from its environment when it starts (PYTHON*), and
/proc/PID/environ, are those of the first process: who looks at them starts the executable itself.

The order for a copy is one byte on a socket, with the descriptors of its standard streams, of a file with an `Order`
and of a socket. On that socket come back the process's number and then, when it has ended, its exit code, each in four
bytes.
"""

from __future__ import annotations

import atexit
import fcntl
import gc
import importlib
import io
import json
import os
import pkgutil
import select
import signal
import socket
import sys
import termios
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import roost
from roost.cli import main as entry

SCRIPT = str(Path(sys.executable).with_name("roost"))
_USED = ("aiohttp", "uvicorn", "csv", "ctypes", "importlib.metadata", "tarfile", "zipfile", "urllib.request", "yaml")
"""Libraries that nearly every command reads at its first use of them."""


class Order(NamedTuple):
    """What a copy is to be. `terminal`: its standard input is a terminal and becomes its own."""

    args: list[str]
    cwd: str
    env: dict[str, str]
    terminal: bool = False


def serve(orders: socket.socket) -> tuple[Order, list[int]]:
    """Until nobody orders any more. Returns in copies: what each is to be, and its standard streams."""
    ended, wake = socket.socketpair()
    for one in (ended, wake):
        one.setblocking(False)
    signal.signal(signal.SIGCHLD, _ignored)
    signal.set_wakeup_fd(wake.fileno())
    running: dict[int, socket.socket] = {}
    while True:
        ready, _, _ = select.select([orders, ended], [], [])
        if ended in ready:
            ended.recv(4096)
            _tell_ends(running)
        if orders not in ready:
            continue
        byte, given, _, _ = socket.recv_fds(orders, 1, 5)
        if not byte:
            sys.exit()
        *streams, file, reply = given
        with open(file) as order:
            wanted = Order(**json.load(order))
        pid = os.fork()
        if pid == 0:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for one in (orders, ended, wake, *running.values()):
                one.close()
            os.close(reply)
            return wanted, streams
        for number in streams:
            os.close(number)
        running[pid] = socket.socket(fileno=reply)
        _tell(running[pid], pid)


def _ignored(_number: int, _frame: FrameType | None) -> None:
    """A handler, so that the signal writes to the file descriptor for wake-ups."""


def _tell_ends(running: dict[int, socket.socket]) -> None:
    while running:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        with running.pop(pid) as reply:
            _tell(reply, os.waitstatus_to_exitcode(status))


def _tell(reply: socket.socket, number: int) -> None:
    try:
        reply.sendall(number.to_bytes(4, signed=True))
    except OSError:  # who ordered it has gone
        pass


def become(order: Order, streams: list[int]) -> None:
    """Make this process what its order says."""
    if order.terminal:
        os.setsid()
        fcntl.ioctl(streams[0], termios.TIOCSCTTY, 0)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(order.cwd)
    os.environ.clear()
    os.environ.update(order.env)
    time.tzset()
    sys.argv = [SCRIPT, *order.args]
    sys.stdin = open(0, closefd=False)  # noqa: SIM115
    sys.stdout = _writer(1, "strict", os.isatty(1))
    sys.stderr = _writer(2, "backslashreplace", True)


def _writer(number: int, errors: str, by_line: bool) -> Any:
    return io.TextIOWrapper(open(number, "wb", closefd=False), errors=errors, line_buffering=by_line)


def _read_modules() -> None:
    for name in _USED:
        importlib.import_module(name)
    for module in pkgutil.walk_packages(roost.__path__, "roost."):
        if "__main__" not in module.name and ".testing." not in module.name:
            try:
                importlib.import_module(module.name)
            except ImportError:  # of a library that is not here
                pass


def main() -> None:
    sys.path[0] = str(Path(SCRIPT).parent)
    with socket.socket(fileno=int(sys.argv[1])) as orders:
        _read_modules()
        gc.collect()
        gc.freeze()
        order, streams = serve(orders)
    become(order, streams)
    try:
        entry()
    except SystemExit as end:
        _end(end.code)


def _end(code: Any) -> None:
    """As an interpreter ends, but for taking its modules apart, which costs more than a command's own work."""
    threading._shutdown()  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
    atexit._run_exitfuncs()  # pyright: ignore[reportPrivateUsage]
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
