"""Serve folders to a guest over byte streams: `python -I -S serve.py CONFIG`.

CONFIG is JSON: `streams`, each a descriptor, a folder, and whether it may be written. Descriptor 0 leads to the parent,
in frames of `!I` bytes of JSON. The parent first sends the state of a former server, or null; the answer is `ready`.
`hold` is answered once all started work is done; after that nothing is read or written any more. `save` then returns
the state for the next server: open files, requests read and not done, answers not sent.

One loop does everything in turn, as threads would gain nothing: Python runs one thread at a time, and cached data comes
at once. Only waits for a disk (fsync) run in threads, and are answered when they are done.
"""

from __future__ import annotations

import base64
import collections
import contextlib
import errno
import json
import os
import resource
import selectors
import socket
import struct
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from roost.machines.ninep import session, tree, wire
else:
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    import session
    import tree

    import wire

_HEAD = struct.Struct("!I")
_CHUNK = 256 * 1024
_AHEAD = 2 * wire.MSIZE
"""Bytes of unread answers above which a guest's requests are not read any more."""
_SLOW = 64
"""Most requests in threads at once."""
_MEMORY = 1024**3
_READ, _WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE


class Stream:
    """One guest's connection. A malformed frame ends it."""

    def __init__(self, server: Server, fd: int, folder: str, *, writable: bool) -> None:
        self.server, self.fd = server, fd
        os.set_blocking(fd, False)
        self.session = session.Session(tree.Tree(folder, writable=writable))
        self.read, self.unsent = bytearray(), bytearray()
        self.slow: dict[int, list[int]] = {}
        self.over = False

    def watch(self) -> None:
        held = self.server.held or self.over
        hears = _READ if len(self.unsent) < _AHEAD else 0
        self.server.watch(self.fd, 0 if held else hears | (_WRITE if self.unsent else 0), self.ready)

    def ready(self, events: int) -> None:
        try:
            if events & _WRITE:
                self.send()
            if events & _READ:
                data = os.read(self.fd, _CHUNK)
                self.over = not data
                self.read += data
            self.work()
        except BlockingIOError:
            pass
        except OSError:
            self.over = True
        self.watch()

    def work(self) -> None:
        """Handle all complete requests, as long as the guest reads the answers."""
        while len(self.read) >= wire.HEAD.size and len(self.unsent) < _AHEAD:
            size, kind, tag = wire.HEAD.unpack_from(self.read)
            if not wire.HEAD.size <= size <= self.session.msize:
                raise OSError(errno.EPROTO, "a message of an impossible size")
            if len(self.read) < size:
                break
            message = self.read[wire.HEAD.size : size]
            del self.read[:size]
            self.heard(kind, tag, wire.Fields(message))
        self.send()

    def heard(self, kind: int, tag: int, fields: wire.Fields) -> None:
        try:
            if kind == wire.FLUSH:
                old = fields.one(wire.U16)
                if old in self.slow:  # a flush is answered after the request that it cancels
                    self.slow[old].append(tag)
                    return
                answer = b""
            elif kind == wire.FSYNC:
                self.synced(tag, self.session.fsync(fields))
                return
            else:
                answer = self.session.answer(kind, fields)
        except OSError as error:
            self.refuse(tag, error)
        except (ValueError, OverflowError):  # a number that the system cannot represent
            self.refuse(tag, OSError(errno.EINVAL, "this cannot be"))
        else:
            self.say(kind, tag, answer)

    def synced(self, tag: int, fd: int) -> None:
        if tag in self.slow or len(self.slow) >= _SLOW:
            os.close(fd)
            raise OSError(errno.EAGAIN, "too much at once")
        self.slow[tag] = []
        self.server.aside(lambda: _sync(fd), lambda error: self.done(tag, error))

    def done(self, tag: int, error: OSError | None) -> None:
        if error is None:
            self.say(wire.FSYNC, tag, b"")
        else:
            self.refuse(tag, error)
        for flush in self.slow.pop(tag):
            self.say(wire.FLUSH, flush, b"")
        if not self.server.held:
            self.send()
            self.watch()

    def refuse(self, tag: int, error: OSError) -> None:
        self.say(wire.ERROR, tag, wire.U32.pack(error.errno or errno.EIO))

    def say(self, kind: int, tag: int, body: bytes) -> None:
        self.unsent += wire.HEAD.pack(wire.HEAD.size + len(body), kind + 1, tag)
        self.unsent += body

    def send(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while self.unsent:
                del self.unsent[: os.write(self.fd, self.unsent[:_CHUNK])]

    def kept(self) -> dict[str, Any]:
        with contextlib.suppress(OSError):
            while data := os.read(self.fd, _CHUNK):
                self.read += data
        return {
            "msize": self.session.msize,
            "fids": self.session.tree.table(),
            "read": base64.b64encode(self.read).decode(),
            "unsent": base64.b64encode(self.unsent).decode(),
        }

    def restore(self, kept: dict[str, Any], first: str) -> None:
        """Restore the state of a former server. `first`: bytes that it sent and that did not arrive."""
        self.session.msize = int(kept["msize"])
        self.session.tree.restore(kept["fids"])
        self.read += base64.b64decode(kept["read"])
        self.unsent += base64.b64decode(first) + base64.b64decode(kept["unsent"])


class Server:
    def __init__(self, streams: list[tuple[int, str, bool]]) -> None:
        self.held = False
        self.selector = selectors.DefaultSelector()
        self.streams = [Stream(self, fd, folder, writable=writable) for fd, folder, writable in streams]
        self.pool = ThreadPoolExecutor(4)
        self.finished: collections.deque[Callable[[], None]] = collections.deque()
        self.woken, self.wake = socket.socketpair()

    def run(self) -> None:
        if kept := _told():
            for stream, each, first in zip(self.streams, kept["streams"], kept["unsent"], strict=True):
                stream.restore(each, first)
        _tell("ready")
        self.watch(0, _READ, self.asked)
        self.watch(self.woken.fileno(), _READ, self.finish)
        for stream in self.streams:
            stream.ready(0)
        while True:
            for key, events in self.selector.select():
                if self.selector.get_map().get(key.fd) is key:
                    key.data(events)

    def watch(self, fd: int, events: int, call: Callable[[int], None]) -> None:
        known = self.selector.get_map().get(fd)
        if known is not None and events:
            if known.events != events:
                self.selector.modify(fd, events, call)
        elif known is not None:
            self.selector.unregister(fd)
        elif events:
            self.selector.register(fd, events, call)

    def aside(self, work: Callable[[], OSError | None], then: Callable[[OSError | None], None]) -> None:
        def run() -> None:
            error = work()
            self.finished.append(lambda: then(error))
            self.wake.send(b"x")

        self.pool.submit(run)

    def finish(self, _: int) -> None:
        self.woken.recv(4096)
        while self.finished:
            self.finished.popleft()()
        self.still()

    def still(self) -> None:
        if self.held and not any(stream.slow for stream in self.streams):
            _tell("held")

    def asked(self, _: int) -> None:
        what = _told()
        if what == "hold":
            self.held = True
            for stream in self.streams:
                stream.watch()
            self.still()
        elif what == "save":
            _tell([stream.kept() for stream in self.streams])


def _sync(fd: int) -> OSError | None:
    try:
        os.fsync(fd)
    except OSError as error:
        return error
    finally:
        os.close(fd)
    return None


def _told() -> Any:
    size = _HEAD.unpack(_exactly(_HEAD.size))[0]
    return json.loads(_exactly(size))


def _exactly(size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        if not (part := os.read(0, size - len(data))):
            os._exit(0)
        data += part
    return bytes(data)


def _tell(what: object) -> None:
    data = json.dumps(what).encode()
    data = memoryview(_HEAD.pack(len(data)) + data)
    while data:
        data = data[os.write(0, data) :]


def _limit(kind: int, most: int) -> None:
    hard = resource.getrlimit(kind)[1]
    most = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(kind, (most, most))


if __name__ == "__main__":
    _limit(resource.RLIMIT_NOFILE, 2 * tree.OPEN + 64)
    _limit(resource.RLIMIT_AS, _MEMORY)
    os.umask(0)
    Server(json.loads(sys.argv[1])["streams"]).run()
