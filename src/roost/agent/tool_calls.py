"""Tool calls: admit each through the policy gate, honour its replay policy, and run read-only calls in parallel."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from functools import partial
from itertools import groupby
from typing import NamedTuple

from roost.agent.approvals import ask_person
from roost.agent.call_context import context_of, gate_call, key_of, outside_source
from roost.agent.feature import AdmittedCall, CallEnd, CallStart, RunCalls, asked
from roost.agent.interrupts import Interrupted
from roost.agent.known_files import learned
from roost.agent.outcomes import UNDONE, UNKNOWN_EFFECT, end_call, skip_if_steered, skipped_text, with_changes
from roost.agent.request_plan import tools_of
from roost.agent.session import Session
from roost.agent.speculation import READERS_AT_ONCE, Speculation, SpeculativeCall
from roost.agent.state import PERSON, Call
from roost.log import events as ev
from roost.log.content import ResultPart, ToolOutcome
from roost.policy.gate import Verdict
from roost.tools.base import Tool, ToolContext
from roost.tools.errors import NeedsPerson
from roost.tools.run_tool import run_tool


async def run(session: Session) -> bool:
    """Run the calls of the newest assistant message as far as possible, in the model's order.

    Neighbouring read-only calls run in parallel, neighbouring delegated tasks too; every other call runs alone. A call
    that waits for a person stays open and does not delay the others. Returns whether the turn waits. Raises
    `Interrupted`; running calls are then left for the interrupting input to close."""
    for feature in asked(session, "before_calls"):
        await feature.before_calls(session)
    admitted: list[AdmittedCall] = []
    for call in list(session.state.calls):
        verdict = await _admit(session, call)
        if verdict is not None:
            admitted.append(AdmittedCall(call, verdict.why, session.means.tools[call.call.name]))
    for runner, group in groupby(admitted, lambda one: _runner(session, one.tool)):
        await runner(session, list(group))
    waits = bool(session.state.calls) and session.state.phase == "waiting"
    if waits:
        await session.log.flush()
    return waits


def _runner(session: Session, tool: Tool) -> RunCalls:
    """Return the function that runs neighbouring calls of this kind."""
    for feature in asked(session, "runs"):
        if (runner := feature.runs(session, tool)) is not None:
            return runner
    return _read if tool.safety == "read_only" else _one_by_one


async def run_here(session: Session, one: AdmittedCall) -> None:
    """Run a call as the loop does, whatever feature would run calls of its tool. Raises `Interrupted`."""
    await (_read if one.tool.safety == "read_only" else _one_by_one)(session, [one])


async def _read(session: Session, group: Sequence[AdmittedCall]) -> None:
    if len(group) == 1:
        await _batch(session, group)
        return
    early = session.own(Speculation)
    if early.keeps:  # calls already in flight come first: they count towards the limit
        group = sorted(group, key=lambda one: early.kept(one.call.call.id) is None)
    for start in range(0, len(group), READERS_AT_ONCE):
        await _batch(session, group[start : start + READERS_AT_ONCE])


async def _one_by_one(session: Session, group: Sequence[AdmittedCall]) -> None:
    for each in group:
        if not skip_if_steered(session, each.call):
            await _batch(session, [each])


async def _admit(session: Session, call: Call) -> Verdict | None:
    """Return the verdict by which the call runs now, or None if it is done or waits. Features judge a new call before
    the gate, which judges the arguments they changed, and after it."""
    fresh, tool = call.status == "planned", tools_of(session).get(call.call.name)
    if fresh and tool is not None:
        for feature in asked(session, "before_gate"):
            if not await feature.before_gate(session, call, tool):
                return None
    verdict = _judge(session, call, tool)
    if verdict is None or not fresh or tool is None:
        return verdict
    for feature in asked(session, "after_gate"):
        judged = await feature.after_gate(session, gate_call(session, call, tool), verdict)
        if judged is not verdict:
            return _obeyed(session, call, judged)
    return verdict


def _judge(session: Session, call: Call, tool: Tool | None) -> Verdict | None:
    if call.status in ("done", "asking", "awaiting") or session.state.holds(call):
        return None
    if call.status == "rejected":
        said = f"this call was rejected: {call.reason}" if call.reason else "a person rejected this call"
        end_call(session, call.call.id, "denied", skipped_text(call, said), why="person")
        return None
    if tool is None:
        known = ", ".join(tools_of(session)) or "none"
        end_call(session, call.call.id, "error", f"there is no tool {call.call.name!r}; the tools are: {known}")
        return None
    if call.status == "running":
        return _AGAIN if _replay(session, call, tool) else None
    if call.status == "approved":
        return _approved(session, call, tool)
    return _obeyed(session, call, session.means.gate.decide(gate_call(session, call, tool)))


_AGAIN = Verdict("allow", "it was cut off and may run again", "roost")
_BY_PERSON = Verdict("allow", "approved", "person")


def _approved(session: Session, call: Call, tool: Tool) -> Verdict | None:
    """Allow a call that a person approved. If a person wrote the arguments, the gate's denials still apply."""
    if call.changed_by != PERSON:
        return _BY_PERSON
    verdict = session.means.gate.decide(gate_call(session, call, tool))
    return _obeyed(session, call, verdict) if verdict.decision == "deny" else _BY_PERSON


def _replay(session: Session, call: Call, tool: Tool) -> bool:
    """Decide whether a call that a crash or a pause cut off runs again. The stricter of the replay policy in the log
    and the tool's current one applies."""
    rules = {call.replay, tool.replay}
    unattended = session.spec.unattended if "ask" in rules and _nobody_watches(session) else "ask"
    if "never" in rules or unattended == "tell":
        known = f"{UNKNOWN_EFFECT} {UNDONE}" if call.undone else UNKNOWN_EFFECT
        end_call(session, call.call.id, "interrupted", known)
        return False
    if "ask" in rules and unattended == "ask":
        ask_person(session, call, "it was interrupted and may have taken effect; approve to run it again", None)
        return False
    return True


def _nobody_watches(session: Session) -> bool:
    turn = session.state.turn
    unattended = turn is not None and turn.unattended
    return unattended or session.state.family is not None or session.spec.permissions == "all"


def _obeyed(session: Session, call: Call, verdict: Verdict) -> Verdict | None:
    if verdict.decision == "deny":
        end_call(session, call.call.id, "denied", f"[denied by {verdict.layer}: {verdict.reason}]", why=verdict.why)
    elif verdict.decision == "ask":
        ask_person(session, call, verdict.reason, verdict.why)
    return verdict if verdict.decision == "allow" else None


async def _batch(session: Session, batch: Sequence[AdmittedCall]) -> None:
    """Commit the intents, then run the calls in parallel and note each outcome as it comes."""
    cause = session.interrupts.cause()
    if cause is not None:
        raise Interrupted(cause)
    early, starts = session.own(Speculation), list[CallStart]()
    for call, why, tool in batch:
        start = CallStart(call, tool)
        starts.append(start)
        for feature in asked(session, "before_call"):
            await feature.before_call(session, start)
        begun = early.kept(call.call.id)
        session.log.note(
            ev.ToolStarted(
                at=time.time(),
                call=call.call.id,
                name=tool.name,
                replay=tool.replay,
                key=key_of(session, call) if begun is None else begun.key,
                attempt=call.attempt + 1,
                why=why,
                undo=start.undo,
                early=begun is not None,
            )
        )
        if begun is not None:
            begun.adopt(call.call.id)
    if not _over(session, early, batch):
        await session.log.flush()
    work = partial(_run, session, starts[0]) if len(starts) == 1 else partial(_together, session, starts)
    await session.interrupts.interruptible(work, steer=False)


async def _together(session: Session, starts: Sequence[CallStart]) -> None:
    async def run(start: CallStart) -> None:
        await _run(session, start)
        if any(other.call.status == "running" for other in starts):
            await session.log.flush_shielded()

    try:
        async with asyncio.TaskGroup() as group:
            for start in starts:
                group.create_task(run(start))
    except ExceptionGroup as several:  # a lost lease or store: each call met the same failure
        raise several.exceptions[0] from several


def _over(session: Session, early: Speculation, batch: Sequence[AdmittedCall]) -> bool:
    """Whether all calls of the batch have already run speculatively and no feature judges their results: then intents
    and outcomes share one commit."""
    if not early.keeps or asked(session, "before_gate"):
        return False
    begun = (early.kept(each.call.call.id) for each in batch)
    return all(one is not None and one.task.done() for one in begun)


class _Ran(NamedTuple):
    """Outcome of a call, before features judge it."""

    outcome: ToolOutcome
    parts: tuple[ResultPart, ...]
    seconds: float
    context: ToolContext
    seen: dict[str, str | None]


async def _ran(session: Session, call: Call, tool: Tool) -> _Ran:
    begun: SpeculativeCall | None = session.own(Speculation).take(call.call.id)
    if begun is not None and (done := await begun.outcome()) is not None:
        return _Ran(*done, begun.seconds, begun.context, begun.learned())
    context = context_of(session, call, tool, key_of(session, call))
    began, known = time.monotonic(), dict(context.seen)
    outcome, parts = await run_tool(tool, context, call.arguments)
    seen = learned(session.means.workspace.place, known, context.seen)
    return _Ran(outcome, parts, time.monotonic() - began, context, seen)


async def _run(session: Session, start: CallStart) -> None:
    """Run one call of a batch and note its outcome."""
    call, tool = start.call, session.means.tools[start.call.call.name]
    for feature in asked(session, "call_begins"):
        await feature.call_begins(session, start)
    try:
        ran = await _ran(session, call, tool)
    except NeedsPerson as needs:
        session.log.note(needs.event)
        ask_person(session, call, needs.reason, f"tool: {tool.name}")
        return
    outside = outside_source(session, call, tool)
    end = CallEnd(call, tool, ran.context, ran.outcome == "ok", ran.outcome, ran.parts, outside, start.problem)
    if session.state.tainted is None and outside is not None:  # also after an error, which may quote a stranger
        session.log.note(ev.SessionTainted(at=time.time(), by=outside))
    try:
        for feature in asked(session, "after_call"):
            await feature.after_call(session, end)
    finally:  # the call has ended, even if a feature was cut off
        end.parts = with_changes(call, end.parts)
        end.parts += session.hints.take()
        for feature in asked(session, "call_ends"):
            feature.call_ends(session, end)
        session.log.note(
            ev.ToolCompleted(
                at=time.time(),
                call=call.call.id,
                outcome=end.outcome,
                parts=end.parts,
                seconds=ran.seconds,
                seen=ran.seen if end.outcome == "ok" else {},
                code=ran.context.code,
            ),
            deliver=end.deliver,
        )
        for feature in asked(session, "call_ended"):
            feature.call_ended(session, end)
