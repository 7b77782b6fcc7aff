"""Responses as ASGI calls, limited to the server's needs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeAlias

import msgspec
from starlette.types import Receive, Scope, Send

from roost.errors import RoostError
from roost.server.problems import CONTENT_TYPE, Problem, Refused, problem_of

Header: TypeAlias = tuple[bytes, bytes]
ReplyCall: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]
"""The return type of a handler: it sends one whole response, and raises nothing."""

encode = msgspec.json.Encoder().encode
_JSON = b"application/json"


class Reply:
    """A response with one body, sent at once."""

    def __init__(
        self, status: int, body: bytes = b"", *, content_type: bytes = _JSON, headers: Sequence[Header] = ()
    ) -> None:
        self.status = status
        self.body = body
        self._headers: list[Header] = [*headers]
        if status != 204:
            self._headers += [(b"content-type", content_type), (b"content-length", b"%d" % len(body))]

    def header(self, name: bytes) -> str | None:
        """Return the first header of a (lower-case) name."""
        return next((value.decode("latin-1") for key, value in self._headers if key == name), None)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.begin(send)
        await send({"type": "http.response.body", "body": self.body})

    async def begin(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status, "headers": self._headers})


def json(status: int, value: Any, *, headers: Sequence[Header] = ()) -> Reply:
    return Reply(status, encode(value), headers=headers)


def from_problem(problem: Problem, *, headers: Sequence[Header] = ()) -> Reply:
    return Reply(problem.status, encode(problem), content_type=CONTENT_TYPE, headers=headers)


def from_error(error: Exception, scope: Scope) -> Reply:
    headers: list[Header] = error.headers if isinstance(error, Refused) else []
    if isinstance(error, RoostError) and error.status == 503:
        headers = [*headers, (b"retry-after", b"1")]
    return from_problem(problem_of(error, f"{scope['method']} {scope['path']}"), headers=headers)
