"""The agents that an agent may call, and the children that its sessions create."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from roost.agent.calling_rights import callees, refusal
from roost.agent.definition import Agent, AgentSpec
from roost.authority import label_of, user_in
from roost.errors import Busy, Invalid, NotFound
from roost.features.delegation.child_messages import end_key
from roost.features.delegation.events import ChildInput
from roost.features.delegation.ports import ChildOrder, Family, Known
from roost.ids import is_id
from roost.kernel.labels import fold
from roost.kernel.lineage import children_of
from roost.kernel.resources import Agents
from roost.kernel.session_creation import SessionCreation
from roost.log.events import ChildOutcome
from roost.log.protocols import SessionQuery
from roost.log.session_info import SessionInfo
from roost.log.store import Store

_PAGE = 200
_PAGES = 50
"""Pages of an agent's and user's sessions that are searched for one that takes messages."""


class AgentChildren(Family):
    """Delegation for the sessions of one agent, on a node."""

    def __init__(self, agents: Agents, store: Store, creation: SessionCreation, spec: AgentSpec) -> None:
        self._agents, self._store, self._creation, self._spec = agents, store, creation, spec

    def refusal(self, agent: str) -> str | None:
        """Return why the agent may not be called, for the model; None when it may."""
        return refusal(self._spec, agent, self._agents.all())

    def callable(self) -> list[Known]:
        """List the agents that this agent may call."""
        return [Known(one.name, one.description) for one in callees(self._spec, self._agents.all())]

    async def make(self, order: ChildOrder) -> str:
        """Create a child session; idempotent by `order.key`. Returns its id. Raises `Invalid` when it ended already."""
        info = await self._creation.create(
            self._agent(order.agent),
            workspace=order.workspace,
            title=fold(order.title) or None,
            labels={} if order.user is None else {"user": order.user},
            key=order.key,
            family=order.family,
        )
        if info.state in ("stopped", "error"):
            raise Invalid(f"its session {info.id} was {info.state} before it began")
        return info.id

    def _agent(self, name: str) -> str | Agent:
        """Return the agent of a task: one of the caller's roster, or the caller itself where it calls itself and no
        other of its name."""
        known = self._agents.all()
        found = next((one for one in callees(self._spec, known) if one.name == name), None)
        if found is None or any(one is found for one in known):
            return name
        return Agent.of(found, self._agents.python(name))

    async def reach(self, to: str, user: str | None) -> SessionInfo:
        """Find a session of the same user by its id, or an agent's newest one by name. Raises `NotFound`."""
        if is_id(to):
            try:
                info = await self._store.sessions.get(to)
            except NotFound:
                info = await self._newest(to, user)
            if info is not None and user_in(info.labels) == (user or ""):
                return info
        raise NotFound(f"there is no session {to!r}, nor one of an agent of that name, that you could write to")

    async def made(self, session: str) -> Sequence[SessionInfo]:
        return await children_of(self._store, session)

    async def look_after(self, session: str, children: Sequence[str]) -> None:
        """Reconcile children with the store: report those that were deleted, stopped or failed without a report."""
        store = self._store
        over: dict[str, ChildOutcome] = {}
        for start in range(0, len(children), _PAGE):
            some = tuple(children[start : start + _PAGE])
            found = {info.id: info.state for info in await store.sessions.find(SessionQuery(ids=some, limit=len(some)))}
            for child in some:
                state = found.get(child)
                if state is None:
                    over[child] = "deleted"
                elif state == "stopped" or state == "error":
                    over[child] = state
        if not over:
            return
        # A child's own report was delivered by the commit that we have seen, if not before.
        told = {item.input.child for item in await store.inboxes.pending(session) if isinstance(item.input, ChildInput)}
        for child in over.keys() - told:
            with contextlib.suppress(Busy):  # again at the session's next wake
                end = ChildInput(child, over[child])
                await store.inboxes.accept(session, end, key=f"{end_key(child)}:unsaid:{over[child]}")

    async def _newest(self, agent: str, user: str | None) -> SessionInfo | None:
        label, before = None if user is None else ("user", label_of(user)), None
        for _ in range(_PAGES):
            query = SessionQuery(agent=agent, label=label, before=before, limit=_PAGE)
            found = await self._store.sessions.find(query)
            for info in found:
                if user_in(info.labels) == (user or "") and info.state not in ("stopped", "error"):
                    return info
            if len(found) < _PAGE:
                break
            before = found[-1].id
        return None
