"""The process that holds llama.cpp: `python -m roost.local.worker DESCRIPTOR PARENT`.

It is started by `roost.local.process` alone, speaks the frames of `roost.local.frames` over the socket that it
inherits, and ends with its parent: by a signal on Linux, by the end of the socket everywhere.
"""

from __future__ import annotations

import ctypes
import os
import queue
import secrets
import signal
import socket
import sys
import threading
from typing import Any

import msgspec

from roost.local import frames
from roost.local.library import EngineFailed, engine_library
from roost.local.resident import Resident
from roost.local.slots import Slots

CACHE_BYTES = 256 * 1024 * 1024
"""Memory in which llama.cpp keeps the states of conversations that were interrupted by another."""
_SET_PDEATHSIG = 1


def main() -> None:
    descriptor, parent = int(sys.argv[1]), int(sys.argv[2])
    _end_with(parent)
    link = socket.socket(fileno=descriptor)
    inbox = Inbox(link)
    threading.Thread(target=inbox.listen, name="inbox", daemon=True).start()
    load = inbox.queue.get()
    if not isinstance(load, frames.Load):
        return
    try:
        engine = Engine(load, link, inbox)
    except EngineFailed as error:
        link.sendall(frames.packed(frames.Refused(str(error), missing=error.code == "engine_missing")))
        return
    link.sendall(frames.packed(frames.Loaded()))
    while True:
        call = inbox.queue.get()
        if isinstance(call, frames.Call):
            engine.run(call)


def _end_with(parent: int) -> None:
    """Let Linux kill this process when its parent's thread ends. Elsewhere the end of the socket must do."""
    try:
        ctypes.CDLL(None).prctl(_SET_PDEATHSIG, signal.SIGKILL)
    except (OSError, AttributeError):
        return
    if os.getppid() != parent:  # it died before
        os._exit(0)


class Inbox:
    """Receives frames in a thread of its own, so that a cancel is heard while a call runs."""

    def __init__(self, link: socket.socket) -> None:
        self.queue: queue.SimpleQueue[frames.Down] = queue.SimpleQueue()
        self._reader = frames.Reader(link)
        self._cancelled = -1

    def listen(self) -> None:
        try:
            while True:
                for body in self._reader.whole():
                    frame = frames.decode_down(body)
                    if isinstance(frame, frames.Cancel):
                        self._cancelled = max(self._cancelled, frame.id)
                    else:
                        self.queue.put(frame)
        finally:
            os._exit(0)

    def cancelled(self, call: int) -> bool:
        """Calls come in order of their numbers and one at a time, so the highest number says it all."""
        return call <= self._cancelled


class Engine:
    """llama.cpp with one slot, and what is known of the slot's content. Raises `EngineFailed`."""

    def __init__(self, load: frames.Load, link: socket.socket, inbox: Inbox) -> None:
        self._link = link
        self._inbox = inbox
        library = engine_library()
        key = secrets.token_urlsafe(32)
        self._server = _start(library, load, key)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # llama.cpp put its own in place, which do not end the process
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        slots = Slots(self._server, self._server.listening_address, key)
        version = getattr(library, "__version__", "?")
        self._resident = Resident(slots, load, version, capacity=CACHE_BYTES, announce=self._send)

    def run(self, call: frames.Call) -> None:
        def forward(chunk: bytes) -> bool:
            self._send(frames.Chunk(call.id, msgspec.Raw(chunk)))
            return self._inbox.cancelled(call.id)

        error = None
        try:
            if not self._inbox.cancelled(call.id):
                self._resident.run(call, self._server.handle_chat_completions, forward)
        except Exception as raised:  # the library raises bare RuntimeErrors; the parent reports them
            error = str(raised) or type(raised).__name__
        self._send(frames.Ended(call.id, error))

    def _send(self, frame: frames.Up) -> None:
        self._link.sendall(frames.packed(frame))


def _start(library: Any, load: frames.Load, key: str) -> Any:
    """Load the weights. The library always opens a listener on loopback: it gets a random port and a random key, so
    that no other process can use it. It holds the interpreter's lock all the while."""
    params: Any = library.CommonParams()
    params.model.path = load.path
    params.n_ctx = load.context
    params.n_parallel = 1
    params.n_batch = params.n_ubatch = load.batch
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = load.threads
    params.cache_ram_mib = CACHE_BYTES >> 20
    params.no_extra_bufts = not load.repack
    params.fit_params = False
    params.warmup = False
    params.verbosity = -1
    params.api_keys = [key]
    params.ui = False
    params.endpoint_slots = load.states is not None
    if load.states is not None:
        params.slot_save_path = os.path.join(load.states, "")
    try:
        return library.Server(params)
    except Exception as error:  # the library raises bare RuntimeErrors
        raise EngineFailed(str(error)) from error


if __name__ == "__main__":
    main()
