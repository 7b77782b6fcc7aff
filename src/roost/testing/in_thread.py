"""What the test doubles of platforms share: each is served in a thread of the test's process."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from roost.stub.serving import listen, server


class InThread:
    """A double, which is an ASGI application, is served while its `with` block runs: `with Double() as double:
    double.url`. A subclass calls `listen_at` once it is made."""

    def listen_at(self, port: int, path: str = "") -> None:
        """Listen on loopback. port: 0 takes a free one. path: of `url`."""
        self._socket = listen("127.0.0.1", port)
        self._server = server(self)
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._socket]}, daemon=True)
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}{path}"

    def said(self) -> list[Any]:
        """Return what the bot has said, for the error of `until`."""
        return []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._server.tell()
        self._thread.join()
        self._socket.close()

    def until(self, condition: Callable[[], object], seconds: float = 60.0) -> None:
        """Wait for a condition. Raises `AssertionError` with what the bot has said."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"not within {seconds:g} s; the bot said {self.said()}"
            time.sleep(0.01)
