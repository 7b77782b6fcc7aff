"""JSON-RPC messages between Roost and an MCP server, and what can go wrong with them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias, cast

import msgspec

MODERN = "2026-07-28"
"""The revision without sessions: each request says what the server must know of its client."""
LEGACY = ("2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05")
"""The revisions that begin with `initialize`, newest first."""
MESSAGE_BYTES = 8 * 1024 * 1024
"""The longest message that a server may send."""
METHOD, VERSION = -32601, -32022
_DEPTH = 64

Json: TypeAlias = dict[str, Any]
encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


class ServerFailed(Exception):
    """The server cannot be used: it is gone, hangs, or breaks the protocol. The text is for the model and for people.
    unsure: a call may have taken effect."""

    def __init__(self, what: str, *, unsure: bool = False) -> None:
        super().__init__(what)
        self.unsure = unsure


class NeedsLogin(ServerFailed):
    """A person must sign in at the server first."""


class ServerError(Exception):
    """The server answered a request with an error. status: of the HTTP response; 0 without HTTP."""

    def __init__(self, code: int, message: str, data: Any = None, *, status: int = 0) -> None:
        super().__init__(message)
        self.code, self.message, self.data, self.status = code, message, data, status


def parse(text: bytes | str) -> Json:
    """Decode one message. Raises `ServerFailed`."""
    try:
        found = _decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ServerFailed(f"it sent something that is not JSON: {error}") from None
    message = as_object(found)
    if not message or not _shallow(message):
        raise ServerFailed("it sent JSON that is no message")
    return message


def _shallow(value: object, depth: int = _DEPTH) -> bool:
    below = [*as_object(value).values(), *as_list(value)]
    return not below or (depth > 0 and all(_shallow(one, depth - 1) for one in below))


def request(id: int, method: str, params: Mapping[str, Any]) -> Json:
    return {"jsonrpc": "2.0", "id": id, "method": method, "params": params}


def notification(method: str, params: Mapping[str, Any] | None = None) -> Json:
    return {"jsonrpc": "2.0", "method": method, **({} if params is None else {"params": params})}


def answer(id: object, result: Any) -> Json:
    return {"jsonrpc": "2.0", "id": id, "result": result}


def refusal(id: object, code: int, message: str) -> Json:
    return {"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": message}}


def is_answer(message: Mapping[str, Any]) -> bool:
    """Whether a message is a response."""
    return "method" not in message and ("result" in message or "error" in message)


def result_of(message: Mapping[str, Any], *, status: int = 0) -> Json:
    """Return the result of a response. Raises `ServerError`, and `ServerFailed` for a response that is none."""
    error = message.get("error")
    if isinstance(error, dict):
        said = cast("Json", error)
        code = said.get("code")
        text = said.get("message")
        raise ServerError(code if isinstance(code, int) else 0, str(text)[:2000], said.get("data"), status=status)
    result = message.get("result")
    if not isinstance(result, dict):
        raise ServerFailed("it answered without a result")
    return cast("Json", result)


def as_object(value: object) -> Json:
    """Return a JSON value if it is an object, else an empty one."""
    return cast("Json", value) if isinstance(value, dict) else {}


def as_list(value: object) -> list[Any]:
    """Return a JSON value if it is an array, else an empty one."""
    return cast("list[Any]", value) if isinstance(value, list) else []
