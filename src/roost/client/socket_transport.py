"""Send requests and read responses."""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
from typing import Any
from urllib.parse import urlencode

import msgspec

from roost.client.daemon_address import Endpoint, Locate, Unreachable
from roost.client.requests import ApiError as ApiError
from roost.client.requests import refusal as refusal

_MAX_ANSWER = 256 * 1024 * 1024


def connect(endpoint: Endpoint, timeout: float) -> http.client.HTTPConnection:
    """Open a connection. Raises `Unreachable`."""
    host, port, secure = endpoint.address
    kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
    connection = kind(host, port, timeout=timeout)
    try:
        connection.connect()
    except (OSError, ssl.SSLError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise Unreachable(
            f"no daemon answers at {endpoint.url} ({reason}). Start one with `roost up -d`, or check --url"
        ) from error
    if connection.sock is not None:
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def headers_of(endpoint: Endpoint, **more: str | None) -> dict[str, str]:
    headers = {name.replace("_", "-"): value for name, value in more.items() if value is not None}
    if endpoint.token:
        headers["Authorization"] = f"Bearer {endpoint.token}"
    return headers


def target(path: str, query: dict[str, Any] | None) -> str:
    given = {key: value for key, value in (query or {}).items() if value is not None}
    return f"{path}?{urlencode(given)}" if given else path


class Requests:
    """Send one request at a time over a kept connection. Not thread-safe."""

    def __init__(self, locate: Locate, *, timeout: float = 60.0) -> None:
        self._locate = locate
        self._timeout = timeout
        self._connection: http.client.HTTPConnection | None = None
        self._endpoint: Endpoint | None = None

    @property
    def endpoint(self) -> Endpoint:
        if self._endpoint is None:
            self._endpoint = self._locate()
        return self._endpoint

    def call(
        self,
        method: str,
        path: str,
        *,
        query: dict[str, Any] | None = None,
        body: Any = None,
        key: str | None = None,
        again: bool = False,
        also: tuple[int, ...] = (),
    ) -> tuple[int, bytes]:
        """Return (status, body) of a success, or of a status in `also`. A repeatable request (`again`, GET, DELETE,
        PUT, or with a key) is sent once more when the connection breaks. Raises `ApiError`, `Unreachable`."""
        repeatable = again or method in ("GET", "DELETE", "PUT") or key is not None
        data = None if body is None else msgspec.json.encode(body)
        for last in (False, True):
            try:
                status, answer = self._once(method, target(path, query), data, key)
            except (http.client.HTTPException, OSError) as error:
                self.close()
                if last or not repeatable:
                    raise Unreachable(f"the connection to {self.endpoint.url} broke: {error or 'it closed'}") from error
                self._endpoint = None
                continue
            if status >= 400 and status not in also:
                raise refusal(status, answer)
            return status, answer
        raise AssertionError("unreachable")

    def close(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(OSError):
                self._connection.close()
            self._connection = None

    def _once(self, method: str, path: str, data: bytes | None, key: str | None) -> tuple[int, bytes]:
        if self._connection is None:
            self._connection = connect(self.endpoint, self._timeout)
        kind = None if data is None else "application/json"
        headers = headers_of(self.endpoint, Content_Type=kind, Idempotency_Key=key, Accept="application/json")
        self._connection.request(method, path, body=data, headers=headers)
        response = self._connection.getresponse()
        answer = response.read(_MAX_ANSWER)
        if response.will_close:
            self.close()
        return response.status, answer
