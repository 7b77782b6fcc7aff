"""The instructions and the tools of a request, in the session that it continues."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from roost.agent.definition import Agent
from roost.doors.conversation_log import offered
from roost.doors.log_end import LogEnd
from roost.doors.talk import Recent, Talk
from roost.features.client_tools.events import ClientOfferInput
from roost.features.client_tools.state import ClientToolsState
from roost.log.session_info import SessionInfo
from roost.runtime import Runtime

_NEAR = 1000
"""Events that are read for what was offered; with more, the state is read."""


class _Offer(NamedTuple):
    """What is offered in a session that was made at wall time `created`, at position `head` of its log."""

    created: float
    head: int
    offer: ClientOfferInput


class RequestSetup:
    """What the door `name` remembers of offers only saves reading the store."""

    def __init__(self, name: str, runtime: Runtime, agents: Callable[[str], Agent]) -> None:
        self._name, self._agents = name, agents
        self._sessions, self._upgrades = runtime.sessions, runtime.upgrades
        self._offers = Recent[str, _Offer]()
        self._variants = Recent[tuple[str, str, str], Agent]()

    def agent(self, talk: Talk) -> Agent:
        """Return the agent, with the instructions of the request added to its own."""
        agent = self._agents(talk.agent)
        if talk.instructions is None:
            return agent
        key = agent.name, agent.version, talk.instructions
        if (known := self._variants.get(key)) is None:
            text = f"{agent.instructions}\n\n{talk.instructions}"
            known = agent.replace(instructions=text)
            self._variants[key] = known
        return known

    def made(self, info: SessionInfo) -> None:
        """Note that a session was just made: nothing is offered in it."""
        self._offers[info.id] = _Offer(info.created_at, 0, ClientOfferInput())

    async def differs(self, end: LogEnd, talk: Talk) -> bool:
        """Whether a session has other instructions or tools than a request. A choice holds for one answer."""
        instruct = talk.instructions is not None and end.info.version != self.agent(talk).version
        return instruct or bool(talk.offer.choice) or talk.offer != (await self._offered(end)).offer

    async def apply(self, session: str, talk: Talk) -> SessionInfo:
        """Let a session go on with the instructions and tools of a request. Returns its row as it is then."""
        info = await self._sessions.get(session)
        if talk.instructions is not None and info.version != (agent := self.agent(talk)).version:
            await self._upgrades.move_to(session, agent, by=self._name)
            info = await self._sessions.get(session)
        await self.offer(info, talk)
        return info

    async def offer(self, info: SessionInfo, talk: Talk) -> None:
        """Offer the client's tools in the session instead of those that are offered there."""
        known = await self._offered(LogEnd(self._sessions, info))
        if talk.offer.choice or talk.offer != known.offer:
            await self._sessions.put(info.id, talk.offer)
            self._offers[info.id] = known._replace(offer=talk.offer)

    async def _offered(self, end: LogEnd) -> _Offer:
        """Return what is offered in a session. Another door or node may have changed it since this one looked."""
        info = end.info
        known = self._offers.get(info.id)
        if known is None or known.created != info.created_at or info.head - known.head > _NEAR:
            info, state = await self._sessions.state(info.id)
            part = state.part(ClientToolsState)
            known = _Offer(info.created_at, info.head, ClientOfferInput(part.tools, part.answer, part.choice))
        elif known.head < info.head:
            offer = offered(await end.after(known.head))
            known = _Offer(known.created, info.head, offer or known.offer)
        self._offers[info.id] = known
        return known
