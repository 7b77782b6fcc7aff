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
from roost.doors.open_calls import OpenCalls, open_calls
from roost.doors.talk import Entered, Talk
from roost.doors.threads import session_of
from roost.errors import Invalid
from roost.features.client_tools.events import ClientOfferInput
from roost.runtime import Runtime
from roost.server.app_state import Api
from roost.server.door import Methods
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

    async def agents(self, scope: Scope, receive: Receive) -> ReplyCall:
        found = [
            {"name": one.name, "description": one.description, "path": f"/ag-ui/{one.name}"}
            for one in self._agents.all()
        ]
        return json(200, {"agents": found})

    async def run(self, scope: Scope, receive: Receive) -> ReplyCall:
        data = await read_body(scope, receive, limit=BODY_BYTES)
        agent = self._agents.get(scope["path_params"]["agent"])
        given = decode_body(scope, data, _decoder)
        for what, id in (("threadId", given.thread_id), ("runId", given.run_id)):
            if not 0 < len(id) <= _NAME:
                raise Invalid(f"{what}: between 1 and {_NAME} characters name it")
        check_room(self._api)
        new = await asyncio.to_thread(news, given) if len(data) > _LARGE else news(given)
        if both := [tool.name for tool in given.tools or () if tool.name in agent.spec.tools]:
            raise Invalid(f"tools: the agent has tools of these names itself: {', '.join(both)}")
        return RunStream(self._api, await self._enter(agent.name, given, new))

    async def _enter(self, agent: str, given: RunInput, new: News) -> Run:
        """Put what is new into the inbox of the thread's session, once."""
        session = session_of(given.thread_id)
        if given.resume:
            entered, calls = await _answer(self._api.runtime, session, given.run_id, given.resume)
            return Run(given, new, entered, calls, True, frozenset())
        if not new.parts and not new.results:
            raise Invalid("messages: nothing is new: end with a message of the user, or with results of tools")
        talk = Talk(
            agent=agent,
            user="",
            before=[Exchange((), "", ())] if new.results else [],
            parts=new.parts,
            instructions=new.instructions,
            session=session,
            key=given.run_id,
            offer=ClientOfferInput(offered(given.tools)),
            results=new.results,
        )
        entered = await self._conversations.enter(talk)
        if not new.results:
            return Run(given, new, entered, OpenCalls(), False, frozenset())
        calls, _ = await open_calls(self._api.sessions, session, entered.item, entered.follower.after)
        answered = frozenset(one.call.split("/", 2)[2] for one in new.results)
        for call in answered:
            calls.answered(call)
        return Run(given, new, entered, calls, True, answered)


async def _answer(runtime: Runtime, session: str, run: str, entries: list[ResumeEntry]) -> tuple[Entered, OpenCalls]:
    """Answer the calls that wait for a person, and return where the turn goes on. Raises `Invalid`."""
    answers = {one.interrupt_id: _decision(one) for one in entries}
    places = {tuple(id.split("/", 2)[:2]) for id in answers}
    item = next(iter(places))[-1]
    wrong = any(id.count("/") < 2 or not id.startswith(f"{session}/") for id in answers)
    if wrong or len(places) != 1 or not (item.isascii() and item.isdigit() and len(item) < 19):
        raise Invalid("resume: these interrupts are not of one run of this thread")
    calls = {id.split("/", 2)[2]: answer for id, answer in answers.items()}
    follower, still = await approvals.answer(runtime, session, int(item), calls, f"agui:{run}")
    return Entered(session, int(item), follower, None), still


def _decision(entry: ResumeEntry) -> approvals.Answer:
    return approvals.Answer("reject") if entry.status == "cancelled" else approvals.answer_of(entry.payload)
