"""Standing rules: list and revoke what the answers `always` of people allow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Protocol

from msgspec import Meta

from roost.api.shapes import Answer
from roost.log.session_info import GrantScope
from roost.operation import DELETE, GET

_Page = Annotated[int, Meta(ge=1, le=1000)]


class RuleView(Answer, kw_only=True):
    """A standing rule. `says`: what it allows, for people. `session`, `call`: the question whose answer made it.
    `given`: when, in seconds since 1970. `account`, `source`: whose answer it was. `agent`, `user`: whose sessions it
    counts in, as `scope` says. `revoked`, `revoker`: when and by which account it was revoked."""

    id: str
    rule: str
    says: str
    scope: GrantScope
    session: str
    agent: str
    user: str = ""
    call: str = ""
    given: float | None = None
    account: str | None = None
    source: str | None = None
    revoked: float | None = None
    revoker: str | None = None


class RuleList(Answer):
    """The oldest first. `next`: the `after` of the next page."""

    rules: list[RuleView]
    next: str | None = None


def _revoked(result: RuleView, given: Mapping[str, Any]) -> int:
    return 202 if result.revoked is None else 200


class RulesApi(Protocol):
    @GET("/rules", right="read")
    async def list(
        self, *, revoked: bool = False, after: Annotated[str, Meta(max_length=128)] = "", limit: _Page = 100
    ) -> RuleList:
        """The standing rules of agents and users. `revoked`: those that were revoked too."""
        ...

    @GET("/sessions/{session}/rules", errors=(404,), right="read")
    async def of(self, session: str) -> RuleList:
        """The standing rules that count in a session: its own, and those of its agent and its user."""
        ...

    @DELETE("/rules/{rule}", errors=(404,), right="use")
    async def revoke(self, rule: str) -> RuleView:
        """Revoke a standing rule of an agent or a user. Calls that it covers ask again, in sessions that run from the
        model's next answer on."""
        ...

    @DELETE("/sessions/{session}/rules/{rule}", (200, 202), status=_revoked, errors=(404,), adopts="idle", right="use")
    async def revoke_in(self, session: str, rule: str, *, wait: float | None = None) -> RuleView:
        """Revoke a standing rule of a session. Without `revoked` in the answer it is on disk, and in effect once the
        session's step in progress has ended."""
        ...
