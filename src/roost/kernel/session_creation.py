"""Create sessions: what one needs of a node, its row and its first event."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

import msgspec

from roost.agent.definition import Agent, encode_spec
from roost.authority import ACCOUNT, owned_labels, session_id
from roost.errors import Invalid
from roost.ids import is_id, new_id
from roost.kernel.allowed_folders import check_folder
from roost.kernel.labels import masked_names
from roost.kernel.membership import Membership
from roost.kernel.resources import Agents, ResourceFactory
from roost.kernel.sandboxes import Sandboxes
from roost.log import events as ev
from roost.log.protocols import NewSession
from roost.log.session_info import SessionInfo
from roost.log.store import Store


class SessionCreation:
    """Create sessions in the store. Any node may run them."""

    def __init__(
        self, store: Store, agents: Agents, resources: ResourceFactory, sandboxes: Sandboxes, membership: Membership
    ) -> None:
        self._store, self._agents, self._resources = store, agents, resources
        self._sandboxes, self._membership = sandboxes, membership

    def over(self, store: Store) -> SessionCreation:
        """Return the same over another view of the store."""
        return SessionCreation(store, self._agents, self._resources, self._sandboxes, self._membership)

    async def create(
        self,
        agent: str | Agent,
        *,
        id: str | None = None,
        workspace: str | None = None,
        title: str | None = None,
        labels: Mapping[str, str] | None = None,
        key: str | None = None,
        family: ev.Family | None = None,
    ) -> SessionInfo:
        """Create a session of the agent's present version, or of a `variant`. Raises `Invalid` (`workspace_refused` for
        a folder of Roost's home), `Conflict` when the id is taken, `IsolationUnavailable`.

        workspace: an existing folder of the user; without it the session gets a private one.
        key: idempotency key, so that a repeated call creates no second session.
        family: set when another session creates this one.
        """
        known = await self._agents.resolve(agent) if isinstance(agent, str) else agent
        spec, here = known.spec, self._membership
        if id is not None and not is_id(id):
            raise Invalid(f"{id!r} cannot be a session's id: use letters, digits and ._:- (at most 128)")
        title, labels = masked_names(self._resources.vault, title, labels)
        labels = owned_labels(labels, child=family is not None)
        if workspace is not None and family is None:  # a child shares its parent's folder, which may be private
            await asyncio.to_thread(check_folder, workspace, self._resources.home_folder)
        isolation = self._resources.demanded(known, labels.get(ACCOUNT))
        await self._sandboxes.demand(isolation, here.offered)
        session = NewSession(
            id=session_id(id or new_id("ses"), labels.get(ACCOUNT)),
            agent=spec.name,
            version=spec.version,
            workspace=workspace,
            title=title,
            labels=labels,
            parent=None if family is None else family.parent,
            needs=here.needs(known, workspace, floor=isolation.required),
        )
        await here.announce(session.needs)
        created = ev.SessionCreated(
            at=time.time(),
            agent=spec.name,
            version=spec.version,
            spec=msgspec.Raw(encode_spec(spec)),
            workspace=workspace,
            title=title,
            labels=session.labels,
            parent=session.parent,
            family=family,
        )
        return await self._store.sessions.create(session, [created], key=key)
