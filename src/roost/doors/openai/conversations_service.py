"""Answer requests for conversations: `/v1/conversations`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.types import Receive, Scope

from roost.authority import current
from roost.doors.digests import beginning
from roost.doors.openai.conversation_log import Conversations, name_of
from roost.doors.openai.response_items import items_of
from roost.doors.openai.shown_items import Page
from roost.errors import Invalid, NotFound
from roost.ids import new_id
from roost.log.session_info import SessionInfo
from roost.server.app_state import Api
from roost.server.door import Methods, needs
from roost.server.request_body import decode_body, header, read_body
from roost.server.responses import ReplyCall, json

_ITEMS, _PAIRS = 20, 16


class _Given(msgspec.Struct):
    items: list[dict[str, Any]] | None = None
    metadata: dict[str, str] | None = None


_decoder = msgspec.json.Decoder(_Given)


class ConversationsService:
    def __init__(self, api: Api, log: Conversations) -> None:
        self._sessions, self._agents = api.sessions, api.runtime.agents
        self._log = log

    def routes(self) -> Mapping[str, Methods]:
        return {
            "/v1/conversations": {"POST": self.create},
            "/v1/conversations/{id}": {"GET": self.retrieve, "POST": self.update, "DELETE": self.delete},
            "/v1/conversations/{id}/items": {"GET": self.items, "POST": self.add},
            "/v1/conversations/{id}/items/{item:path}": {"GET": self.item, "DELETE": self.remove},
        }

    @needs("use")
    async def create(self, scope: Scope, receive: Receive) -> ReplyCall:
        """Create a session. The agent is the first one that this node knows: another one that is asked first gets a
        session of its own."""
        given = await _read(scope, receive)
        agents = self._agents.all()
        if not agents:
            raise NotFound("this node knows no agent that could have a conversation", code="unknown_agent")
        items_of(given.items)  # before a session is made for them
        key = header(scope, b"idempotency-key")
        name = new_id("conv") if key is None else f"conv_{beginning('conversation', key).hex()}"
        name = current().session_id(name)
        info = await self._sessions.create(agents[0], id=name, key=name)
        # The ids are derived from the key, so a repetition adds what a crash kept out, and another body is a conflict.
        await self._log.set_metadata(name, given.metadata or {}, f"{name}:metadata")
        if given.items or key is not None:
            await self._log.add(name, given.items or [], f"{name}:items")
        return json(200, _shown(info, given.metadata or {}))

    @needs("read")
    async def retrieve(self, scope: Scope, receive: Receive) -> ReplyCall:
        info = (await self._log.sessions(scope["path_params"]["id"]))[0]
        return json(200, _shown(info, await self._log.metadata(info.id)))

    @needs("use")
    async def update(self, scope: Scope, receive: Receive) -> ReplyCall:
        given = await _read(scope, receive)
        info = (await self._log.sessions(scope["path_params"]["id"]))[0]
        await self._log.set_metadata(info.id, given.metadata or {})
        return json(200, _shown(info, given.metadata or {}))

    @needs("use")
    async def delete(self, scope: Scope, receive: Receive) -> ReplyCall:
        name = scope["path_params"]["id"]
        found = await self._log.sessions(name)
        if name_of(name) is None:
            raise Invalid(f"the session {name!r} was not made as a conversation; to delete it: roost delete {name}")
        for info in reversed(found):
            await self._sessions.delete(info.id)
        return json(200, {"id": name, "object": "conversation.deleted", "deleted": True})

    @needs("read")
    async def items(self, scope: Scope, receive: Receive) -> ReplyCall:
        page, name = Page.of(scope), scope["path_params"]["id"]
        if page.before is None:
            read = self._log.newest if page.descending else self._log.oldest
            return json(200, await page.begin(read(name, page.after)))
        return json(200, page.show(await self._log.items(name)))

    @needs("use")
    async def add(self, scope: Scope, receive: Receive) -> ReplyCall:
        given = await _read(scope, receive)
        if not given.items:
            raise Invalid("items: give at least one item")
        items = await self._log.add(scope["path_params"]["id"], given.items)
        ends = {"first_id": items[0]["id"], "last_id": items[-1]["id"]}
        return json(200, {"object": "list", "data": items, **ends, "has_more": False})

    @needs("read")
    async def item(self, scope: Scope, receive: Receive) -> ReplyCall:
        return json(200, await self._log.item(scope["path_params"]["id"], scope["path_params"]["item"]))

    @needs("use")
    async def remove(self, scope: Scope, receive: Receive) -> ReplyCall:
        name = scope["path_params"]["id"]
        await self._log.remove(name, scope["path_params"]["item"])
        info = (await self._log.sessions(name))[0]
        return json(200, _shown(info, await self._log.metadata(name)))


async def _read(scope: Scope, receive: Receive) -> _Given:
    """Read a body; none is an empty one. Raises `Invalid`."""
    body = await read_body(scope, receive)
    given = decode_body(scope, body, _decoder) if body else _Given()
    if given.items is not None and len(given.items) > _ITEMS:
        raise Invalid(f"items: at most {_ITEMS} at a time, not {len(given.items)}")
    check_metadata(given.metadata)
    return given


def check_metadata(given: dict[str, str] | None) -> None:
    """Raises `Invalid`."""
    if given is not None and len(given) > _PAIRS:
        raise Invalid(f"metadata: at most {_PAIRS} pairs, not {len(given)}")
    for key, value in (given or {}).items():
        if len(key) > 64 or len(value) > 512:
            raise Invalid("metadata: a key has at most 64 characters, a value 512")


def _shown(info: SessionInfo, metadata: dict[str, str]) -> dict[str, Any]:
    created = int(info.created_at)
    return {"id": info.id, "object": "conversation", "created_at": created, "metadata": metadata}
