"""Let a coding agent be the model of its session's loop.

A step of the loop takes the program's next model call, makes it with the session's model, and ends when the answer asks
for tools, or when the program has ended. The gate judges those calls as any other. When the loop runs them, `_run`
releases the answer, the program runs the tools, and the results come with the program's next model call. The program
gets an answer with the calls that run now alone; one that runs later, since it waited for a person or for its turn, is
given as the answer to the program's next model call, which no model is asked for. If the gate or a person says no, the
next step asks the model again with that result, and the program never sees the call. So nothing that the program does
escapes the log, the gate or the ledger.

Nothing here outlives the process. After a crash the program is started again with its own conversation. A call that was
allowed and had not begun is then the answer to its first model call, without asking the model again."""

from __future__ import annotations

import asyncio
import secrets
import time
import uuid
from collections.abc import AsyncGenerator, Sequence
from typing import Any, cast

import msgspec

from roost.agent.session import Session
from roost.agent.speculation import READERS_AT_ONCE
from roost.agent.tool_offers import ToolOffers
from roost.authority import HOME, acting
from roost.features.coding_agents.bridge import MOST_WAITING, STOPPED, Bridge, Exchange, Held
from roost.features.coding_agents.events import ProgramPrompted, ProgramThread
from roost.features.coding_agents.given_files import GivenFiles
from roost.features.coding_agents.ports import Gateway
from roost.features.coding_agents.process import FILES, Process, ProgramFailed, Sandboxed, keeps
from roost.features.coding_agents.program import Place
from roost.features.coding_agents.programs import program_of
from roost.features.coding_agents.prompt import prompt_of
from roost.features.coding_agents.state import CodingAgentState, CodingAgentTurn
from roost.features.coding_agents.tool_making import AGENTS, fits, tool_of
from roost.log.content import (
    AssistantMessage,
    AssistantPart,
    ErrorData,
    Text,
    ToolCall,
    ToolMessage,
    Usage,
    UserMessage,
)
from roost.models.model_wrapper import Whole, events
from roost.models.request import Bill, Completed, Failed, ModelEvent, Profile, Request, ToolSpec
from roost.tools.base import Tool, ToolContext, ToolResult

FOLDER = ".roost-agent"
"""Folder of the workspace with the settings and conversations of programs, in a folder for each session."""
SILENCE = 900.0
"""Seconds that a program may take for its next model call, or to end."""
_GRACE = 1.0
"""Seconds that a program which has its last answer gets to end by itself."""
_NESTED = "[it goes on; what it does in the meantime follows]"


class Released:
    """Calls that the program runs together. results: of each, once it has told them."""

    def __init__(self, calls: tuple[str, ...]) -> None:
        self.calls = calls
        self.results: asyncio.Future[dict[str, ToolResult]] = asyncio.get_running_loop().create_future()


class ProgramModel(Whole):
    """The model of a session whose work a program does. Used by the session's task only, except `bridge`."""

    def __init__(self, session: Session) -> None:
        assert session.spec.program is not None
        self._session = session
        self._program = program_of(session.spec.program)
        self._gateway = session.means.find(Gateway)
        self._inner = session.means.model
        self.bridge = self._bridge()
        self._process: Process | None = None
        self._exchange: Exchange | None = None
        self._held: Held | None = None
        self._answered: tuple[ToolCall, ...] = ()
        self._given: tuple[str, ...] = ()
        self._released: Released | None = None
        self._request: Request | None = None
        self._bills: list[Bill] = []
        self._tools: dict[str, Tool] = {}

    def _bridge(self) -> Bridge:
        return Bridge(lambda: self._inner, secrets.token_urlsafe(32), self._aside)

    @property
    def name(self) -> str:
        return self._inner.name

    @property
    def profile(self) -> Profile:
        return self._inner.profile

    @property
    def runs(self) -> bool:
        return self._process is not None and not (self._process.over or self._process.done)

    async def close(self) -> None:
        """Do nothing: the session's model is its node's."""

    # A step

    async def stream(self, request: Request) -> AsyncGenerator[ModelEvent]:
        self._request, done = request, False
        self._charge(request)
        try:
            async for event in self._step(request):
                done = isinstance(event, Completed | Failed)
                yield event
        except ProgramFailed as failed:
            yield Failed(ErrorData(failed.code, str(failed)), sent=False)
        finally:
            if not done:
                await self.stop()

    async def _step(self, request: Request) -> AsyncGenerator[ModelEvent]:
        await self._begin()
        parts: list[AssistantPart] = []
        while (exchange := await self._current()) is not None:
            asked = self._asked(exchange, request)
            async with events(self._inner, asked) as stream:
                async for event in stream:
                    if isinstance(event, Completed):
                        event = self._bounded(event)
                        parts += event.parts
                        whole = msgspec.structs.replace(event, parts=(*exchange.before, *event.parts))
                        if calls := _calls_of(event.parts):
                            self._held, self._answered, self._given = Held(exchange, whole), calls, ()
                            self._offer(asked.tools)
                            yield msgspec.structs.replace(event, parts=tuple(parts))
                            return
                        exchange.give(whole)
                        self._exchange = None
                        break
                    exchange.give(event)
                    yield event
                    if isinstance(event, Failed):
                        return
        yield Completed(tuple(parts) or (Text(f"[{self._program.title} has ended without an answer]"),), "end")

    async def _current(self) -> Exchange | None:
        """Return the model call to answer next; None once the program has done its work. Raises `ProgramFailed`."""
        held, self._held = self._held, None
        left, self._answered = tuple(one for one in self._answered if one.id not in self._given), ()
        denied = self._denied(left)
        if self._exchange is None or self._exchange.gone:
            self._exchange = await self._next(SILENCE)
        exchange = self._exchange
        if exchange is None or not denied:
            return exchange
        if held is not None and (exchange is held.exchange or exchange.repeats(held.exchange)):
            exchange.go_on(held, denied)
        elif held is None and self._follows(exchange):
            messages = (*exchange.request.messages, AssistantMessage(left), *denied)
            exchange.request = msgspec.structs.replace(exchange.request, messages=messages)
        return exchange

    def _denied(self, calls: Sequence[ToolCall]) -> list[ToolMessage]:
        """Return what the model is told of calls that the program never saw; none unless it is told of all."""
        messages = self._request.messages if self._request is not None else ()
        said = {one.call: one for one in messages if isinstance(one, ToolMessage)}
        return [said[call.id] for call in calls] if all(call.id in said for call in calls) else []

    def _follows(self, exchange: Exchange) -> bool:
        """Whether a model call has the results of the calls that the program was given last: those of an agent of its
        own have not."""
        return any(exchange.result(call) is not None for call in self._given)

    async def _next(self, seconds: float | None) -> Exchange | None:
        """Wait for the program's next model call; None when it has ended well. Raises `ProgramFailed`."""
        bridge = self.bridge
        while True:
            bridge.changed.clear()
            while bridge.waiting:
                if not (found := bridge.waiting.popleft()).gone:
                    return found
            process = self._process
            if process is None:
                raise ProgramFailed("program_failed", f"{self._program.title} is not running")
            if process.over or process.done:
                if (problem := process.problem()) is not None:
                    await self.stop()
                    raise problem
                return None
            try:
                await asyncio.wait_for(bridge.changed.wait(), seconds)
            except TimeoutError:
                await self.stop()
                why = f"{self._program.title} called no model for {seconds:g} seconds, and did not end"
                raise ProgramFailed("program_silent", why) from None

    def _asked(self, exchange: Exchange, request: Request) -> Request:
        """Return the program's model call as one of the loop's: charged to the session."""
        return msgspec.structs.replace(
            exchange.request,
            meta=request.meta,
            budgets=request.budgets,
            bill=request.bill,
            named=request.named,
            intent=request.intent,
            stream=True,
        )

    def _bounded(self, answer: Completed) -> Completed:
        """Return the answer with calls under ids that are new in the session. A call that starts an agent of the
        program's own stays alone, since its model calls come before its result; the model makes the others again."""
        kept: list[AssistantPart] = []
        calls = 0
        for part in answer.parts:
            if isinstance(part, ToolCall):
                alone = part.name.lower() in AGENTS
                if calls == READERS_AT_ONCE or (alone and calls):
                    break
                calls += 1
                known = part.id in self._session.call_ids
                kept.append(ToolCall(f"{part.id}-{secrets.token_hex(4)}", part.name, part.arguments) if known else part)
                if alone:
                    break
            else:
                kept.append(part)
        return msgspec.structs.replace(answer, parts=tuple(kept))

    def _charge(self, request: Request) -> None:
        """Add the cost of calls that were no steps to this step."""
        bills, self._bills = self._bills, []
        if request.bill is not None:
            for bill in bills:
                request.bill.add(bill.model, bill.usage)

    async def _aside(self, request: Request) -> AsyncGenerator[ModelEvent]:
        """Serve a call without tools, charged to the session."""
        own = self._request
        if own is None or len(self._bills) >= MOST_WAITING * 8:
            error = ErrorData("overloaded", "the session makes no model call now", retryable=True)
            yield Failed(error, sent=False)
            return
        bill = Bill()
        self._bills.append(bill)
        answers: asyncio.Queue[ModelEvent] = asyncio.Queue()
        asked = msgspec.structs.replace(request, meta=own.meta, budgets=own.budgets, bill=bill)
        making = asyncio.create_task(self._make(asked, answers))
        event: ModelEvent | None = None
        try:
            while not isinstance(event, Completed | Failed):
                event = await answers.get()
                yield event
        finally:
            making.cancel()
            await asyncio.gather(making, return_exceptions=True)

    async def _make(self, request: Request, answers: asyncio.Queue[ModelEvent]) -> None:
        """Make a model call as the session makes its own. The program's request acts for nobody: by its authority the
        ledger would charge another user than the session's."""
        try:
            with acting(HOME):
                async with events(self._inner, request) as stream:
                    async for event in stream:
                        answers.put_nowait(event)
        finally:
            answers.put_nowait(STOPPED)

    def take_unbilled(self) -> Usage | None:
        """Return the cost of calls that no step had any more, once."""
        bills, self._bills = [bill for bill in self._bills if bill.calls], []
        return sum((bill.usage for bill in bills[1:]), bills[0].usage) if bills else None

    # A tool call

    def _offer(self, specs: Sequence[ToolSpec]) -> None:
        """Offer the tools that the program's model call had."""
        found = {spec.name: self._tools.get(spec.name) or tool_of(spec, self._run) for spec in specs if fits(spec.name)}
        if found != self._tools:
            self._tools = found
            self._session.own(ToolOffers).offer("coding_agents", found)

    def offer_again(self) -> None:
        """Offer the tools of calls that are open after a wake."""
        self._offer([ToolSpec(call.call.name, "", {}) for call in self._session.state.calls])

    @property
    def toolbox(self) -> dict[str, Tool]:
        return self._tools

    async def _run(self, ctx: ToolContext, arguments: dict[str, Any]) -> ToolResult:
        done = False
        try:
            result = await self._ran(ctx.call)
            done = True
            return result
        except ProgramFailed as failed:
            done = True
            return ToolResult.of(f"[{failed}]", error=True)
        finally:
            if not done:
                await self.stop()

    async def _ran(self, id: str) -> ToolResult:
        """Let the program run a call, together with those that the loop has started with it, and return its result.
        Raises `ProgramFailed`."""
        mine = self._released
        if mine is None or id not in mine.calls or mine.results.done():
            running = tuple(call.call.id for call in self._session.state.calls if call.status == "running")
            mine = self._released = Released(running if id in running else (id,))
            try:
                mine.results.set_result(await self._release(mine.calls))
            except ProgramFailed as failed:
                mine.results.set_exception(failed)
            except BaseException:
                mine.results.cancel()
                raise
        return (await asyncio.shield(mine.results))[id]

    async def _release(self, ids: tuple[str, ...]) -> dict[str, ToolResult]:
        """Give the program the answer that asks for some calls, and return their results. Raises `ProgramFailed`."""
        exchange, answer = await self._answer(ids)
        if answer is None:
            return dict.fromkeys(ids, ToolResult.of("[not made: another call goes on. Make it again]", error=True))
        while exchange is not None:
            exchange.give(answer)
            following = await self._next(None)
            if following is None:
                break
            found = {id: result for id in ids if (result := following.result(id)) is not None}
            if found:
                self._exchange = following
                told = {id: ToolResult(result.parts, error=result.error) for id, result in found.items()}
                return {id: told.get(id) or self._untold() for id in ids}
            if not following.repeats(exchange):  # an agent of the program's own asks: the call may start one
                self._exchange = following
                return dict.fromkeys(ids, ToolResult.of(_NESTED))
            exchange = following
        return dict.fromkeys(ids, self._untold())

    def _untold(self) -> ToolResult:
        return ToolResult.of(f"[{self._program.title} ended before it told the result of this call]", error=True)

    async def _answer(self, ids: tuple[str, ...]) -> tuple[Exchange | None, Completed | None]:
        """Return the model call that some calls answer, with this answer; no answer if the program cannot get it. Later
        calls of an answer are given in the place of the next one, and after a restart the same answer once more. Raises
        `ProgramFailed`."""
        made = tuple(
            ToolCall(id, call.call.name, call.arguments) for id in ids if (call := self._session.state.call(id))
        )
        (held, self._held), (last, before) = (self._held, None), (self._exchange, self._given)
        self._given = (*before, *ids)
        if held is not None and self.runs:
            return held.exchange, msgspec.structs.replace(held.answer, parts=_with_calls(held.answer.parts, made))
        if self.runs and last is not None:
            self._given = before
            if last.gone or not self._follows(last):
                return None, None
            self._exchange, self._given = None, (*before, *ids)
            return last, Completed(made, "tool_calls")
        await self._begin(again=made)
        return await self._next(SILENCE), Completed(self._said(made), "tool_calls")

    def _said(self, made: tuple[ToolCall, ...]) -> tuple[AssistantPart, ...]:
        """Return the answer that asked for calls, from the log."""
        for entry in reversed(self._session.state.entries):
            if isinstance(entry.message, AssistantMessage):
                return _with_calls(entry.message.parts, made)
        return made

    # The program

    async def _begin(self, again: Sequence[ToolCall] = ()) -> None:
        """Start the program if it does not run, or has not been told all messages of the turn. again: calls whose
        answer it gets once more. Raises `ProgramFailed`, `StoreFailed`."""
        session, turn = self._session, self._session.state.turn
        assert turn is not None
        part = turn.part(CodingAgentTurn)
        if self.runs and part.told == part.messages:
            return
        said, fresh = _messages_of(session), part.messages - part.told
        told = max(0, len(said) - fresh) if part.told else 0
        await self.stop()
        gateway = self._gateway
        if gateway is None:
            raise ProgramFailed("program_failed", "coding agents need a node that serves HTTP")
        own = session.state.part(CodingAgentState).folder or secrets.token_hex(8)
        root = str(session.means.workspace.root)
        folder = f"{root}/{FOLDER}/{own}/{self._program.name}"
        known = await self._known(folder)
        new = str(uuid.uuid5(uuid.NAMESPACE_URL, f"{session.id}:{turn.number}")) if self._program.names else ""
        thread = known or new
        given = await asyncio.to_thread(GivenFiles, said)
        near, shows = f"{FOLDER}/{own}/{FILES}", self._program.shows and self.profile.takes("image")
        pictures = given.show(said[told if known else 0 :], f"{root}/{near}") if shows else ()
        text = prompt_of(
            session.state,
            said,
            told=told,
            knows=bool(known),
            file=lambda part: given.line(part, near),
            again=again,
        )
        self.bridge = self._bridge()  # what an earlier run left behind knows another key
        place = Place(
            folder=folder,
            gateway=await gateway.address(session),
            key=self.bridge.key,
            model=_plain(self._inner.name),
            prompt=f"{folder}/prompt.txt",
            workspace=root,
            instructions=session.instruction,
            text=text,
            pictures=pictures,
        )
        name, messages = self._program.name, part.messages or len(said)
        session.log.note(ProgramPrompted(at=time.time(), program=name, thread=thread, told=messages, folder=own))
        await session.log.flush_shielded()
        gateway.open(session.id, self.bridge)
        executable = await asyncio.to_thread(gateway.executable, self._program)
        process = self._process = Process(self._program, place, executable, self._named, self.bridge.changed.set)
        await process.start(self._sandbox, thread, given.contents)

    @property
    def _sandbox(self) -> Sandboxed:
        return cast("Sandboxed", self._session.means.sandbox)

    async def _known(self, folder: str) -> str:
        """Return the conversation to resume; empty if there is none, or its files are gone. Raises `ProgramFailed`."""
        thread = self._session.state.part(CodingAgentState).thread(self._program.name)
        root = str(self._session.means.workspace.root)
        there = thread and await keeps(self._sandbox, self._program, folder, thread, root)
        return thread if there else ""

    def _named(self, thread: str) -> None:
        threads = self._session.state.part(CodingAgentState).threads
        if threads.get(self._program.name) != thread:
            self._session.log.note(ProgramThread(at=time.time(), program=self._program.name, thread=thread))
            self._session.log.flush_soon()

    async def finish(self) -> None:
        """Let the program end by itself, now that it has done its work, and then stop it."""
        if self._process is not None and self._process.done:
            await self._process.ended(_GRACE)
        await self.stop()

    async def stop(self) -> None:
        """Kill the program, if it runs. Its open model calls end."""
        process, self._process = self._process, None
        for exchange in (self._exchange, self._held and self._held.exchange):
            if exchange is not None:
                exchange.give(STOPPED)
        self._exchange = self._held = None
        self.bridge.end()
        if self._gateway is not None:
            self._gateway.shut(self._session.id)
        if process is not None:
            await asyncio.shield(asyncio.ensure_future(process.close()))


def _calls_of(parts: Sequence[AssistantPart]) -> tuple[ToolCall, ...]:
    return tuple(part for part in parts if isinstance(part, ToolCall))


def _with_calls(parts: Sequence[AssistantPart], made: Sequence[ToolCall]) -> tuple[AssistantPart, ...]:
    """Return an answer with these of its calls, and with their arguments as they are now: a person may have changed
    them."""
    calls = {call.id: call for call in made}
    rest = (calls.get(part.id) if isinstance(part, ToolCall) else part for part in parts)
    return tuple(part for part in rest if part is not None)


def _messages_of(session: Session) -> list[UserMessage]:
    """Return the user's messages of the open turn, as far as the context still has them: the newest."""
    turn, entries = session.state.turn, session.state.entries
    assert turn is not None
    if known := turn.part(CodingAgentTurn).messages:
        found = [one.message for one in entries if not one.head and isinstance(one.message, UserMessage)]
        return found[-known:]
    first = next((at for at in range(len(entries) - 1, -1, -1) if entries[at].turn == turn.number), 0)
    return [one.message for one in entries[first:] if isinstance(one.message, UserMessage)]


def _plain(name: str) -> str:
    return "".join(letter if letter.isascii() and letter.isprintable() else "?" for letter in name) or "model"
