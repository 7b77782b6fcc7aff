"""Calls of other agents and of programs, at the seams of the loop."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from roost.agent.feature import Feature
from roost.agent.inputs import open_turn, taint
from roost.agent.session import Session
from roost.agent.state import Turn
from roost.features.system_calls.events import SystemAnswered, SystemCalled, SystemCallInput
from roost.features.system_calls.rights import refusal
from roost.features.system_calls.state import call_of
from roost.log import events as ev
from roost.log.content import Text, UserMessage
from roost.log.protocols import Delivery, InboxItem
from roost.log.session_info import TurnOutcome
from roost.models.request import Model

if TYPE_CHECKING:
    from roost.features.system_calls.call_model import CallModel

SOURCE = "system_call"


def begin(session: Session, item: InboxItem) -> bool:
    """Begin the turn of a call, or refuse it. Returns whether a turn is open."""
    given = item.input
    assert isinstance(given, SystemCallInput)
    refused = refusal(session.spec, given.caller, given.tool)
    called = SystemCalled(
        at=time.time(),
        input=item.id,
        tool=given.tool,
        arguments=given.arguments,
        caller=given.caller,
        session=given.session,
        refused=refused,
    )
    if refused:
        session.log.note(called, consume=item.id)
        session.log.note(SystemAnswered(at=time.time(), input=item.id, outcome="denied", text=refused))
        return False
    taint(session, given.tainted)
    said = (Text(f"[{given.caller} calls {given.tool}]"),)
    received = ev.InputReceived(at=time.time(), input=item.id, parts=said, source=SOURCE, account=given.account)
    session.log.note(received, consume=item.id)
    open_turn(session, item)
    session.log.note(called)
    return True


class _Ending:
    """Why the turn that ends has no answer."""

    def __init__(self, session: Session) -> None:
        self.reason = ""


class SystemCalls(Feature):
    """Let a call begin a turn whose only step it is, and note its outcome with the end of the turn."""

    begins = {SystemCallInput: begin}

    def used(self, session: Session) -> bool:
        return bool(session.spec.serves) or call_of(session.state.turn) is not None

    def model(self, session: Session) -> CallModel | Model | None:
        call = call_of(session.state.turn)
        if call is None or call.answered:
            return None
        if call.outcome is not None and isinstance(session.state.entries[-1].message, UserMessage):
            return None  # a person said something meanwhile: the session's own model answers, and sees the result
        from roost.features.system_calls.call_model import CallModel

        return CallModel(session, call)

    def ending(self, session: Session, outcome: TurnOutcome, reason: str | None) -> Sequence[Delivery]:
        if call_of(session.state.turn) is not None:
            session.own(_Ending).reason = reason or outcome
        return ()

    def ended(self, session: Session, turn: Turn) -> None:
        if (call := call_of(turn)) is not None:
            text = call.text if call.outcome is not None else session.own(_Ending).reason
            outcome = call.outcome or "failed"
            session.log.note(SystemAnswered(at=time.time(), input=call.input, outcome=outcome, text=text))


FEATURE = SystemCalls()
