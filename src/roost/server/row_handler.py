"""One row of the endpoint table: the request's shape, its handler, the responses. Routes and the OpenAPI document are
made from the same rows."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Generic, TypeVar, cast
from urllib.parse import parse_qsl

import msgspec
from starlette.types import Receive, Scope

from roost.errors import Invalid
from roost.server.app_state import Api
from roost.server.problems import Refused
from roost.server.request_body import BODY_BYTES, decode_body, has_body, header, read_body
from roost.server.responses import ReplyCall
from roost.server.validation_messages import said

B = TypeVar("B")
Q = TypeVar("Q")
KEY_LENGTH = 255


class Nothing(msgspec.Struct, forbid_unknown_fields=True):
    """No body, or no query."""


@dataclass(slots=True)
class Call(Generic[B, Q]):
    """A decoded request that fits its row of the table."""

    api: Api
    scope: Scope
    params: Mapping[str, str]
    body: B
    query: Q

    def header(self, name: bytes) -> str | None:
        return header(self.scope, name)

    @property
    def session(self) -> str:
        return self.params["session"]

    @property
    def key(self) -> str | None:
        """The idempotency key, or None. Raises `Invalid`."""
        key = self.header(b"idempotency-key")
        if key is not None and not 1 <= len(key) <= KEY_LENGTH:
            raise Invalid(f"an Idempotency-Key has 1 to {KEY_LENGTH} characters")
        return key

    @property
    def wants_stream(self) -> bool:
        return "text/event-stream" in (self.header(b"accept") or "")


@dataclass(frozen=True, kw_only=True)
class Endpoint(Generic[B, Q]):
    """A row of the endpoint table.

    answers: the body type of each status, None for no body.
    errors: statuses of problems beyond those that every endpoint has.
    keyed: accepts an Idempotency-Key.
    streams: sends events when asked to.
    open: needs no token.
    texts: media types of responses that are not JSON.
    most: most bytes of the body.
    file: media type of a body that the handler's reply reads itself.
    bodiless: a request without a body counts as one with `{}`.
    """

    method: str
    path: str
    summary: str
    handler: Callable[[Call[B, Q]], Awaitable[ReplyCall]]
    body: type[B]
    query: type[Q]
    answers: Mapping[int, Any]
    errors: Sequence[int] = ()
    keyed: bool = False
    streams: bool = False
    open: bool = False
    texts: Sequence[str] = ()
    most: int = BODY_BYTES
    file: str | None = None
    bodiless: bool = False

    @cached_property
    def decoder(self) -> msgspec.json.Decoder[B]:
        return msgspec.json.Decoder(self.body)

    @cached_property
    def _blank(self) -> Q | None:
        """The query of a request without one; None when a field is required."""
        try:
            return msgspec.convert({}, self.query)
        except msgspec.ValidationError:
            return None

    @property
    def takes_body(self) -> bool:
        return self.body is not Nothing

    async def reply(self, api: Api, scope: Scope, receive: Receive) -> ReplyCall:
        """Decode a request and call its handler. Raises `RoostError` when the table or the handler refuses it."""
        query = self._query(scope["query_string"])
        body = cast(B, _NOTHING)
        if self.bodiless and not has_body(scope):
            body = msgspec.convert({}, self.body)
        elif self.takes_body:
            body = decode_body(scope, await read_body(scope, receive, limit=self.most), self.decoder)
        elif self.method != "GET" and self.file is None and has_body(scope):
            data = await read_body(scope, receive, limit=self.most)
            body = decode_body(scope, data, self.decoder) if data else body
        return await self.handler(Call(api, scope, scope["path_params"], body, query))

    def _query(self, text: bytes) -> Q:
        if not text and (blank := self._blank) is not None:
            return blank
        try:
            pairs = parse_qsl(text.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=64)
        except ValueError as error:
            raise Invalid(f"the query cannot be read: {error}") from None
        try:
            found = msgspec.convert(dict(pairs), self.query, strict=False)
        except msgspec.ValidationError as error:
            raise Invalid(f"query: {said(error, 'the query')}") from None
        if null := next((name for name, _ in pairs if getattr(found, name, "") is None), None):
            raise Invalid(f"query: leave `{null}` out instead of saying null")
        return found


_NOTHING = Nothing()


class Resource:
    """All methods of one path."""

    def __init__(self, api: Api, endpoints: Sequence[Endpoint[Any, Any]]) -> None:
        self._api = api
        self._methods = {endpoint.method: endpoint for endpoint in endpoints}
        self._allow = ", ".join(self._methods).encode()

    async def reply(self, scope: Scope, receive: Receive) -> ReplyCall:
        """Choose the endpoint by method and reply. Raises `RoostError`."""
        endpoint = self._methods.get(scope["method"])
        if endpoint is None:
            detail = f"{scope['method']} is not a method of {scope['path']}; {self._allow.decode()} is"
            raise Refused(405, "method_not_allowed", detail, [(b"allow", self._allow)])
        if self._api.stopping and not endpoint.open:
            raise Refused(503, "shutting_down", "the daemon is stopping", [(b"connection", b"close")])
        return await endpoint.reply(self._api, scope, receive)
