"""Endpoints: an operation at a path, with the code that answers it. Routes and the document are made from them."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from operator import attrgetter
from typing import Any, TypeAlias, cast
from urllib.parse import parse_qsl

import msgspec
from starlette.types import Receive, Scope

from roost.api.shapes import AcceptedInput
from roost.authority import current
from roost.errors import Invalid
from roost.operation import REQUIRED, Download, Operation, Parameter, Variant, operations
from roost.server.app_state import Api
from roost.server.file_stream import FileStream
from roost.server.problems import Refused
from roost.server.request_body import BODY_BYTES, decode_body, has_body, header, pieces, read_body
from roost.server.responses import Header, Reply, ReplyCall, json
from roost.server.validation_messages import said

KEY_LENGTH = 255
_FRESH: list[Header] = [(b"cache-control", b"no-store")]
_WAIT = re.compile(r"(?:^|[,;]\s*)wait=(\d{1,5}(?:\.\d{1,6})?)\s*(?:[,;]|$)")
Answering: TypeAlias = Callable[["Call"], Awaitable[ReplyCall]]


class Nothing(msgspec.Struct, forbid_unknown_fields=True):
    """No body, or no query."""


@dataclass(slots=True)
class Call:
    """A decoded request. `given`: the operation's arguments by name. `deltas`: for a stream."""

    api: Api
    scope: Scope
    params: Mapping[str, str]
    given: dict[str, Any]
    deltas: bool = True

    def header(self, name: bytes) -> str | None:
        return header(self.scope, name)

    @property
    def session(self) -> str:
        """The session in the path; empty for an operation without one."""
        return self.params.get("session", "")

    @property
    def key(self) -> str | None:
        """The idempotency key, or None. Raises `Invalid`."""
        key = self.header(b"idempotency-key")
        if key is not None and not 1 <= len(key) <= KEY_LENGTH:
            raise Invalid(f"an Idempotency-Key has 1 to {KEY_LENGTH} characters")
        return key

    @property
    def wait(self) -> float | None:
        """The seconds of `Prefer: wait=SECONDS`, or None."""
        found = _WAIT.search(self.header(b"prefer") or "")
        return float(found[1]) if found else None

    @property
    def wants_stream(self) -> bool:
        return "text/event-stream" in (self.header(b"accept") or "")


class Endpoint:
    """An operation at one path. `answering` gets the decoded request."""

    def __init__(self, operation: Operation, answering: Answering, variant: Variant | None = None) -> None:
        variant = variant or operation.variants()[0]
        self.operation, self.method, self._answering = operation, operation.method, answering
        self.path, self.summary, self._fixed = variant.path, variant.summary, variant.fixed

    @cached_property
    def body(self) -> type[Any]:
        """The type of the JSON body."""
        row = self.operation
        if whole := row.placed("whole"):
            return row.hint(whole[0].name)
        return _shape(row, row.body, row.placed("body")) if row.placed("body") else Nothing

    @cached_property
    def query(self) -> type[Any]:
        more = [("deltas", bool, True)] if self.operation.streams else []
        return _shape(self.operation, "Query", self.operation.placed("query"), more)

    @cached_property
    def _decoder(self) -> msgspec.json.Decoder[Any]:
        return msgspec.json.Decoder(self.body)

    @cached_property
    def _blank(self) -> Any:
        """The query of a request without one; None when a field is required."""
        try:
            return msgspec.convert({}, self.query)
        except msgspec.ValidationError:
            return None

    @property
    def takes_body(self) -> bool:
        return self.body is not Nothing

    async def reply(self, api: Api, scope: Scope, receive: Receive) -> ReplyCall:
        """Decode a request and answer it. Raises `RoostError` when the table or the operation refuses it."""
        row, params = self.operation, {**scope["path_params"], **self._fixed}
        await _demand(api, row, params)
        query = self._query(scope["query_string"])
        call = Call(api, scope, params, {one.name: params[one.name] for one in row.placed("path")})
        call.deltas = getattr(query, "deltas", True)
        call.given |= {one.name: getattr(query, one.name) for one in row.placed("query")}
        if row.content is not None:
            call.given["content"] = pieces(receive)
        else:
            call.given |= self._arguments(await self._body(scope, receive))
        if row.keyed:
            call.given[row.keyed] = call.key
        if row.placed("wait"):
            call.given["wait"] = call.wait
        return await self._answering(call)

    async def _body(self, scope: Scope, receive: Receive) -> Any:
        row = self.operation
        if row.bodiless and not has_body(scope):
            return msgspec.convert({}, self.body)
        if self.takes_body:
            data = await read_body(scope, receive, limit=row.most or BODY_BYTES)
            return decode_body(scope, data, self._decoder)
        if self.method != "GET" and has_body(scope) and (data := await read_body(scope, receive)):
            decode_body(scope, data, self._decoder)
        return None

    def _arguments(self, body: Any) -> dict[str, Any]:
        if whole := self.operation.placed("whole"):
            return {whole[0].name: body}
        return {one.name: getattr(body, one.name) for one in self.operation.placed("body")}

    def _query(self, text: bytes) -> Any:
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


async def _demand(api: Api, row: Operation, params: dict[str, str]) -> None:
    """Check that the caller may call an operation, and may see the session in its path. Raises `Forbidden`, and
    `NotFound` for a session of another account."""
    who = current()
    if not row.open:
        who.demand(row.right or "administer")
    if who.confined and "session" in params:
        params["session"] = who.session_id(params["session"])
        await api.sessions.get(params["session"])


def _shape(
    row: Operation, name: str, parameters: Sequence[Parameter], more: Sequence[tuple[str, Any, Any]] = ()
) -> type[Any]:
    """Make the struct of some parameters."""
    fields: list[Any] = []
    for one in parameters:
        renamed = one.wire if one.wire != one.name else None
        value = (
            msgspec.field(name=renamed) if one.default is REQUIRED else msgspec.field(default=one.default, name=renamed)
        )
        fields.append((one.name, row.hint(one.name), value))
    about = {"__doc__": row.description} if row.description else {}
    return msgspec.defstruct(name, [*fields, *more], forbid_unknown_fields=True, kw_only=True, namespace=about)


def endpoints(interface: type, service: Callable[[], object]) -> list[Endpoint]:
    """Return the endpoints of an interface. `service` returns the object that implements it, when a request comes. Its
    method `stream_NAME(call)` answers an operation that is asked for as a stream."""
    rows = operations(interface)
    return [Endpoint(row, _answering(row, service), variant) for row in rows for variant in row.variants()]


def alone(handler: Answering) -> Endpoint:
    """Return the endpoint of a function that carries its operation and reads the request itself."""
    operation: Operation = handler.operation  # pyright: ignore[reportFunctionMemberAccess] - set by the decorator
    return Endpoint(operation, handler)


def _answering(row: Operation, service: Callable[[], object]) -> Answering:
    async def answer(call: Call) -> ReplyCall:
        if call.wants_stream and (stream := getattr(service(), f"stream_{row.name}", None)) is not None:
            return await stream(call)
        result: Any = await getattr(service(), row.name)(**call.given)
        if isinstance(result, Download):
            return FileStream(call.api, call.session, cast("Download[AsyncIterator[bytes]]", result))
        if isinstance(result, AcceptedInput) and (parts := await call.api.sessions.waits_for(call.session)):
            result.waits_for = parts
        status = row.status(result, call.given)
        if result is None:
            return Reply(status)
        headers = _FRESH if row.open else []
        if row.location is not None:
            headers = [*headers, (b"location", b"/sessions/" + attrgetter(row.location)(result).encode())]
        return json(status, result, headers=headers)

    return answer


class Resource:
    """All methods of one path."""

    def __init__(self, api: Api, endpoints: Sequence[Endpoint]) -> None:
        self._api = api
        self._methods = {endpoint.method: endpoint for endpoint in endpoints}
        self._allow = ", ".join(self._methods).encode()

    async def reply(self, scope: Scope, receive: Receive) -> ReplyCall:
        """Choose the endpoint by method and reply. Raises `RoostError`."""
        endpoint = self._methods.get(scope["method"])
        if endpoint is None:
            detail = f"{scope['method']} is not a method of {scope['path']}; {self._allow.decode()} is"
            raise Refused(405, "method_not_allowed", detail, [(b"allow", self._allow)])
        if self._api.stopping and not endpoint.operation.open:
            raise Refused(503, "shutting_down", "the daemon is stopping", [(b"connection", b"close")])
        return await endpoint.reply(self._api, scope, receive)
