"""Errors in A2A's two shapes: that of Google's APIs for HTTP+JSON, and that of JSON-RPC."""

from __future__ import annotations

from typing import Any, NamedTuple

from roost.server.problems import Problem
from roost.server.responses import Header, Reply, json

_INFO = "type.googleapis.com/google.rpc.ErrorInfo"


class _Kind(NamedTuple):
    """number: of JSON-RPC. status, name: of HTTP+JSON. reason: A2A's."""

    number: int
    status: int
    name: str
    reason: str


_INVALID = _Kind(-32602, 400, "INVALID_ARGUMENT", "INVALID_PARAMS")
_INTERNAL = _Kind(-32603, 500, "INTERNAL", "INTERNAL_ERROR")
_KINDS = {
    "task_not_found": _Kind(-32001, 404, "NOT_FOUND", "TASK_NOT_FOUND"),
    "task_not_cancelable": _Kind(-32002, 400, "FAILED_PRECONDITION", "TASK_NOT_CANCELABLE"),
    "no_push_config": _Kind(-32001, 404, "NOT_FOUND", "TASK_NOT_FOUND"),
    "unsupported_operation": _Kind(-32004, 400, "FAILED_PRECONDITION", "UNSUPPORTED_OPERATION"),
    "version_not_supported": _Kind(-32009, 400, "FAILED_PRECONDITION", "VERSION_NOT_SUPPORTED"),
    "method_not_found": _Kind(-32601, 404, "NOT_FOUND", "METHOD_NOT_FOUND"),
    "invalid_rpc": _Kind(-32600, 400, "INVALID_ARGUMENT", "INVALID_REQUEST"),
    "invalid_json": _Kind(-32700, 400, "INVALID_ARGUMENT", "INVALID_REQUEST"),
}
_NAMES = {
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    405: "NOT_FOUND",
    408: "DEADLINE_EXCEEDED",
    409: "FAILED_PRECONDITION",
    413: "OUT_OF_RANGE",
    429: "RESOURCE_EXHAUSTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


def _kind(problem: Problem) -> _Kind:
    """Return the kind of a problem; of those that A2A does not know, one with the reason that is the problem's code."""
    if (known := _KINDS.get(problem.code)) is not None:
        return known
    if problem.status in (400, 415, 422):
        return _INVALID._replace(reason=problem.code.upper())
    status = problem.status if problem.status in _NAMES else 500
    name = _NAMES.get(status, "INTERNAL")
    return _Kind(_INTERNAL.number if status >= 500 else _INVALID.number, status, name, problem.code.upper())


def _details(problem: Problem, kind: _Kind) -> list[dict[str, Any]]:
    return [{"@type": _INFO, "reason": kind.reason, "domain": "a2a-protocol.org", "metadata": {"code": problem.code}}]


def refusal(problem: Problem, headers: list[Header]) -> Reply:
    """Return the response of HTTP+JSON."""
    kind = _kind(problem)
    error = {"code": kind.status, "status": kind.name, "message": problem.detail, "details": _details(problem, kind)}
    return json(kind.status, {"error": error}, headers=headers)


def rpc_error(problem: Problem) -> dict[str, Any]:
    """Return the object `error` of JSON-RPC."""
    kind = _kind(problem)
    return {"code": kind.number, "message": problem.detail, "data": _details(problem, kind)}
