"""Answer requests of the Responses API: `/v1/responses`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import parse_qs

import msgspec
from starlette.types import Receive, Scope

from roost.doors.conversation_log import NODE
from roost.doors.conversations import Conversations
from roost.doors.models import agent_of, model_of
from roost.doors.openai import conversation_log, responses_gateway
from roost.doors.openai.conversation_log import name_of
from roost.doors.openai.conversations_service import ConversationsService, check_metadata
from roost.doors.openai.response_items import Item, dialogue, items_of
from roost.doors.openai.response_log import Found, ResponseLog, place_of
from roost.doors.openai.response_request import ResponseRequest
from roost.doors.openai.response_writer import End, ResponseWriter, head_of
from roost.doors.openai.responses_agent import (
    ResponseStream,
    begun_response,
    place_in,
    turn_at,
    whole_response,
)
from roost.doors.openai.shown_items import Page, input_items
from roost.doors.talk import Talk
from roost.doors.turn import Turn
from roost.errors import Conflict, Invalid
from roost.features.client_tools.events import ClientOfferInput, ClientResultInput, OfferedTool
from roost.ids import is_id
from roost.kernel.turn_watch import begun_by
from roost.models.tokens import estimate_request
from roost.server.app_state import Api
from roost.server.door import Methods, needs
from roost.server.request_body import decode_body, header, read_body
from roost.server.responses import ReplyCall, json
from roost.server.sessions import check_room

BODY_BYTES = 16 * 1024 * 1024
"""Most bytes of a request: clients send the whole history, with its images, each time."""
_ITEMS = 20_000
_LARGE = 100_000
"""Bytes of a request that is read beside the event loop."""
_SESSION = "roost-session"
_THREADS = (b"thread-id", b"session-id", b"session_id")
"""Headers in which clients name their conversation."""
_decoder = msgspec.json.Decoder(ResponseRequest)


class Responses:
    def __init__(self, name: str, api: Api, conversations: Conversations) -> None:
        self._api, self._sessions = api, api.sessions
        self._agents = api.runtime.agents
        self._conversations = conversations
        self._log = ResponseLog(name, api)
        self._named = conversation_log.Conversations(name, api, self._log, conversations.tails)

    def routes(self) -> Mapping[str, Methods]:
        return {
            **ConversationsService(self._api, self._named).routes(),
            "/v1/responses": {"POST": self.create},
            "/v1/responses/input_tokens": {"POST": self.input_tokens},
            "/v1/responses/compact": {"POST": self.compact},
            "/v1/responses/{id}": {"GET": self.retrieve, "DELETE": self.delete},
            "/v1/responses/{id}/cancel": {"POST": self.cancel},
            "/v1/responses/{id}/input_items": {"GET": self.input_items},
        }

    @needs("use")
    async def create(self, scope: Scope, receive: Receive) -> ReplyCall:
        request, size = await self._read(scope, receive)
        check_room(self._api)
        if (agent := agent_of(self._api, request.model)) is None:
            return responses_gateway.reply(self._api, await model_of(self._api, request.model), request)
        shown = request.shown()
        if size > _LARGE:
            talk = await asyncio.to_thread(self._talk, agent, request, shown, scope)
        else:
            talk = self._talk(agent, request, shown, scope)
        if (name := request.conversation_id) is not None:
            talk.session, talk.end, talk.told = await self._named.enter(name, agent)
        entered = await self._conversations.enter(talk)
        turn = Turn(self._api, self._conversations, entered, request.model)
        head = head_of(place_in(entered).id, request.model, shown, request.tools, time.time())
        writer = ResponseWriter(head, streams=bool(request.stream), custom=request.custom)
        if request.stream:
            return ResponseStream(turn, writer)
        return begun_response(turn, writer) if request.background else whole_response(turn, writer)

    async def _read(self, scope: Scope, receive: Receive) -> tuple[ResponseRequest, int]:
        data = await read_body(scope, receive, limit=BODY_BYTES)
        request = decode_body(scope, data, _decoder)
        if request.prompt is not None:
            raise Invalid("prompt: no templates of prompts are kept here; send the text itself")
        if request.previous_response_id is not None and request.conversation is not None:
            raise Invalid("previous_response_id and conversation: give one of them, not both")
        check_metadata(request.metadata)
        if isinstance(request.input, list) and len(request.input) > _ITEMS:
            raise Invalid(f"input: a request has at most {_ITEMS} items, not {len(request.input)}")
        return request, len(data)

    def _talk(self, agent: str, request: ResponseRequest, shown: dict[str, Any], scope: Scope) -> Talk:
        specs = request.specs()
        own = self._agents.get(agent).tools
        if both := [tool.name for tool in specs if tool.name in own]:
            raise Invalid(f"tools: the agent has tools of these names itself: {', '.join(both)}")
        said = dialogue(items_of(request.input))
        offered = () if request.choice == "none" else specs
        previous = None if request.previous_response_id is None else place_of(request.previous_response_id)
        texts = [text for text in (request.instructions, said.instructions) if text]
        results = () if said.parts else said.results
        if said.parts and said.results and previous is not None:
            raise Invalid("input: send the outputs of calls first, and the message once they are answered")
        details = request.details(shown)
        if results:
            details.pop("previous_response_id", None)  # the log says it
        return Talk(
            agent=agent,
            user=request.user or request.safety_identifier or "",
            thread=_thread_of(request, scope),
            before=said.before if previous is None else (),
            parts=said.parts,
            instructions="\n\n".join(texts) or None,
            session=_session_of(request, scope),
            key=header(scope, b"idempotency-key"),
            repeated=(header(scope, b"x-stainless-retry-count") or "0") != "0",
            offer=ClientOfferInput(
                tuple(OfferedTool(tool.name, tool.description, tool.schema) for tool in offered),
                request.answer_schema(),
                tuple(tool.name for tool in request.chosen(specs)) if request.choice == "required" else (),
            ),
            results=tuple(ClientResultInput(one.call, one.parts) for one in results),
            previous=None if previous is None else (previous.session, previous.item),
            details=details,
        )

    @needs("read")
    async def retrieve(self, scope: Scope, receive: Receive) -> ReplyCall:
        found = await self._log.find(place_of(scope["path_params"]["id"]))
        query = parse_qs(scope["query_string"].decode("latin-1"))
        if query.get("stream", [""])[0].lower() not in ("true", "1"):
            writer, end = await self._shown(found)
            if end.status not in ("queued", "in_progress"):
                self._conversations.fetched(found.place.session, found.place.item)
            return json(200, writer.state(end))
        check_room(self._api)
        place, start = found.place, found.start
        if start is None:
            start = (await self._sessions.get(place.session)).head
            start = (await self._log.find(place)).start or start
        turn = turn_at(self._api, self._conversations, place, found.agent, start)
        return ResponseStream(turn, self._writer(found, streams=True, after=_number(query, "starting_after")))

    async def _shown(self, found: Found) -> tuple[ResponseWriter, End]:
        writer = self._writer(found, streams=False)
        return writer, await self._log.read(found, writer)

    def _writer(self, found: Found, *, streams: bool, after: int | None = None) -> ResponseWriter:
        details = {name: value for name, value in found.details.items() if name not in ("results", "custom", NODE)}
        if (name := name_of(found.place.session)) is not None:
            details["conversation"] = {"id": name}
        head = head_of(found.place.id, found.agent, details, None, found.created)
        custom = frozenset(found.details.get("custom", ()))
        return ResponseWriter(head, streams=streams, after=after, custom=custom)

    @needs("use")
    async def cancel(self, scope: Scope, receive: Receive) -> ReplyCall:
        found = await self._log.find(place_of(scope["path_params"]["id"]))
        if found.start is None:
            raise Conflict("the response has not begun; cancel it once it has", code="response_queued")
        writer, end = await self._shown(found)
        if end.status == "in_progress":
            session = found.place.session
            begun = await begun_by(self._sessions, session, found.place.item)
            await self._sessions.control(session, "cancel", input=begun)
            writer, end = await self._shown(found)
        return json(200, writer.state(end))

    @needs("use")
    async def delete(self, scope: Scope, receive: Receive) -> ReplyCall:
        """Delete the session, if this door made it and the response is all that was said in it."""
        place = (await self._log.find(place_of(scope["path_params"]["id"]))).place
        if place.step or not await self._log.alone(place):
            why = f"the session {place.session!r} was not made for this response alone, and a log keeps all of it"
            raise Conflict(f"{why}; to delete all: roost delete {place.session}", code="response_in_conversation")
        await self._sessions.delete(place.session)
        return json(200, {"id": place.id, "object": "response", "deleted": True})

    @needs("read")
    async def input_items(self, scope: Scope, receive: Receive) -> ReplyCall:
        found = await self._log.find(place_of(scope["path_params"]["id"]))
        return json(200, Page.of(scope).show(await input_items(self._log, found)))

    @needs("read")
    async def input_tokens(self, scope: Scope, receive: Receive) -> ReplyCall:
        """Estimate the tokens of a request: of what it says itself, as nothing else is known before a model is
        called."""
        request, _ = await self._read(scope, receive)
        items = items_of(request.input)
        tokens = await asyncio.to_thread(_estimate, request, items)
        if request.previous_response_id is not None:
            tokens += (await self._sessions.inspect(place_of(request.previous_response_id).session)).context_tokens
        elif request.conversation_id is not None:
            info = (await self._named.sessions(request.conversation_id))[-1]
            tokens += (await self._sessions.inspect(info.id)).context_tokens
        return json(200, {"object": "response.input_tokens", "input_tokens": tokens})

    @needs("use")
    async def compact(self, scope: Scope, receive: Receive) -> ReplyCall:
        why = "sessions of agents compact their context by themselves (or by `roost compact`)"
        raise Invalid(f"compact: there is no such operation here; {why}", code="unsupported")


def _estimate(request: ResponseRequest, items: Sequence[Item]) -> int:
    return estimate_request(responses_gateway.request_of(request, items))


def _session_of(request: ResponseRequest, scope: Scope) -> str | None:
    named: Any = header(scope, _SESSION.encode()) or (request.metadata or {}).get(_SESSION)
    named = request.conversation_id or named
    if named is not None and not is_id(named):
        raise Invalid(f"{named[:200]!r} cannot name a session: use letters, digits and ._:- (at most 128)")
    return named


def _thread_of(request: ResponseRequest, scope: Scope) -> str:
    """Return what the client calls the conversation, if it tells."""
    named = (header(scope, name) for name in _THREADS)
    return next((name for name in named if name), None) or request.prompt_cache_key or ""


def _number(query: Mapping[str, list[str]], name: str) -> int | None:
    text = query.get(name, [None])[0]
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise Invalid(f"{name}: {text[:50]!r} is not the number of an event")
    return int(text)
