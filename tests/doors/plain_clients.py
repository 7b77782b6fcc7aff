"""Clients of termo-agent and of AgentRuntime, written from their descriptions with the standard library alone."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
from collections.abc import Iterator
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode, urlsplit


class Heard(NamedTuple):
    status: int
    json: Any


class Plain:
    """A client of a base URL, which may have a user and a password, and a path."""

    def __init__(self, base: str, token: str | None = None) -> None:
        parts = urlsplit(base)
        self._host, self._port, self._root = parts.hostname or "", parts.port, parts.path.rstrip("/")
        self.headers: dict[str, str] = {}
        if token is not None:
            self.headers["Authorization"] = f"Bearer {token}"
        elif parts.password is not None:
            pair = f"{parts.username}:{parts.password}".encode()
            self.headers["Authorization"] = f"Basic {base64.b64encode(pair).decode()}"

    @contextlib.contextmanager
    def open(self, method: str, path: str, data: bytes | None, **headers: str) -> Iterator[http.client.HTTPResponse]:
        connection = http.client.HTTPConnection(self._host, self._port or 80, timeout=60)
        more = {name.replace("_", "-"): value for name, value in headers.items()}
        with contextlib.closing(connection):
            connection.request(method, self._root + path, data, {**self.headers, **more})
            with connection.getresponse() as response:
                yield response

    def ask(self, method: str, path: str, body: Any = None, *, raw: bytes | None = None, **headers: str) -> Heard:
        data = raw if raw is not None or body is None else json.dumps(body).encode()
        with self.open(method, path, data, **headers) as response:
            return Heard(response.status, json.loads(response.read()))

    def get(self, path: str) -> Any:
        heard = self.ask("GET", path)
        assert heard.status == 200, heard
        return heard.json


class TermoClient(Plain):
    def send(self, message: str, session_key: str = "api:direct") -> str:
        heard = self.ask("POST", "/api/send", {"message": message, "session_key": session_key})
        assert heard.status == 200, heard
        assert heard.json["session_key"] == session_key
        return heard.json["response"]

    def stream(self, message: str, session_key: str = "api:direct", **headers: str) -> Iterator[dict[str, Any]]:
        body = json.dumps({"message": message, "session_key": session_key, "stream": True}).encode()
        with self.open("POST", "/api/send", body, **headers) as response:
            assert response.status == 200, response.read()
            assert (response.getheader("content-type") or "").startswith("text/event-stream")
            for line in response:
                if line.startswith(b"data: "):
                    yield json.loads(line[6:])

    def history(self, key: str) -> list[dict[str, Any]]:
        return self.get(f"/api/sessions/{quote(key, safe='')}/history")["messages"]


class AgentdClient(Plain):
    def create(self, model: str = "clerk", **fields: Any) -> dict[str, Any]:
        heard = self.ask("POST", "/sessions", {"name": "my-agent", "model": model, **fields})
        assert heard.status == 201, heard
        return heard.json

    def act(self, session: str, action: str, body: Any = None) -> dict[str, Any]:
        heard = self.ask("POST", f"/sessions/{session}/{action}", body)
        assert heard.status == 200, heard
        return heard.json

    def store(self, session: str, key: str, value: Any) -> None:
        heard = self.ask("POST", f"/sessions/{session}/memory", {"key": key, "value": value})
        assert heard == (201, {"status": "stored", "key": key})

    def recall(self, session: str, key: str) -> Any:
        return self.get(f"/sessions/{session}/memory?{urlencode({'key': key})}")["value"]

    def checkpoints(self, session: str) -> list[dict[str, Any]]:
        return self.get(f"/sessions/{session}/checkpoints")
