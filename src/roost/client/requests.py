"""Make requests of operations, and results of responses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, NamedTuple, TypeAlias, TypeVar, cast
from urllib.parse import quote, urlencode

import msgspec

from roost.errors import Busy, ConfigError, Conflict, Invalid, NotFound, RoostError, TooLarge
from roost.ids import new_id
from roost.operation import REQUIRED, Operation, operations

T = TypeVar("T")
Body: TypeAlias = Any
"""Bytes, or an iterable of chunks: asynchronous for `Client`, plain for `SyncClient`."""


class ApiError(RoostError):
    """The daemon refused the request; `code` and `status` are the daemon's. It is also the class of `roost.errors` for
    its status: `NotFound`, `Conflict`, `Invalid`, `TooLarge`, `Busy`, `ConfigError`."""


class Unreachable(RoostError):
    """No daemon answers at the address."""

    code, status = "unreachable", 503


_KINDS: dict[int, type[ApiError]] = {
    kind.status: type(f"Api{kind.__name__}", (ApiError, kind), {"__doc__": kind.__doc__})
    for kind in (NotFound, Conflict, Invalid, TooLarge, Busy, ConfigError)
}


class _Problem(msgspec.Struct):
    code: str = "error"
    title: str = ""
    detail: str = ""
    status: int = 502


def refusal(status: int | None, body: bytes) -> ApiError:
    """Convert the daemon's problem document to an error. `status` None: the document came within a response and has the
    status."""
    try:
        problem = msgspec.json.decode(body, type=_Problem)
    except msgspec.MsgspecError:
        problem = _Problem(title=f"the server answered {status or 'nonsense'}; is it a Roost daemon?")
    status = status or problem.status
    message = problem.detail or problem.title or f"the daemon answered {status}"
    if status == 401:
        message = "the daemon refused the token. Give the right one with --token or ROOST_TOKEN"
    return _KINDS.get(status, ApiError)(message, code=problem.code, status=status)


class Request(NamedTuple):
    """A request, ready for a transport. `repeatable`: it may be sent again when the connection broke."""

    operation: Operation
    given: Mapping[str, Any]
    target: str
    headers: dict[str, str]
    body: Body
    repeatable: bool


def request_of(operation: Operation, args: tuple[Any, ...], given: Mapping[str, Any]) -> Request:
    """Make the request of a call. A POST that takes a key gets one, so that it may be repeated."""
    values = dict(zip((one.name for one in operation.parameters), args, strict=False)) | dict(given)
    for one in operation.parameters:
        if one.default is REQUIRED and one.name not in values:
            raise TypeError(f"{operation.name}() needs {one.name!r}")
    if unknown := values.keys() - {one.name for one in operation.parameters}:
        raise TypeError(f"{operation.name}() takes no {min(unknown)!r}")
    path = operation.path.replace(":path}", "}")
    for one in operation.placed("path"):
        path = path.replace(f"{{{one.name}}}", quote(str(values[one.name]), safe=":"))
    sent = {
        one.name: values[one.name] for one in operation.parameters if values.get(one.name, one.default) != one.default
    }
    query = {one.wire: _text(sent[one.name]) for one in operation.placed("query") if sent.get(one.name) is not None}
    body = _body(operation, sent)
    headers = {"accept": "application/json"}
    if isinstance(body, bytes):
        headers["content-type"] = "application/json"
    elif body is not None:
        headers["content-type"] = operation.content or "application/octet-stream"
    if operation.keyed:
        key = values.get(operation.keyed) or (new_id("key") if operation.method == "POST" else None)
        headers |= {"idempotency-key": key} if key else {}
    if (wait := values.get("wait")) is not None and operation.placed("wait"):
        headers["prefer"] = f"wait={wait:g}"
    repeatable = operation.repeatable and (body is None or isinstance(body, bytes))
    return Request(operation, values, f"{path}?{urlencode(query)}" if query else path, headers, body, repeatable)


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _body(operation: Operation, sent: Mapping[str, Any]) -> Body:
    if operation.placed("content"):
        return sent["content"]
    if whole := operation.placed("whole"):
        return msgspec.json.encode(sent[whole[0].name])
    if fields := operation.placed("body"):
        return msgspec.json.encode({one.wire: sent[one.name] for one in fields if one.name in sent})
    return None


def result_of(operation: Operation, status: int, body: bytes) -> Any:
    """Decode a response. Raises `ApiError`."""
    if status not in operation.answers:
        raise refusal(status, body)
    try:
        kind = operation.answer(status)
        return None if kind is None else msgspec.json.decode(body, type=kind)
    except msgspec.MsgspecError as error:
        raise ApiError(f"the answer is not one of a Roost daemon of this version: {error}", code="not_roost") from error


def remote(
    interface: type[T], call: Callable[[Operation, tuple[Any, ...], Mapping[str, Any]], Any], like: Any = None
) -> T:
    """Return an object with the methods of `interface`, each of which is one `call`. `like`: the class whose signatures
    they have, for people that read them."""

    def method(operation: Operation) -> Callable[..., Any]:
        @wraps(getattr(like or interface, operation.name))
        def ask(*args: Any, **given: Any) -> Any:
            return call(operation, args, given)

        return ask

    made: Any = type(interface.__name__, (), {})()
    for operation in operations(interface):
        setattr(made, operation.name, method(operation))
    return cast(T, made)
