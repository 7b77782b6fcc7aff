"""The relay inside a sandbox: what connects to 127.0.0.1:3128 is passed to a Unix socket that leads outside.

It runs in the agent's loop, so that no command can end it.
"""

from __future__ import annotations

import selectors
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from roost.sandbox.guest.agent import Agent

_PLACE = ("127.0.0.1", 3128)
_CHUNK = 65536
_READ, _WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE


open_ones: set[Relayed] = set()


def serve(agent: Agent, path: str) -> None:
    """Raises `OSError` when the place is taken."""
    server = socket.create_server(_PLACE, backlog=64)
    server.setblocking(False)
    agent.watch(server.fileno(), _READ, lambda _: accept(agent, server, path))


def accept(agent: Agent, server: socket.socket, path: str) -> None:
    try:
        Relayed(agent, server.accept()[0], path)
    except OSError:
        pass


class Pump:
    """One direction of a connection through the relay."""

    def __init__(self, source: socket.socket, sink: socket.socket) -> None:
        self.source, self.sink = source, sink
        self.data, self.open = b"", True

    def step(self) -> None:
        """Move what can be moved. Raises `OSError` when the connection is broken."""
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
    """A connection from inside to the Unix socket that stands for the network."""

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
