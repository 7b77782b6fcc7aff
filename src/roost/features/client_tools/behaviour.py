"""Offer the tools of a client to the model, hand calls over to the client, and take their results."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from roost.agent.call_context import context_of, key_of
from roost.agent.feature import AdmittedCall, CallEnd, Draft, Feature, RunCalls, asked
from roost.agent.outcomes import skip_if_steered, with_changes
from roost.agent.session import Session
from roost.agent.state import Call
from roost.agent.tool_offers import ToolOffers
from roost.features.client_tools.events import ClientCalled, ClientOffered, ClientOfferInput, ClientResultInput
from roost.features.client_tools.state import ANSWER, ClientToolsState, ClientToolsTurn
from roost.log import events as ev
from roost.log.inputs import MessageInput
from roost.log.protocols import InboxItem
from roost.tools.base import Tool, Toolbox, ToolContext, ToolResult


class ClientTool(Tool, frozen=True, kw_only=True):
    """A tool that the client runs. Its protocol may let it leave the description out."""

    undescribed = True


async def _elsewhere(context: ToolContext, arguments: dict[str, Any]) -> ToolResult:
    raise AssertionError("the client runs this tool")


def _equip(session: Session) -> None:
    """Offer the client's tools. Those of the agent win."""
    theirs = {
        one.name: ClientTool(
            name=one.name,
            description=one.description,
            schema=one.schema or {"type": "object", "properties": {}},
            run=_elsewhere,
            replay="safe",
            safety="read_only",
            files=False,
            early=False,
        )
        for one in session.state.part(ClientToolsState).tools
    }
    session.own(ToolOffers).offer("client_tools", theirs)


def _offer(session: Session, item: InboxItem) -> None:
    offer, part = item.input, session.state.part(ClientToolsState)
    assert isinstance(offer, ClientOfferInput)
    fields = offer.tools, offer.answer, offer.choice
    if fields == (part.tools, part.answer, part.choice):
        session.log.drop(item)
        return
    tools, answer, choice = fields
    session.log.note(ClientOffered(at=time.time(), tools=tools, answer=answer, choice=choice), consume=item.id)
    _equip(session)


def _take_result(session: Session, item: InboxItem) -> None:
    """Drop the result of a call that does not wait; `_complete` takes the others."""
    if _waiting(session, item) is None:
        session.log.drop(item)


def _waiting(session: Session, item: InboxItem) -> Call | None:
    """Return the call that a result is for, if it waits for the client."""
    result, turn = item.input, session.state.turn
    if not isinstance(result, ClientResultInput) or turn is None:
        return None
    call = session.state.call(result.call)
    known = call is not None and call.status == "awaiting" and result.call in turn.part(ClientToolsTurn).called
    return call if known else None


async def _complete(session: Session) -> None:
    """Give the calls of this turn the results that have come. Features judge them as those of other calls. Raises
    `Interrupted`; remaining results stay in the inbox."""
    for item in list(session.inbox):
        call, result = _waiting(session, item), item.input
        if call is None or not isinstance(result, ClientResultInput):
            continue
        outcome, parts = "error" if result.error else "ok", result.parts
        tool = session.means.tools.get(call.call.name)
        if tool is not None:  # else it is no longer offered
            context = context_of(session, call, tool, key_of(session, call))
            end = CallEnd(call, tool, context, not result.error, outcome, parts, None)
            if asked(session, "judges"):
                await session.interrupts.interruptible(lambda end=end: _judge(session, end), steer=False)
            outcome, parts = end.outcome, end.parts
        parts = with_changes(call, parts) + session.hints.take()
        session.log.note(
            ev.ToolCompleted(at=time.time(), call=call.call.id, outcome=outcome, parts=parts), consume=item.id
        )


async def _judge(session: Session, end: CallEnd) -> None:
    for feature in asked(session, "judges"):
        await feature.after_call(session, end)


async def _hand_over(session: Session, admitted: Sequence[AdmittedCall]) -> None:
    """Let calls wait for the client."""
    for call, why, tool in admitted:
        if skip_if_steered(session, call):
            continue
        now, id = time.time(), call.call.id
        key, attempt = key_of(session, call), call.attempt + 1
        session.log.note(
            ev.ToolStarted(at=now, call=id, name=tool.name, replay="safe", key=key, attempt=attempt, why=why)
        )
        session.log.note(ClientCalled(at=now, call=id, name=tool.name, arguments=call.arguments))
    await session.log.flush()


def _asks(item: InboxItem) -> bool:
    """Whether a message, whose turn may begin now, names a schema for its answer."""
    message = item.input
    return isinstance(message, MessageInput) and message.note is not None and ANSWER in message.note


class ClientTools(Feature):
    """Add the client's tools to the agent's, and let their calls wait for the client."""

    takes = {ClientOfferInput: _offer, ClientResultInput: _take_result}

    def used(self, session: Session) -> bool:
        part, turn = session.state.part(ClientToolsState), session.state.turn
        if part.tools or part.choice or part.answer is not None or any(map(_asks, session.inbox)):
            return True
        return turn is not None and bool((own := turn.part(ClientToolsTurn)).called or own.answer is not None)

    async def wake(self, session: Session) -> None:
        _equip(session)

    async def before_calls(self, session: Session) -> None:
        if session.inbox:
            await _complete(session)

    def tools(self, session: Session) -> Toolbox | None:
        chosen = session.state.part(ClientToolsState).choice
        return {name: session.means.tools[name] for name in chosen if name in session.means.tools} or None

    def shape(self, session: Session, draft: Draft) -> None:
        if self.tools(session) is not None:
            draft.tool_choice = "required"

    def answer_schema(self, session: Session) -> dict[str, Any] | None:
        turn = session.state.turn
        own = None if turn is None else turn.part(ClientToolsTurn).answer
        return session.state.part(ClientToolsState).answer if own is None else own

    def runs(self, session: Session, tool: Tool) -> RunCalls | None:
        return _hand_over if isinstance(tool, ClientTool) else None


FEATURE = ClientTools()
