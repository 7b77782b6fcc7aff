"""Messages between a parent session and its children: end of a task, orders, news.

The parent's log records a child in the commit that puts the task into the child's inbox. The child puts its end into
the parent's inbox in the commit in which it ends. So no crash can separate the two."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Final

from roost.agent.session import Session
from roost.agent.state import Call, State
from roost.features.delegation.events import ChildEnded, ChildInput, ChildWaits, ChildWaitsInput
from roost.features.delegation.ports import Family
from roost.features.delegation.state import Child, DelegationState
from roost.log import events as ev
from roost.log.content import AssistantMessage, Text, UserPart
from roost.log.inputs import ControlInput, MessageInput
from roost.log.protocols import Delivery, InboxItem
from roost.log.session_info import ControlAction, SessionInfo, SessionState
from roost.tools.text_limits import RESULT_CAP, capped

_TAKEN_BY: Final[Mapping[str, tuple[SessionState, ...]]] = {
    "pause": ("created", "running"),
    "resume": ("paused",),
    "cancel": ("created", "running", "paused", "error"),
    "stop": ("created", "running", "paused", "error"),
}
"""States in which a session whose task is over still takes an order of its parent."""


def report_to_parent(session: Session, outcome: ev.ChildOutcome, reason: str | None = None) -> tuple[Delivery, ...]:
    """Return the message that tells the parent that the task is over, if there is a parent. If sent repeatedly, the
    first one counts."""
    family, state = session.state.family, session.state
    if family is None:
        return ()
    end = ChildInput(session.id, outcome, _said(state), reason, state.usage, state.tainted)
    return (Delivery(family.parent, end, end_key(session.id)),)


def end_of(info: SessionInfo, outcome: ev.ChildOutcome, reason: str | None = None) -> tuple[Delivery, ...]:
    """Return the same message as `report` for a session whose state is not loaded."""
    if info.parent is None:
        return ()
    return (Delivery(info.parent, ChildInput(info.id, outcome, (), reason), end_key(info.id)),)


def end_key(child: str) -> str:
    return f"child:{child}:end"


def tell_waiting(session: Session, call: Call, reason: str) -> tuple[Delivery, ...]:
    """Return the message that tells the parent that a call waits for a person."""
    family = session.state.family
    if family is None:
        return ()
    news = ChildWaitsInput(session.id, session.id, call.call.id, call.call.name, reason)
    return (Delivery(family.parent, news, _news_key(news, f"{call.attempt}")),)


def take(session: Session, item: InboxItem) -> None:
    """Take a child's message, unless a call waits for it (`delegated_calls.complete_delegated`)."""
    news = item.input
    assert isinstance(news, ChildInput | ChildWaitsInput)
    if isinstance(news, ChildInput):
        _sort_out(session, item, news)
    else:
        _take_waiting(session, item, news)


def _take_waiting(session: Session, item: InboxItem, news: ChildWaitsInput) -> None:
    """Note that a child waits for a person, and pass the news on to the parent."""
    if news.child not in session.state.part(DelegationState).children:
        session.log.drop(item)
        return
    family = session.state.family
    up = () if family is None else (ChildWaitsInput(session.id, news.session, news.call, news.tool, news.reason),)
    event = ChildWaits(
        at=time.time(), child=news.child, session=news.session, call=news.call, tool=news.tool, reason=news.reason
    )
    told = [Delivery(family.parent, one, _news_key(one, f"{item.id}")) for one in up if family is not None]
    session.log.note(event, consume=item.id, deliver=told)


def _sort_out(session: Session, item: InboxItem, end: ChildInput) -> None:
    """Take the end of a child that no call awaits. The agent gets a message if the child ran in the background."""
    child = session.state.part(DelegationState).children.get(end.child)
    if child is None:
        session.log.drop(item)
        return
    call = session.state.call(child.call)
    if not child.background and call is not None and call.status == "awaiting":
        return
    told = cut(end)
    if child.background:
        parts = (Text(f"[{child.agent} in session {end.child}: {told_of(end)}]"), *end.parts)
        said = MessageInput(parts, source=f"child:{end.child}", tainted=end.tainted)
        told.append(Delivery(session.id, said, f"child:{end.child}:said"))
    note_end(session, child, end, item, told)


def note_end(session: Session, child: Child, end: ChildInput, item: InboxItem | None, told: list[Delivery]) -> None:
    session.log.note(
        ChildEnded(at=time.time(), child=end.child, outcome=end.outcome, reason=end.reason, usage=end.usage),
        consume=None if item is None else item.id,
        deliver=told,
    )
    if child.due is not None:
        timer = due_timer(end.child)
        session.log.note(ev.TimerCleared(at=time.time(), timer=timer))
        session.log.set_timer(timer, None)


def due_timer(child: str) -> str:
    """Return the name of the timer that limits the wait for a child."""
    return f"child:{child}"


def told_of(end: ChildInput) -> str:
    reason = f": {end.reason}" if end.reason else ""
    return (
        "the task is done" if end.outcome == "answered" else f"the task ended without an answer, {end.outcome}{reason}"
    )


def abandon(session: Session, call: str) -> None:
    """End the wait of a call: cancel the child that it started."""
    for name, child in list(session.state.part(DelegationState).children.items()):
        if child.call == call and not child.background:
            note_end(session, child, ChildInput(name, "cancelled"), None, [order_to(name, "cancel", "given-up")])


def detach_children(session: Session, outcome: ev.ChildOutcome) -> None:
    """End all children in the log without an order to them: the session stops, or its task was cancelled."""
    for name, child in list(session.state.part(DelegationState).children.items()):
        note_end(session, child, ChildInput(name, outcome), None, [])


class _Made:
    """Sessions that this one ever created, as far as waiting orders concern them."""

    def __init__(self, session: Session) -> None:
        self.sessions: Sequence[SessionInfo] = ()


async def load_children(session: Session) -> None:
    """Load all sessions that this one ever created if a waiting order concerns them too: children of an ended child may
    still be at work. No further session is created before the order is applied. Raises `StoreFailed`."""
    family, made = session.means.find(Family), session.own(_Made)
    orders = (item.input for item in session.inbox if isinstance(item.input, ControlInput))
    concerned = family is not None and any(_goes_down(order) for order in orders)
    made.sessions = await family.made(session.id) if family is not None and concerned else ()


def cascade_order(session: Session, order: ControlInput, item: int) -> list[Delivery]:
    """Return the orders that pass a control on to children with open tasks and to sessions made earlier with ended
    ones. Cancelling a turn concerns only the children that it waits for (`abandon`)."""
    state, children, action = session.state.state, session.state.part(DelegationState).children, order.action
    fits = {"pause": state in ("created", "running"), "resume": state in ("paused", "error")}
    if not _goes_down(order) or not fits.get(action, True):
        return []
    made = session.own(_Made).sessions
    over = [info.id for info in made if info.id not in children and info.state in _TAKEN_BY[action]]
    return [order_to(child, action, f"{session.id}:{item}") for child in (*children, *over)]


def _goes_down(order: ControlInput) -> bool:
    return order.action in _TAKEN_BY and (order.action != "cancel" or order.scope == "task") and order.scope != "unused"


async def reconcile_children(session: Session) -> None:
    """Reconcile children after wake: those deleted, stopped or failed without notice count as ended. Raises
    `StoreFailed`."""
    children, family = session.state.part(DelegationState).children, session.means.find(Family)
    if children and family is not None:
        await family.look_after(session.id, list(children))


def cut(end: ChildInput) -> list[Delivery]:
    """Return the order that cancels a child whose time is up."""
    return [order_to(end.child, "cancel", "timeout")] if end.outcome == "timeout" else []


def order_to(child: str, action: ControlAction, why: str) -> Delivery:
    """Return an order for a child. A cancel applies to its task, not to one turn."""
    order = ControlInput(action, "task" if action == "cancel" else None)
    return Delivery(child, order, f"parent:{action}:{why}"[-255:])


def _news_key(news: ChildWaitsInput, which: str) -> str:
    return f"child:{news.child}:waits:{news.call[:100]}:{which}"


def _said(state: State) -> tuple[UserPart, ...]:
    """Return the final answer of the open turn."""
    last = state.entries[-1].message if state.entries and not state.calls else None
    if state.turn is None or not isinstance(last, AssistantMessage):
        return ()
    text = (Text(capped(last.text, RESULT_CAP)),) if last.text else ()
    return (*text, *last.media)
