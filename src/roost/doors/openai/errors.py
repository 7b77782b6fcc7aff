"""Errors in the shape of the OpenAI API: `{"error": {"message", "type", "param", "code"}}`."""

from __future__ import annotations

from typing import Any

from roost.server.problems import Problem, problem
from roost.server.responses import Header, Reply, json

_STATUS = {405: 404, 408: 408, 409: 409, 413: 413, 415: 415, 422: 400, 507: 503}
"""The status that a client of this protocol expects, where it is not the problem's own."""
_CODES = {"unauthorized": "invalid_api_key", "unknown_model": "model_not_found", "unknown_agent": "model_not_found"}
_MODEL = {
    "rate_limited": (429, "rate_limit_exceeded"),
    "quota": (429, "insufficient_quota"),
    "budget": (429, "insufficient_quota"),
    "overloaded": (503, "overloaded"),
    "context_overflow": (400, "context_length_exceeded"),
    "bad_request": (400, "bad_request"),
    "unsupported": (400, "unsupported"),
    "refusal": (400, "content_filter"),
    "timeout": (504, "timeout"),
}
"""The status and the code of a model's error; of any other it is 502 with the error's own code."""
_MONEY = {"money", "session_money", "price_unknown", "month", "user", "agent", "model"}
"""How the reasons of limits of money begin."""


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


def of_model(code: str, message: str) -> Problem:
    """Return the problem for a failed model call."""
    status, told = _MODEL.get(code, (502, code))
    return problem(status, told, message)


def of_turn(outcome: str, reason: str | None) -> Problem:
    """Return the problem for a turn that ended without an answer."""
    if outcome == "cancelled":
        return problem(409, "turn_cancelled", f"the turn was cancelled: {reason or 'by an order'}")
    if outcome == "limit":
        return _of_limit(reason or "")
    code, _, message = (reason or "").partition(": ")
    return (
        of_model(code, message) if message and " " not in code else problem(502, "turn_failed", reason or "no answer")
    )


def _of_limit(reason: str) -> Problem:
    """Return the problem for a turn that a limit ended before the agent said anything."""
    if reason.partition(":")[0] in _MONEY:
        return of_model("budget", f"the agent was not asked: a limit of its money is reached ({reason})")
    return problem(400, "turn_limit", f"the agent reached a limit before it said anything: {reason}")
