"""Questions to a person: about a tool call, or about a whole turn."""

from __future__ import annotations

import time

from msgspec.structs import replace

from roost.agent.call_context import gate_call, touches_of
from roost.agent.feature import asked
from roost.agent.outcomes import deadline
from roost.agent.request_plan import tools_of
from roost.agent.session import Session
from roost.agent.state import Call
from roost.log import events as ev
from roost.log.inputs import ApprovalInput
from roost.log.protocols import TimerSpec
from roost.policy.gate import NOTHING
from roost.policy.question_parts import dangers
from roost.policy.standing_rules import candidates, parsed
from roost.tools.base import Tool


def ask_person(session: Session, call: Call, reason: str, why: str | None) -> None:
    """Ask a person to approve the call. why: the layer that asks before a first run; None: recovery asks before it runs
    again."""
    now, patience = time.time(), session.means.approval_seconds
    tool = tools_of(session).get(call.call.name)
    touches = NOTHING if tool is None else touches_of(session, call, tool)
    offers = () if tool is None or why is None else _offers(session, call, tool)
    due = None if patience is None else now + patience
    session.log.note(
        ev.ApprovalRequested(
            at=now,
            call=call.call.id,
            name=call.call.name,
            arguments=call.arguments,
            reason=reason,
            cause="replay" if why is None else "policy",
            why=why,
            due=due,
            dangers=dangers(touches),
            prefixes=tuple(one.rule for one in offers if parsed(one.rule).kind == "command"),
            offers=offers,
        ),
        deliver=[one for feature in asked(session, "asks") for one in feature.asks(session, call, reason)],
    )
    if due is not None:
        timer, no = deadline(call.call.id), f"nobody answered within {patience:g} seconds"
        session.log.note(ev.TimerSet(at=now, timer=timer, due=due))
        session.log.set_timer(
            timer, TimerSpec(timer, due, ApprovalInput(call.call.id, "reject", no, "timeout", asked=call.asked))
        )


def _offers(session: Session, call: Call, tool: Tool) -> tuple[ev.RuleOffer, ...]:
    """Return the standing rules with which the gate would have allowed the call. None if something else than the
    agent's permissions asks: no standing rule answers that."""
    gate, judged = session.means.gate, gate_call(session, call, tool)
    if gate.decide(judged).decision != "ask":
        return ()
    possible = candidates(tool.name, judged.touches, judged.root, private=judged.private_workspace)
    return tuple(
        offer
        for offer in possible
        if gate.decide(replace(judged, grants=(*judged.grants, offer.rule))).decision == "allow"
    )


def turn_approved(session: Session) -> bool:
    """Whether the open turn may go on: no person has to approve it, or one has."""
    turn = session.state.turn
    return turn is None or turn.gate is None or turn.gate.status == "approved"


def turn_rejected(session: Session) -> str | None:
    """Return the reason to end the turn if a person rejected it, else None."""
    turn = session.state.turn
    gate = None if turn is None else turn.gate
    if gate is None or gate.status != "rejected":
        return None
    return f"a person said no{f': {gate.reason}' if gate.reason else ''}"
