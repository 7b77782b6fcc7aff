"""Apply inputs: controls and approvals at once, steering messages between steps, other messages as new turns."""

from __future__ import annotations

import time
from typing import assert_never

from roost.agent import outcomes
from roost.agent.feature import asked, beginners, takers
from roost.agent.session import Session
from roost.agent.state import State
from roost.log import events as ev
from roost.log.inputs import (
    ApprovalInput,
    ControlInput,
    EmitInput,
    Input,
    MessageInput,
    SetTimerInput,
    TimerInput,
    admits,
)
from roost.log.protocols import InboxItem, TimerSpec
from roost.log.session_info import SessionState


def has_control(session: Session) -> bool:
    """Whether an input is waiting that the session takes in its present state."""
    least = admits(session.state.state, session.state.phase)
    return not session.interrupts.stopping and any(item.input.urgency >= least for item in session.inbox)


def take_in(session: Session) -> None:
    """Apply every waiting input that is not conversation. The first message starts a session that was only created."""
    if session.state.state == "created" and _next(session) is not None:
        _enter(session, "running", True)
    for item in list(session.inbox):
        if item.input.urgency >= admits(session.state.state, session.state.phase):
            _take_in(session, item)


def _take_in(session: Session, item: InboxItem) -> None:
    match item.input:
        case ControlInput():
            control(session, item, item.input)
        case SetTimerInput():
            _set_timer(session, item, item.input)
        case ApprovalInput():
            _approve(session, item, item.input)
        case EmitInput():
            event = ev.Emitted(at=time.time(), name=item.input.name, data=item.input.data)
            session.log.note(event, consume=item.id)
        case MessageInput() | TimerInput():
            pass
        case _:
            if (take := takers().get(type(item.input))) is not None:
                take(session, item)


def control(session: Session, item: InboxItem, order: ControlInput) -> None:
    """Apply a control. One that does not fit the state is logged and changes nothing."""
    state, fits = session.state.state, _fits(session, order)
    told = [one for feature in asked(session, "ordered") for one in feature.ordered(session, item, order, fits)]
    session.log.note(
        ev.ControlApplied(at=time.time(), action=order.action, input=item.id, account=order.account),
        consume=item.id,
        deliver=told,
    )
    if fits:
        _apply(session, item, order, state)


def pending_end(session: Session) -> ev.ChildOutcome | None:
    """Return how a waiting control or rollback ends the session or its task, or None."""
    orders = [item.input for item in session.inbox]
    for order in orders:
        if isinstance(order, ControlInput) and order.action == "stop" and _fits(session, order):
            return None if session.state.state == "stopped" else "stopped"
    cut = any(order.interrupts in ("cancel", "rollback") and _is_meant(session, order) for order in orders)
    return "cancelled" if cut and session.state.turn is not None else None


def _fits(session: Session, order: ControlInput) -> bool:
    if order.scope == "unused":
        return is_idle(session.state) and _next(session) is None
    return _is_meant(session, order)


def _is_meant(session: Session, order: Input) -> bool:
    """Whether an order is meant for the open turn, or for the one that would begin next."""
    if not isinstance(order, ControlInput) or order.input is None:
        return True
    if session.state.turn is not None:
        return order.input == session.state.turn.input
    return (following := _next(session)) is not None and following.id == order.input


def is_idle(state: State) -> bool:
    """Whether the session is idle and no timer or child will wake it."""
    return state.phase == "idle" and not state.timers and not state.waits


def _apply(session: Session, item: InboxItem, order: ControlInput, state: SessionState) -> None:
    match order.action:
        case "start":
            _enter(session, "running", state in ("created", "stopped", "error"))
        case "resume":
            _enter(session, "running", state in ("paused", "error"))
        case "pause":
            if state in ("created", "running"):
                outcomes.leave_open(session)
                _enter(session, "paused", True)
        case "cancel":
            _open_for_cancel(session, item)
            _cancel(session)
            if order.scope == "task":
                _give_up(session, "cancelled", "its task was given up")
        case "stop":
            _cancel(session)
            _give_up(session, "stopped", "the session was stopped")
            _enter(session, "stopped", state != "stopped")
        case "trust" | "compact":
            pass  # the event carries it
        case _:
            assert_never(order.action)


def _give_up(session: Session, outcome: ev.ChildOutcome, why: str) -> None:
    for feature in asked(session, "given_up"):
        feature.given_up(session, outcome, why)


def begin_turn(session: Session) -> bool:
    """Start a turn with the oldest waiting message, or input of a feature that begins one. Returns whether one was
    started."""
    while (item := _next(session)) is not None:
        begin = beginners().get(type(item.input), _begin)
        if begin(session, item):
            return True
    return False


def _begin(session: Session, item: InboxItem) -> bool:
    _receive(session, item)
    open_turn(session, item)
    return True


def open_turn(session: Session, item: InboxItem) -> None:
    """Open a turn for the input that was received last."""
    session.log.note(ev.TurnStarted(at=time.time(), turn=session.state.turns + 1, input=item.id))


def deliver_steer(session: Session) -> bool:
    """Deliver all steering messages to the running turn. Returns whether there were any."""
    if not session.inbox.items:
        return False
    steers = [item for item in session.inbox if isinstance(item.input, MessageInput) and item.input.mode == "steer"]
    for item in steers:
        _receive(session, item)
    return bool(steers)


def _next(session: Session) -> InboxItem | None:
    begins = beginners()
    return next(
        (
            item
            for item in session.inbox
            if isinstance(item.input, MessageInput | TimerInput) or type(item.input) in begins
        ),
        None,
    )


def taint(session: Session, by: str | None) -> None:
    """Taint the session: the sender of the next message has seen untrusted content."""
    if by is not None and session.state.tainted is None:
        session.log.note(ev.SessionTainted(at=time.time(), by=by[:200]))


def _receive(session: Session, item: InboxItem) -> None:
    now = time.time()
    match item.input:
        case MessageInput(parts=parts, mode=mode, source=source, note=note):
            taint(session, item.input.tainted)
            for feature in asked(session, "hears"):
                feature.hears(session, item)
            account = item.input.account
            event = ev.InputReceived(
                at=now, input=item.id, parts=parts, mode=mode, source=source, note=note, account=account
            )
            session.log.note(event, consume=item.id)
        case TimerInput(timer=timer, parts=parts):
            session.log.note(ev.TimerFired(at=now, timer=timer, input=item.id))
            event = ev.InputReceived(at=now, input=item.id, parts=parts, source=f"timer:{timer}")
            session.log.note(event, consume=item.id)
        case _:
            raise AssertionError(f"{item.input!r} is not conversation")


def _enter(session: Session, state: SessionState, fits: bool) -> None:
    if fits and session.state.state != state:
        session.log.note(ev.StateChanged(at=time.time(), state=state))


def _open_for_cancel(session: Session, item: InboxItem) -> None:
    """Open a turn for a message that was sent before the cancel but not yet begun: the cancel is meant for it."""
    following = next((one for one in session.inbox if isinstance(one.input, MessageInput | TimerInput)), None)
    if session.state.turn is None and session.state.state == "running" and following and following.id < item.id:
        _begin(session, following)


def abandon_before(session: Session, before: int) -> None:
    """End the open turn, and all messages before input `before`, without an answer, in any state of the session. Their
    senders get an outcome, and none of them is left when the session resumes."""
    _cancel(session)
    while (following := _next_message(session)) is not None and following.id < before:
        _begin(session, following)
        _cancel(session)


def _next_message(session: Session) -> InboxItem | None:
    return next((item for item in session.inbox if isinstance(item.input, MessageInput)), None)


def _cancel(session: Session) -> None:
    if session.state.turn is None:
        return
    outcomes.fail_step(session, "cancelled", "the turn was cancelled")
    outcomes.close_calls(session, "cancelled", "the turn was cancelled")
    outcomes.end_turn(session, "cancelled")


def _approve(session: Session, item: InboxItem, answer: ApprovalInput) -> None:
    call = session.state.call(answer.call)
    if call is None or call.status != "asking" or answer.asked not in (None, call.asked):
        session.log.drop(item)  # it answers another question, perhaps of an earlier call with the same id
        return
    event = ev.ApprovalResolved(
        at=time.time(),
        call=answer.call,
        decision=answer.decision,
        note=answer.note,
        source=answer.source,
        arguments=answer.arguments,
        always=answer.always,
        scope=answer.scope,
        account=answer.account,
    )
    session.log.note(event, consume=item.id)
    outcomes.clear_deadline(session, answer.call)


def _set_timer(session: Session, item: InboxItem, order: SetTimerInput) -> None:
    for late in list(session.inbox):  # firings of the former setting that arrived after this order was accepted
        if isinstance(late.input, TimerInput) and late.input.timer == order.timer and late.id > item.id:
            session.log.drop(late)
    if order.due is None:
        session.log.note(ev.TimerCleared(at=time.time(), timer=order.timer), consume=item.id)
        session.log.set_timer(order.timer, None)
    else:
        session.log.note(ev.TimerSet(at=time.time(), timer=order.timer, due=order.due), consume=item.id)
        due = TimerInput(order.timer, order.parts)
        session.log.set_timer(order.timer, TimerSpec(order.timer, order.due, due))
