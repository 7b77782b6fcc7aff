"""The worker as its parent sees it: started, spoken to, killed."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

from roost.local import frames
from roost.local.library import EngineFailed, missing

_MODULE = "roost.local.worker"
_PASSED = frozenset({"PATH", "HOME", "LANG", "TMPDIR", "VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME", "SYSTEMROOT"})
_PASSED_PREFIXES = ("LC_", "LD_", "DYLD_", "OMP_", "GOMP_", "GGML_", "LLAMA_", "CUDA_", "PYTHONDONTWRITE")
_DEFAULTS = {
    # llama.cpp starts a debugger over its own process when it fails.
    "GGML_NO_BACKTRACE": "1",
}
_ERROR_BYTES = 2000


_SEND = 60.0
"""Seconds that a worker may take to hear a frame."""


class WorkerEnded(Exception):
    """The worker's process is gone. The message says how it ended; `loading`: it had not loaded the weights."""

    def __init__(self, message: str, *, loading: bool) -> None:
        super().__init__(message)
        self.loading = loading


class Worker:
    """A process that loads what `load` says. All methods are for the one thread that made it, and the worker ends with
    that thread. Raises `EngineFailed` when it cannot be started."""

    def __init__(self, load: frames.Load) -> None:
        self.loaded = False
        self.restoring: str | None = None
        self._name = os.path.basename(load.path)
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as the worker
        self.link, theirs = socket.socketpair()
        try:
            with theirs:
                self._process = self._spawn(theirs)
        except BaseException:
            self.link.close()
            self._errors.close()
            raise
        self.link.settimeout(_SEND)
        self._reader = frames.Reader(self.link)
        self.send(load)

    def _spawn(self, theirs: socket.socket) -> subprocess.Popen[bytes]:
        command = (sys.executable, "-m", _MODULE, str(theirs.fileno()), str(os.getpid()))
        try:
            return subprocess.Popen(
                command,
                pass_fds=(theirs.fileno(),),
                env=_environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._errors,
                # Ctrl-C is for the parent. In the parent's session, so that the system ends a worker that is stopped
                # when its parent dies, even before it asked for a signal then.
                process_group=0,
            )
        except OSError as error:
            raise EngineFailed(f"the local model's process cannot be started: {error}", code="load_failed") from error

    @property
    def pid(self) -> int:
        return self._process.pid

    def send(self, frame: frames.Down) -> None:
        """Send a frame. `receive` reports a worker that has ended."""
        with contextlib.suppress(OSError):
            self.link.sendall(frames.packed(frame))

    def receive(self) -> list[frames.Up]:
        """The frames that have come; call it when the link is readable. Raises `WorkerEnded`, and `EngineFailed` when
        the worker cannot load the weights."""
        try:
            came = [frames.decode_up(body) for body in self._reader.whole()]
        except EOFError:
            raise WorkerEnded(self._ending(), loading=not self.loaded) from None
        for frame in came:
            self.restoring = frame.path if isinstance(frame, frames.Restoring) else None
            if isinstance(frame, frames.Loaded):
                self.loaded = True
            elif isinstance(frame, frames.Refused):
                raise missing(frame.reason) if frame.missing else self._refused(frame.reason)
        return came

    def spent(self) -> float | None:
        """Return the seconds of processor time that the worker has used, if the system tells."""
        try:
            fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return None
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def kill(self) -> None:
        """Kill the worker at once. Nothing needs to be saved: files are written completely or not at all."""
        self._process.kill()
        self._process.wait()
        self.link.close()
        self._errors.close()

    def forget(self) -> None:
        """Leave the worker to the parent, in a fork."""
        self.link.close()
        self._errors.close()

    def _refused(self, reason: str) -> EngineFailed:
        return EngineFailed(
            f"llama.cpp cannot load {self._name!r}: {reason}. Is it a whole GGUF file of a model for text?",
            code="load_failed",
        )

    def _ending(self) -> str:
        self._process.kill()  # a closed socket may come a moment before the end
        code = self._process.wait()
        self._errors.seek(max(0, self._errors.seek(0, os.SEEK_END) - _ERROR_BYTES))
        errors = self._errors.read().decode(errors="replace").strip().splitlines()
        how = _signal_name(-code) if code < 0 else f"exit code {code}"
        return f"{how}: {errors[-1]}" if errors else how


def _environment() -> dict[str, str]:
    """Without the keys and passwords that the daemon may have."""
    passed = {name: value for name, value in os.environ.items() if name in _PASSED or name.startswith(_PASSED_PREFIXES)}
    return _DEFAULTS | passed


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def readable(*sources: socket.socket, timeout: float | None) -> list[socket.socket]:
    """The sockets that have something to read; waits up to `timeout` seconds for the first."""
    poll = select.poll()
    by_number = {source.fileno(): source for source in sources}
    for number in by_number:
        poll.register(number, select.POLLIN)
    return [by_number[number] for number, _ in poll.poll(None if timeout is None else timeout * 1000)]
