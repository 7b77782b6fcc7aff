"""Start a command inside a sandbox. Standard library only.

A fork of the agent costs more than most commands do: under gVisor each page that it touches is a trap. So a command is
started by `posix_spawn`, without a fork, and inherits the agent's limits, a raised OOM score, and its number. It also
inherits its soft limit of processor time, which the agent ignores at that moment; the hard one is set right after,
since the agent could not live under it. A terminal, and limits tighter than the agent's, take a fork.
"""

from __future__ import annotations

import errno
import fcntl
import os
import resource
import select
import signal
import struct
import termios
import time
from collections.abc import Generator, Iterable
from contextlib import contextmanager, suppress
from typing import Any

_LARGE = 2048
"""Bytes of a terminal's output that are followed by more."""
_NEXT_MS = 1
_GATHERED = 0.004
"""Milliseconds that the next piece may take, and seconds that all may."""
_LOCKS = 10
_NOBODY = 2**62
_DEFAULTS = (
    signal.SIGPIPE,
    signal.SIGXFSZ,
    signal.SIGINT,
    signal.SIGCHLD,
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGXCPU,
)
"""Signals that the agent or its interpreter handles or ignores."""
_TAKEN_FIRST = 500
"""OOM score of commands: when memory runs out, the kernel kills commands before the agent."""


class Starter:
    """Starts commands. `limits` (number, soft, hard) bind the agent itself from now on, and so all its children."""

    def __init__(self, limits: Iterable[list[int]] = ()) -> None:
        _bind(limits)
        self._marks = _can_mark()
        self._score, self._own_score = -1, 0
        signal.signal(signal.SIGXCPU, signal.SIG_IGN)
        with suppress(OSError, ValueError):
            self._score = os.open("/proc/self/oom_score_adj", os.O_RDWR | os.O_CLOEXEC)
            self._own_score = int(os.pread(self._score, 16, 0))
        _hide()

    def start(self, spec: dict[str, Any], fds: list[int], number: int, *, tty: bool) -> int:
        """Start a command and return its process number. Raises `OSError`."""
        with self._inherited(number), _born_with(spec["limits"]):
            if tty or any(_is_tight(kind, hard) for kind, _, hard in spec["limits"]):
                return _fork(spec, fds, tty=tty)
            pid = _spawn(spec, fds)
        for kind, soft, hard in spec["limits"]:
            if kind == resource.RLIMIT_CPU:
                with suppress(ProcessLookupError):
                    resource.prlimit(pid, kind, _within(kind, soft, hard))
        return pid

    @contextmanager
    def _inherited(self, number: int) -> Generator[None]:
        """Give this process the number and OOM score for a command to inherit, while the block runs."""
        self._be(number, max(self._own_score, _TAKEN_FIRST))
        try:
            yield
        finally:
            self._be(_NOBODY, self._own_score)

    def _be(self, number: int, score: int) -> None:
        if self._marks:
            most = resource.getrlimit(_LOCKS)[1]
            resource.setrlimit(_LOCKS, (number if most == resource.RLIM_INFINITY else min(number, most), most))
        if self._score >= 0:
            with suppress(OSError):
                os.pwrite(self._score, str(score).encode(), 0)


@contextmanager
def _born_with(limits: Iterable[list[int]]) -> Generator[None]:
    """Lower the soft limit of processor time while the block runs. Children that a command starts before its hard limit
    is set inherit the soft one."""
    time = resource.RLIMIT_CPU
    before = resource.getrlimit(time)
    for kind, soft, hard in limits:
        if kind == time:
            resource.setrlimit(time, (_within(kind, soft, hard)[0], before[1]))
    try:
        yield
    finally:
        resource.setrlimit(time, before)


def _spawn(spec: dict[str, Any], fds: list[int]) -> int:
    given = [(os.POSIX_SPAWN_DUP2, fd, place) for place, fd in enumerate(fds)]
    argv, env = spec["argv"], spec["env"]
    _enter(spec["cwd"])
    try:
        return os.posix_spawn(_program(argv[0], env), argv, env, file_actions=given, setsid=True, setsigdef=_DEFAULTS)
    except ValueError as error:
        raise OSError(0, str(error)) from error
    finally:
        os.chdir("/")


def _program(name: str, env: dict[str, str]) -> str:
    """Return the program's path, searched in PATH from the command's folder. Raises `OSError`."""
    if "/" in name:
        return name
    number = errno.ENOENT
    for folder in env.get("PATH", os.defpath).split(":"):
        path = os.path.join(folder, name)
        if os.access(path, os.X_OK) and not os.path.isdir(path):
            return path
        if os.path.exists(path):
            number = errno.EACCES
    raise OSError(number, os.strerror(number), name)


def _fork(spec: dict[str, Any], fds: list[int], *, tty: bool) -> int:
    report, say = os.pipe()
    try:
        pid = os.fork()
    except OSError:
        os.close(report)
        os.close(say)
        raise
    if pid == 0:
        try:
            _become(spec, fds, tty=tty)
        except BaseException as error:  # the child must never go on as the agent
            number = (error.errno or 0) if isinstance(error, OSError) else 0
            os.write(say, f"{number} {why(error)}".encode("utf-8", "replace")[:4000])
        finally:
            os._exit(126)
    os.close(say)
    with open(report, "rb") as file:
        said = file.read()
    if said:
        os.waitpid(pid, 0)
        code, _, text = said.partition(b" ")
        raise OSError(int(code), text.decode("utf-8", "replace"))
    return pid


def _become(spec: dict[str, Any], fds: list[int], *, tty: bool) -> None:
    """Turn the forked child into the program."""
    os.setsid()
    if tty:
        fcntl.ioctl(fds[0], termios.TIOCSCTTY, 0)
    for place, fd in enumerate(fds):
        os.dup2(fd, place)
    _bind(spec["limits"])
    signal.set_wakeup_fd(-1)
    for each in _DEFAULTS:
        signal.signal(each, signal.SIG_DFL)
    _enter(spec["cwd"])
    os.execve(_program(spec["argv"][0], spec["env"]), spec["argv"], spec["env"])


def _enter(folder: str) -> None:
    try:
        os.chdir(folder)
    except OSError as error:
        raise OSError(0, f"{folder}: {error.strerror}") from error
    except ValueError as error:
        raise OSError(0, f"{folder!r}: {error}") from error


def _bind(limits: Iterable[list[int]]) -> None:
    for kind, soft, hard in limits:
        try:
            resource.setrlimit(kind, _within(kind, soft, hard))
        except (OSError, ValueError):  # gVisor lacks some limits
            if kind != resource.RLIMIT_CORE:
                raise


def _within(kind: int, soft: int, hard: int) -> tuple[int, int]:
    """Clamp to the agent's own hard limit."""
    most = resource.getrlimit(kind)[1]
    return (soft, hard) if most == resource.RLIM_INFINITY else (min(soft, most), min(hard, most))


def _is_tight(kind: int, hard: int) -> bool:
    """True when the limit is tighter than the agent's own."""
    most = resource.getrlimit(kind)[1]
    return kind != resource.RLIMIT_CPU and (most == resource.RLIM_INFINITY or hard < most)


def _can_mark() -> bool:
    """True when RLIMIT_LOCKS can be set. gVisor cannot; there processes are known by parent and session."""
    try:
        resource.setrlimit(_LOCKS, resource.getrlimit(_LOCKS))
    except (OSError, ValueError):
        return False
    return True


def _hide() -> None:
    """Make this process not dumpable: no process, not even of its own user, can inspect it through /proc. Programs that
    it starts are dumpable again."""
    with suppress(ImportError, OSError, AttributeError):
        import ctypes

        ctypes.CDLL(None).prctl(4, 0, 0, 0, 0)


def why(error: BaseException) -> str:
    said = (isinstance(error, OSError) and error.strerror) or str(error)
    return f"{error.filename}: {said}" if isinstance(error, OSError) and error.filename else said


def read_terminal(fd: int, most: int) -> bytes:
    """Read what a terminal has, which gives out at most 4 KiB at once. After a large piece it is waited for the next
    one for a moment: a program that writes much has it soon, and each piece that is passed on costs more than to read
    it. Raises `OSError`."""
    data = os.read(fd, most)
    if len(data) < _LARGE:
        return data
    pieces, size, more = [data], len(data), select.poll()
    more.register(fd, select.POLLIN)
    end = time.monotonic() + _GATHERED
    try:
        while size < most and time.monotonic() < end and more.poll(_NEXT_MS):
            pieces.append(os.read(fd, most - size))
            size += len(pieces[-1])
            if not pieces[-1]:
                break
    except OSError:  # the end, which the next call finds again
        pass
    return b"".join(pieces)


def resize(fd: int, size: list[int]) -> None:
    columns, rows = size
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


def hides_input(fd: int) -> bool:
    """Whether a program reads a line from this terminal without showing it, as for a password."""
    try:
        flags = termios.tcgetattr(fd)[3]
    except (OSError, termios.error):
        return True
    return bool(flags & termios.ICANON) and not flags & termios.ECHO
