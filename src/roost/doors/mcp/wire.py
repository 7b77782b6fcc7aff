"""JSON-RPC messages of MCP, in the revisions that this door speaks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeAlias, cast

import msgspec
from msgspec import UNSET, UnsetType

from roost.errors import RoostError

MODERN = "2026-07-28"
"""The revision without sessions: each request carries what the server must know of its client."""
LEGACY = ("2025-11-25", "2025-06-18")
"""The revisions that begin with `initialize`, newest first."""
PARSE, REQUEST, METHOD, PARAMS, INTERNAL = -32700, -32600, -32601, -32602, -32603
HEADERS, CAPABILITY, VERSION = -32020, -32021, -32022
"""A header contradicts the body; the client lacks a capability; the revision is unknown."""
UNKNOWN_RESOURCE = -32002
"""Of the older revisions; the newer one says `PARAMS`."""
_STATUS = dict.fromkeys((PARSE, REQUEST, PARAMS, HEADERS, CAPABILITY, VERSION), 400) | {METHOD: 404}

_ERROR_CHARACTERS = 2000

Id: TypeAlias = str | int
Json: TypeAlias = dict[str, Any]


def cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[:most] + "…"


def error_text(said: str, scrub: Callable[[str], str]) -> str:
    """Return what an error says to the client: without secrets, and cut, as it may repeat what the client sent."""
    return cut(scrub(said), _ERROR_CHARACTERS)


class Failure(Exception):
    """A request that cannot be served. code: of JSON-RPC. data: for the client's program."""

    def __init__(self, code: int, message: str, data: Json | None = None) -> None:
        super().__init__(message)
        self.code, self.message, self.data = code, message, data

    @property
    def status(self) -> int:
        """The status of the HTTP response in the newest revision."""
        return _STATUS.get(self.code, 200)

    def body(self, id: Id | None, scrub: Callable[[str], str]) -> Json:
        """Return the response. scrub: masks secrets."""
        error: Json = {"code": self.code, "message": error_text(self.message, scrub)}
        if self.data is not None:
            error["data"] = {
                name: error_text(value, scrub) if isinstance(value, str) else value for name, value in self.data.items()
            }
        return {"jsonrpc": "2.0", "id": id, "error": error}


class Message(msgspec.Struct):
    """A message of the client: a request (`id` and `method`), a notification (`method`), or a response (`id`)."""

    jsonrpc: Literal["2.0"]
    id: Id | UnsetType = UNSET
    method: str | UnsetType = UNSET
    params: Json | UnsetType = UNSET
    result: Any = UNSET
    error: Any = UNSET


def as_object(value: Any) -> Json | None:
    """Return a JSON value if it is an object."""
    return cast("Json", value) if isinstance(value, dict) else None


_decode = msgspec.json.Decoder(Message).decode
encode = msgspec.json.Encoder().encode


def parse(body: bytes) -> Message:
    """Decode one message. Raises `Failure`."""
    try:
        found = _decode(body)
    except msgspec.ValidationError as error:
        raise Failure(REQUEST, f"send one JSON-RPC 2.0 request, notification or response: {error}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Failure(PARSE, f"this is not JSON: {error}") from None
    except RecursionError:
        raise Failure(PARSE, "the JSON is nested too deeply") from None
    if found.method is UNSET and (found.id is UNSET or (found.result is UNSET and found.error is UNSET)):
        raise Failure(REQUEST, "a message has a `method`, or an `id` with a `result` or an `error`")
    return found


def request(id: Id, method: str, params: Mapping[str, Any]) -> Json:
    return {"jsonrpc": "2.0", "id": id, "method": method, "params": params}


def notification(method: str, params: Mapping[str, Any]) -> Json:
    return {"jsonrpc": "2.0", "method": method, "params": params}


def response(id: Id, result: Any) -> Json:
    return {"jsonrpc": "2.0", "id": id, "result": result}


def failure_of(error: RoostError) -> Failure:
    """Return the error of the protocol for one of Roost's own."""
    code = PARAMS if error.status in (400, 404, 409, 413, 422) else INTERNAL
    return Failure(code, error.message, {"code": error.code})
