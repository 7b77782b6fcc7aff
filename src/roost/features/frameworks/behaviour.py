"""Agents of frameworks at the seams of the loop. What they need is imported for the first session that has one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from roost.agent.feature import CallEnd, Feature
from roost.agent.session import Session
from roost.log import events as ev
from roost.models.request import Model
from roost.tools.base import Toolbox

if TYPE_CHECKING:
    from roost.features.frameworks.hosted_agent import HostedAgent


def agent_of(session: Session) -> HostedAgent:
    """Return the model that stands for the session's agent."""
    from roost.features.frameworks.hosted_agent import HostedAgent

    return session.own(HostedAgent)


class Frameworks(Feature):
    """Let an agent of a framework do the work of a session: its model calls are the steps, its tool calls the calls."""

    def used(self, session: Session) -> bool:
        return session.spec.framework is not None

    async def wake(self, session: Session) -> None:
        if session.state.calls:
            agent_of(session).offer_again()

    def due(self, session: Session) -> bool:
        return agent_of(session).settles

    async def between_steps(self, session: Session) -> None:
        agent = agent_of(session)
        if session.state.turn is not None and agent.settles:
            await session.interrupts.interruptible(agent.settle, steer=False)

    async def before_end(self, session: Session, how: ev.ChildOutcome) -> None:
        agent = agent_of(session)
        await (agent.leave() if how == "answered" else agent.stop())

    def model(self, session: Session) -> Model | None:
        return agent_of(session)

    def tools(self, session: Session) -> Toolbox | None:
        return agent_of(session).toolbox

    def call_ended(self, session: Session, end: CallEnd) -> None:
        agent_of(session).noted()

    def stays_awake(self, session: Session) -> bool:
        return agent_of(session).waits

    async def before_sleep(self, session: Session) -> None:
        await agent_of(session).stop()

    async def evicted(self, session: Session) -> None:
        await agent_of(session).stop()


FEATURE = Frameworks()
