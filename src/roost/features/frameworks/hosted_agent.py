"""Let an agent of a framework be the model of its session's loop.

The agent's program runs in the session's sandbox with its framework's own loop. Each model call that it makes is a step
of the session: the session's model answers it, the answer is committed, and only then does the program get its end.
Each tool call of the program waits until the loop has judged it, announced it, and committed that; the program runs the
tool, and uses the outcome once that is committed. What it asks for while its tools run (an agent as a tool, parallel
branches) is recorded beside the steps (`inner_calls.py`).

Nothing here outlives the process. After a crash the program does the same work once more, from the beginning of its
run, and gets the recorded answers and outcomes until it is where it was."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncGenerator, Mapping
from typing import Any, NoReturn, cast

import msgspec

from roost.agent.session import Session
from roost.agent.tool_offers import ToolOffers
from roost.features.coding_agents.ports import Gateway
from roost.features.coding_agents.process import ProgramFailed
from roost.features.coding_agents.tool_making import fits
from roost.features.frameworks.bridge import Bridge, Exchange
from roost.features.frameworks.child import Child, Place
from roost.features.frameworks.events import (
    FrameworkAsked,
    FrameworkBegan,
    FrameworkCallWaits,
    FrameworkDiverged,
    FrameworkEnded,
    FrameworkInstalled,
    FrameworkWentOn,
)
from roost.features.frameworks.inner_calls import InnerCalls
from roost.features.frameworks.ports import Installations, InstallFailed
from roost.features.frameworks.records import Found, Records
from roost.features.frameworks.run import Begun, Run
from roost.features.frameworks.start import argv_of, environment_of, input_of, messages_of, place_of, welcome_of
from roost.features.frameworks.state import FrameworkState, FrameworkTurn
from roost.features.frameworks.tool_making import tool_of
from roost.features.frameworks.warm_programs import Warm
from roost.log.content import AssistantMessage, AssistantPart, ErrorData, Replay, Text, ToolCall, Usage
from roost.models.model_wrapper import Whole, events
from roost.models.request import Completed, Failed, ModelEvent, Profile, Request
from roost.tools.base import Tool, Toolbox, ToolContext, ToolResult
from roost.tools.errors import NeedsPerson

SILENCE = 900.0
"""Seconds that the agent may take for its next model call or tool call, or to end."""
_CLAIMS = 3.0
"""Seconds that a call with an effect waits for the program to ask for the recorded calls that it has not asked for."""
_NO_EFFECT = ("agent", "handoff", "question")
"""Sources of tools that only begin other work, whose own calls are judged and recorded. A tool of which the program has
not told may do anything."""
_COMMANDS = "shell"
"""Stands for what the program itself may do in its sandbox (`agent/definition.py`); it is no tool of the program."""
_CHANGED = (
    "[not run: its arguments were changed, and an agent of a framework cannot take others than its model gave;"
    " call the tool again with those]"
)
_FREE = Usage(cost=0)
_LOST = "[the agent's program ended before it told the result of this call: it is not known whether it took effect]"


class HostedAgent(Whole):
    """The model of a session whose work an agent of a framework does. Used by the session's task, and by the tasks of
    its calls."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self._gateway = session.means.find(Gateway)
        self._installed = session.means.find(Installations)
        self.inner = session.means.model
        self.run: Run | None = None
        self._leaving: asyncio.Task[None] | None = None
        self._warm: Warm | None = None
        self._environment = ""
        self._over = False
        self._ends: tuple[int, ProgramFailed] | None = None
        self._starting = asyncio.Lock()
        self._tools: dict[str, Tool] = {}
        self._inner_calls = InnerCalls(self)

    @property
    def name(self) -> str:
        return self.inner.name

    @property
    def profile(self) -> Profile:
        return self.inner.profile

    @property
    def runs(self) -> bool:
        return self.run is not None and self.run.alive and not self._over

    @property
    def part(self) -> FrameworkTurn:
        turn = self.session.state.turn
        return FrameworkTurn() if turn is None else turn.part(FrameworkTurn)

    @property
    def _turn(self) -> int:
        turn = self.session.state.turn
        return 0 if turn is None else turn.number

    def _end_with(self, failed: ProgramFailed) -> ProgramFailed:
        """Let the next step end the open turn. Returns `failed`."""
        self._ends = self._turn, failed
        return failed

    async def close(self) -> None:
        """Do nothing: the session's model is its node's."""

    # A step

    async def stream(self, request: Request) -> AsyncGenerator[ModelEvent]:
        done = False
        try:
            async for event in self._step(request):
                done = isinstance(event, Completed | Failed)
                yield event
        except ProgramFailed as failed:
            done = True
            await self.stop()
            yield Failed(ErrorData(failed.code, str(failed)), sent=False)
        finally:
            if not done:
                await self.stop()

    async def _step(self, request: Request) -> AsyncGenerator[ModelEvent]:
        (turn, failed), self._ends = self._ends or (0, None), None
        if failed is not None and turn == self._turn:
            raise failed
        run = await self.ready()
        run.release()
        wish = await self.wish(run)
        if isinstance(wish, Exchange):
            async for event in self._answered(run, wish, request):
                yield event
        elif isinstance(wish, Begun):
            self.offer(wish.said.name)
            yield Completed((ToolCall(wish.id, wish.said.name, wish.said.arguments),), "tool_calls", _FREE)
        else:
            self._over = True
            yield Completed((Text(wish or "[the agent has ended without an answer]"),), "end", _FREE)

    async def _answered(self, run: Run, exchange: Exchange, request: Request) -> AsyncGenerator[ModelEvent]:
        asked = msgspec.structs.replace(
            exchange.request,
            meta=request.meta,
            budgets=request.budgets,
            bill=request.bill,
            named=request.named,
            intent=request.intent,
            stream=True,
        )
        async with events(self.inner, asked) as stream:
            async for event in stream:
                if isinstance(event, Completed):
                    event = msgspec.structs.replace(event, parts=self.unique(event.parts))
                    for part in event.parts:
                        if isinstance(part, ToolCall):
                            self.offer(part.name)
                    step = self.session.state.open_step
                    assert step is not None
                    whole, masked = exchange.digests
                    self.session.log.note(
                        FrameworkAsked(
                            at=time.time(), step=step.step, scope=exchange.scope, digest=whole, masked=masked
                        )
                    )
                    run.hold(exchange, event)
                    yield event
                    return
                exchange.give(event)
                yield event
                if isinstance(event, Failed):
                    run.bridge.landed(exchange)
                    return

    def unique(self, parts: tuple[AssistantPart, ...]) -> tuple[AssistantPart, ...]:
        """Return the parts with ids of calls that are new in the session. Some providers repeat theirs."""
        known = self.session.call_ids
        return tuple(
            ToolCall(f"{part.id}-{secrets.token_hex(4)}", part.name, part.arguments)
            if isinstance(part, ToolCall) and part.id in known
            else part
            for part in parts
        )

    async def wish(self, run: Run) -> Exchange | Begun | str:
        """Return what the program wants next: a model call, a tool call that no answer asked for, or its result. Raises
        `ProgramFailed`."""
        while True:
            run.changed.clear()
            if run.failed is not None:
                self.raise_for(run)
            if (exchange := run.bridge.take(lambda one: True)) is not None:
                return exchange
            if (begun := self._unknown(run)) is not None:
                return begun
            if run.done is not None:
                return run.done.result
            self.raise_for(run)
            try:
                await asyncio.wait_for(run.changed.wait(), SILENCE)
            except TimeoutError:
                raise _silent() from None

    def _unknown(self, run: Run) -> Begun | None:
        known = {call.call.id for call in self.session.state.calls}
        return next((one for one in run.begun.values() if not one.allowed and one.id not in known), None)

    def raise_for(self, run: Run) -> None:
        """Raise `ProgramFailed` if the program can do nothing more."""
        if run.failed is not None:
            raise ProgramFailed("agent_failed", run.failed.message)
        if not run.alive:
            raise run.child.problem()

    # After an answer that asks for no tool

    @property
    def settles(self) -> bool:
        """Whether it is not known yet whether the newest answer ends the turn."""
        return self.session.state.answered and not self.part.ended

    async def settle(self) -> None:
        """Find out whether the turn goes on after its newest answer. Raises `StoreFailed`."""
        session = self.session
        await session.log.flush()
        if not self._over:
            try:
                await self._look()
            except ProgramFailed:
                self._go_on()  # the next step tells why
                return
        if self._over:
            self._end()
            if len(messages_of(self.session)) > self.part.told:
                self._go_on()

    async def _look(self) -> None:
        run = await self.ready()
        run.release()
        while True:
            run.changed.clear()
            if run.done is not None and not run.bridge.waiting:
                if run.done.result.strip() in ("", _said(self.session).strip()):
                    self._over = True
                else:
                    self._go_on()
                return
            self.raise_for(run)
            if run.bridge.waiting or self._unknown(run) is not None:
                self._go_on()
                return
            try:
                await asyncio.wait_for(run.changed.wait(), SILENCE)
            except TimeoutError:
                raise self._end_with(_silent()) from None

    def _go_on(self) -> None:
        self.session.log.note(FrameworkWentOn(at=time.time()))

    def _end(self) -> None:
        """Note the end of the run, with what its framework remembers."""
        run, part = self.run, self.part
        memory = [] if run is None or run.done is None else run.done.memory
        before = self.session.state.part(FrameworkState).memory
        keep = next((at for at, pair in enumerate(zip(before, memory, strict=False)) if pair[0] != pair[1]), None)
        keep = min(len(before), len(memory)) if keep is None else keep
        missed = 0
        if run is not None:
            missed = len(run.bridge.records.unclaimed) + sum(1 for one in part.outcomes if self._missed(run, one))
        ended = FrameworkEnded(at=time.time(), keep=keep, items=tuple(memory[keep:]), unclaimed=missed)
        self.session.log.note(ended)

    def _missed(self, run: Run, call: str) -> bool:
        """Whether the program was given the recorded outcome of a call of its own that it did not ask for."""
        return call.startswith("own-") and call not in run.claimed

    # A tool call

    def offer(self, name: str) -> None:
        """Offer a tool to the gate and the loop."""
        if name not in self._tools and name not in self.tools_of_roost() and fits(name):
            self._tools = {**self._tools, name: tool_of(name, self.replay_of(name), self._run)}
            self.session.own(ToolOffers).offer("frameworks", self._tools)
            self.session.means.tools = {**self.session.means.tools, **self._tools}  # its own `shell` is not Roost's

    def tools_of_roost(self) -> Toolbox:
        """Return the tools of Roost that the program may call."""
        tools = self.session.means.tools
        return {name: tool for name, tool in tools.items() if name not in self._tools and name != _COMMANDS}

    def replay_of(self, name: str) -> Replay:
        """Return what happens to a call of this tool that was cut off."""
        if (given := self.session.spec.replay.get(name)) is not None:
            return given
        if (own := self.tools_of_roost().get(name)) is not None:
            return own.replay
        return "safe" if self._source_of(name) in _NO_EFFECT else "never"

    def _source_of(self, name: str) -> str:
        """Return what the program told of a tool: empty for one that may do anything."""
        tools = () if self.run is None else self.run.ready.tools
        return next((one.source for one in tools if one.name == name), "")

    def offer_again(self) -> None:
        """Offer the tools of calls that are open after a wake."""
        for call in self.session.state.calls:
            self.offer(call.call.name)

    @property
    def toolbox(self) -> Toolbox:
        return {**self.tools_of_roost(), **self._tools}

    async def _run(self, ctx: ToolContext, arguments: dict[str, Any]) -> ToolResult:
        done = False
        try:
            result = await self._ran(ctx)
            done = True
            return result
        except ProgramFailed as failed:
            done = True
            await self.stop()
            return ToolResult.of(f"[{failed}]", error=True)
        except NeedsPerson:
            done = True
            raise
        finally:
            if not done:
                await self.stop()

    async def _ran(self, ctx: ToolContext) -> ToolResult:
        """Let the program run a call, and return its result. Raises `ProgramFailed`, `NeedsPerson`."""
        run = await self.ready()
        run.release()
        with self._inner_calls.during(ctx.call):
            one = await self._begun(run, ctx.call)
            if isinstance(one, ToolResult):
                return one
            changed = next((call.changed for call in self.session.state.calls if call.call.id == ctx.call), None)
            if self._source_of(one.said.name) == "question":
                return self._answer_of_person(run, one, changed)
            if changed is not None:
                run.await_commit(one)
                return ToolResult.of(_CHANGED, error=True)
            if not one.allowed:
                await self.check_repeats(run, one, asks=True)
                run.allow(one, ctx.key)
            end = await self._inner_calls.ended(run, one)
            if end is None:
                return ToolResult.of(_LOST, error=True)
            run.await_commit(one)
            return ToolResult.of(end.content, error=end.is_error)

    def _answer_of_person(self, run: Run, one: Begun, changed: str | None) -> ToolResult:
        """Return what a person answered to a question of the agent. Raises `NeedsPerson` before that."""
        if one.id not in self.part.inner:
            said = one.said
            waits = FrameworkCallWaits(
                at=time.time(), call=one.id, outer=one.id, name=said.name, arguments=said.arguments
            )
            raise NeedsPerson(f"the agent asks: {said.arguments[:2000]}", waits)
        run.await_commit(one)
        return ToolResult.of(changed or "true")

    async def _begun(self, run: Run, call: str) -> Begun | ToolResult:
        """Wait for the program to begin a call. A call that it handles without a tool, such as a handoff, has its
        result in the next model call."""
        while True:
            run.changed.clear()
            if (one := run.begun.get(call)) is not None:
                return one
            for exchange in run.bridge.waiting:
                if (result := exchange.result(call)) is not None:
                    return ToolResult(result.parts, error=result.error)
            if run.done is not None:
                return ToolResult.of("(done)")
            self.raise_for(run)
            try:
                await asyncio.wait_for(run.changed.wait(), SILENCE)
            except TimeoutError:
                raise self._end_with(_silent()) from None

    async def check_repeats(self, run: Run, one: Begun, *, asks: bool = False) -> None:
        """Refuse a new effect while recorded ones are not accounted for: the program did not repeat itself, and might
        do twice what it has done. asks: a person may be asked about the call. Raises `ProgramFailed`, `NeedsPerson`."""
        until = asyncio.get_running_loop().time() + _CLAIMS
        while self.replay_of(one.said.name) != "safe" and (lost := self._unaccounted(run, one)):
            left = until - asyncio.get_running_loop().time()
            if left <= 0:
                self._diverged(one, lost, asks=asks and not self._unwatched)
            await asyncio.sleep(min(0.05, left))

    def _diverged(self, one: Begun, lost: Mapping[str, str], *, asks: bool) -> NoReturn:
        about = f"{next(iter(lost.values()))} ran before, and the agent does not ask for it any more"
        if asks:
            event = FrameworkDiverged(at=time.time(), kind="stopped", about=about, call=one.id, lost=tuple(lost))
            what = (
                f"the agent did other work than before the interruption: {about}. Approve to run {one.said.name}"
                " all the same, reject to tell the agent no, or cancel the turn and say it again to start over"
            )
            raise NeedsPerson(what, event)
        self.session.log.note(FrameworkDiverged(at=time.time(), kind="stopped", about=about))
        what = (
            f"the agent did other work than before the interruption: {about}. {one.said.name} was not run."
            " Start the task over, or let times and random values come from its input"
        )
        raise self._end_with(ProgramFailed("diverged", what))

    @property
    def _unwatched(self) -> bool:
        """Whether no person answers questions of this session."""
        state = self.session.state
        unattended = state.turn is not None and state.turn.unattended
        return unattended or state.family is not None or self.session.spec.permissions == "all"

    def _unaccounted(self, run: Run, one: Begun) -> dict[str, str]:
        """Return the calls with an effect that the program has not asked for since its start, by id, with names."""
        part, known = self.part, {*run.claimed, *run.bridge.told, one.id, *self._accepted(one)}
        calls = [part for answer in part.answers for part in answer.parts if isinstance(part, ToolCall)]
        found = {call.id: call.name for call in calls if call.id not in known and self._took_effect(call)}
        for id, inner in part.inner.items():
            if id not in known and inner.replay != "safe" and not inner.waits:
                found[id] = inner.name
        return found | {id: id for id in part.outcomes if self._missed(run, id) and id not in known}

    def _accepted(self, one: Begun) -> set[str]:
        """Return the recorded calls of which a person said that the agent may go on without them."""
        part, found = self.part, set[str]()
        for call, lost in part.questions.items():
            outcome = part.outcomes.get(call)
            if call == one.id or (outcome is not None and outcome.outcome not in ("denied", "skipped")):
                found.update(lost)
        return found

    def _took_effect(self, call: ToolCall) -> bool:
        """Whether a recorded call may have had an effect."""
        outcome = self.part.outcomes.get(call.id)
        judged = outcome is not None and outcome.outcome not in ("denied", "skipped")
        return judged and self.replay_of(call.name) != "safe"

    def noted(self) -> None:
        """Give the program the outcomes noted just now, once they are committed: its next call may need one of them."""
        if self.run is not None and not self.session.state.all_done:
            self._inner_calls.spawn(self._acknowledge(self.run, set(self.part.outcomes)))

    async def _acknowledge(self, run: Run, noted: set[str]) -> None:
        await self.session.log.flush_shielded()
        run.release_calls(noted)

    # The program

    async def ready(self) -> Run:
        """Return the run of the open turn, which is started if its program does not run. Raises `ProgramFailed`,
        `StoreFailed`."""
        async with self._starting:  # calls that run in parallel need the same program
            run, part = self.run, self.part
            if run is not None and (run.alive or run.done is not None) and not run.stale and not part.ended:
                return run
            if run is not None:
                await (self._leave(run) if run.done is not None and part.ended else self.stop())
            return await self._begin()

    async def _begin(self) -> Run:
        session, part, gateway = self.session, self.part, self._gateway
        if gateway is None:
            raise ProgramFailed("program_failed", "agents of frameworks need a node that serves HTTP")
        if self._installed is None:
            what = "this account may only use agents of frameworks that an agent file of this node defines"
            raise ProgramFailed("not_allowed", what)
        fresh = part.ended or not part.run
        number = part.run + fresh
        first, told = (part.told, len(messages_of(session))) if fresh else (part.first, part.told)
        try:
            again = part.run > 0
            installed = await self._installed.environment(session.spec, part.environment if again else "")
            code = await self._installed.code(session.spec, part.code if again else "")
        except InstallFailed as failed:
            raise ProgramFailed("install_failed", str(failed)) from failed
        if installed.seconds:
            session.log.note(
                FrameworkInstalled(
                    at=time.time(),
                    environment=installed.id,
                    packages=installed.packages,
                    seconds=round(installed.seconds, 3),
                )
            )
        assert session.spec.framework is not None
        assert session.state.turn is not None
        session.log.note(
            FrameworkBegan(
                at=time.time(),
                framework=session.spec.framework,
                run=number,
                first=first,
                told=told,
                environment=installed.id,
                code=code.id,
            )
        )
        await session.log.flush_shielded()
        bridge = Bridge(lambda: self.inner, Records(self.part.answers), self._found)
        name = f"{session.id}:{session.state.turn.number}:{number}"
        waiting = await self._take_warm(installed.id)
        run = self.run = Run(bridge, lambda: self.part, self._open_calls, name, waiting or Child(), self.tools_of_roost)
        self._over, self._environment = False, installed.id
        gateway.open(session.id, bridge)
        place = place_of(session, await gateway.address(session), bridge.key, code.folder, self._installed.runner)
        if waiting is None:
            sandbox, argv = cast("Place", session.means.sandbox), argv_of(installed.python, place)
            await run.child.start(sandbox, argv, place.workspace, environment_of(place))
        await run.begin(welcome_of(place))
        await run.child.send(await input_of(session, first, told, number))
        return run

    async def _take_warm(self, environment: str) -> Child | None:
        """Return the program of the run before, if it waits."""
        if self._leaving is not None:
            await asyncio.gather(self._leaving, return_exceptions=True)
        warm, self._warm = self._warm, None
        return None if warm is None else warm.take(environment)

    async def leave(self) -> None:
        """Let the program of a run that is done wait for the next turn; kill any other one."""
        run = self.run
        if run is not None:
            await (self.stop() if run.done is None else self._leave(run))

    @property
    def waits(self) -> bool:
        """Whether a program waits for the next turn."""
        leaves = self._leaving is not None and not self._leaving.done()
        return leaves or (self._warm is not None and self._warm.waits)

    async def _leave(self, run: Run) -> None:
        """End a run that is done."""
        await self._end_run()
        self._leaving = asyncio.create_task(self._kept(run))

    async def _kept(self, run: Run) -> None:
        assert self._installed is not None
        kept = False
        try:
            kept = await run.rest()
        finally:
            if kept:
                woken = self.session.woken.set
                self._warm = self._installed.warm.keep(run.child, self._environment, woken)
            else:
                await asyncio.shield(asyncio.ensure_future(run.close()))
                self.session.woken.set()

    def _open_calls(self) -> list[ToolCall]:
        return [call.call for call in self.session.state.calls if call.status != "done"]

    def _found(self, found: Found) -> None:
        if found.drifted:
            about = "a date, a time or a random id in its instructions"
            self.session.log.note(FrameworkDiverged(at=time.time(), kind="drifted", about=about))
            self.session.log.flush_soon()

    async def stop(self) -> None:
        """Kill the program, if it runs. Its open calls end."""
        run = self.run
        await self._end_run()
        if run is not None:
            await asyncio.shield(asyncio.ensure_future(run.close()))
        leaving, self._leaving = self._leaving, None
        if leaving is not None:
            leaving.cancel()
            await asyncio.gather(leaving, return_exceptions=True)
        if self._warm is not None:
            self._warm.end()

    async def _end_run(self) -> None:
        self.run, self._over = None, False
        await self._inner_calls.stop()
        if self._gateway is not None:
            self._gateway.shut(self.session.id)


def _silent() -> ProgramFailed:
    what = f"the agent asked for nothing for {SILENCE:g} seconds, and did not end"
    return ProgramFailed("program_silent", what)


def _said(session: Session) -> str:
    """Return the newest answer."""
    newest = session.state.entries[-1].message if session.state.entries else None
    return newest.text if isinstance(newest, AssistantMessage) else ""
