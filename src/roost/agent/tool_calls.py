"""Tool calls: admit each through the policy gate, honour its replay policy, and run read-only calls in parallel."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

from roost.agent import (
    checkpointing,
    child_messages,
    delegated_calls,
    job_tracking,
    memory_steps,
    step_checks,
    undo_points,
    workspace_saving,
)
from roost.agent.compaction.ports import OwnLog, OwnPins
from roost.agent.known_files import known_files, learned
from roost.agent.outcomes import UNKNOWN_EFFECT, deadline, end_call, skipped_text
from roost.agent.plan_state import OwnPlans
from roost.agent.session import Interrupted, Session
from roost.agent.state import PERSON, Call
from roost.errors import NotFound
from roost.log import events as ev
from roost.log.content import ResultPart, Text, ToolOutcome
from roost.log.inputs import ApprovalInput
from roost.log.protocols import Delivery, TimerSpec
from roost.policy.checks import Checks
from roost.policy.gate import NOTHING, GateCall, Verdict
from roost.policy.question_parts import dangers, prefixes
from roost.policy.rules import Touches
from roost.tools.base import Tool, ToolContext
from roost.tools.errors import ToolError
from roost.tools.run_tool import arguments_of, run_tool

if TYPE_CHECKING:
    from roost.agent.speculation import SpeculativeCall
    from roost.memory.ports import OwnMemory

READERS_AT_ONCE = 8


class _Admitted(NamedTuple):
    """A call that may run. why: the decision source that allowed it."""

    call: Call
    why: str
    tool: Tool


async def run(session: Session) -> bool:
    """Run the calls of the newest assistant message as far as possible, in the model's order.

    Neighbouring read-only calls run in parallel, neighbouring delegated tasks too; every other call runs alone. A call
    that waits for a person stays open and does not delay the others. Returns whether the turn waits. Raises
    `Interrupted`; running calls are then left for the interrupting input to close."""
    if session.state.undo is not None or session.means.files is not None:
        await undo_points.undo_pending(session)
    if session.inbox:
        await delegated_calls.complete_delegated(session)
    admitted: list[_Admitted] = []
    checks = session.means.checks
    for call in list(session.state.calls):
        verdict = _admit(session, call) if checks is None else await _admit_checked(session, checks, call)
        if verdict is not None:
            admitted.append(_Admitted(call, verdict.why, session.means.tools[call.call.name]))
    groups = [admitted] if len(admitted) == 1 else [list(group) for _, group in groupby(admitted, _kind)]
    for group in groups:
        await _KINDS[_kind(group[0])](session, group)
    waits = bool(session.state.calls) and session.state.phase == "waiting"
    if waits:
        await session.flush()
    return waits


def _kind(one: _Admitted) -> str:
    return "task" if one.tool.delegates else "reads" if one.tool.safety == "read_only" else "other"


async def _give(session: Session, group: Sequence[_Admitted]) -> None:
    given = [
        delegated_calls.DelegatedCall(
            one.call, one.why, context_of(session, one.call, one.tool, _key(session, one.call), None)
        )
        for one in group
        if not _overtaken(session, one.call)
    ]
    await delegated_calls.begin(session, given)


async def _read(session: Session, group: Sequence[_Admitted]) -> None:
    early = session.early
    if len(group) == 1:
        await _batch(session, group)
        return
    if early is not None:  # calls already in flight come first: they count towards the limit
        group = sorted(group, key=lambda one: early.kept(one.call.call.id) is None)
    for start in range(0, len(group), READERS_AT_ONCE):
        await _batch(session, group[start : start + READERS_AT_ONCE])


async def _one_by_one(session: Session, group: Sequence[_Admitted]) -> None:
    for each in group:
        if not _overtaken(session, each.call):
            await _batch(session, [each])


def _overtaken(session: Session, call: Call) -> bool:
    """Skip a call not yet started once a steering message arrived. Returns whether it was skipped."""
    if session.cause(steer=True) != "steer":
        return False
    end_call(session, call.call.id, "skipped", skipped_text(call, "the user said something new first"))
    return True


_KINDS = {"task": _give, "reads": _read, "other": _one_by_one}


async def _admit_checked(session: Session, checks: Checks, call: Call) -> Verdict | None:
    """Admit a call with hooks and classifier: hooks run before the gate, which judges the arguments they changed; the
    classifier runs after it."""
    fresh = call.status == "planned"
    tool = session.tools.get(call.call.name)
    if fresh and not await step_checks.before_call(session, checks, call, tool):
        return None
    verdict = _admit(session, call)
    if verdict is None or not fresh or tool is None:
        return verdict
    said = await step_checks.consult(session, checks, gate_call(session, call, tool), verdict)
    return said if said is verdict else _obeyed(session, call, said)


def _admit(session: Session, call: Call) -> Verdict | None:
    """Return the verdict by which the call runs now, or None if it is done or waits."""
    if call.status in ("done", "asking", "awaiting") or session.state.holds(call):
        return None
    if call.status == "rejected":
        note = f": {call.reason}" if call.reason else ""
        end_call(
            session, call.call.id, "denied", skipped_text(call, f"a person rejected this call{note}"), why="person"
        )
        return None
    tool = session.tools.get(call.call.name)
    if tool is None:
        known = ", ".join(session.tools) or "none"
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
        known = f"{UNKNOWN_EFFECT} {undo_points.UNDONE}" if call.undone else UNKNOWN_EFFECT
        end_call(session, call.call.id, "interrupted", known)
        return False
    if "ask" in rules and unattended == "ask":
        ask_person(session, call, "it was interrupted and may have taken effect; approve to run it again", None)
        return False
    return True


def _nobody_watches(session: Session) -> bool:
    turn = session.state.turn
    scheduled = turn is not None and turn.firing is not None
    return scheduled or session.state.family is not None or session.spec.permissions == "all"


def _obeyed(session: Session, call: Call, verdict: Verdict) -> Verdict | None:
    if verdict.decision == "deny":
        end_call(session, call.call.id, "denied", f"[denied by {verdict.layer}: {verdict.reason}]", why=verdict.why)
    elif verdict.decision == "ask":
        ask_person(session, call, verdict.reason, verdict.why)
    return verdict if verdict.decision == "allow" else None


def gate_call(session: Session, call: Call, tool: Tool) -> GateCall:
    return GateCall(
        session=session.id,
        call=call.call.id,
        tool=tool.name,
        arguments=call.arguments,
        safety=tool.safety,
        inside=tool.inside,
        private_workspace=session.means.workspace.private or not tool.files,
        root=session.means.workspace.place,
        touches=_touches(session, call, tool),
        walled=session.means.sandbox.level > 0,
        tainted=session.state.tainted is not None,
        grants=tuple(session.state.grants),
    )


def _touches(session: Session, call: Call, tool: Tool) -> Touches:
    if tool.reach is None:
        return NOTHING
    arguments = arguments_of(tool, call.arguments)
    return NOTHING if isinstance(arguments, str) else tool.reach(arguments, session.means.workspace.place)


def _taint(session: Session, call: Call, tool: Tool) -> None:
    """Mark the session as tainted if the call may bring in untrusted content. The outcome does not matter: an error
    message may quote a stranger's text."""
    if session.state.tainted is None and _from_outside(session, call, tool):
        session.note(ev.SessionTainted(at=time.time(), by=tool.name))


def _from_outside(session: Session, call: Call, tool: Tool) -> bool:
    return tool.taints or bool(_touches(session, call, tool).hosts)


def _outside(session: Session, call: Call, tool: Tool) -> str | None:
    return tool.name if _from_outside(session, call, tool) else None


def ask_person(session: Session, call: Call, reason: str, why: str | None) -> None:
    """Ask a person to approve the call. why: the layer that asks before a first run; None: recovery asks before it runs
    again."""
    now, patience = time.time(), session.means.approval_seconds
    tool = session.tools.get(call.call.name)
    touches = NOTHING if tool is None else _touches(session, call, tool)
    due = None if patience is None else now + patience
    session.note(
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
            prefixes=() if why is None else prefixes(touches, session.means.workspace.place),
        ),
        deliver=child_messages.tell_waiting(session, call, reason),
    )
    if due is not None:
        timer, no = deadline(call.call.id), f"nobody answered within {patience:g} seconds"
        session.note(ev.TimerSet(at=now, timer=timer, due=due))
        session.set_timer(
            timer, TimerSpec(timer, due, ApprovalInput(call.call.id, "reject", no, "timeout", asked=call.asked))
        )


async def _batch(session: Session, batch: Sequence[_Admitted]) -> None:
    """Commit the intents, then run the calls in parallel and note each outcome as it comes."""
    cause = session.cause()
    if cause is not None:
        raise Interrupted(cause)
    before = undo_points.NONE
    for call, why, tool in batch:
        if tool.safety == "high_risk":
            await checkpointing.before_risk(session)
        if session.spec.points:
            before = await undo_points.before(session, tool)
        begun = _begun(session, call)
        session.note(
            ev.ToolStarted(
                at=time.time(),
                call=call.call.id,
                name=tool.name,
                replay=tool.replay,
                key=_key(session, call) if begun is None else begun.key,
                attempt=call.attempt + 1,
                why=why,
                undo=before.undo,
                early=begun is not None,
            )
        )
        if begun is not None:
            begun.adopt(call.call.id)
    if not _over(session, batch):
        await session.flush()
    if len(batch) == 1:
        work = partial(_run, session, batch, batch[0].call, before.problem)
    else:
        work = partial(_together, session, batch)
    await session.interruptible(work, steer=False)


async def _together(session: Session, batch: Sequence[_Admitted]) -> None:
    try:
        async with asyncio.TaskGroup() as group:
            for each in batch:
                group.create_task(_run(session, batch, each.call))
    except ExceptionGroup as several:  # a lost lease or store: each call met the same failure
        raise several.exceptions[0] from several


def _key(session: Session, call: Call) -> str:
    """Return the idempotency key: the same for every attempt of this call, and unique to it."""
    return call.key or f"{session.id}:{session.state.steps}:{call.call.id}"


def _begun(session: Session, call: Call) -> SpeculativeCall | None:
    return None if session.early is None else session.early.kept(call.call.id)


def _over(session: Session, batch: Sequence[_Admitted]) -> bool:
    """Whether all calls of the batch have already run speculatively and no check asks about their results: then intents
    and outcomes share one commit."""
    early = session.early
    if early is None or not early.keeps or session.means.checks is not None:
        return False
    begun = (early.kept(each.call.call.id) for each in batch)
    return all(one is not None and one.task.done() for one in begun)


def context_of(session: Session, call: Call, tool: Tool, key: str, memory: OwnMemory | None) -> ToolContext:
    means = session.means
    tool_context = ToolContext(
        session=session.id,
        call=call.call.id,
        key=key,
        attempt=call.attempt,
        workspace=means.workspace,
        sandbox=means.sandbox,
        seen=known_files(session.state, means.workspace.place) if tool.files else {},
        emit=session.emit,
        jobs=means.jobs,
        history=OwnLog(session),
        pins=OwnPins(session),
        plans=OwnPlans(session, call.call.id),
        memory=memory,
        agents=delegated_calls.call_agents(session, key),
    )
    if tool.secrets:
        tool_context.secret = _secrets(session, tool)
    return tool_context


class _Ran(NamedTuple):
    """Outcome of a call, before hooks judge it."""

    outcome: ToolOutcome
    parts: tuple[ResultPart, ...]
    seconds: float
    memory: memory_steps.CallMemory | None
    seen: dict[str, str | None]
    told: list[Delivery]
    code: int | None = None


async def _ran(session: Session, call: Call, tool: Tool) -> _Ran:
    begun = None if session.early is None else session.early.take(call.call.id)
    if begun is not None and (done := await begun.outcome()) is not None:
        return _Ran(*done, begun.seconds, begun.memory, begun.learned(), [])
    key = _key(session, call)
    memory = memory_steps.call_memory(session, call, key)
    tool_context = context_of(session, call, tool, key, memory)
    began, known = time.monotonic(), dict(tool_context.seen)
    outcome, parts = await run_tool(tool, tool_context, call.arguments)
    told = delegated_calls.said(tool_context) if outcome == "ok" else []
    seen = learned(session.means.workspace.place, known, tool_context.seen)
    return _Ran(outcome, parts, time.monotonic() - began, memory, seen, told, tool_context.code)


async def _run(session: Session, batch: Sequence[_Admitted], call: Call, problem: str = "") -> None:
    """Run one call of a batch and note its outcome."""
    means = session.means
    tool = session.means.tools[call.call.name]
    files = workspace_saving.saves(session, tool)
    if files is not None:
        await files.working()
    ran = await _ran(session, call, tool)
    outcome, parts = ran.outcome, ran.parts
    _taint(session, call, tool)
    try:
        if means.checks is not None:
            given = (outcome, parts)
            outcome, parts = step_checks.cut_off(means.checks, given)
            outcome, parts = await step_checks.after_call(session, means.checks, call, *given)
        if call.changed is not None:
            parts = (Text(f"[{call.changed_by} changed the arguments to {call.changed}]"), *parts)
        if outcome != "ok" and (touched := undo_points.writable_files(session, tool)) is not None:
            parts += await undo_points.roll_back(session, touched, call, problem)
        if files is not None:
            parts += await workspace_saving.save(session, files)
    finally:  # the call has ended, even if the save is cut off
        parts += session.take_remarks()
        if ran.memory is not None:
            ran.memory.settle(ok=outcome == "ok")
        seen = ran.seen if outcome == "ok" else {}
        now, name = time.time(), call.call.id
        end = ev.ToolCompleted(
            at=now, call=name, outcome=outcome, parts=parts, seconds=ran.seconds, seen=seen, code=ran.code
        )
        session.note(end, deliver=ran.told)
        if means.jobs.kept:
            job_tracking.after_call(session, call.call.id, outcome, partial(_outside, session, call, tool))
    if len(batch) > 1 and any(other.call.status == "running" for other in batch):
        await session.flush_shielded()


def _secrets(session: Session, tool: Tool) -> Callable[[str], str]:
    def value(name: str) -> str:
        bare = name.removeprefix("{{secret:").removesuffix("}}")
        if bare not in tool.secrets or session.means.vault is None:
            raise ToolError(f"{tool.name!r} may not have the secret {bare!r}")
        try:
            return session.means.vault.value(bare)
        except NotFound as error:
            raise ToolError(error.message) from None

    return value
