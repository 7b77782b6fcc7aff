"""Sessions: create, find, change and delete them, send to them and stream what they do."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec
from starlette.types import Receive, Scope

from roost.agent.definition import Agent
from roost.authority import current
from roost.doors.openai_agents import session_view
from roost.doors.openai_agents.agent_config import AgentBody, AgentConfig, metadata_of
from roost.doors.openai_agents.agent_spec import agent_for
from roost.doors.openai_agents.agents import Agents
from roost.doors.openai_agents.artifacts import FOLDER, keys_of
from roost.doors.openai_agents.context import (
    BODY_BYTES,
    Context,
    body_of,
    digest,
    is_repeated,
    missing,
    request_key,
)
from roost.doors.openai_agents.environment_config import Setup
from roost.doors.openai_agents.environment_files import to_place
from roost.doors.openai_agents.environments import Environments
from roost.doors.openai_agents.event_stream import SessionEvents, last_of
from roost.doors.openai_agents.history import History
from roost.doors.openai_agents.history_routes import HistoryRoutes
from roost.doors.openai_agents.log_reader import Names
from roost.doors.openai_agents.paging import Page, documents, page_of
from roost.doors.openai_agents.records import SESSION, SessionRecord, read, same_metadata
from roost.doors.openai_agents.session_inputs import Message, SessionInputs, message_of
from roost.doors.openai_agents.session_store import SessionStore
from roost.doors.openai_agents.vaults import Vaults
from roost.errors import Conflict, Invalid, NotFound, RoostError
from roost.features.client_tools.events import ClientOfferInput, OfferedTool
from roost.features.uploads.events import PlaceFilesInput, PublishInput
from roost.ids import new_id
from roost.log.documents import Document, DocumentQuery, Put, Remove
from roost.server.door import Methods, needs
from roost.server.request_body import decode_body, header, read_body
from roost.server.responses import Reply, ReplyCall, json
from roost.server.sessions import check_room

_ALL = "/v1/agents/sessions"
_ONE = f"{_ALL}/{{session}}"
_AGAIN = 600.0
"""Seconds in which a request that says that it is repeated finds the session that it made."""
_SAME = 20
"""Sessions of requests with the same content of which one may be the one that is repeated."""
_TRIES = 8


class _Cache(msgspec.Struct, forbid_unknown_fields=True):
    ttl: Literal["30m", "12h"] = "30m"


class _Spend(msgspec.Struct, forbid_unknown_fields=True):
    limit: int | None


class _StreamOptions(msgspec.Struct, forbid_unknown_fields=True):
    include_obfuscation: bool = True


class _Create(msgspec.Struct, forbid_unknown_fields=True):
    environment: dict[str, Any]
    agent: AgentBody | None = None
    agent_id: str | None = None
    input: Any = None
    metadata: dict[str, str] | None = None
    prompt_cache_options: _Cache | None = None
    review: Literal["none", "auto_review"] = "none"
    spend_control: _Spend | None = None
    stream: bool = False
    stream_options: _StreamOptions | None = None
    vault_ids: list[str] | None = None


class _SessionAgent(msgspec.Struct, forbid_unknown_fields=True):
    model: str | msgspec.UnsetType = msgspec.UNSET
    reasoning: Any = msgspec.UNSET
    service_tier: Any = msgspec.UNSET
    tools: Any = msgspec.UNSET


class _Update(msgspec.Struct, forbid_unknown_fields=True):
    agent: _SessionAgent | None = None
    metadata: dict[str, str] | msgspec.UnsetType | None = msgspec.UNSET
    prompt_cache_options: _Cache | msgspec.UnsetType | None = msgspec.UNSET
    review: Literal["none", "auto_review"] = "none"
    spend_control: _Spend | msgspec.UnsetType | None = msgspec.UNSET


class _Events(msgspec.Struct, forbid_unknown_fields=True):
    events: list[Any]


_create = msgspec.json.Decoder(_Create)


class Sessions(HistoryRoutes):
    def __init__(
        self, context: Context, agents: Agents, environments: Environments, vaults: Vaults, store: SessionStore
    ) -> None:
        self._context, self._agents, self._store = context, agents, store
        self._environments, self._vaults = environments, vaults
        self._inputs = SessionInputs(context)

    def routes(self) -> Mapping[str, Methods]:
        return {
            _ALL: {"GET": self.list, "POST": self.create},
            _ONE: {"GET": self.retrieve, "POST": self.update, "DELETE": self.delete},
            f"{_ONE}/events": {"GET": self.stream, "POST": self.submit},
            **self.history_routes(_ONE),
        }

    @needs("use")
    async def create(self, scope: Scope, receive: Receive) -> ReplyCall:
        data = await read_body(scope, receive, limit=BODY_BYTES)
        body = decode_body(scope, data, _create)
        if body.stream:
            check_room(self._context.api)
        message = message_of(body.input, "input")
        owner, key, request = self._context.owner(scope), request_key(scope), digest(data.decode("utf-8", "replace"))
        record = await self._made_before(owner, key, request, repeated=is_repeated(scope))
        if record is None:
            self._check(body, message)
            record = await self._record(body, owner, key, request)
        try:
            return self._context.answered.reply(
                record.id, await self._opened(record, message, scope, stream=body.stream)
            )
        except RoostError as error:
            if error.status < 500:
                await self._undo(record)
            raise

    async def _undo(self, record: SessionRecord) -> None:
        """Remove the records of a session that could not be made."""
        try:
            await self._context.sessions.get(record.id)
        except NotFound:
            await self._environments.undo(record)

    def _check(self, body: _Create, message: Message | None) -> None:
        kind = body.environment.get("type")
        if message is None and (kind == "none" or (body.stream and kind != "self_hosted")):
            raise Invalid("input: a session without an environment, or one that is streamed, begins with input")
        if body.stream_options is not None and not body.stream:
            raise Invalid("stream_options: only with stream")

    async def _made_before(self, owner: str, key: str | None, request: str, *, repeated: bool) -> SessionRecord | None:
        """Return the session that this request made when it came first."""
        if key is not None:
            found = await self._store.document(_id_of(owner, key))
            record = None if found is None else read(found, SessionRecord)
            if record is not None and record.request != request:
                raise Conflict("the Idempotency-Key made another session", code="idempotency_mismatch")
            return record
        if not repeated:
            return None
        query = DocumentQuery(kind=SESSION, owner=owner, key=("request", request), newest=True, limit=_SAME)
        for one in await self._context.documents.find(query):
            record = read(one, SessionRecord)
            fresh = one.created > time.time() - _AGAIN
            if fresh and await self._context.may_be_lost(record.id, record.node, record.created):
                return record
        return None

    async def _record(self, body: _Create, owner: str, key: str | None, request: str) -> SessionRecord:
        """Make the record of a new session, durably. Raises `Invalid`, `NotFound`."""
        id = current().session_id(new_id("asess")) if key is None else _id_of(owner, key)
        config, agent_id = await self._config(body, owner)
        vaults = await self._vaults.known(body.vault_ids, owner)
        environment, revision = await self._environments.for_session(body.environment, id, owner)
        setup = environment.setup
        spend = _cents(body.spend_control)
        await self._vaults.check_selected(config, vaults)
        agent = await self._agent(config, agent_id, setup, spend, vaults)
        record = SessionRecord(
            id=id,
            created=time.time(),
            owner=owner,
            agent=config,
            agent_id=agent_id,
            name=agent.name,
            setup=setup,
            metadata=metadata_of(body.metadata),
            vaults=vaults,
            cache=None if body.prompt_cache_options is None else body.prompt_cache_options.ttl,
            review=_review(body.review),
            spend=spend,
            request=request,
            node=self._context.node,
        )
        writes: list[Put | Remove] = [record.put(0)]
        if setup.kind != "none":
            writes.append(environment.put(revision))
        await self._context.documents.write(writes)
        return record

    async def _config(self, body: _Create, owner: str) -> tuple[AgentConfig, str]:
        """Return the configuration of a session's agent, and its id."""
        given = body.agent or AgentBody()
        if body.agent_id is not None:
            config = (await self._agents.config(body.agent_id, owner)).merged(given, "agent.")
            return config, body.agent_id
        if given.model is msgspec.UNSET:
            raise Invalid("agent.model: name the model, or an agent by agent_id")
        if given.name is not msgspec.UNSET or given.metadata is not msgspec.UNSET:
            raise Invalid("agent: an agent of a session has neither name nor metadata")
        return AgentConfig(model="").merged(given, "agent."), new_id("agent")

    async def _agent(
        self, config: AgentConfig, agent_id: str, setup: Setup, spend: int | None, vaults: Sequence[str]
    ) -> Agent:
        network = setup.hosted.network
        return await agent_for(
            self._context.api,
            config,
            agent_id,
            kind=setup.kind,
            spend=None if spend is None else spend / 100,
            hosts=None if network is None else network.allowed,
            vaults=vaults,
        )

    async def _opened(self, record: SessionRecord, message: Message | None, scope: Scope, *, stream: bool) -> ReplyCall:
        """Make the session of a record, tell it what it begins with, and answer. May be repeated after a crash."""
        agent = await self._agent(record.agent, record.agent_id, record.setup, record.spend, record.vaults)
        labels = {"openai_agents": record.agent_id}
        sessions = self._context.sessions
        await sessions.create(agent, id=record.id, workspace=record.setup.folder, labels=labels, key=record.id)
        await self._offer(record, "offer")
        if record.setup.hosted.files:
            placed = PlaceFilesInput(to_place(record.setup.hosted.files))
            await sessions.put(record.id, placed, key=f"{self._context.name}:files")
        if record.setup.kind == "openai_hosted":
            publish = PublishInput(FOLDER, record.owner, keys_of(record.id))
            await sessions.put(record.id, publish, key=f"{self._context.name}:publish")
        follower = sessions.listen(record.id) if stream else None
        try:
            start = (await sessions.get(record.id)).head
            if message is not None:
                await self._inputs.say(record.id, message, f"{self._context.name}:input")
        except BaseException:
            if follower is not None:
                follower.close()
            raise
        url = _url(scope)
        if follower is None:
            now = await session_view.now(self._context, record.id)
            return json(200, session_view.resource(record, now, url))
        follower.after = start
        follower.behind = True
        return SessionEvents(self._context, record, follower, start, url=url, created=True)

    async def _offer(self, record: SessionRecord, key: str) -> None:
        """Tell the session the functions of the application and the form of its answers."""
        tools = tuple(OfferedTool(one["name"], one["description"], one["parameters"]) for one in record.agent.functions)
        if tools or record.agent.schema is not None or key != "offer":
            offer = ClientOfferInput(tools, record.agent.schema)
            await self._context.sessions.put(record.id, offer, key=f"{self._context.name}:{key}")

    @needs("read")
    async def retrieve(self, scope: Scope, receive: Receive) -> ReplyCall:
        return json(200, await self._shown(await self._store.find(scope), scope))

    async def _shown(self, record: SessionRecord, scope: Scope) -> dict[str, Any]:
        try:
            now = await session_view.now(self._context, record.id)
        except NotFound:
            raise missing("session", record.id) from None
        return session_view.resource(record, now, _url(scope))

    @needs("read")
    async def list(self, scope: Scope, receive: Receive) -> ReplyCall:
        page = Page.of(scope)
        agent, wanted = page.one("agent_id"), page.metadata
        key = next(((f"m.{name}", value) for name, value in wanted.items()), None)
        if agent is not None:
            key = ("agent", agent)
        found = documents(self._context.documents, SESSION, page, owner=self._context.owner(scope), key=key)

        async def show(one: Document) -> dict[str, Any] | None:
            record = read(one, SessionRecord)
            if not same_metadata(record, wanted):
                return None
            try:
                return await self._shown(record, scope)
            except NotFound:  # deleted otherwise
                return None

        return json(200, await page_of(found, page, show))

    @needs("use")
    async def update(self, scope: Scope, receive: Receive) -> ReplyCall:
        body = await body_of(scope, receive, _Update)
        _review(body.review)
        await self._store.find(scope)
        for _ in range(_TRIES):
            found = await self._store.document(scope["path_params"]["session"])
            if found is None:
                raise Conflict("the session was not made through this API, which does not change it", code="read_only")
            record = _updated(read(found, SessionRecord), body)
            agent = await self._agent(record.agent, record.agent_id, record.setup, record.spend, record.vaults)
            if agent.name != record.name:
                raise Invalid("agent.model: a session stays with the agent of this home that it began with")
            try:
                (written,) = await self._context.documents.write([record.put(found.revision)])
            except Conflict as error:
                if error.code != "document_changed":
                    raise
                continue
            record = await self._adopted(record, agent, 0 if written is None else written.revision)
            return json(200, await self._shown(record, scope))
        raise Conflict("the session is changed by too many clients at once", code="document_changed")

    async def _adopted(self, record: SessionRecord, agent: Agent, own: int) -> SessionRecord:
        """Let the session go on as its record says. Another node may have written a newer record and told the session
        before this one did: so the last to tell it looks again. own: the revision that this request wrote. Returns the
        record that the session has."""
        revision = own
        for _ in range(_TRIES):
            await self._context.runtime.upgrades.move_to(record.id, agent, by=self._context.name)
            await self._offer(record, f"offer:{revision}" if revision == own else f"offer:{revision}:{own}")
            newest = await self._store.document(record.id)
            if newest is None or newest.revision == revision:
                return record
            record, revision = read(newest, SessionRecord), newest.revision
            agent = await self._agent(record.agent, record.agent_id, record.setup, record.spend, record.vaults)
        raise Conflict("the session is changed by too many clients at once", code="document_changed")

    @needs("use")
    async def delete(self, scope: Scope, receive: Receive) -> ReplyCall:
        record = await self._store.find(scope)
        try:
            now = await session_view.now(self._context, record.id)
            if now.state.turn is not None or (now.queued and now.info.state in ("created", "running")):
                raise Conflict("the session is running: cancel its turn first", code="session_running")
            await self._context.sessions.delete(record.id)
        except NotFound:
            if await self._store.document(record.id) is None:
                raise missing("session", record.id) from None
        await self._environments.forget(record)
        return json(200, {"id": record.id, "object": "agent.session.deleted", "deleted": True})

    @needs("use")
    async def submit(self, scope: Scope, receive: Receive) -> ReplyCall:
        body = await body_of(scope, receive, _Events)
        session = await self._store.find_id(scope)
        try:
            sent = await self._inputs.submit(session, body.events, request_key(scope), repeated=is_repeated(scope))
        except NotFound:
            raise missing("session", session) from None
        reply: ReplyCall = Reply(202, b"")
        for one in sent:
            reply = self._context.answered.reply(one, reply)
        return reply

    @needs("read")
    async def stream(self, scope: Scope, receive: Receive) -> ReplyCall:
        check_room(self._context.api)
        record = await self._store.find(scope)
        given = header(scope, b"last-event-id")
        last = None if given is None else last_of(record.id, given)
        follower = self._context.sessions.listen(record.id)
        try:
            head = (await self._context.sessions.get(record.id)).head
            if last is not None and last.seq > head:
                raise Invalid("Last-Event-ID: the log has not come that far")
        except NotFound:
            follower.close()
            raise missing("session", record.id) from None
        except BaseException:
            follower.close()
            raise
        start = head
        follower.after = start
        return SessionEvents(self._context, record, follower, start, url=_url(scope), last=last)

    async def history(self, scope: Scope) -> History:
        record = await self._store.find(scope)
        return History(self._context.sessions, Names(record.id, record.id, record.agent_id))


def _updated(record: SessionRecord, body: _Update) -> SessionRecord:
    """Return the record with what a request changes. Raises `Invalid`."""
    changes: dict[str, Any] = {}
    if body.agent is not None:
        given = {
            name: value for name, value in msgspec.structs.asdict(body.agent).items() if value is not msgspec.UNSET
        }
        try:
            changes["agent"] = record.agent.merged(msgspec.convert(given, AgentBody), "agent.")
        except msgspec.ValidationError as error:
            raise Invalid(f"agent: {error}") from None
    if body.metadata is not msgspec.UNSET:
        changes["metadata"] = metadata_of(body.metadata)
    if body.prompt_cache_options is not msgspec.UNSET:
        changes["cache"] = None if body.prompt_cache_options is None else body.prompt_cache_options.ttl
    if body.spend_control is not msgspec.UNSET:
        changes["spend"] = _cents(body.spend_control)
    return msgspec.structs.replace(record, **changes)


def _cents(given: _Spend | None) -> int | None:
    if given is None or given.limit is None:
        return None
    if not 1 <= given.limit <= 10**9:
        raise Invalid("spend_control.limit: a positive number of US cents")
    return given.limit


def _review(given: Literal["none", "auto_review"]) -> Literal["none"]:
    if given != "none":
        why = "the policy of this home and the permissions of the agent decide about actions"
        raise Invalid(f"review: {why}", code="unsupported")
    return "none"


def _id_of(owner: str, key: str) -> str:
    return current().session_id(f"asess_{digest(owner, key)}")


def _url(scope: Scope) -> str:
    host = header(scope, b"host") or "localhost"
    return f"{scope.get('scheme', 'http')}://{host}"
