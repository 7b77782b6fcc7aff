"""Run one level 0 command until its last process is dead. Blocks: each command has its own thread."""

from __future__ import annotations

import errno
import logging
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from roost.errors import SandboxError
from roost.sandbox.base import ExecResult, Quota
from roost.sandbox.guest.spawn import read_terminal
from roost.sandbox.host_launch import launch_argv, launch_env, stand_back
from roost.sandbox.output import HeadTail
from roost.sandbox.process_marks import kill_tree, new_mark, read_process, tree_of
from roost.sandbox.pseudo_terminal import PseudoTerminal
from roost.sandbox.watchdog import EVERY, machine_memory, own_memory

_log = logging.getLogger(__name__)
_CHUNK = 65536
_GRACE = 0.5
"""Seconds between SIGTERM and SIGKILL."""
_DRAIN = 1.0
"""Seconds to wait for the end of the output once every known process is dead."""
_HANG_UP = (signal.SIGHUP, signal.SIGCONT)
_COMMAND_FAULTS = {errno.E2BIG, errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.ENAMETOOLONG, errno.ELOOP}
_LIMIT_SIGNALS = {-signal.SIGXCPU: "cpu_seconds", -signal.SIGXFSZ: "file_bytes"}


class Command:
    """`stdin`: bytes for the command, or a descriptor that it reads from; this class closes it. `heard`: called with
    the output as it comes, in the command's thread; nothing is kept then. `memory`: bytes that all its processes may
    have together, checked four times a second; None is no limit. `before`: words put before the command, to start it
    as another user (`as_user.py`). `pty`: runs it on this terminal; `stdin` has no effect then."""

    def __init__(
        self,
        argv: Sequence[str],
        cwd: str,
        env: Mapping[str, str] | None,
        stdin: bytes | int | None,
        quota: Quota,
        home: str,
        heard: Callable[[bytes], None] | None = None,
        memory: int | None = None,
        before: Sequence[str] = (),
        pty: PseudoTerminal | None = None,
    ) -> None:
        self._mark = new_mark(home)
        self._argv, self._cwd, self._quota, self._before = argv, cwd, quota, before
        self._env = launch_env(cwd, env, self._mark)
        self._feed = stdin if isinstance(stdin, int) else None
        self._stdin = memoryview(stdin) if isinstance(stdin, bytes) and stdin else None
        self._heard = heard
        self._pty = pty
        self._memory = memory
        self._look = time.monotonic() + EVERY
        self._outputs: dict[int, HeadTail] = {}
        self._lock = threading.Lock()
        self._cancelled: str | None = None
        try:
            self._wake_read, self._wake_write = os.pipe()
            self._terminal = -1 if pty is None else os.dup(pty.ours)
        except OSError as error:
            raise _cannot_run(error) from error

    def cancel(self, why: str = "cancelled") -> None:
        """End the command, from any thread: with SIGTERM first, or at once for a limit. `run` then returns soon, with
        `why` as `killed_by`."""
        with self._lock:
            if self._wake_write >= 0 and self._cancelled is None:
                self._cancelled = why
                os.write(self._wake_write, b"x")

    def run(self) -> ExecResult:
        started = time.monotonic()
        try:
            process = self._spawn()
            if isinstance(process, str):
                return ExecResult(exit_code=126, stdout="", stderr=process, seconds=time.monotonic() - started)
            with process:
                stand_back(process.pid)
                return self._supervise(process, started)
        finally:
            if self._terminal >= 0:
                os.close(self._terminal)
            with self._lock:
                os.close(self._wake_read)
                os.close(self._wake_write)
                self._wake_write = -1

    def _spawn(self) -> subprocess.Popen[bytes] | str:
        """Return the process, or why this command cannot be started."""
        pty = self._pty
        output = subprocess.PIPE if pty is None else pty.theirs
        take = [] if pty is None else pty.words()
        try:
            return subprocess.Popen(
                [*self._before, *take, *launch_argv(self._argv, self._quota, self._mark)],
                cwd=self._cwd,
                env=self._env,
                stdin=self._stdin_of_process(),
                stdout=output,
                stderr=output,
                bufsize=0,
                start_new_session=True,
            )
        except ValueError as error:
            return f"the command cannot be started: {error}"
        except OSError as error:
            if error.errno in _COMMAND_FAULTS:
                return f"the command cannot be started: {error}"
            raise _cannot_run(error) from error
        finally:
            if self._feed is not None:
                os.close(self._feed)
            if pty is not None:
                pty.close_theirs()

    def _stdin_of_process(self) -> int:
        if self._pty is not None:
            return self._pty.theirs
        if self._feed is not None:
            return self._feed
        return subprocess.DEVNULL if self._stdin is None else subprocess.PIPE

    def _supervise(self, process: subprocess.Popen[bytes], started: float) -> ExecResult:
        born = _birth(process.pid)
        exit_fd: int | None = None
        try:
            exit_fd = _exit_fd(process.pid)
            with selectors.DefaultSelector() as selector:
                self._register(selector, process, exit_fd)
                ended = self._pump(selector, process, started + self._quota.wall_seconds, born)
                if not ended and self._cancelled in (None, "cancelled"):
                    self._terminate(selector, process)
                self._kill(process, born)
                self._drain(selector)
        except BaseException as error:  # on any error: the command must not outlive this call
            self._kill(process, born)
            raise (_cannot_run(error) if isinstance(error, OSError) else error) from None
        finally:
            if exit_fd is not None:
                os.close(exit_fd)
        code = process.wait()
        killed = _LIMIT_SIGNALS.get(code) if ended else self._cancelled or "wall_seconds"
        return self._result(None if killed else code, killed, time.monotonic() - started)

    def _kill(self, process: subprocess.Popen[bytes], born: int) -> None:
        if left := kill_tree(self._mark, process.pid, born):
            _log.error("processes %s of a sandboxed command cannot be killed", sorted(left))

    def _register(
        self, selector: selectors.BaseSelector, process: subprocess.Popen[bytes], exit_fd: int | None
    ) -> None:
        streams = [each.fileno() for each in (process.stdout, process.stderr) if each is not None]
        for fd in streams if self._pty is None else [self._terminal]:
            os.set_blocking(fd, False)
            self._outputs[fd] = HeadTail(self._quota.output_bytes)
            selector.register(fd, selectors.EVENT_READ, "output")
        if process.stdin is not None:
            os.set_blocking(process.stdin.fileno(), False)
            selector.register(process.stdin.fileno(), selectors.EVENT_WRITE, "input")
        selector.register(self._wake_read, selectors.EVENT_READ, "wake")
        if exit_fd is not None:
            selector.register(exit_fd, selectors.EVENT_READ, "exit")

    def _pump(
        self,
        selector: selectors.BaseSelector,
        process: subprocess.Popen[bytes],
        deadline: float,
        born: int | None = None,
    ) -> bool:
        """Move bytes until the first process ends (returns True), or until the deadline or a cancel (False). With
        `born`, the start time of the process, also watch its memory."""
        has_exit = any(key.data == "exit" for key in selector.get_map().values())
        watched = born is not None and self._memory is not None
        while (left := deadline - time.monotonic()) > 0:
            if watched and self._takes_too_much(process.pid, born or 0):
                self.cancel("memory_bytes")
            left = min(left, EVERY) if watched else left
            for key, _ in selector.select(left if has_exit else min(left, 0.02)):
                kind: Literal["output", "input", "wake", "exit"] = key.data
                if kind == "exit":
                    return True
                if kind == "wake":
                    selector.unregister(key.fd)
                    return False
                self._move(selector, key.fd, kind, process)
            if not has_exit and _has_ended(process):
                return True
        return False

    def _takes_too_much(self, leader: int, born: int) -> bool:
        """True when the command's processes have more than `memory`. They are only summed up when the whole machine
        uses that much."""
        if self._memory is None or (now := time.monotonic()) < self._look:
            return False
        self._look = now + EVERY
        if machine_memory()[1] < self._memory:
            return False
        try:
            tree = tree_of(self._mark, leader, born)
        except OSError:
            return False
        self._look = time.monotonic() + EVERY
        return sum(map(own_memory, tree)) > self._memory

    def _move(
        self, selector: selectors.BaseSelector, fd: int, kind: str, process: subprocess.Popen[bytes] | None
    ) -> None:
        try:
            if kind == "output":
                data = os.read(fd, _CHUNK) if self._pty is None else read_terminal(fd, _CHUNK)
                if self._heard is not None:
                    self._heard(data)
                else:
                    self._outputs[fd].add(data)
                done = not data
            else:
                assert self._stdin is not None
                self._stdin = self._stdin[os.write(fd, self._stdin[:_CHUNK]) :]
                done = not self._stdin
        except BlockingIOError:
            return
        except BrokenPipeError:
            done = True
        except OSError as error:
            if error.errno != errno.EIO:  # a terminal that no program has open any more
                raise
            done = True
        if done:
            selector.unregister(fd)
            if kind == "input" and process is not None and process.stdin is not None:
                process.stdin.close()

    def _terminate(self, selector: selectors.BaseSelector, process: subprocess.Popen[bytes]) -> None:
        try:
            for number in (signal.SIGTERM,) if self._pty is None else _HANG_UP:
                os.killpg(process.pid, number)
        except (ProcessLookupError, PermissionError):
            return
        self._pump(selector, process, time.monotonic() + _GRACE)

    def _drain(self, selector: selectors.BaseSelector) -> None:
        """Read the output that dead processes left in the pipes."""
        for key in list(selector.get_map().values()):
            if key.data != "output":
                selector.unregister(key.fd)
        deadline = time.monotonic() + _DRAIN
        while selector.get_map() and (left := deadline - time.monotonic()) > 0:
            for key, _ in selector.select(left):
                self._move(selector, key.fd, "output", None)

    def _result(self, code: int | None, killed: str | None, seconds: float) -> ExecResult:
        out, err = [*self._outputs.values(), HeadTail(0)][:2]
        return ExecResult(
            exit_code=code,
            stdout=out.text(),
            stderr=err.text(),
            seconds=seconds,
            truncated=out.truncated or err.truncated,
            killed_by=killed,
        )


def _cannot_run(error: OSError) -> SandboxError:
    return SandboxError(f"cannot run commands: {error}; look at the machine's limits on processes and open files")


def _birth(pid: int) -> int:
    """Return the start time of the process, in ticks since boot; 0 (before everything) when it is unknown."""
    try:
        process = read_process(pid)
    except OSError:
        return 0
    return process.started if process else 0


def _exit_fd(pid: int) -> int | None:
    """Return a descriptor that becomes readable when the process ends; None where the system has none."""
    if sys.platform != "linux":
        return None
    try:
        return os.pidfd_open(pid)
    except OSError:
        return None


def _has_ended(process: subprocess.Popen[bytes]) -> bool:
    """Check for the end without reaping where the system can: an unreaped process keeps its number, and its group's."""
    if sys.platform == "linux":
        return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    return process.poll() is not None
