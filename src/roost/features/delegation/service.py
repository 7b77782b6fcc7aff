"""List the sessions that come from a session, on a running node."""

from __future__ import annotations

from roost.features.delegation.api import DelegationApi, SessionTree
from roost.kernel.lineage import below
from roost.kernel.service_host import ServiceHost


class DelegationService(DelegationApi):
    def __init__(self, host: ServiceHost) -> None:
        self._store, self._sessions = host.store, host.sessions

    async def tree(self, session: str) -> SessionTree:
        """List the session and its descendants, parents before children. Raises `NotFound`."""
        root = await self._store.sessions.get(session)
        family = [root, *await below(self._store, session)]
        return SessionTree(sessions=await self._sessions.with_turns(family))


SERVICE = DelegationService
