"""Delegated tasks and child sessions, at the seams of the loop."""

from __future__ import annotations

from collections.abc import Sequence

from roost.agent.feature import CallEnd, Feature, RunCalls
from roost.agent.session import Session
from roost.agent.state import Call
from roost.features.delegation import child_messages, delegated_calls
from roost.features.delegation.events import ChildInput, ChildWaitsInput
from roost.features.delegation.ports import Family
from roost.log import events as ev
from roost.log.inputs import ControlInput
from roost.log.protocols import Delivery, InboxItem
from roost.log.session_info import TurnOutcome
from roost.tools.base import Tool, ToolContext


class Delegation(Feature):
    """Start child sessions for delegated calls, pass orders down to them, and report to the parent."""

    takes = {ChildInput: child_messages.take, ChildWaitsInput: child_messages.take}

    async def wake(self, session: Session) -> None:
        await child_messages.reconcile_children(session)

    async def before_orders(self, session: Session) -> None:
        await child_messages.load_children(session)

    def ordered(self, session: Session, item: InboxItem, order: ControlInput, fits: bool) -> Sequence[Delivery]:
        stops = fits and order.action == "stop" and session.state.state != "stopped"
        up = child_messages.report_to_parent(session, "stopped") if stops else ()
        return (*up, *child_messages.cascade_order(session, order, item.id))

    def given_up(self, session: Session, outcome: ev.ChildOutcome, why: str) -> None:
        child_messages.detach_children(session, outcome)

    def ending(self, session: Session, outcome: TurnOutcome, reason: str | None) -> Sequence[Delivery]:
        return child_messages.report_to_parent(session, outcome, reason)

    async def before_calls(self, session: Session) -> None:
        if session.inbox.items:
            await delegated_calls.complete_delegated(session)

    def asks(self, session: Session, call: Call, reason: str) -> Sequence[Delivery]:
        return child_messages.tell_waiting(session, call, reason)

    def runs(self, session: Session, tool: Tool) -> RunCalls | None:
        return delegated_calls.run if tool.delegates else None

    def equip(self, session: Session, call: Call, context: ToolContext) -> None:
        if (family := session.means.find(Family)) is not None:
            context.give(delegated_calls.CallAgents(session, family, context.key))

    def call_ends(self, session: Session, end: CallEnd) -> None:
        if end.worked:
            end.deliver = [*end.deliver, *delegated_calls.messages_of(end.context)]

    def call_closed(self, session: Session, call: Call) -> None:
        child_messages.abandon(session, call.call.id)


FEATURE = Delegation()
