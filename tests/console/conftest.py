"""A real daemon and a real Chromium (Debian's, headless). Tests are skipped where there is none."""

from __future__ import annotations

import contextlib
import os
import selectors
import shutil
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.server.conftest import Served, serve, shared, wait

__all__ = ["serve", "shared", "wait"]
PATIENCE = 60_000
"""Milliseconds: how long a page may take to show what a test waits for, on a busy machine."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A browser for one file: while it runs, this process has an event loop, so that no `async` test can have one."""
    chromium = os.environ.get("ROOST_TEST_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("chromium is not on the PATH: apt-get install chromium")
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as play:
        found = play.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield found
        found.close()


_LOST = ("Failed to load resource", "WebSocket connection to")
"""How the browser itself tells of a request, and of a WebSocket, that did not come through."""


class Page:
    """A page of the console, with a browser's context of its own. `faults`: what it reported to its console."""

    def __init__(self, context: Any, served: Served) -> None:
        self.served, self.context, self.faults = served, context, list[str]()
        context.set_default_timeout(PATIENCE)
        self.page = context.new_page()
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("console", self._note)

    def _note(self, message: Any) -> None:
        if message.type == "error" and not any(one in message.text for one in _LOST):
            self.faults.append(message.text)

    def sign_in(self, path: str = "/sessions", *, token: str | None = None, url: str = "") -> Page:
        """Sign in with the token, as a person does, and go to a view."""
        self.page.goto(f"{url or self.served.url}/#{path}")
        self.page.get_by_label("Token").fill(token or self.served.token)
        self.page.get_by_role("button", name="Sign in").click()
        self.page.locator(".brand").wait_for()
        return self

    def go(self, path: str) -> Page:
        self.page.goto(f"{self.served.url}/#{path}")
        return self


@pytest.fixture
def console(browser: Any) -> Iterator[Callable[..., Page]]:
    """Open a page of a daemon. Fails when a page reported a fault, such as a breach of its policy."""
    made: list[Page] = []

    def start(served: Served, **options: Any) -> Page:
        made.append(Page(browser.new_context(**options), served))
        return made[-1]

    yield start
    for one in made:
        one.context.close()
    assert [fault for one in made for fault in one.faults] == []


class Proxy:
    """A proxy that serves a daemon below `/tools/roost` of another port. `cut`: end all connections and take no more,
    until `heal`."""

    def __init__(self, served: Served) -> None:
        self._port, self._open, self._whole = served.port, set[Any](), True
        proxy = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                proxy.relay(self.request)

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True

        self._server = Server(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/tools/roost"

    def cut(self) -> None:
        self._whole = False
        for one in [*self._open]:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def heal(self) -> None:
        self._whole = True

    def close(self) -> None:
        self.cut()
        self._server.shutdown()
        self._server.server_close()

    def relay(self, client: Any) -> None:
        """Pass one request on, without its prefix, and the whole response back; then close."""
        self._open.add(client)
        with contextlib.suppress(OSError):
            self._pass(client)
        self._open.discard(client)

    def _pass(self, client: Any) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            piece = client.recv(65536)
            if not piece or not self._whole:
                return
            head += piece
        line, _, rest = head.partition(b"\r\n")
        method, path, version = line.split(b" ")
        if not path.startswith(b"/tools/roost/"):
            client.sendall(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            return
        rest = rest.replace(b"Connection: keep-alive", b"Connection: close")
        with socket.create_connection(("127.0.0.1", self._port)) as server, selectors.DefaultSelector() as ready:
            server.sendall(method + b" " + path[len(b"/tools/roost") :] + b" " + version + b"\r\n" + rest)
            ready.register(server, selectors.EVENT_READ, client)
            ready.register(client, selectors.EVENT_READ, server)
            while True:
                for key, _ in ready.select():
                    sender: Any = key.fileobj
                    piece = sender.recv(65536)
                    if not piece:
                        return
                    key.data.sendall(piece)


@pytest.fixture
def proxied() -> Iterator[Callable[[Served], Proxy]]:
    made: list[Proxy] = []

    def start(served: Served) -> Proxy:
        made.append(Proxy(served))
        return made[-1]

    yield start
    for proxy in made:
        proxy.close()
