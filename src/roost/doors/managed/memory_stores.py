"""Memory stores, over HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType
from starlette.types import Receive, Scope

from roost.doors.managed.owners import account
from roost.doors.managed.record_room import RecordRoom
from roost.doors.managed.requests import (
    TIMES,
    Asking,
    Metadata,
    MetadataPatch,
    Query,
    answer,
    body_of,
    cursor_of,
    maybe_stamp,
    metadata_of,
    page_of,
    patched,
    sealed,
    stamp,
    text_within,
)
from roost.errors import Invalid
from roost.features.memory_stores.memories import Change, Memories, Memory, MemoryStore, MemoryVersion, below
from roost.ids import new_id
from roost.log.records import Records
from roost.server.app_state import Api
from roost.server.door import Methods, needs
from roost.server.responses import ReplyCall

_NAME, _DESCRIPTION, _FULL = 256, 4096, 20


class StoreGiven(Asking):
    name: str
    description: str = ""
    metadata: Metadata = {}


class StorePatch(Asking):
    name: str | UnsetType | None = UNSET
    description: str | UnsetType | None = UNSET
    metadata: MetadataPatch | UnsetType | None = UNSET


class MemoryGiven(Asking):
    path: str
    content: str | None = None


class Precondition(Asking):
    type: Literal["content_sha256"]
    content_sha256: str | None = None


class MemoryPatch(Asking):
    content: str | None = None
    path: str | None = None
    precondition: Precondition | None = None


_create, _change = msgspec.json.Decoder(StoreGiven), msgspec.json.Decoder(StorePatch)
_add, _edit = msgspec.json.Decoder(MemoryGiven), msgspec.json.Decoder(MemoryPatch)


class MemoryStores(RecordRoom[MemoryStore]):
    def __init__(self, api: Api) -> None:
        documents = api.runtime.node.store.documents
        super().__init__("store", Records(documents, MemoryStore))
        self._memories = Memories(documents)

    def routes(self) -> Mapping[str, Methods]:
        one = "/v1/memory_stores/{store}"
        return {
            "/v1/memory_stores": {"GET": self.list, "POST": self.create},
            one: {"GET": self.get, "POST": self.change, "DELETE": self.delete},
            f"{one}/archive": {"POST": self.archive},
            f"{one}/memories": {"GET": self.memories, "POST": self.add},
            f"{one}/memories/{{memory}}": {"GET": self.memory, "POST": self.edit, "DELETE": self.remove},
            f"{one}/memory_versions": {"GET": self.versions},
            f"{one}/memory_versions/{{version}}": {"GET": self.version},
            f"{one}/memory_versions/{{version}}/redact": {"POST": self.redact},
        }

    def view(self, one: MemoryStore) -> dict[str, Any]:
        return {
            "type": "memory_store",
            "id": one.id,
            "name": one.name,
            "description": one.description,
            "metadata": one.metadata,
            "created_at": stamp(one.created),
            "updated_at": stamp(one.changed),
            "archived_at": maybe_stamp(one.archived),
        }

    @needs("use")
    async def create(self, scope: Scope, receive: Receive) -> ReplyCall:
        given = await body_of(scope, receive, _create)
        made = MemoryStore(
            id=new_id("memstore"),
            owner=account() or "",
            name=text_within(given.name, "name", _NAME),
            description=text_within(given.description, "description", _DESCRIPTION, 0),
            metadata=metadata_of(given.metadata),
        )
        return answer(self.view(await self.records.make(made)))

    @needs("use")
    async def change(self, scope: Scope, receive: Receive) -> ReplyCall:
        patch = await body_of(scope, receive, _change)
        changed = await self.records.change(self.id(scope), lambda one: _patched(one, patch), owner=account())
        return answer(self.view(changed))

    async def empty(self, one: MemoryStore) -> None:
        await self.records.archive(one.id)  # nothing more comes into it
        await self._memories.clear(one.id)

    @needs("use")
    async def add(self, scope: Scope, receive: Receive) -> ReplyCall:
        query, store = Query(scope, ("view",)), await self._open(scope)
        given = await body_of(scope, receive, _add)
        made = await self._memories.make(store.id, given.path, given.content or "", store.owner)
        return answer(memory_view(made, _is_full(query, "basic")))

    @needs("read")
    async def memory(self, scope: Scope, receive: Receive) -> ReplyCall:
        query, store = Query(scope, ("view",)), await self.record(scope)
        found = await self._memories.get(store.id, scope["path_params"]["memory"])
        return answer(memory_view(found, _is_full(query, "full")))

    @needs("use")
    async def edit(self, scope: Scope, receive: Receive) -> ReplyCall:
        query, store = Query(scope, ("view",)), await self._open(scope)
        given = await body_of(scope, receive, _edit)
        expected = given.precondition.content_sha256 if given.precondition is not None else None
        change = Change(given.content, given.path, expected)
        made = await self._memories.change(store.id, scope["path_params"]["memory"], change)
        return answer(memory_view(made, _is_full(query, "basic")))

    @needs("use")
    async def remove(self, scope: Scope, receive: Receive) -> ReplyCall:
        query, store = Query(scope, ("expected_content_sha256",)), await self._open(scope)
        id = scope["path_params"]["memory"]
        await self._memories.delete(store.id, id, query.text("expected_content_sha256") or None)
        return answer({"id": id, "type": "memory_deleted"})

    @needs("read")
    async def memories(self, scope: Scope, receive: Receive) -> ReplyCall:
        query, store = Query(scope, ("limit", "page", "path_prefix", "depth", "view")), await self.record(scope)
        full, cursor, prefix = _is_full(query, "basic"), cursor_of(query), query.text("path_prefix")
        limit = query.number("limit", _FULL, _FULL if full else 100)
        if prefix and not (prefix.startswith("/") and prefix.endswith("/")):
            raise Invalid("path_prefix: begin and end with /")
        shown = below(await self._memories.entries(store.id), prefix, query.number("depth", 0, 20, 0))
        rest = [(path, one) for path, one in shown if path > cursor.id]
        data: list[dict[str, Any]] = []
        for path, one in rest[:limit]:
            if one is None:
                data.append({"type": "memory_prefix", "path": path})
            else:
                data.append(memory_view(await self._memories.get(store.id, one.id) if full else one, full))
        more = sealed(f"next:{rest[limit - 1][0]}") if len(rest) > limit else None
        return answer({"data": data, "next_page": more})

    @needs("read")
    async def versions(self, scope: Scope, receive: Receive) -> ReplyCall:
        known = ("limit", "page", "memory_id", "operation", "session_id", "api_key_id", "service_account_id", "view")
        query, store = Query(scope, (*known, *TIMES)), await self.record(scope)
        full, memory = _is_full(query, "basic"), query.text("memory_id")
        operation = query.one_of("operation", "created", "modified", "deleted")
        nobody = any(query.text(name) for name in ("api_key_id", "service_account_id"))
        session = query.text("session_id")

        def fits(one: MemoryVersion) -> bool:
            by = not nobody and session in ("", one.session)
            return by and one.store == store.id and operation in ("", one.operation)

        key = ("memory", memory) if memory else ("store", store.id)
        most = _FULL if full else 100

        def show(one: MemoryVersion) -> dict[str, Any]:
            return version_view(one, full)

        return await page_of(self._memories.versions, query, show, owner=None, key=key, fits=fits, most=most)

    @needs("read")
    async def version(self, scope: Scope, receive: Receive) -> ReplyCall:
        query, store = Query(scope, ("view",)), await self.record(scope)
        found = await self._memories.version(store.id, scope["path_params"]["version"])
        return answer(version_view(found, _is_full(query, "full")))

    @needs("use")
    async def redact(self, scope: Scope, receive: Receive) -> ReplyCall:
        store = await self.record(scope)
        return answer(version_view(await self._memories.redact(store.id, scope["path_params"]["version"]), False))

    async def _open(self, scope: Scope) -> MemoryStore:
        store = await self.record(scope)
        if store.archived is not None:
            raise Invalid(f"memory store {store.id!r} is archived: it takes no changes")
        return store


def memory_view(one: Memory, full: bool) -> dict[str, Any]:
    return {
        "type": "memory",
        "id": one.id,
        "memory_store_id": one.store,
        "memory_version_id": one.version,
        "path": one.path,
        "content": one.content if full else None,
        "content_sha256": one.digest,
        "content_size_bytes": one.size,
        "created_at": stamp(one.created),
        "updated_at": stamp(one.changed),
    }


def version_view(one: MemoryVersion, full: bool) -> dict[str, Any]:
    return {
        "type": "memory_version",
        "id": one.id,
        "memory_store_id": one.store,
        "memory_id": one.memory,
        "operation": one.operation,
        "path": one.path,
        "content": one.content if full else None,
        "content_sha256": one.digest,
        "content_size_bytes": one.size,
        "created_at": stamp(one.created),
        "redacted_at": maybe_stamp(one.redacted),
    }


def _is_full(query: Query, default: str) -> bool:
    return (query.one_of("view", "basic", "full") or default) == "full"


def _patched(one: MemoryStore, patch: StorePatch) -> MemoryStore:
    if one.archived is not None:
        raise Invalid(f"memory store {one.id!r} is archived: it takes no changes")
    name = one.name if patch.name is UNSET or patch.name is None else patch.name
    description = one.description if patch.description is UNSET else patch.description or ""
    return msgspec.structs.replace(
        one,
        name=text_within(name, "name", _NAME),
        description=text_within(description, "description", _DESCRIPTION, 0),
        metadata=patched(one.metadata, patch.metadata),
    )
