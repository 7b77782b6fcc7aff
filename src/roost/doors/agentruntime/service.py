"""Answer requests of AgentRuntime's clients. Its sessions are the caller's, made by whatever client."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Generator, Mapping
from typing import Any
from urllib.parse import parse_qs

import msgspec
from starlette.types import Receive, Scope

from roost.agent.definition import Agent, AgentSpec
from roost.authority import current
from roost.doors.agentruntime.views import (
    MODEL_LABEL,
    MemoryStore,
    SessionCreate,
    SessionResume,
    checkpoint,
    checkpoint_of,
    position_of,
    row,
    time_of,
    value_of,
    whole,
)
from roost.doors.json_body import json_of
from roost.doors.models import agent_of, model_of
from roost.errors import Conflict, Forbidden, Invalid, NotFound, TooLarge
from roost.features.checkpoints.state import CheckpointState
from roost.features.memory.service import LIMIT
from roost.log.facts import FACT_BYTES, Fact
from roost.log.protocols import SessionQuery
from roost.log.session_info import ControlAction, SessionInfo
from roost.server.app_state import Api
from roost.server.door import Methods, needs
from roost.server.problems import Refused
from roost.server.request_body import header
from roost.server.responses import ReplyCall, json

BODY_BYTES = 2 * 1024 * 1024
_PAGE, _PAGES = 200, 25
_KEYS = 10
"""Most pages of a session's facts that are read."""
_KEPT = b'{"type":"checkpoint.made"'
_KEEPS = 5.0
"""Most seconds that a pause or a stop waits for the checkpoint of the agent's policy."""
_creates = msgspec.json.Decoder(SessionCreate)
_resumes = msgspec.json.Decoder(SessionResume | None)
_stores = msgspec.json.Decoder(MemoryStore)


class Service:
    def __init__(self, name: str, api: Api) -> None:
        self._name, self._api, self._runtime = name, api, api.runtime
        self._sessions = api.sessions

    def routes(self, root: str) -> Mapping[str, Methods]:
        one = f"{root}/sessions/{{session}}"
        return {
            f"{root}/health": {"GET": self.health},
            f"{root}/sessions": {"GET": self.listed, "POST": self.create},
            one: {"GET": self.get},
            f"{one}/start": {"POST": self.start},
            f"{one}/pause": {"POST": self.pause},
            f"{one}/resume": {"POST": self.resume},
            f"{one}/stop": {"POST": self.stop},
            f"{one}/memory": {"GET": self.memory, "POST": self.store},
            f"{one}/checkpoints": {"GET": self.checkpoints, "POST": self.checkpoint},
        }

    @needs("read")
    async def health(self, scope: Scope, receive: Receive) -> ReplyCall:
        """Answer without a token, and without a look at the sessions."""
        status = await self._api.status()
        shown = {
            "status": "healthy" if status == "ok" else status,
            "uptime_seconds": round(time.monotonic() - self._api.started, 3),
            "active_sessions": len(self._runtime.node.slots.live),
        }
        return json(200 if status == "ok" else 503, shown)

    # Sessions

    @needs("use")
    async def create(self, scope: Scope, receive: Receive) -> ReplyCall:
        given = await json_of(scope, receive, _creates, limit=BODY_BYTES)
        agent, labels = await self._agent(given), {MODEL_LABEL: given.model}
        key = header(scope, b"idempotency-key")
        info = await self._sessions.create(agent, title=given.name or None, labels=labels, key=key)
        return json(201, await self._whole(info))

    async def _agent(self, given: SessionCreate) -> Agent:
        """Return the agent that `model` names, or one of that model, with the prompt and the tools of the request.
        Raises `RoostError`."""
        name = agent_of(self._api, given.model)
        if name is None:
            try:
                await model_of(self._api, given.model)
            except NotFound as error:
                raise Refused(400, error.code, error.message) from None
            spec, changes = AgentSpec(name=self._name), dict[str, Any](model=given.model)
        else:
            agent = self._runtime.agents.get(name)
            spec, changes = agent.spec, dict[str, Any]()
            if not given.system_prompt and not given.tools:
                return agent
        if current().confined:
            raise Forbidden("an account's sessions are of agents that are known here: name one as `model`, no more")
        if given.system_prompt:
            changes["instructions"] = given.system_prompt
        if given.tools:
            changes["tools"] = tuple(dict.fromkeys(given.tools))
        return self._sessions.variant(spec.name, definition=msgspec.structs.replace(spec, **changes))

    @needs("read")
    async def listed(self, scope: Scope, receive: Receive) -> ReplyCall:
        """Return all sessions, the newest first, up to 5,000."""
        found, last = list[dict[str, Any]](), None
        for _ in range(_PAGES):
            page = await self._sessions.find(SessionQuery(limit=_PAGE, before=last))
            found += map(row, page)
            if len(page) < _PAGE:
                break
            last = page[-1].id
        return json(200, found)

    @needs("read")
    async def get(self, scope: Scope, receive: Receive) -> ReplyCall:
        return json(200, await self._whole(await self._info(scope)))

    async def _info(self, scope: Scope, missing: int = 404) -> SessionInfo:
        """Return the session that the path names. missing: the status if there is none."""
        id = scope["path_params"]["session"]
        try:
            return await self._sessions.get(current().session_id(id))
        except (NotFound, Invalid):
            raise Refused(missing, "not_found", f"Session {id[:200]} not found") from None

    async def _whole(self, info: SessionInfo) -> dict[str, Any]:
        spec = await self._sessions.spec(info.id)
        memory = {fact.key or "": value_of(fact) for fact in await self._facts(info.id)}
        return whole(info, spec, memory, await self._sessions.transcript(info.id))

    # Control

    @needs("use")
    async def start(self, scope: Scope, receive: Receive) -> ReplyCall:
        info = await self._info(scope, missing=400)
        if info.state == "running":
            raise Refused(400, "already_running", f"Session {info.id} is already running")
        return await self._controlled(info, "start")

    @needs("use")
    async def pause(self, scope: Scope, receive: Receive) -> ReplyCall:
        info = await self._info(scope, missing=400)
        if info.state != "running":
            raise Refused(400, "not_running", f"Session {info.id} is not running")
        return await self._controlled(info, "pause")

    @needs("use")
    async def stop(self, scope: Scope, receive: Receive) -> ReplyCall:
        return await self._controlled(await self._info(scope, missing=400), "stop")

    @needs("use")
    async def resume(self, scope: Scope, receive: Receive) -> ReplyCall:
        given = await json_of(scope, receive, _resumes, limit=BODY_BYTES, empty=b"null")
        info = await self._info(scope, missing=400)
        if given is not None and given.checkpoint_id is not None:
            await self._roll_back(info, given.checkpoint_id)
            info = await self._sessions.get(info.id)
        if info.state == "running":
            return json(200, await self._whole(info))
        return await self._controlled(info, "start" if info.state in ("created", "stopped") else "resume")

    async def _roll_back(self, info: SessionInfo, checkpoint: str) -> None:
        known = (await self._runtime.checkpoints.list(info.id)).checkpoints
        at = position_of(checkpoint)
        if at is None or all(one.seq != at for one in known):
            raise Refused(400, "no_checkpoint", f"Checkpoint {checkpoint} not found")
        if at < info.head:  # else nothing happened since
            with _as_400():
                await self._runtime.checkpoints.rollback(info.id, at, resume=True)

    async def _controlled(self, info: SessionInfo, action: ControlAction) -> ReplyCall:
        """Order it, and return the session. What a pause or a
        stop keeps is there for the next request."""
        with _as_400():
            now = await self._sessions.control(info.id, action)
        if action in ("pause", "stop"):
            await self._keep(info.id, action)
        return json(200, await self._whole(now))

    async def _keep(self, session: str, action: ControlAction) -> None:
        """See that what a pause or a stop leaves is kept: wait for the checkpoint that the agent's policy makes when
        anything happened since the last one, else order one."""
        info, state = await self._sessions.state(session)
        policy, last = (await self._sessions.spec(session)).checkpoints, state.part(CheckpointState).last
        moved = last is None or (state.turns, state.steps) != (last.turns, last.steps)
        automatic = policy.at_pause if action == "pause" else policy.at_stop
        if not moved:
            return
        if automatic and state.turns:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_KEEPS):
                    async for record in self._sessions.tail(session, after=info.head):
                        if record.body.startswith(_KEPT):
                            return
        else:
            with contextlib.suppress(TooLarge):  # it has as many as it can
                await self._runtime.checkpoints.make(session, f"{action}-checkpoint")

    # Memory

    @needs("read")
    async def memory(self, scope: Scope, receive: Receive) -> ReplyCall:
        info = await self._info(scope)
        key = _query(scope, "key")
        facts = await self._facts(info.id, key)
        if not key:
            return json(200, {"keys": sorted(fact.key or "" for fact in facts)})
        if not facts:
            raise NotFound(f"Memory key {key} not found")
        return json(200, {"key": key, "value": value_of(facts[0]), "timestamp": time_of(facts[0].created)})

    @needs("use")
    async def store(self, scope: Scope, receive: Receive) -> ReplyCall:
        given = await json_of(scope, receive, _stores, limit=BODY_BYTES)
        info = await self._info(scope)
        try:
            text = msgspec.json.encode(given.value).decode()
        except RecursionError:
            raise Invalid("value: it is nested too deeply") from None
        if len(text) > FACT_BYTES:
            raise TooLarge(f"a value has at most {FACT_BYTES} bytes of JSON; put more into a file of the workspace")
        memory, space = self._runtime.memory, f"session:{info.id}"
        learned = await memory.add(space, text, key=given.key)
        if learned.op == "known" and learned.former[0].text != learned.fact.text:
            await memory.update(learned.former[0].id, text)  # the same words, and another value
        return json(201, {"status": "stored", "key": given.key})

    async def _facts(self, session: str, key: str | None = None) -> list[Fact]:
        """Return the session's facts that have a key, or the one with `key`."""
        found, last = list[Fact](), None
        for _ in range(_KEYS):
            page = await self._runtime.memory.list(
                space=f"session:{session}", key=key or None, before=last, limit=1 if key else LIMIT
            )
            found += [fact for fact in page.facts if fact.key]
            if (last := page.next) is None or key:
                break
        return found

    # Checkpoints

    @needs("read")
    async def checkpoints(self, scope: Scope, receive: Receive) -> ReplyCall:
        info = await self._info(scope)
        found = (await self._runtime.checkpoints.list(info.id)).checkpoints
        return json(200, [checkpoint_of(info.id, one) for one in found])

    @needs("use")
    async def checkpoint(self, scope: Scope, receive: Receive) -> ReplyCall:
        info, label = await self._info(scope), _query(scope, "label") or None
        made = await self._runtime.checkpoints.make(info.id, label, key=header(scope, b"idempotency-key"))
        if made.seq is None:
            raise Refused(503, "checkpoint_pending", "the checkpoint is ordered, and made when no call runs: list them")
        return json(201, checkpoint(info.id, made.seq, time.time(), label))


@contextlib.contextmanager
def _as_400() -> Generator[None]:
    """Answer to what a session cannot do as AgentRuntime does."""
    try:
        yield
    except (Conflict, Invalid, NotFound) as error:
        raise Refused(400, error.code, error.message) from None


def _query(scope: Scope, name: str) -> str:
    """Return a parameter of the query. Raises `Invalid`."""
    try:
        found = parse_qs(scope["query_string"].decode(), keep_blank_values=True, max_num_fields=16).get(name)
    except ValueError:  # also for bytes that are not UTF-8
        raise Invalid("the query cannot be read") from None
    return found[0][:1024] if found else ""
