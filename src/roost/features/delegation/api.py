"""The sessions that come from a session."""

from __future__ import annotations

from typing import Protocol

from roost.api.shapes import Answer
from roost.log.session_info import SessionInfo
from roost.operation import GET


class SessionTree(Answer):
    sessions: list[SessionInfo]


class DelegationApi(Protocol):
    @GET("/sessions/{session}/tree", errors=(404,), right="read")
    async def tree(self, session: str) -> SessionTree:
        """The session and all that come from it, parents before children."""
        ...
