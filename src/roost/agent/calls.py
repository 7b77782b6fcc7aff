"""Tool calls: through the gate, by their replay rule, in parallel where they only read."""

from __future__ import annotations

import asyncio
import time

from roost.agent import saving
from roost.agent.ending import UNKNOWN_EFFECT, end_call, not_run
from roost.agent.session import Interrupted, LiveSession
from roost.agent.state import Call
from roost.log import events as ev
from roost.policy.gate import GateCall
from roost.policy.rules import Touches
from roost.tools.base import Tool, ToolContext
from roost.tools.run import arguments_of, run_tool

READERS_AT_ONCE = 8


async def run(session: LiveSession) -> None:
    """Bring the newest message's calls as far as they go. Those that wait for a person stay open. Raises
    `Interrupted`, leaving running calls to the caller's cause."""
    readers: list[Call] = []
    others: list[Call] = []
    for call in list(session.state.calls):
        if _admit(session, call):
            (readers if _tool(session, call).safety == "read_only" else others).append(call)
    for start in range(0, len(readers), READERS_AT_ONCE):
        await _batch(session, readers[start : start + READERS_AT_ONCE])
    for call in others:
        if session.cause(steer=True) == "steer":
            end_call(session, call.call.id, "skipped", not_run(call, "the user said something new first"))
        else:
            await _batch(session, [call])
    if session.state.phase == "waiting":
        await session.flush()


def _tool(session: LiveSession, call: Call) -> Tool:
    return session.means.tools[call.call.name]


def _admit(session: LiveSession, call: Call) -> bool:
    """Whether the call runs now. Otherwise it is done, or waits for a person."""
    if call.status in ("done", "asking"):
        return False
    if call.status == "rejected":
        note = f": {call.reason}" if call.reason else ""
        end_call(session, call.call.id, "denied", not_run(call, f"a person rejected this call{note}"))
        return False
    tool = session.means.tools.get(call.call.name)
    if tool is None:
        known = ", ".join(session.means.tools) or "none"
        end_call(session, call.call.id, "error", f"there is no tool {call.call.name!r}; the tools are: {known}")
        return False
    if call.status == "running":
        return _replay(session, call, tool)
    return call.status == "approved" or _pass_gate(session, call, tool)


def _replay(session: LiveSession, call: Call, tool: Tool) -> bool:
    """The call started and has no outcome: a crash or a pause cut it. The stricter of the rule in the log and the
    tool's present one decides."""
    rules = {call.replay, tool.replay}
    if "never" in rules:
        end_call(session, call.call.id, "interrupted", UNKNOWN_EFFECT)
        return False
    if "ask" in rules:
        _ask(session, call, "it was interrupted and may have taken effect; approve to run it again", "replay")
        return False
    return True


def _pass_gate(session: LiveSession, call: Call, tool: Tool) -> bool:
    verdict = session.means.gate.decide(
        GateCall(
            session=session.id,
            call=call.call.id,
            tool=tool.name,
            arguments=call.call.arguments,
            safety=tool.safety,
            inside=tool.inside,
            private_workspace=session.means.workspace.private,
            root=session.means.workspace.place,
            touches=_touches(session, call, tool),
            walled=session.means.sandbox.level > 0,
        )
    )
    if verdict.decision == "deny":
        end_call(session, call.call.id, "denied", f"[denied: {verdict.reason}]")
    elif verdict.decision == "ask":
        _ask(session, call, verdict.reason, "policy")
    return verdict.decision == "allow"


def _touches(session: LiveSession, call: Call, tool: Tool) -> Touches:
    if tool.reach is None:
        return Touches()
    arguments = arguments_of(tool, call.call.arguments)
    return Touches() if isinstance(arguments, str) else tool.reach(arguments, session.means.workspace.place)


def _ask(session: LiveSession, call: Call, reason: str, cause: str) -> None:
    session.note(
        ev.ApprovalRequested(
            at=time.time(),
            call=call.call.id,
            name=call.call.name,
            arguments=call.call.arguments,
            reason=reason,
            cause="replay" if cause == "replay" else "policy",
        )
    )


async def _batch(session: LiveSession, batch: list[Call]) -> None:
    """Intents into the log, then the calls at once, each outcome into the log as it comes."""
    cause = session.cause()
    if cause is not None:
        raise Interrupted(cause)
    for call in batch:
        tool = _tool(session, call)
        session.note(
            ev.ToolStarted(
                at=time.time(),
                call=call.call.id,
                name=tool.name,
                replay=tool.replay,
                key=_key(session, call),
                attempt=call.attempt + 1,
            )
        )
    await session.flush()
    if len(batch) == 1:
        await session.interruptible(lambda: _run(session, batch[0]), steer=False)
        return

    async def together() -> None:
        try:
            async with asyncio.TaskGroup() as group:
                for call in batch:
                    group.create_task(_run(session, call))
        except ExceptionGroup as several:  # a lost lease or store, met by each
            raise several.exceptions[0] from several

    await session.interruptible(together, steer=False)


def _key(session: LiveSession, call: Call) -> str:
    """The same for every attempt of this call, and for no other call."""
    return f"{session.id}:{session.state.steps}:{call.call.id}"


async def _run(session: LiveSession, call: Call) -> None:
    means = session.means
    tool_context = ToolContext(
        session=session.id,
        call=call.call.id,
        key=_key(session, call),
        attempt=call.attempt,
        workspace=means.workspace,
        sandbox=means.sandbox,
        seen=session.seen,
        emit=session.emit,
    )
    tool = _tool(session, call)
    files = saving.saves(session, tool)
    if files is not None:
        await files.working()
    began = time.monotonic()
    outcome, parts = await run_tool(tool, tool_context, call.call.arguments)
    seconds = time.monotonic() - began
    try:
        if files is not None:
            parts += await saving.save(session, files)
    finally:  # the call has ended, whatever cuts the save off
        session.note(ev.ToolCompleted(at=time.time(), call=call.call.id, outcome=outcome, parts=parts, seconds=seconds))
    if any(other.status == "running" for other in session.state.calls):
        await session.flush_shielded()
