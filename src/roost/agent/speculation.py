"""Speculative calls: start read-only calls while the model is still answering.

Until the complete answer contains it, a speculative call belongs to no step. It leaves no trace, so it needs no intent
in the log, and a crash forgets it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from typing import Any

from roost.agent.call_context import context_of, gate_call
from roost.agent.feature import asked
from roost.agent.known_files import learned
from roost.agent.request_plan import tools_of
from roost.agent.session import Session
from roost.agent.state import Call
from roost.log.content import ResultPart, ToolCall, ToolOutcome
from roost.tools.base import Tool
from roost.tools.run_tool import arguments_of, run_tool

READERS_AT_ONCE = 8
"""Most read-only calls of a session that run in parallel."""
NAMELESS = "early."
"""Prefix of a speculative call's id, until the complete answer gives the real one."""
_LONGEST = 8192
"""Most characters of arguments of a speculative call: each piece that may be the last one parses them all."""


class SpeculativeCall:
    """A speculative call in flight. An action that would leave a trace before the answer confirms the call cancels it;
    the call then runs in its normal turn."""

    def __init__(self, session: Session, tool: Tool, call: Call, arguments: dict[str, Any]) -> None:
        self.name, self.arguments = tool.name, arguments
        self.key = f"{session.id}:{call.call.id}"
        self.seconds = 0.0
        self._session, self._known = session, False
        self.context = context_of(session, call, tool, self.key)
        self._known_files = dict(self.context.seen)
        self.context.emit, self.context.confirm = self._emit, self.wait
        self.task = asyncio.create_task(self._run(tool, call.arguments))

    def adopt(self, call: str) -> None:
        """Confirm that this is call `call` of the answer: it may leave traces now."""
        self._known, self.context.call = True, call

    async def outcome(self) -> tuple[ToolOutcome, tuple[ResultPart, ...]] | None:
        """Return the result as `run_tool` does, or None if the call must run normally. Cancelling the waiting task
        cancels the call."""
        try:
            found = await self.task
        except asyncio.CancelledError:
            waiting = asyncio.current_task()
            if waiting is None or waiting.cancelling():
                raise
            return None
        return found

    def learned(self) -> dict[str, str | None]:
        return learned(self._session.means.workspace.place, self._known_files, self.context.seen)

    def wait(self) -> None:
        """Cancel the call if the answer has not confirmed it. Raises `CancelledError` then."""
        if not self._known:
            self.task.cancel()
            raise asyncio.CancelledError

    async def _run(self, tool: Tool, arguments: str) -> tuple[ToolOutcome, tuple[ResultPart, ...]]:
        began = time.monotonic()
        try:
            return await run_tool(tool, self.context, arguments)
        finally:
            self.seconds = time.monotonic() - began

    async def _emit(self, name: str, data: Any) -> None:
        self.wait()
        await self._session.log.emit(name, data)


class _Said:
    """Arguments of a call received so far."""

    __slots__ = ("length", "pieces", "tool")

    def __init__(self, tool: Tool) -> None:
        self.tool = tool
        self.pieces: list[str] = []
        self.length = 0


class Speculation:
    """The speculative calls of one session's turn. Only the task that drives the session uses it."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._said: dict[int, _Said] = {}
        self._begun: list[SpeculativeCall] = []
        self._kept: dict[str, SpeculativeCall] = {}
        self._leaving: list[asyncio.Task[Any]] = []
        self._count = self._dropped = 0
        self._behind = False
        """True after a call that may write: later calls of the answer might read its effect, so they do not start
        early."""

    def hear(self, index: int, name: str | None, piece: str) -> None:
        """Take a piece of call number `index` of the answer; a `name` begins a new call. Calls after one that may write
        are not started early."""
        if name is not None:
            for said in self._said.values():
                if not said.length:  # the call has no arguments
                    self._begin(said.tool, "{}")
            self._said.clear()
            tool = tools_of(self._session).get(name)
            self._behind = self._behind or (tool is not None and tool.safety != "read_only")
            if tool is None or self._behind or not _may(self._session, tool):
                return
            self._said[index] = _Said(tool)
        said = self._said.get(index)
        if said is None:
            return
        said.pieces.append(piece)
        said.length += len(piece)
        whole = piece.rstrip().endswith("}") and said.length <= _LONGEST
        if said.length > _LONGEST or (whole and self._begin(said.tool, "".join(said.pieces))):
            del self._said[index]

    def restart(self) -> None:
        """Discard all calls of the answer so far: it starts again."""
        self._drop(self._begun)
        self._said, self._begun, self._behind = {}, [], False

    def settle(self, answer: Iterable[ToolCall]) -> int:
        """Keep the calls that the complete answer contains and cancel the others. Returns how many were cancelled."""
        if not (self._begun or self._kept or self._dropped):
            self._said.clear()
            self._behind = False
            return 0
        self._leave(self._kept.values())
        self._kept = {}
        for call in answer:
            begun = next((one for one in self._begun if _same(self._session, one, call)), None)
            if begun is not None:
                self._kept[call.id] = begun
                self._begun.remove(begun)
        self.restart()
        dropped, self._dropped, self._count = self._dropped, 0, 0
        return dropped

    @property
    def keeps(self) -> bool:
        """Whether some call of the complete answer is already in flight."""
        return bool(self._kept)

    def kept(self, call: str) -> SpeculativeCall | None:
        return self._kept.get(call) if self._kept else None

    def take(self, call: str) -> SpeculativeCall | None:
        return self._kept.pop(call, None) if self._kept else None

    async def close(self) -> None:
        """Cancel all calls and wait for their end."""
        self._leave([*self._begun, *self._kept.values()])
        self._said, self._begun, self._kept = {}, [], {}
        if self._leaving:
            leaving, self._leaving = self._leaving, []
            await asyncio.wait(leaving)

    def _begin(self, tool: Tool, text: str) -> bool:
        """Start the call if the gate allows it and a slot is free. Returns whether the arguments were complete."""
        arguments = arguments_of(tool, text)
        if isinstance(arguments, str):
            return False
        session, step = self._session, self._session.state.open_step
        running = sum(not one.task.done() for one in self._begun)
        if step is None or running >= READERS_AT_ONCE or session.means.scrubbed(text) is not text:
            return True
        self._count += 1
        call = Call(ToolCall(f"{NAMELESS}{step.step}.{step.attempt}.{self._count}", tool.name, text), attempt=1)
        asked = gate_call(session, call, tool)
        if not asked.touches.hosts and session.means.gate.decide(asked).decision == "allow":
            self._begun.append(SpeculativeCall(session, tool, call, arguments))
        return True

    def _drop(self, begun: list[SpeculativeCall]) -> None:
        self._dropped += len(begun)
        self._leave(begun)

    def _leave(self, begun: Iterable[SpeculativeCall]) -> None:
        for one in begun:
            one.task.cancel()
            self._leaving.append(one.task)


def _may(session: Session, tool: Tool) -> bool:
    """Whether a call of this tool may start early: read-only, safe to repeat, subject to the gate alone, and on files
    that need not be restored first. A call that reaches another host never qualifies: it must be in the log first."""
    reads = tool.early and tool.safety == "read_only" and tool.replay == "safe" and not tool.taints
    judged = any(feature.judges(session, tool) for feature in asked(session, "judges"))
    return reads and not judged and not session.state.files_to_restore


def _same(session: Session, begun: SpeculativeCall, call: ToolCall) -> bool:
    if begun.name != call.name:
        return False
    tool = session.means.tools[call.name]
    return arguments_of(tool, call.arguments) == begun.arguments
