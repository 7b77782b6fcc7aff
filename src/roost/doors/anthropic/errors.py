"""Errors in the shape of the Anthropic API: `{"type": "error", "error": {"type", "message"}, "request_id"}`."""

from __future__ import annotations

from typing import Any

from roost.ids import new_id
from roost.server.problems import Problem
from roost.server.responses import Header, Reply, json

_STATUS = {405: 404, 422: 400, 502: 500, 503: 529, 507: 529}
"""The status that a client of this protocol expects, where it is not the problem's own."""
_TYPES = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_FINAL = {"quota", "budget"}
"""Codes of a 429 that waiting does not help."""


def request_id() -> Header:
    """Return the header that each response has."""
    return b"request-id", new_id("req").encode()


def refusal(found: Problem, headers: list[Header]) -> Reply:
    """Return the response for a problem. A client's library must not repeat a request that conflicts with the state of
    its session, or that no budget has room for."""
    status = _status(found)
    named = next((one for one in headers if one[0] == b"request-id"), None)
    more: list[Header] = [] if named is not None else [named := request_id()]
    if status == 409 or found.code in _FINAL:
        more.append((b"x-should-retry", b"false"))
    elif status == 529 and not any(key == b"retry-after" for key, _ in headers):
        more.append((b"retry-after", b"1"))
    body = {"type": "error", "error": error_of(found), "request_id": named[1].decode()}
    return json(status, body, headers=[*headers, *more])


def error_of(found: Problem) -> dict[str, Any]:
    """Return the object `error`, as in a response and in a stream."""
    status = _status(found)
    kind = _TYPES.get(status, "api_error" if status >= 500 else "invalid_request_error")
    # Clients know a conversation that has become too long by these words, and shorten it.
    long = found.code == "context_overflow" and "prompt is too long" not in found.detail
    return {"type": kind, "message": f"prompt is too long: {found.detail}" if long else found.detail}


def _status(found: Problem) -> int:
    return 404 if found.code in ("unknown_model", "unknown_agent") else _STATUS.get(found.status, found.status)
