"""Errors in the shape of the Gemini API: `{"error": {"code", "message", "status", "details"}}`."""

from __future__ import annotations

from typing import Any

from roost.server.problems import Problem
from roost.server.responses import Header, Reply, json

_STATUS = {405: 404, 413: 400, 415: 400, 422: 400, 502: 500, 507: 503}
"""The status that a client of this protocol expects, where it is not the problem's own."""
_NAMES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    402: "FAILED_PRECONDITION",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    408: "DEADLINE_EXCEEDED",
    409: "ABORTED",
    429: "RESOURCE_EXHAUSTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
_INFO, _RETRY = "type.googleapis.com/google.rpc.ErrorInfo", "type.googleapis.com/google.rpc.RetryInfo"


def refusal(found: Problem, headers: list[Header]) -> Reply:
    """Return the response for a problem."""
    seconds = next((value.decode("latin-1") for key, value in headers if key == b"retry-after"), None)
    error = error_of(found, retry=seconds)
    return json(error["code"], {"error": error}, headers=headers)


def error_of(found: Problem, *, retry: str | None = None) -> dict[str, Any]:
    """Return the object `error`, as in a response and in a stream. retry: seconds after which the client may try
    again."""
    status = 404 if found.code in ("unknown_model", "unknown_agent") else _STATUS.get(found.status, found.status)
    details: list[dict[str, Any]] = [{"@type": _INFO, "reason": found.code.upper(), "domain": "roost"}]
    if retry is not None:
        details.append({"@type": _RETRY, "retryDelay": f"{retry}s"})
    name = _NAMES.get(status, "INTERNAL" if status >= 500 else "INVALID_ARGUMENT")
    return {"code": status, "message": found.detail, "status": name, "details": details}
