"""The relay inside a sandbox: forwards connections to 127.0.0.1:3128 to a Unix socket that leads to the egress proxy,
or over the agent's own link.

It runs in the agent's loop, so that no command can end it.
"""

from __future__ import annotations

import selectors
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Protocol

    class Wire(Protocol):
        def send(self, kind: str, job: int = 0, body: bytes | bytearray = b"", **more: object) -> None: ...

    class Agent(Protocol):
        """The part of `roost.sandbox.guest.agent.Agent` that the relay uses."""

        @property
        def wire(self) -> Wire: ...

        def watch(self, fd: int, events: int, call: Callable[[int], object] | None) -> None: ...


_PLACE = ("127.0.0.1", 3128)
_CHUNK = 65536
_READ, _WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE


OVER_THE_LINK = "link"
_MOST, _MOST_THERE = 128, 256
"""Most connections at once, over the link and to a Unix socket; the latter take two of the agent's 1,024 descriptors
each."""

open_ones: set[Relayed | Dialled] = set()
dialled: dict[int, Dialled] = {}


def serve(agent: Agent, path: str) -> None:
    """Listen. `path`: of a Unix socket, or `OVER_THE_LINK`. Raises `OSError` when the port is in use."""
    server = socket.create_server(_PLACE, backlog=64)
    server.setblocking(False)
    agent.watch(server.fileno(), _READ, lambda _: accept(agent, server, path))


def accept(agent: Agent, server: socket.socket, path: str) -> None:
    try:
        inner = server.accept()[0]
        over_the_link = path == OVER_THE_LINK
        if len(open_ones) >= (_MOST if over_the_link else _MOST_THERE):
            inner.close()
        elif over_the_link:
            Dialled(agent, inner)
        else:
            Relayed(agent, inner, path)
    except OSError:
        pass


class Pump:
    """One direction of a connection through the relay."""

    def __init__(self, source: socket.socket, sink: socket.socket) -> None:
        self.source, self.sink = source, sink
        self.data, self.open = b"", True

    def step(self) -> None:
        """Move the bytes that are ready. Raises `OSError` when the connection is broken."""
        try:
            if self.open and not self.data:
                self.data = self.source.recv(_CHUNK)
                self.open = bool(self.data)
                if not self.open:
                    self.sink.shutdown(socket.SHUT_WR)
            if self.data:
                self.data = self.data[self.sink.send(self.data) :]
        except BlockingIOError:
            pass


class Relayed:
    """A connection from inside to the egress socket."""

    def __init__(self, agent: Agent, inner: socket.socket, path: str) -> None:
        self.agent, self.ends = agent, [inner]
        outer = socket.socket(socket.AF_UNIX)
        self.ends.append(outer)
        try:
            outer.connect(path)
        except OSError:
            self.close()
            return
        for end in self.ends:
            end.setblocking(False)
        self.pumps = [Pump(inner, outer), Pump(outer, inner)]
        open_ones.add(self)
        self.watch()

    def watch(self) -> None:
        there, back = self.pumps
        for end, reads, writes in ((self.ends[0], there, back), (self.ends[1], back, there)):
            events = (_READ if reads.open and not reads.data else 0) | (_WRITE if writes.data else 0)
            self.agent.watch(end.fileno(), events, self.ready)

    def ready(self, _: int) -> None:
        try:
            for pump in self.pumps:
                pump.step()
        except OSError:
            self.close()
            return
        if any(pump.open or pump.data for pump in self.pumps):
            self.watch()
        else:
            self.close()

    def close(self) -> None:
        open_ones.discard(self)
        for end in self.ends:
            if end.fileno() >= 0:
                self.agent.watch(end.fileno(), 0, None)
                end.close()


class Dialled:
    """A connection that the host opens to the proxy for a program inside: `dial` asks for it, then it behaves like a
    command with a number below 0. `eof` says that the program has no more to send."""

    last = 0

    def __init__(self, agent: Agent, inner: socket.socket) -> None:
        self.agent, self.inner = agent, inner
        inner.setblocking(False)
        Dialled.last -= 1
        self.id = Dialled.last
        self.credit, self.pending = 0, bytearray()
        self.sends = self.hears = True
        dialled[self.id] = self
        open_ones.add(self)
        agent.wire.send("dial", self.id)
        self.watch()

    def heard(self, kind: str, head: dict[str, Any], body: bytes) -> None:
        if kind == "credit":
            self.credit += head["n"]
        elif kind in ("in", "eof"):
            self.pending += body
            self.hears = self.hears and kind == "in"
        elif kind == "kill":
            self.close()
            return
        self.ready(0)

    def watch(self) -> None:
        events = (_READ if self.sends and self.credit > 0 else 0) | (_WRITE if self.pending else 0)
        self.agent.watch(self.inner.fileno(), events, self.ready)

    def ready(self, _: int) -> None:
        try:
            self.take()
            self.give()
        except OSError:
            self.close()
            return
        if self.sends or self.hears or self.pending:
            self.watch()
        else:
            self.close()

    def take(self) -> None:
        if not self.sends or self.credit <= 0:
            return
        try:
            data = self.inner.recv(min(_CHUNK, self.credit))
        except BlockingIOError:
            return
        self.credit -= len(data)
        self.sends = bool(data)
        if data:
            self.agent.wire.send("out", self.id, data, fd=1, cut=0)
        else:
            self.agent.wire.send("eof", self.id)

    def give(self) -> None:
        taken = 0
        try:
            while self.pending:
                count = self.inner.send(self.pending[:_CHUNK])
                del self.pending[:count]
                taken += count
        except BlockingIOError:
            pass
        if taken:
            self.agent.wire.send("ate", self.id, n=taken)
        if not self.hears and not self.pending:
            self.inner.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        if dialled.pop(self.id, None) is not None:
            open_ones.discard(self)
            self.agent.watch(self.inner.fileno(), 0, None)
            self.inner.close()
            self.agent.wire.send("exit", self.id, code=0)
