"""The first process of a sandbox. It runs commands for the host, over one byte stream.

It and its neighbour modules need only the standard library. It is run by `python -I -S agent.py CONFIG`, so that any
guest with Python can run it. CONFIG is JSON: `link` (a descriptor, or the path of a device or of a socket), `relay` (a
Unix socket that leads to the egress proxy and is served at 127.0.0.1:3128, or `link`; only with egress), `limits` (of
the agent and all its children: number, soft, hard), `filter` (of system calls, in hexadecimal, where the runtime sets
none), `user` (number of a user and of a group that the agent becomes first).

A frame is `!HI` (bytes of the header, bytes of the body), a JSON header and a body. The host sends: `exec` (body: JSON
of `link.Command`), `in` and `eof` (a command's input), `kill` (a signal for its process group; `all`: everything that
it started), `resize`, `mode` (whether a terminal hides what is typed), `credit` (bytes of output that may be sent),
`hold` and `go` (stop sending, continue). The sandbox sends: `hello`, `held`, `ate` (bytes of input consumed), `out`
(`fd`, `cut`: bytes left out before it), `exit`, `mode` (`n`: 1 or 0), `fail` (it cannot be started), `dial` and `eof`
(`relay.Dialled`). When the stream ends, everything ends.

A command's processes are those that descend from it, that are in its session, or that carry its number in RLIMIT_LOCKS
(without effect since Linux 2.4.25, and inherited). When a command ends, every process that belongs to no living command
is killed, so that none escapes by hiding its origin.
"""

from __future__ import annotations

import errno
import json
import os
import selectors
import signal
import socket
import stat
import struct
import sys
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from roost.sandbox.guest import become, orphans, relay, spawn
else:
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    import become
    import orphans
    import relay
    import spawn

_HEAD = struct.Struct("!HI")
_CHUNK = 65536
_READ, _WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE


def _nothing(number: int, frame: object) -> None:
    """Do nothing. A handler must exist so that the signal wakes the loop."""


class Wire:
    """The stream to the host. Writing may block: the host always reads."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._data = bytearray()

    def send(self, kind: str, job: int = 0, body: bytes | bytearray = b"", **more: object) -> None:
        head = json.dumps({"t": kind, "id": job, **more}).encode()
        data = memoryview(_HEAD.pack(len(head), len(body)) + head + bytes(body))
        while data:
            data = data[os.write(self.fd, data) :]

    def frames(self) -> Iterator[tuple[dict[str, Any], bytes]]:
        """Yield the frames that are complete by now. Exits the process when the stream has ended."""
        data = os.read(self.fd, 1 << 20)
        if not data:
            os._exit(0)
        self._data += data
        while len(self._data) >= _HEAD.size:
            head, body = _HEAD.unpack_from(self._data)
            end = _HEAD.size + head + body
            if len(self._data) < end:
                return
            frame = bytes(self._data[:end])
            del self._data[:end]
            yield json.loads(frame[_HEAD.size : _HEAD.size + head]), frame[_HEAD.size + head :]


class Stream:
    """A command's output. It is sent as far as credit allows. Of the rest the last `keep` bytes are kept; with `keep` 0
    reading stops, and the command waits."""

    def __init__(self, agent: Agent, job: Job, fd: int, name: int, credit: int, keep: int, *, tty: bool) -> None:
        self.agent, self.job, self.fd, self.name = agent, job, fd, name
        self.credit, self.keep = credit, keep
        self.read = spawn.read_terminal if tty else os.read
        self.held = bytearray()
        self.cut = 0
        os.set_blocking(fd, False)
        self.watch()

    def watch(self) -> None:
        if self.fd >= 0:
            self.agent.watch(self.fd, _READ if self.keep or self.credit > 0 else 0, self.readable)

    def readable(self, _: int) -> None:
        self.take(_CHUNK if self.keep else min(_CHUNK, self.credit))
        self.send(self.credit)
        if len(self.held) > 2 * self.keep + _CHUNK:
            self.trim()
        self.watch()

    def take(self, size: int) -> bool:
        """Read once. False when there is no more just now."""
        try:
            data = self.read(self.fd, size)
        except BlockingIOError:
            return False
        except OSError:  # a terminal whose program has ended
            data = b""
        self.held += data
        if not data:
            self.close()
        return bool(data)

    def grant(self, credit: int) -> None:
        self.credit += credit
        self.trim()
        self.send(self.credit)
        self.watch()

    def send(self, most: int) -> None:
        while self.held and most > 0:
            part = self.held[: min(_CHUNK, most)]
            del self.held[: len(part)]
            most -= len(part)
            self.credit -= len(part)
            cut, self.cut = self.cut, 0
            self.agent.wire.send("out", self.job.id, part, fd=self.name, cut=cut)

    def trim(self) -> None:
        """Drop the oldest bytes beyond `keep`."""
        over = len(self.held) - self.keep
        if self.keep and over > 0:
            del self.held[:over]
            self.cut += over

    def finish(self) -> None:
        """Send what dead processes left in it; do not wait for a living holder of the other end."""
        for _ in range(64):
            if self.fd < 0 or not self.take(_CHUNK):
                break
        self.trim()
        self.send(len(self.held))
        self.close()

    def close(self) -> None:
        if self.fd >= 0:
            self.agent.watch(self.fd, 0, None)
            os.close(self.fd)
            self.fd = -1


class Job:
    def __init__(self, agent: Agent, number: int, spec: dict[str, Any]) -> None:
        self.agent, self.id = agent, number
        self.over = False
        self.pending = bytearray()
        self.eof = not spec.get("input")
        terminal = spec.get("terminal")
        if terminal:
            master, slave = os.openpty()
            spawn.resize(master, terminal)
            theirs, self.input, ours = [slave, slave, slave], os.dup(master), [master]
        else:
            inside = (os.open("/dev/null", os.O_RDONLY), -1) if self.eof else os.pipe()
            out, err = os.pipe(), os.pipe()
            if spec.get("merge"):
                os.close(err[0])
                os.close(err[1])
                err = (-1, os.dup(out[1]))
            theirs, self.input, ours = (
                [inside[0], out[1], err[1]],
                inside[1],
                [fd for fd in (out[0], err[0]) if fd >= 0],
            )
        try:
            self.pid = agent.starter.start(spec, theirs, number, tty=bool(terminal))
        except OSError:
            for fd in [*ours, self.input]:
                if fd >= 0:
                    os.close(fd)
            raise
        finally:
            for fd in set(theirs):
                os.close(fd)
        if self.input >= 0:
            os.set_blocking(self.input, False)
        credit, keep = spec["credit"], spec["keep"]
        tty = bool(terminal)
        self.streams = [Stream(agent, self, fd, name, credit, keep, tty=tty) for name, fd in enumerate(ours, 1)]

    def feed(self, data: bytes, *, eof: bool) -> None:
        self.pending += data
        self.eof = self.eof or eof
        self.writable(0)

    def writable(self, _: int) -> None:
        taken = 0
        try:
            while self.pending and self.input >= 0:
                count = os.write(self.input, self.pending[:_CHUNK])
                del self.pending[:count]
                taken += count
        except BlockingIOError:
            pass
        except OSError:  # the reader is gone
            taken += len(self.pending)
            self.pending.clear()
            self.eof = True
        if taken and not self.over:
            self.agent.wire.send("ate", self.id, n=taken)
        if self.input >= 0:
            self.agent.watch(self.input, _WRITE if self.pending else 0, self.writable)
            if self.eof and not self.pending:
                self.close_input()

    def close_input(self) -> None:
        if self.input >= 0:
            self.agent.watch(self.input, 0, None)
            os.close(self.input)
            self.input = -1

    def finish(self, status: int) -> None:
        self.over = True
        self.agent.sweep()
        for stream in self.streams:
            stream.finish()
        self.close_input()
        self.agent.wire.send("exit", self.id, code=os.waitstatus_to_exitcode(status))


def opened(path: str) -> int:
    """Open a device, or connect to a listening socket."""
    if not stat.S_ISSOCK(os.stat(path).st_mode):
        return os.open(path, os.O_RDWR)
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(path)
    return connection.detach()


def keep_to_oneself() -> None:
    """Keep the link and other descriptors of the launcher from commands: one of them could pose as the agent. The first
    three descriptors are opened, so that no later pipe of a command gets their numbers."""
    while os.open("/dev/null", os.O_RDWR) < 3:
        pass
    for name in os.listdir("/proc/self/fd"):
        try:
            os.set_inheritable(int(name), False)
        except OSError:  # the descriptor of the listing itself
            pass


def keep_to_calls(program: bytes) -> None:
    """Bind this process and all its children to a filter of system calls (`sock_filter[]`). Raises `OSError`."""
    import ctypes

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("steps", ctypes.c_char_p))

    libc = ctypes.CDLL(None, use_errno=True)
    given = ctypes.byref(Program(len(program) // 8, program))
    set_seccomp, filtered = 22, 2
    if libc.prctl(set_seccomp, filtered, given, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "the kernel takes no filter of system calls")


class Agent:
    def __init__(self, link: int | str, relay: str | None, limits: Iterable[list[int]]) -> None:
        self.wire = Wire(link if isinstance(link, int) else opened(link))
        keep_to_oneself()
        self.starter = spawn.Starter(limits)
        self.selector = selectors.DefaultSelector()
        self.jobs: dict[int, Job] = {}
        self.relay = relay

    def run(self) -> None:
        ended, wake = os.pipe()
        for fd in (ended, wake):
            os.set_blocking(fd, False)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(each, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, _nothing)
        self.watch(ended, _READ, lambda _: os.read(ended, 4096))
        self.watch(self.wire.fd, _READ, self.heard)
        if self.relay:
            relay.serve(self, self.relay)
        self.wire.send("hello", pid=os.getpid())
        while True:
            for key, events in self.selector.select():
                if self.selector.get_map().get(key.fd) is key:
                    key.data(events)
            self.reap()

    def watch(self, fd: int, events: int, call: Callable[[int], object] | None) -> None:
        known = self.selector.get_map().get(fd)
        if events and known is None:
            self.selector.register(fd, events, call)
        elif events and known is not None and (known.events != events or known.data != call):
            self.selector.modify(fd, events, call)
        elif not events and known is not None:
            self.selector.unregister(fd)

    def heard(self, _: int) -> None:
        for head, body in self.wire.frames():
            number, kind = head["id"], head["t"]
            job = self.jobs.get(number)
            if kind == "exec":
                self.begin(number, json.loads(body))
            elif kind == "hold":
                self.hold()
            elif number in relay.dialled:
                relay.dialled[number].heard(kind, head, body)
            elif job is None:
                continue
            elif kind in ("in", "eof"):
                job.feed(body, eof=kind == "eof")
            elif kind == "credit":
                job.streams[int(head["fd"]) - 1].grant(head["n"])
            elif kind == "resize" and job.input >= 0:
                spawn.resize(job.input, head["size"])
            elif kind == "mode" and job.input >= 0:
                self.wire.send("mode", job.id, n=int(spawn.hides_input(job.input)))
            elif kind == "kill":
                self.kill(job, head["sig"], everything=head.get("all", False))

    def hold(self) -> None:
        """Send nothing while the memory is written to an image, until the host that resumes it sends `go`."""
        for connection in list(relay.open_ones):
            connection.close()
        self.wire.send("held")
        while not any(head["t"] == "go" for head, _ in self.wire.frames()):
            pass
        self.watch(self.wire.fd, 0, None)  # after a restore, gVisor's kernel has forgotten that it watched it
        self.watch(self.wire.fd, _READ, self.heard)
        self.wire.send("hello", pid=os.getpid())

    def begin(self, number: int, spec: dict[str, Any]) -> None:
        try:
            self.jobs[number] = Job(self, number, spec)
        except OSError as error:
            code = 127 if error.errno == errno.ENOENT else 126
            said = f"the command cannot be started: {spawn.why(error)}"
            self.wire.send("fail", number, said.encode("utf-8", "replace"), code=code)

    def kill(self, job: Job, number: int, *, everything: bool) -> None:
        if everything:
            job.over = True
            self.sweep()
            return
        try:
            os.killpg(job.pid, number)
        except OSError:
            pass

    def reap(self) -> None:
        """Collect ended processes, and finish the commands whose first process has ended."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            self.ended(pid, status)

    def ended(self, pid: int, status: int) -> None:
        for job in list(self.jobs.values()):
            if job.pid == pid:
                del self.jobs[job.id]
                job.finish(status)

    def sweep(self) -> None:
        """Kill every process that belongs to no living command."""
        alive = {job.pid: job.id for job in self.jobs.values() if not job.over}
        end = time.monotonic() + 5
        while time.monotonic() < end:
            if not (found := orphans.find_strays(alive)):
                return
            for pid in found if alive or os.getpid() != 1 else [-1, *found]:  # -1: all of this pid namespace
                try:
                    os.kill(pid, signal.SIGKILL)
                except (ProcessLookupError, PermissionError):
                    pass
            time.sleep(0.001)
            self.reap()


if __name__ == "__main__":
    config = json.loads(sys.argv[1])
    if "user" in config:
        become.become(*config["user"])
    if "filter" in config:
        keep_to_calls(bytes.fromhex(config["filter"]))
    Agent(config["link"], config.get("relay"), config.get("limits", ())).run()
