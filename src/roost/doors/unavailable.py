"""Refuse what a protocol has and Roost does not, each resource with the reason."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.types import Receive, Scope

from roost.errors import Invalid
from roost.server.door import UPGRADE, Handler, Methods, needs
from roost.server.responses import ReplyCall

_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", UPGRADE)


def unavailable(reasons: Mapping[str, str]) -> dict[str, Methods]:
    """Return routes that refuse every request at these paths, and below them, with the reason."""
    found: dict[str, Methods] = {}
    for path, reason in reasons.items():
        refuse = _refusing(reason)
        found[path] = dict.fromkeys(_METHODS, refuse)
        found[f"{path}/{{rest:path}}"] = found[path]
    return found


def _refusing(reason: str) -> Handler:
    @needs("read")
    async def refuse(scope: Scope, receive: Receive) -> ReplyCall:
        raise Invalid(reason, code="unsupported")

    return refuse
