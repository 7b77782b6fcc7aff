"""Problems in the shape of JSON-RPC."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from roost.server.problems import Problem
from roost.server.responses import Header, Reply, json

_CODE = {400: -32600, 404: -32600, 405: -32600, 406: -32600, 413: -32600, 415: -32600, 422: -32602}
_OTHER = -32603


def refusal(problem: Problem, headers: Sequence[Header] = (), id: Any = None) -> Reply:
    """Return a problem as a whole response, with its own status."""
    error = {"code": _CODE.get(problem.status, _OTHER), "message": problem.detail, "data": {"code": problem.code}}
    return json(problem.status, {"jsonrpc": "2.0", "id": id, "error": error}, headers=headers)
