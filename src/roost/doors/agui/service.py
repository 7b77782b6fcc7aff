"""Answer requests of AG-UI: `POST /ag-ui/AGENT` runs an agent in the session that the thread names."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import msgspec
from starlette.types import Receive, Scope

from roost.doors import approvals
from roost.doors.agui.run import Run, RunStream
from roost.doors.agui.run_input import News, ResumeEntry, RunInput, news, offered
from roost.doors.conversations import Conversations
from roost.doors.digests import Exchange
from roost.doors.open_calls import Asked, OpenCalls, open_calls
from roost.doors.talk import Entered, Talk, turn_of
from roost.doors.threads import session_of
from roost.errors import Invalid
from roost.features.client_tools.events import ClientOfferInput
from roost.server.app_state import Api
from roost.server.door import Methods, needs
from roost.server.request_body import decode_body, read_body
from roost.server.responses import ReplyCall, json
from roost.server.sessions import check_room

BODY_BYTES = 16 * 1024 * 1024
"""Most bytes of a request: clients send the whole thread, with its images, each time."""
_LARGE = 100_000
"""Bytes of a request that is read beside the event loop."""
_NAME = 256
"""Most characters of the ids of a thread and a run."""
_decoder = msgspec.json.Decoder(RunInput)


class Service:
    def __init__(self, name: str, api: Api) -> None:
        self._name, self._api = name, api
        self._agents = api.runtime.agents
        self._conversations = Conversations(name, api.runtime, self._agents.get)

    def routes(self) -> Mapping[str, Methods]:
        return {"/ag-ui": {"GET": self.agents}, "/ag-ui/{agent}": {"POST": self.run}}

    @needs("read")
    async def agents(self, scope: Scope, receive: Receive) -> ReplyCall:
        found = [
            {"name": one.name, "description": one.description, "path": f"/ag-ui/{one.name}"}
            for one in self._agents.all()
        ]
        return json(200, {"agents": found})

    @needs("use")
    async def run(self, scope: Scope, receive: Receive) -> ReplyCall:
        data = await read_body(scope, receive, limit=BODY_BYTES)
        agent = self._agents.get(scope["path_params"]["agent"])
        given = decode_body(scope, data, _decoder)
        for what, id in (("threadId", given.thread_id), ("runId", given.run_id)):
            if not 0 < len(id) <= _NAME:
                raise Invalid(f"{what}: between 1 and {_NAME} characters name it")
        check_room(self._api)
        new = await asyncio.to_thread(news, given) if len(data) > _LARGE else news(given)
        if both := [tool.name for tool in given.tools or () if tool.name in agent.tools]:
            raise Invalid(f"tools: the agent has tools of these names itself: {', '.join(both)}")
        return RunStream(self._api, await self._enter(agent.name, given, new))

    async def _enter(self, agent: str, given: RunInput, new: News) -> Run:
        """Put what is new into the inbox of the thread's session, once."""
        session = session_of(given.thread_id)
        if given.resume:
            if new.parts or new.results:
                raise Invalid("messages: a run with `resume` has no new messages: send them in a run of their own")
            entered, calls = await self._answer(agent, session, given.run_id, given.resume)
            return Run(given, new, entered, calls, True, frozenset(), True)
        if not new.parts and not new.results:
            raise Invalid("messages: nothing is new: end with a message of the user, or with results of tools")
        turn = turn_of(new.results) if new.results else (session, 0)
        if turn is None or turn[0] != session:
            raise Invalid("messages: these results are not of calls of one run of this thread")
        talk = Talk(
            agent=agent,
            user="",
            before=[Exchange((), "", ())] if new.results else [],
            parts=(new.told, *new.parts) if new.told is not None and new.parts else new.parts,
            instructions=new.instructions,
            session=session,
            key=given.run_id,
            offer=ClientOfferInput(offered(given.tools)),
            results=new.results,
        )
        entered = await self._conversations.enter(talk)
        try:
            return await self._begin(given, new, entered, turn[1])
        except BaseException:
            entered.follower.close()
            raise

    async def _begin(self, given: RunInput, new: News, entered: Entered, asked_in: int) -> Run:
        """Return the run of what was put into the inbox. asked_in: the input whose turn asked for the results."""
        if not new.results:
            return Run(given, new, entered, OpenCalls(), False, frozenset(), False)
        follower, resumed = entered.follower, entered.said is not None
        calls, _ = await open_calls(self._api.sessions, entered.session, asked_in, follower.after)
        within = resumed or (bool(calls.open) and not follower.behind)
        answered = frozenset(one.call.split("/", 2)[2] for one in new.results)
        for call in answered:
            calls.answered(call)
        return Run(given, new, entered, calls, resumed, answered, within)

    async def _answer(
        self, agent: str, session: str, run: str, entries: list[ResumeEntry]
    ) -> tuple[Entered, OpenCalls]:
        """Answer the calls that wait for a person, and return where the turn goes on. Raises `RoostError`."""
        answers: dict[Asked, approvals.Answer] = {}
        items: set[int] = set()
        for one in entries:
            item, asked = _question(session, one.interrupt_id)
            if asked in answers:
                raise Invalid(f"resume: {one.interrupt_id!r} is answered twice")
            items.add(item)
            answers[asked] = _decision(one)
        if len(items) != 1:
            raise Invalid("resume: these interrupts are not of one run of this thread")
        if (info := await self._api.sessions.get(session)).agent != agent:
            raise Invalid(f"threadId: the thread is of the agent {info.agent!r}, not of {agent!r}")
        (item,) = items
        follower, still = await approvals.answer(self._api.runtime, session, item, answers, f"{self._name}:{run}")
        return Entered(session, item, follower, None), still


def _question(session: str, interrupt: str) -> tuple[int, Asked]:
    """Return the input and the question that the id of an interrupt names. Raises `Invalid`."""
    call, _, at = interrupt.rpartition("@")
    place, _, call = call.removeprefix(f"{session}/").partition("/")
    numbers = [int(one) for one in (place, at) if one.isascii() and one.isdigit() and len(one) < 19]
    if not interrupt.startswith(f"{session}/") or not call or len(numbers) != 2:
        raise Invalid(f"resume: {interrupt[:200]!r} is no interrupt of this thread")
    return numbers[0], Asked(call, numbers[1])


def _decision(entry: ResumeEntry) -> approvals.Answer:
    return approvals.Answer("reject") if entry.status == "cancelled" else approvals.answer_of(entry.payload)
