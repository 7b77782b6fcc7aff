"""Moving sessions to other versions of their agents."""

from __future__ import annotations

from typing import Annotated, Protocol

from msgspec import Meta

from roost.api.shapes import ModelName
from roost.log.session_info import SessionInfo
from roost.operation import POST


class UpgradesApi(Protocol):
    @POST("/sessions/{session}/move", 202, body="MoveBody", errors=(404, 409), keyed=True, adopts="idle")
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
