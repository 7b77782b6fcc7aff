"""What an agent asks for while its tools run: the model calls and tool calls of an agent that is a tool, and those of
parallel branches. They are no steps of the loop. They are charged, judged, recorded and served again like steps."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Coroutine, Generator
from functools import partial
from typing import Any, Protocol

import msgspec

from roost.agent import model_request
from roost.agent.call_context import gate_call
from roost.agent.session import Session
from roost.agent.state import Call
from roost.features.coding_agents.process import ProgramFailed
from roost.features.frameworks.bridge import Exchange
from roost.features.frameworks.events import (
    FrameworkAnswered,
    FrameworkCallEnded,
    FrameworkCallStarted,
    FrameworkCallWaits,
)
from roost.features.frameworks.protocol import ToolEnd
from roost.features.frameworks.run import Begun, Run
from roost.features.frameworks.state import FrameworkTurn, Outcome
from roost.features.frameworks.tool_making import tool_of
from roost.log import events as ev
from roost.log.content import AssistantPart, Replay, Text, ToolCall, ToolOutcome
from roost.models.model_wrapper import events
from roost.models.request import Bill, Completed, Failed, Model
from roost.tools.base import ToolContext, ToolResult
from roost.tools.errors import NeedsPerson
from roost.tools.text_limits import RESULT_CAP, capped

_UNKNOWN = "[interrupted: it is not known whether this call took effect; check before you repeat it]"

_NOT_INSIDE = "a tool of Roost cannot be called inside another call: let the agent's model call it, or call it outside"


class Agent(Protocol):
    """The agent whose program is served. Members as in `HostedAgent`."""

    session: Session
    inner: Model
    run: Run | None

    @property
    def part(self) -> FrameworkTurn: ...

    def unique(self, parts: tuple[AssistantPart, ...]) -> tuple[AssistantPart, ...]: ...

    def replay_of(self, name: str) -> Replay: ...

    async def check_repeats(self, run: Run, one: Begun) -> None: ...


class InnerCalls:
    """Serve a session's program while calls of the session run."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._active: Counter[str] = Counter()
        self._serving: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._known: set[str] = set()
        self._questions: dict[str, NeedsPerson] = {}

    @contextlib.contextmanager
    def during(self, call: str) -> Generator[None]:
        """Serve the program while a call of the session runs."""
        self._active[call] += 1
        serving = self._serving
        if serving is None or serving.done():
            self._serving = serving = asyncio.create_task(self._serve())
        try:
            yield
        finally:
            del self._active[call]
            self._questions.pop(call, None)
            if not self._active:
                serving.cancel()

    async def ended(self, run: Run, one: Begun) -> ToolEnd | None:
        """Return the end of a call of the session, or None if its program ended first. Raises `NeedsPerson` when a call
        inside it waits for a person."""
        while True:
            run.changed.clear()
            if one.ended.done():
                return one.ended.result()
            if (question := self._questions.pop(one.id, None)) is not None:
                raise question
            if not run.alive or run.failed is not None:
                return None
            await run.changed.wait()

    async def stop(self) -> None:
        """End all calls that are on their way."""
        tasks, self._tasks = list(self._tasks), set()
        for task in tasks:
            task.cancel()
        current = asyncio.current_task()
        await asyncio.gather(*(task for task in tasks if task is not current), return_exceptions=True)
        self._known.clear()

    async def _serve(self) -> None:
        while (run := self._agent.run) is not None:
            run.changed.clear()
            calls = self._agent.session.state.calls
            own = {call.call.id for call in calls}
            waits = [one for one in own if one not in run.claimed]
            while exchange := run.bridge.take(partial(_brings_none, waits)):
                self.spawn(self._answer(run, exchange))
            for one in list(run.begun.values()):
                if one.id not in own and one.id not in self._known and not one.allowed:
                    self._known.add(one.id)
                    self.spawn(self._call(run, one))
            await run.changed.wait()

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run work that ends with the program."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # A model call

    async def _answer(self, run: Run, exchange: Exchange) -> None:
        session, bill, began, outcome = self._agent.session, Bill(), time.monotonic(), None
        own = model_request.build(session, bill)
        asked = msgspec.structs.replace(
            exchange.request, meta=own.meta, budgets=own.budgets, bill=bill, intent=own.intent, stream=True
        )
        try:
            async with events(self._agent.inner, asked) as stream:
                async for event in stream:
                    if isinstance(event, Completed | Failed):
                        outcome = event
                        break
                    exchange.give(event)
            if isinstance(outcome, Completed):
                outcome = msgspec.structs.replace(outcome, parts=self._agent.unique(outcome.parts))
                session.call_ids.update(part.id for part in outcome.parts if isinstance(part, ToolCall))
                self._note_answer(exchange, outcome, bill, time.monotonic() - began)
                await session.log.flush_shielded()
                run.give(exchange, outcome)
        finally:
            if not isinstance(outcome, Completed) and bill.calls:
                step = session.state.steps
                session.log.note(ev.ModelLost(at=time.time(), step=step, attempt=1, usage=bill.usage))
            if isinstance(outcome, Failed):
                exchange.give(outcome)
                run.bridge.landed(exchange)

    def _note_answer(self, exchange: Exchange, answer: Completed, bill: Bill, seconds: float) -> None:
        whole, masked = exchange.digests
        self._agent.session.log.note(
            FrameworkAnswered(
                at=time.time(),
                scope=exchange.scope,
                digest=whole,
                masked=masked,
                parts=answer.parts,
                stop=answer.stop,
                usage=bill.usage if bill.calls else answer.usage,
                seconds=seconds,
                model=bill.model,
            )
        )

    # A tool call

    async def _call(self, run: Run, one: Begun) -> None:
        session, agent = self._agent.session, self._agent
        if run.is_of_roost(one):
            await self._end(run, one, "error", _NOT_INSIDE)
            return
        replay, known = agent.replay_of(one.said.name), agent.part.inner.get(one.id)
        if known is not None and not known.waits and "safe" not in (known.replay, replay):
            await self._end(run, one, "interrupted", _UNKNOWN)
            return
        outer = self._outer(one)
        why = "it was cut off and may run again" if known is not None and not known.waits else "approved"
        if known is None:
            tool = tool_of(one.said.name, replay, _never)
            made = Call(ToolCall(one.id, one.said.name, one.said.arguments))
            verdict = session.means.gate.decide(gate_call(session, made, tool))
            why = verdict.why
            if verdict.decision == "deny":
                await self._end(run, one, "denied", f"[denied by {verdict.layer}: {verdict.reason}]")
                return
            if verdict.decision == "ask":
                self._ask(run, one, outer, verdict.reason)
                return
        try:
            await agent.check_repeats(run, one)
        except ProgramFailed as failed:
            await self._end(run, one, "denied", f"[{failed}]")
            return
        session.log.note(
            FrameworkCallStarted(
                at=time.time(),
                call=one.id,
                outer=outer,
                name=one.said.name,
                arguments=one.said.arguments,
                replay=replay,
                why=why,
            )
        )
        await session.log.flush_shielded()
        run.allow(one, f"{session.id}:{one.id}")
        end = await one.ended
        await self._end(run, one, "error" if end.is_error else "ok", end.content)

    def _outer(self, one: Begun) -> str:
        """Return the call of the session inside which a call runs."""
        within = one.said.scope.split("/")
        return next((call for call in self._active if call in within), next(iter(self._active), ""))

    def _ask(self, run: Run, one: Begun, outer: str, reason: str) -> None:
        """Let a person answer for the outer call, which then waits."""
        said = one.said
        event = FrameworkCallWaits(at=time.time(), call=one.id, outer=outer, name=said.name, arguments=said.arguments)
        what = f"inside of it, the agent wants to call {said.name} with {said.arguments[:500]}: {reason}"
        self._known.discard(one.id)
        self._questions[outer] = NeedsPerson(what, event)
        run.changed.set()

    async def _end(self, run: Run, one: Begun, outcome: ToolOutcome, text: str) -> None:
        session, parts = self._agent.session, (Text(capped(text, RESULT_CAP)),)
        if one.id not in self._agent.part.inner:
            session.log.note(
                FrameworkCallStarted(
                    at=time.time(),
                    call=one.id,
                    outer=self._outer(one),
                    name=one.said.name,
                    arguments=one.said.arguments,
                    replay="never",
                )
            )
        session.log.note(FrameworkCallEnded(at=time.time(), call=one.id, outcome=outcome, parts=parts))
        await session.log.flush_shielded()
        run.acknowledge(one, Outcome(parts, outcome))


def _brings_none(calls: list[str], exchange: Exchange) -> bool:
    """Whether a model call has the result of none of these calls."""
    return not any(exchange.result(call) for call in calls)


async def _never(context: ToolContext, arguments: dict[str, Any]) -> ToolResult:
    return ToolResult.of("this tool runs in the agent's program", error=True)
