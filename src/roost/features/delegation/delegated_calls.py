"""Delegated tasks: a tool call starts a child session, and gets its outcome when the task is over."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import NamedTuple

from roost.agent.call_context import context_of, key_of
from roost.agent.definition import Children
from roost.agent.feature import AdmittedCall, CallEnd, asked
from roost.agent.inputs import taint
from roost.agent.interrupts import Interrupted
from roost.agent.limits import nano
from roost.agent.outcomes import end_call, skip_if_steered, with_changes
from roost.agent.session import Session
from roost.agent.state import Call
from roost.errors import RoostError, StoreFailed
from roost.features.delegation.child_messages import cut, due_timer, note_end, order_to, told_of
from roost.features.delegation.events import ChildHeld, ChildInput, ChildStarted
from roost.features.delegation.ports import ChildOrder, Family, Known
from roost.features.delegation.state import Child, DelegationState, DelegationTurn
from roost.log import events as ev
from roost.log.content import ResultPart, Text, ToolOutcome
from roost.log.inputs import MessageInput
from roost.log.protocols import Delivery, TimerSpec
from roost.tools.base import ToolContext
from roost.tools.errors import ToolError
from roost.tools.run_tool import run_tool

_PAUSES = (0.2, 1.0, 3.0, 10.0, 30.0)
"""Seconds between attempts to create a session while the store fails."""
_TITLE = 80


class _Begun(NamedTuple):
    child: str
    agent: str
    prompt: str
    background: bool
    due: float | None


class _Delegated(NamedTuple):
    """A call that may start a child. context: for its tool."""

    call: Call
    context: ToolContext


class CallAgents:
    """The other agents, for one call. begun: the task that it delegated. said: its messages to other sessions. Both
    enter the log when the call ends. All methods raise `ToolError`, in words for the model."""

    def __init__(self, session: Session, family: Family, key: str) -> None:
        self._session, self._family, self._key = session, family, key
        self.begun: _Begun | None = None
        self.said: list[Delivery] = []

    def callable(self) -> Sequence[Known]:
        return self._family.callable()

    async def begin(self, agent: str, prompt: str, *, background: bool, deadline: float | None) -> str:
        session = self._session
        if (no := self._family.refusal(agent)) is not None:
            raise ToolError(no)
        order = ChildOrder(
            key=f"task:{self._key}"[-255:],
            agent=agent,
            title=" ".join(prompt[: 2 * _TITLE].split())[:_TITLE],
            family=_family(session, background=background),
            user=session.about.get("user"),
            workspace=session.state.workspace,
        )
        child = await self._make(order)
        due = None if deadline is None else time.time() + deadline
        self.begun = _Begun(child, agent, prompt, background, due)
        return child

    def running(self) -> Sequence[Known]:
        return [Known(name, child.agent) for name, child in self._session.state.part(DelegationState).children.items()]

    def cancel(self, child: str) -> None:
        if child not in self._session.state.part(DelegationState).children:
            raise ToolError(f"no task of yours runs in a session {child!r}")
        self.said.append(order_to(child, "cancel", self._key))

    async def tell(self, to: str, text: str) -> str:
        session, family = self._session, self._session.state.family
        if to == "parent" and family is None:
            raise ToolError("this session has no parent: nobody has given it a task")
        own = family.parent if family is not None and to == "parent" else None
        try:
            target = await self._family.reach(own or to, session.about.get("user"))
        except RoostError as error:
            raise ToolError(error.message) from None
        kin = own is not None or target.id in session.state.part(DelegationState).children
        if not kin and (no := self._family.refusal(target.agent)) is not None:
            raise ToolError(no)
        if target.id == session.id:
            raise ToolError("that is this session itself")
        if target.state in ("stopped", "error"):
            raise ToolError(f"session {target.id} is {target.state} and takes no messages")
        source = f"agent:{session.spec.name}:{session.id}"
        message = MessageInput((Text(text),), source=source, tainted=session.state.tainted)
        self.said.append(Delivery(target.id, message, f"agent:{self._key}"[-255:]))
        return target.id

    async def _make(self, order: ChildOrder) -> str:
        for pause in (*_PAUSES, None):
            try:
                return await self._family.make(order)
            except StoreFailed as error:
                if pause is None:
                    raise ToolError(f"no session can be made for it: {error.message}") from None
                await asyncio.sleep(pause)
            except RoostError as error:
                raise ToolError(error.message) from None
        raise AssertionError


def messages_of(context: ToolContext) -> list[Delivery]:
    """Return the messages to other sessions that the call sends when it ends."""
    agents = context.given(CallAgents)
    return [] if agents is None else agents.said


async def run(session: Session, admitted: Sequence[AdmittedCall]) -> None:
    """Start the tasks of these calls, within the limits. Raises `Interrupted`; calls then stay running, and a retry
    finds the same children."""
    waiting = [one for one in admitted if not skip_if_steered(session, one.call)]
    if (cause := session.interrupts.cause()) is not None:
        raise Interrupted(cause)
    begun: list[_Delegated] = []
    for call, why, tool in waiting:
        if call.status != "running" and not _fits(session, call, len(begun)):
            continue
        context = context_of(session, call, tool, key_of(session, call))
        begun.append(_Delegated(call, context))
        session.log.note(
            ev.ToolStarted(
                at=time.time(),
                call=call.call.id,
                name=call.call.name,
                replay="safe",
                key=context.key,
                attempt=call.attempt + 1,
                why=why,
            )
        )
    if begun:
        await session.log.flush()
        await session.interrupts.interruptible(lambda: _give(session, begun), steer=False)
        await session.log.flush()


def _fits(session: Session, call: Call, more: int) -> bool:
    """Whether the limits allow one more child beside `more` others. If not, the call is deferred or gets an error."""
    limits, state = session.spec.children or Children(), session.state
    begun = state.turn.part(DelegationTurn).children if state.turn is not None else 0
    taken = begun + more + sum(one.held for one in state.calls if one is not call)
    if _levels(session) < 1:
        end_call(session, call.call.id, "error", "[not begun: no children may be below this session; do it yourself]")
        return False
    if taken >= limits.breadth:
        most = f"a turn may begin {limits.breadth} children at most; do the rest yourself, or in a later turn"
        end_call(session, call.call.id, "error", f"[not begun: {most}]")
        return False
    if len(state.part(DelegationState).children) + more >= limits.at_once:
        if not call.held:
            session.log.note(ChildHeld(at=time.time(), call=call.call.id))
        return False
    return True


def _levels(session: Session) -> int:
    own, family = (session.spec.children or Children()).depth, session.state.family
    return own if family is None else min(own, family.levels)


def _family(session: Session, *, background: bool) -> ev.Family:
    above = () if session.state.family is None else session.state.family.above
    money = session.spec.limits.session_money
    own = ev.Ancestor(session.id, None if money is None else nano(money))
    return ev.Family((*above, own), _levels(session) - 1, background)


async def _give(session: Session, given: Sequence[_Delegated]) -> None:
    await asyncio.gather(*(_run(session, one.call, one.context) for one in given))


async def _run(session: Session, call: Call, context: ToolContext) -> None:
    """Create the child session, and deliver its task in the commit that records the child in the log."""
    began = time.monotonic()
    tool = session.means.tools[call.call.name]
    outcome, parts = await run_tool(tool, context, call.arguments)
    agents = context.given(CallAgents)
    begun = None if agents is None else agents.begun
    if begun is None or outcome != "ok":
        end = CallEnd(call, tool, context, outcome == "ok", outcome, parts, None)
        await _judge(session, end)
        _complete(session, end, time.monotonic() - began)
        return
    source = f"agent:{session.spec.name}:{session.id}"
    prompt = MessageInput((Text(begun.prompt),), source=source, tainted=session.state.tainted)
    session.log.note(
        ChildStarted(
            at=time.time(),
            child=begun.child,
            call=call.call.id,
            agent=begun.agent,
            background=begun.background,
            due=begun.due,
        ),
        deliver=[Delivery(begun.child, prompt, "task")],
    )
    if begun.due is not None:
        timer = due_timer(begun.child)
        session.log.note(ev.TimerSet(at=time.time(), timer=timer, due=begun.due))
        session.log.set_timer(timer, TimerSpec(timer, begun.due, ChildInput(begun.child, "timeout")))
    if begun.background:
        end = CallEnd(call, tool, context, outcome == "ok", outcome, parts, None)
        _complete(session, end, time.monotonic() - began)


async def complete_delegated(session: Session) -> None:
    """Give the calls of this turn the ends of their children. Raises `Interrupted`; remaining ends stay in the
    inbox."""
    for item in list(session.inbox):
        if not isinstance(item.input, ChildInput):
            continue
        child = session.state.part(DelegationState).children.get(item.input.child)
        call = None if child is None else session.state.call(child.call)
        if child is None or child.background or call is None or call.status != "awaiting":
            continue
        end, tool = item.input, session.means.tools.get(call.call.name)
        if tool is None:  # it has another name since the task began
            taint(session, _tainted_by(child, end))
            note_end(session, child, end, item, cut(end))
            outcome, parts = _result(end)
            session.log.note(ev.ToolCompleted(at=time.time(), call=call.call.id, outcome=outcome, parts=parts))
            continue
        context = context_of(session, call, tool, key_of(session, call))
        over = CallEnd(call, tool, context, end.outcome == "answered", *_result(end), None)
        if asked(session, "judges"):
            await session.interrupts.interruptible(lambda over=over: _judge(session, over), steer=False)
        taint(session, _tainted_by(child, end))
        note_end(session, child, end, item, cut(end))
        _complete(session, over, 0.0)


def _tainted_by(child: Child, end: ChildInput) -> str | None:
    return None if end.tainted is None else f"agent {child.agent}"


def _result(end: ChildInput) -> tuple[ToolOutcome, tuple[ResultPart, ...]]:
    if end.outcome == "answered":
        return "ok", end.parts
    said = (Text("What it had said:"), *end.parts) if end.parts else ()
    return "error", (Text(f"[{told_of(end)}]"), *said)


async def _judge(session: Session, end: CallEnd) -> None:
    """Let features judge the result of a task, as they judge other calls. Its own files are not those of this session:
    nothing is undone or saved."""
    for feature in asked(session, "judges"):
        await feature.after_call(session, end)


def _complete(session: Session, end: CallEnd, seconds: float) -> None:
    call = end.call
    parts = with_changes(call, end.parts) + session.hints.take()
    session.log.note(
        ev.ToolCompleted(at=time.time(), call=call.call.id, outcome=end.outcome, parts=parts, seconds=seconds)
    )
