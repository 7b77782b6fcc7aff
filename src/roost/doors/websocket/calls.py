"""Operations of Roost's own API, called by name. Each goes the way of its HTTP request: same rights, checks and
limits, same answers and errors."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

import msgspec
from starlette.types import Scope

from roost.doors.websocket.messages import Failure, FrameId, Request, Result
from roost.errors import Invalid, NotFound
from roost.operation import REQUIRED, Operation, Variant
from roost.server.app_state import Api
from roost.server.problems import problem_of, shutting_down
from roost.server.responses import Reply, encode

_PLACES = ("path", "query", "body", "whole")


class Calls:
    def __init__(self, api: Api) -> None:
        self._api = api
        self._rows = {_name(row): row for row in api.operations if not (row.texts or row.content)}

    async def answer(self, asked: Request) -> Result | Failure:
        """Answer a request of the client that acts."""
        if self._api.stopping:
            return Failure(asked.id, shutting_down())
        try:
            scope, body = self._request(asked)
        except Exception as error:
            return failed(asked.id, error)

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        reply = await self._api.answer(scope, receive)
        assert isinstance(reply, Reply)  # operations with files and other streams are not among the rows
        if reply.status >= 400:
            wait = reply.header(b"retry-after")
            return Failure(asked.id, msgspec.Raw(reply.body), None if wait is None else int(wait))
        return Result(asked.id, reply.status, msgspec.Raw(reply.body or b"null"))

    def _request(self, asked: Request) -> tuple[Scope, bytes]:
        """Return the HTTP request that a call stands for. Raises `NotFound` and `Invalid`."""
        row = self._rows.get(asked.op)
        if row is None:
            raise NotFound(f"there is no operation {asked.op!r} here", code="unknown_operation")
        if asked.key is not None and not row.keyed:
            raise Invalid(f"{asked.op} takes no key; to send it again does nothing twice, or it has no repetition")
        args = dict(asked.args)
        variant = _variant(row, args)
        path = variant.path
        given: dict[str, dict[str, Any]] = {place: {} for place in _PLACES}
        for one in row.parameters:
            if one.wire in args and one.place in given:
                given[one.place][one.wire] = args.pop(one.wire)
            elif one.default is REQUIRED and one.place == "path" and one.name not in variant.fixed:
                raise Invalid(f"args: `{one.wire}` is missing")
        if args:
            raise Invalid(f"args: {asked.op} has no {', '.join(f'`{name}`' for name in args)}")
        for name, value in given["path"].items():
            path = _placed(path, name, value)
        body = next(iter(given["whole"].values()), given["body"])
        content = encode(body) if body or row.method in ("POST", "PUT", "PATCH") else b""
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(content))]
        if asked.key is not None:
            if not asked.key.isascii():
                raise Invalid("key: ASCII letters, digits and signs")
            headers.append((b"idempotency-key", asked.key.encode()))
        query = urlencode({name: _text(value) for name, value in given["query"].items()}).encode()
        return {
            "type": "http",
            "method": row.method,
            "path": path,
            "query_string": query,
            "headers": headers,
        }, content


def failed(id: FrameId | None, error: Exception) -> Failure:
    """Return an error as the answer to a request."""
    return Failure(id, problem_of(error, "a message of a WebSocket"))


def _name(row: Operation) -> str:
    """Return an operation's name in the client library: `inputs.send` of `InputsApi.send`."""
    interface, _, name = row.function.__qualname__.partition(".")
    return f"{interface.removesuffix('Api').lower()}.{name}"


def _variant(row: Operation, args: dict[str, Any]) -> Variant:
    """Return the path of an operation that its arguments choose, and take these from `args`. Raises `Invalid`."""
    for one in row.variants():
        if all(args.get(name) == value for name, value in one.fixed.items()):
            for name in one.fixed:
                del args[name]
            return one
    raise Invalid(f"args: `{row.parts[-1]}` is one of {', '.join(row.each)}")


def _placed(path: str, name: str, value: object) -> str:
    """Put an argument into a path, which its slashes may not change. Raises `Invalid`."""
    rest = f"{{{name}:path}}"
    if not isinstance(value, str) or not value or ("/" in value and rest not in path):
        raise Invalid(f"args: `{name}` is a text that names one thing, without a slash")
    return path.replace(rest, value).replace(f"{{{name}}}", value)


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool | int | float):
        return msgspec.json.encode(value).decode()
    raise Invalid("args: a query has texts, numbers and booleans")
