"""A test double of a web server with a feed and a page, on loopback.

    with FeedServer() as site:
        # bots.toml: url = site.feed; and ROOST_WEB_ALLOW = site.host, since loopback is no public address
        site.add("A title", "Its text")

It answers `304` to those who know the newest version, by `ETag` or by `Last-Modified`, and fails when it is told to."""

from __future__ import annotations

import http.server
import threading
from email.utils import formatdate
from html import escape
from types import TracebackType
from typing import Any


class FeedServer:
    """`feed` is an RSS feed, `page` a page. faults: statuses of the next answers. body: the feed as it is, in place of
    one that is made. elsewhere: where requests are redirected."""

    def __init__(self) -> None:
        self.asked = self.unchanged = 0
        self.faults: list[int] = []
        self.body: bytes | None = None
        self.elsewhere = ""
        self.text = "<html><body><p>First</p></body></html>"
        self._entries: list[tuple[int, str, str]] = []
        self._lock = threading.Lock()
        double = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                double.answer(self)

            def log_message(self, format: str, *args: Any) -> None:
                return

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.host = f"127.0.0.1:{self._server.server_port}"
        self.feed, self.page = f"http://{self.host}/feed.xml", f"http://{self.host}/page"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})

    def __enter__(self) -> FeedServer:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def add(self, title: str, text: str = "") -> None:
        """Add an entry to the feed."""
        with self._lock:
            self._entries.append((len(self._entries) + 1, title, text))

    def answer(self, request: http.server.BaseHTTPRequestHandler) -> None:
        """Answer one request, in any thread."""
        with self._lock:
            self.asked += 1
            fault = self.faults.pop(0) if self.faults else 0
            feed = request.path == "/feed.xml"
            body = (self._made() if self.body is None else self.body) if feed else self.text.encode()
        tag, date = f'"{hash(body)}"', formatdate(len(body) * 1000, usegmt=True)
        known = request.headers.get("If-None-Match")
        if fault or self.elsewhere:
            headers = {"Location": self.elsewhere} if not fault else {"Retry-After": "1"}
            self._send(request, fault or 302, b"", headers)
        elif known == tag or (known is None and request.headers.get("If-Modified-Since") == date):
            self.unchanged += 1
            self._send(request, 304, b"", {"ETag": tag})
        else:
            kind = "application/rss+xml" if feed else "text/html; charset=utf-8"
            self._send(request, 200, body, {"ETag": tag, "Last-Modified": date, "Content-Type": kind})

    @staticmethod
    def _send(request: http.server.BaseHTTPRequestHandler, status: int, body: bytes, headers: dict[str, str]) -> None:
        request.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            request.send_header(name, value)
        request.end_headers()
        request.wfile.write(body)

    def _made(self) -> bytes:
        """Return the feed, the newest entry first, of those that it still has."""
        items = "".join(
            f"<item><title>{escape(title)}</title><link>http://{self.host}/{number}</link>"
            f'<guid isPermaLink="false">entry-{number}</guid><description>{escape(text)}</description></item>'
            for number, title, text in reversed(self._entries[-20:])
        )
        head = '<?xml version="1.0"?><rss version="2.0"><channel><title>The double</title>'
        return f"{head}{items}</channel></rss>".encode()
