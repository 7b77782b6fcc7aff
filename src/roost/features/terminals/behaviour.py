"""Terminals of a session, at the seams of the loop."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from roost.agent.feature import CallEnd, Feature, Sleeper
from roost.agent.session import Session
from roost.agent.state import Call
from roost.errors import RoostError
from roost.features.terminals import TOOLS
from roost.features.terminals.agent_terminals import AgentTerminals, taint
from roost.features.terminals.events import OpenTerminalInput
from roost.features.terminals.session_terminals import ASLEEP, STOPPED, terminals
from roost.features.terminals.state import TerminalsState
from roost.features.terminals.suspension import resume, sleepers
from roost.log import events as ev
from roost.log.protocols import InboxItem
from roost.sandbox.guest.terminal import GuestTerminal
from roost.tools.base import ToolContext


def _open(session: Session, item: InboxItem) -> None:
    """Note the opening of a terminal; its program starts between two steps or turns."""
    order = item.input
    assert isinstance(order, OpenTerminalInput)
    own = terminals(session)
    try:
        own.admit(order)
    except RoostError as error:
        own.refuse(order, error.message, item.id)
        return
    own.note(order, consume=item.id)
    own.pending.append((order, None))


class Terminals(Feature):
    """Keep the log and the programs on terminals in step."""

    takes = {OpenTerminalInput: _open}

    def used(self, session: Session) -> bool:
        tools = session.means.tools
        return bool(session.state.part(TerminalsState).terminals) or any(name in tools for name in TOOLS)

    async def wake(self, session: Session) -> None:
        terminals(session).lose()

    async def between_turns(self, session: Session) -> None:
        own = terminals(session)
        own.lose()
        if own.due:
            await own.reconcile()

    def due(self, session: Session) -> bool:
        return terminals(session).due

    async def between_steps(self, session: Session) -> None:
        await self.between_turns(session)

    async def before_end(self, session: Session, how: ev.ChildOutcome) -> None:
        if how == "stopped":
            own = terminals(session)
            await own.end(STOPPED)
            own.leaving = False

    def stays_awake(self, session: Session) -> bool:
        return terminals(session).active

    async def before_sleep(self, session: Session) -> None:
        await terminals(session).end(ASLEEP)

    async def evicted(self, session: Session) -> None:
        await terminals(session).close()

    async def suspends(self, session: Session) -> Sequence[Sleeper]:
        return await sleepers(terminals(session))

    def resumes(self, session: Session, note: msgspec.Raw, terminals: dict[int, GuestTerminal]) -> None:
        resume(session, note, terminals)

    def equip(self, session: Session, call: Call, context: ToolContext) -> None:
        context.give(AgentTerminals(terminals(session), context))

    def call_ended(self, session: Session, end: CallEnd) -> None:
        taint(session, end)


FEATURE = Terminals()
