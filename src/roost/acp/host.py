"""What the door needs of the command that starts it."""

from __future__ import annotations

from typing import Protocol

from roost.client.async_client import Client
from roost.log.session_info import SessionInfo


class Host(Protocol):
    """client: of the daemon, or of the application in this process. agent: the name of the agent of new sessions."""

    client: Client
    agent: str

    async def create(self, folder: str, agent: str, *, id: str | None = None) -> SessionInfo:
        """Create a session that works in a folder. Raises `RoostError`."""
        ...

    async def work_on(self, session: str) -> None:
        """Process this session in this process if no daemon does."""
        ...
