"""Hand calls over to the editor that is attached, and take what it made of them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any, cast

import msgspec

from roost.agent.call_context import context_of, key_of, outside_source
from roost.agent.feature import AdmittedCall, CallEnd, Feature, RunCalls, asked
from roost.agent.known_files import known_files
from roost.agent.outcomes import UNKNOWN_EFFECT, end_call, skip_if_steered, with_changes
from roost.agent.session import Session
from roost.agent.state import Call
from roost.agent.tool_offers import ToolOffers
from roost.errors import Invalid
from roost.features.editor.events import (
    EditorAsked,
    EditorAttached,
    EditorAttachInput,
    EditorDetached,
    EditorDetachInput,
    EditorFile,
    EditorLateInput,
    EditorPassed,
    EditorResultInput,
    EditorTakeInput,
    EditorTook,
    timer_of,
)
from roost.features.editor.state import Asked, EditorState, EditorTurn
from roost.log import events as ev
from roost.log.inputs import Input
from roost.log.protocols import InboxItem, TimerSpec
from roost.policy.gate import GateCall, Verdict
from roost.policy.touched_paths import runs_at
from roost.tools.base import Tool, ToolContext, ToolResult
from roost.tools.run_tool import arguments_of

TERMINAL = "editor_terminal"
LONGEST = 3600
_TAKE = 10.0
"""Seconds in which an editor takes a call."""
_FILES = 60.0
"""Seconds for a call of a file tool; a command has those that it asks for, and these."""
_WRITES = ("write_file", "edit_file", "edit_files")
_TOOLS = ("read_file", *_WRITES)


async def _elsewhere(context: ToolContext, arguments: dict[str, Any]) -> ToolResult:
    raise AssertionError("the editor runs this tool")


def _terminal() -> Tool:
    return Tool(
        name=TERMINAL,
        description=(
            "Run a command in the terminal of the person's editor, where the person sees it. It runs on the person's"
            " machine, outside the sandbox, and the person is asked first. Use it only for what the sandbox cannot do."
        ),
        schema={
            "type": "object",
            "properties": {
                "command": {"type": "string", "description": "the command line"},
                "seconds": {"type": "integer", "minimum": 1, "maximum": LONGEST, "description": "time limit"},
            },
            "required": ["command"],
        },
        run=_elsewhere,
        replay="never",
        safety="high_risk",
        files=False,
        reach=runs_at("command"),
        early=False,
    )


def _equip(session: Session) -> None:
    tools = {TERMINAL: _terminal()} if session.state.part(EditorState).terminals else {}
    session.own(ToolOffers).offer("editor", tools)


def _attach(session: Session, item: InboxItem) -> None:
    order, part = item.input, session.state.part(EditorState)
    assert isinstance(order, EditorAttachInput)
    fields = order.editor, order.reads, order.writes, order.terminals
    if fields == (part.editor, part.reads, part.writes, part.terminals):
        session.log.drop(item)
        return
    _give_up(session, lambda one: not one.took, "another editor came")
    editor, reads, writes, terminals = fields
    session.log.note(
        EditorAttached(at=time.time(), editor=editor, reads=reads, writes=writes, terminals=terminals), consume=item.id
    )
    session.outdated = True  # the feature may not have been used before
    _equip(session)


def _detach(session: Session, item: InboxItem) -> None:
    order = item.input
    assert isinstance(order, EditorDetachInput)
    if session.state.part(EditorState).editor == order.editor:
        session.log.note(EditorDetached(at=time.time(), editor=order.editor), consume=item.id)
        _equip(session)
    else:
        session.log.drop(item)
    _give_up(session, lambda one: one.editor == order.editor, "the editor was closed")


def _give_up(session: Session, which: Callable[[Asked], bool], why: str) -> None:
    """Do without the editor in the calls that wait for it."""
    turn = session.state.turn
    for call, one in list(turn.part(EditorTurn).asked.items()) if turn is not None else ():
        if which(one):
            _without(session, call, one, why)


def _without(session: Session, call: str, one: Asked, why: str) -> None:
    """End the wait of a call. One that no editor took, or that only reads, runs here."""
    found = session.state.call(call)
    _stop_waiting(session, call)
    if found is not None and found.call.name in _TOOLS and (not one.took or found.call.name not in _WRITES):
        session.log.note(EditorPassed(at=time.time(), call=call, reason=why))
    elif one.took:
        end_call(session, call, "interrupted", f"[{why}] {UNKNOWN_EFFECT}")
    else:
        end_call(session, call, "error", f"[not run: {why}]")


def _wait(session: Session, call: str, due: float) -> None:
    timer = timer_of(call)
    session.log.note(ev.TimerSet(at=time.time(), timer=timer, due=due))
    session.log.set_timer(timer, TimerSpec(timer, due, EditorLateInput(call=call, due=due)))


def _stop_waiting(session: Session, call: str) -> None:
    if (timer := timer_of(call)) in session.state.timers:
        session.log.note(ev.TimerCleared(at=time.time(), timer=timer))
        session.log.set_timer(timer, None)


def _asked_of(session: Session, order: Input) -> tuple[str, Asked] | None:
    """Return the call that an input is about, if it waits for an editor."""
    turn, call = session.state.turn, getattr(order, "call", "")
    one = None if turn is None else turn.part(EditorTurn).asked.get(call)
    return None if one is None else (call, one)


def _take(session: Session, item: InboxItem) -> None:
    order, found = item.input, _asked_of(session, item.input)
    assert isinstance(order, EditorTakeInput)
    if found is None or found[1].took or found[1].editor != order.editor:
        session.log.drop(item)
        return
    call = session.state.call(order.call)
    seconds = _FILES + (_seconds(session, call) if call is not None and call.call.name == TERMINAL else 0)
    due = time.time() + seconds
    session.log.note(EditorTook(at=time.time(), call=order.call, editor=order.editor, due=due), consume=item.id)
    _wait(session, order.call, due)


def _seconds(session: Session, call: Call) -> float:
    tool = session.means.tools.get(call.call.name)
    given = {} if tool is None else arguments_of(tool, call.arguments)
    wanted = given.get("seconds") if isinstance(given, dict) else None
    return min(wanted, LONGEST) if isinstance(wanted, int | float) and wanted > 0 else 120.0


def _late(session: Session, item: InboxItem) -> None:
    order, found = item.input, _asked_of(session, item.input)
    assert isinstance(order, EditorLateInput)
    session.log.drop(item)
    timer = session.state.timers.get(timer_of(order.call))
    if found is None or (timer is not None and timer > order.due):
        return
    call, one = found
    why = "the editor took the call and did not answer" if one.took else "the editor does not answer"
    if session.state.part(EditorState).editor == one.editor:
        session.log.note(EditorDetached(at=time.time(), editor=one.editor, reason=why))
        _equip(session)
    _without(session, call, one, why)


def _keep_result(session: Session, item: InboxItem) -> None:
    """Drop a result that nobody waits for; `_complete` takes the others."""
    order, found = item.input, _asked_of(session, item.input)
    assert isinstance(order, EditorResultInput)
    if found is None or not found[1].took or found[1].editor != order.editor:
        session.log.drop(item)


async def _complete(session: Session) -> None:
    """Give calls their results, which features judge as those of other calls. Raises `Interrupted`."""
    for item in list(session.inbox):
        order = item.input
        if not isinstance(order, EditorResultInput) or (found := _asked_of(session, order)) is None:
            continue
        if not found[1].took or found[1].editor != order.editor:
            continue
        if order.passed is not None:
            session.log.drop(item)
            found[1].took = False  # the editor says that it has done nothing
            _without(session, order.call, found[1], order.passed)
            continue
        await _end(session, item, order)


async def _end(session: Session, item: InboxItem, order: EditorResultInput) -> None:
    call = session.state.call(order.call)
    tool = None if call is None else session.means.tools.get(call.call.name)
    outcome, parts = "error" if order.error else "ok", order.parts
    if call is not None and tool is not None:
        context = context_of(session, call, tool, key_of(session, call))
        outside = outside_source(session, call, tool)
        if session.state.tainted is None and outside is not None:
            session.log.note(ev.SessionTainted(at=time.time(), by=outside))
        end = CallEnd(call, tool, context, not order.error, outcome, parts, outside)
        if asked(session, "judges"):
            await session.interrupts.interruptible(lambda: _judge(session, end), steer=False)
        outcome, parts = end.outcome, with_changes(call, end.parts)
    _stop_waiting(session, order.call)
    session.log.note(
        ev.ToolCompleted(
            at=time.time(),
            call=order.call,
            outcome=outcome,
            parts=parts + session.hints.take(),
            seen={**order.seen} if outcome == "ok" else {},
            code=order.exit,
        ),
        consume=item.id,
    )


async def _judge(session: Session, end: CallEnd) -> None:
    for feature in asked(session, "judges"):
        await feature.after_call(session, end)


def _can(session: Session, tool: Tool) -> bool:
    """Whether the editor runs calls of this tool. A private workspace is no folder of the editor."""
    part = session.state.part(EditorState)
    if tool.name == TERMINAL:
        return tool.run is _elsewhere
    if tool.name not in _TOOLS or not part.reads or session.means.workspace.private:
        return False
    return (tool.name == "read_file" or part.writes) and _is_ours(tool)


def _is_ours(tool: Tool) -> bool:
    """Whether it is the tool that Roost brings, and no other of its name."""
    from roost.tools.builtin import builtin_tool

    return builtin_tool(tool.name) is tool


async def _hand_over(session: Session, group: Sequence[AdmittedCall]) -> None:
    """Let calls wait for the editor; those that it passed run here."""
    from roost.agent.tool_calls import run_here

    turn, editor = session.state.turn, session.state.part(EditorState).editor
    assert turn is not None
    for one in group:
        call, id = one.call, one.call.call.id
        files = () if one.tool.name == TERMINAL else await asyncio.to_thread(_files, session, call, one.tool)
        if id in turn.part(EditorTurn).passed or files is None or not editor:
            await run_here(session, one)
            continue
        if skip_if_steered(session, call):
            continue
        now, tool = time.time(), one.tool
        key, attempt = key_of(session, call), call.attempt + 1
        session.log.note(
            ev.ToolStarted(at=now, call=id, name=tool.name, replay=tool.replay, key=key, attempt=attempt, why=one.why)
        )
        session.log.note(
            EditorAsked(at=now, call=id, name=tool.name, editor=editor, arguments=call.arguments, files=files)
        )
        _wait(session, id, now + _TAKE)
    await session.log.flush()


def _files(session: Session, call: Call, tool: Tool) -> tuple[EditorFile, ...] | None:
    """Return the files that a call names; None for a call that an editor cannot run. Blocks."""
    given, workspace = arguments_of(tool, call.arguments), session.means.workspace
    if isinstance(given, str):
        return None
    changes: object = given.get("changes") if tool.name == "edit_files" else [given]
    known, found = known_files(session.state, workspace.place), list[EditorFile]()
    for change in cast("list[object]", changes) if isinstance(changes, list) else ():
        fields = cast("dict[str, object]", change) if isinstance(change, dict) else {}
        path = fields.get("path")
        if not isinstance(path, str) or fields.get("remove"):
            return None
        try:
            real = workspace.resolve(path)
        except Invalid:
            return None
        found.append(EditorFile(path, str(real), workspace.relative(real), known.get(str(real))))
    return tuple(found) or None


class Editor(Feature):
    """Calls of file tools wait for the editor of the session."""

    takes = {
        EditorAttachInput: _attach,
        EditorDetachInput: _detach,
        EditorTakeInput: _take,
        EditorResultInput: _keep_result,
        EditorLateInput: _late,
    }

    def used(self, session: Session) -> bool:
        turn = session.state.turn
        waits = turn is not None and bool(turn.part(EditorTurn).asked or turn.part(EditorTurn).passed)
        return waits or bool(session.state.part(EditorState).editor)

    async def wake(self, session: Session) -> None:
        _equip(session)

    async def before_calls(self, session: Session) -> None:
        if session.inbox:
            await _complete(session)

    def judges(self, session: Session, tool: Tool) -> bool:
        return _can(session, tool)

    async def after_gate(self, session: Session, call: GateCall, verdict: Verdict) -> Verdict:
        if call.tool != TERMINAL:
            return verdict
        if session.spec.permissions == "all":
            bare = session.means.gate.decide(msgspec.structs.replace(call, walled=False))
            return verdict if bare.decision == "allow" else bare
        return Verdict("ask", "the command runs in the editor's terminal, outside the sandbox", "config", "asks")

    def runs(self, session: Session, tool: Tool) -> RunCalls | None:
        return _hand_over if _can(session, tool) else None

    def call_closed(self, session: Session, call: Call) -> None:
        _stop_waiting(session, call.call.id)


FEATURE = Editor()
