"""Processes inside a sandbox: how a command is started, and which processes are nobody's. Standard library only."""

from __future__ import annotations

import fcntl
import os
import resource
import signal
import struct
import termios
from typing import Any

_LOCKS = 10
_OF_THE_KERNEL = 0x200000
"""PF_KTHREAD: a machine of its own has such threads."""


def start(spec: dict[str, Any], fds: list[int], number: int, *, tty: bool) -> int:
    """The process number of the new command. Raises `OSError`."""
    report, say = os.pipe()
    try:
        pid = os.fork()
    except OSError:
        os.close(report)
        os.close(say)
        raise
    if pid == 0:
        try:
            become(spec, fds, number, tty=tty)
        except BaseException as error:  # the child must never go on as the agent
            number, text = 0, str(error)
            if isinstance(error, OSError):
                number, text = error.errno or 0, error.strerror or text
                text = f"{error.filename}: {text}" if error.filename else text
            os.write(say, f"{number} {text}".encode("utf-8", "replace")[:4000])
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


def become(spec: dict[str, Any], fds: list[int], number: int, *, tty: bool) -> None:
    """The child's way to its program."""
    os.setsid()
    if tty:
        fcntl.ioctl(fds[0], termios.TIOCSCTTY, 0)
    fds = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 10) for fd in fds]
    for place, fd in enumerate(fds):
        os.dup2(fd, place)
    dumpable(True)
    try:
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write("500")  # memory that runs out is to be taken from commands, not from the agent
    except OSError:
        pass
    for kind, soft, hard in [*spec["limits"], [_LOCKS, number, number]]:
        most = resource.getrlimit(kind)[1]
        if most != resource.RLIM_INFINITY:
            soft, hard = min(soft, most), min(hard, most)
        try:
            resource.setrlimit(kind, (soft, hard))
        except (OSError, ValueError):  # gVisor has not all; without a number kin is known by parent and session
            if kind not in (_LOCKS, resource.RLIMIT_CORE):
                raise
    signal.set_wakeup_fd(-1)
    for each in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT, signal.SIGCHLD, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, signal.SIG_DFL)
    try:
        os.chdir(spec["cwd"])
    except OSError as error:
        raise OSError(0, f"{spec['cwd']}: {error.strerror}") from error
    os.execvpe(spec["argv"][0], spec["argv"], spec["env"])


def resize(fd: int, size: list[int]) -> None:
    columns, rows = size
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


def dumpable(value: bool) -> None:
    """A process that is not cannot be looked into through /proc, not even by its own user."""
    try:
        import ctypes

        ctypes.CDLL(None).prctl(4, int(value), 0, 0, 0)
    except (ImportError, OSError, AttributeError):
        pass


def find_strays(alive: dict[int, int]) -> set[int]:
    """Living processes that belong to none of the commands: their first process numbers, and their own numbers."""
    found: dict[int, tuple[int, int, bytes]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit() and name != "1":
            try:
                with open(f"/proc/{name}/stat", "rb") as file:
                    fields = file.read().rpartition(b")")[2].split()
                locks = _lock_number(name)
            except OSError:
                continue
            if not (fields[0] in b"ZX" and int(fields[17]) <= 1) and not int(fields[6]) & _OF_THE_KERNEL:
                found[int(name)] = (int(fields[1]), int(fields[3]), locks)
    marks = {str(number).encode() for number in alive.values()}
    kept = {pid for pid, (_, session, locks) in found.items() if pid in alive or session in alive or locks in marks}
    while more := {pid for pid, (parent, _, _) in found.items() if parent in kept and pid not in kept}:
        kept |= more
    return found.keys() - kept


def _lock_number(pid: str) -> bytes:
    """Empty where the kernel shows no limits (gVisor)."""
    try:
        with open(f"/proc/{pid}/limits", "rb") as file:
            return file.read().partition(b"Max file locks")[2].split()[1]
    except (FileNotFoundError, IndexError):
        return b""
