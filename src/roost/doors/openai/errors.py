"""Errors in the shape of the OpenAI API: `{"error": {"message", "type", "param", "code"}}`."""

from __future__ import annotations

from typing import Any

from roost.server.problems import Problem
from roost.server.responses import Header, Reply, json

_STATUS = {405: 404, 408: 408, 409: 409, 413: 413, 415: 415, 422: 400, 507: 503}
"""The status that a client of this protocol expects, where it is not the problem's own."""
_CODES = {
    "unauthorized": "invalid_api_key",
    "unknown_model": "model_not_found",
    "unknown_agent": "model_not_found",
    "rate_limited": "rate_limit_exceeded",
    "quota": "insufficient_quota",
    "budget": "insufficient_quota",
    "context_overflow": "context_length_exceeded",
    "refusal": "content_filter",
    "refused": "content_filter",
}


def refusal(found: Problem, headers: list[Header]) -> Reply:
    """Return the response for a problem. A client's library must not repeat a request that conflicts with the state of
    its session."""
    status = _STATUS.get(found.status, found.status)
    if found.code in ("unknown_model", "unknown_agent"):
        status = 404
    more: list[Header] = [(b"x-should-retry", b"false")] if status == 409 else []
    if status == 503:
        more.append((b"retry-after", b"1"))
    return json(status, {"error": error_of(found, status)}, headers=[*headers, *more])


def error_of(found: Problem, status: int | None = None) -> dict[str, Any]:
    """Return the object `error`, as in a response and in a stream."""
    status = status or _STATUS.get(found.status, found.status)
    kind = "server_error" if status >= 500 else "rate_limit_error" if status == 429 else "invalid_request_error"
    return {"message": found.detail, "type": kind, "param": None, "code": _CODES.get(found.code, found.code)}
