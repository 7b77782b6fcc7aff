"""Moving sessions to other versions of their agents."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Protocol

from msgspec import Meta

from roost.api.shapes import ModelName
from roost.log.session_info import SessionInfo
from roost.operation import POST

if TYPE_CHECKING:
    from roost.policy.gate import Permissions

LATER = {"Permissions": "roost.policy.gate"}


class UpgradesApi(Protocol):
    @POST("/sessions/{session}/move", 202, body="MoveBody", errors=(404, 409), keyed=True, adopts="idle", right="use")
    async def move(
        self,
        session: str,
        *,
        model: ModelName | None = None,
        by: Annotated[str, Meta(min_length=1, max_length=200)] = "HTTP",
        key: str | None = None,
    ) -> SessionInfo:
        """Let a session go on, from its next turn on, as its agent is now; nothing happens if it does already.

        `model`: replaces the agent's own.
        """
        ...

    @POST(
        "/sessions/{session}/adjust", 202, body="AdjustBody", errors=(404, 409), keyed=True, adopts="idle", right="use"
    )
    async def adjust(
        self,
        session: str,
        *,
        model: ModelName | None = None,
        permissions: Permissions | None = None,
        by: Annotated[str, Meta(min_length=1, max_length=200)] = "HTTP",
        key: str | None = None,
    ) -> SessionInfo:
        """Let a session go on, from its next turn on, with another model or other permissions.

        The rest of its definition stays as it is. `model`: `default` is the node's.
        """
        ...
