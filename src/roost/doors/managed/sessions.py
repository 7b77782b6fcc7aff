"""Sessions, and the files in their workspaces."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType
from starlette.types import Receive, Scope

from roost.agent.state import State
from roost.doors.managed.agent_shapes import AgentPatch, patched_agent, tools_of
from roost.doors.managed.agent_tools import ToolGiven
from roost.doors.managed.mcp_toolsets import ServerGiven
from roost.doors.managed.owners import account
from roost.doors.managed.requests import (
    TIMES,
    Asking,
    MetadataPatch,
    Query,
    answer,
    body_of,
    cursor_of,
    listed,
    patched,
    repeated,
)
from roost.doors.managed.sending import digest_of
from roost.doors.managed.session_making import FileGiven, Origin, SessionGiven, SessionMaking, VaultIds
from roost.doors.managed.session_records import (
    BudgetGiven,
    Resource,
    SessionRecord,
    cents_of,
    mount_view,
    resource_view,
    session_view,
    status_of,
)
from roost.doors.managed.unheard import Unheard
from roost.errors import Conflict, Invalid, NotFound
from roost.features.client_tools.events import ClientOfferInput
from roost.features.upgrades.service import UpgradesService
from roost.features.uploads.events import FileToPlace, PlaceFilesInput
from roost.kernel.labels import fold
from roost.log.protocols import SessionQuery
from roost.log.records import Page
from roost.log.session_info import SessionInfo
from roost.server.app_state import Api
from roost.server.door import Methods, needs
from roost.server.responses import ReplyCall

_STATES = ("rescheduling", "running", "idle", "terminated")
_SOME = 200


class AgentUpdate(Asking):
    tools: list[ToolGiven] | UnsetType = UNSET
    mcp_servers: list[ServerGiven] | UnsetType = UNSET


class SessionPatch(Asking):
    agent: AgentUpdate | None = None
    budget: BudgetGiven | UnsetType | None = UNSET
    metadata: MetadataPatch | UnsetType | None = UNSET
    title: str | UnsetType | None = UNSET
    vault_ids: VaultIds | UnsetType = UNSET


_create, _change = msgspec.json.Decoder(SessionGiven), msgspec.json.Decoder(SessionPatch)
_add = msgspec.json.Decoder(FileGiven)


class Sessions:
    def __init__(self, api: Api, making: SessionMaking, unheard: Unheard) -> None:
        self._api, self._sessions, self._making, self._unheard = api, api.sessions, making, unheard
        self._records = making.records

    def routes(self) -> Mapping[str, Methods]:
        one = "/v1/sessions/{session}"
        return {
            "/v1/sessions": {"GET": self.list, "POST": self.create},
            one: {"GET": self.get, "POST": self.change, "DELETE": self.delete},
            f"{one}/archive": {"POST": self.archive},
            f"{one}/resources": {"GET": self.resources, "POST": self.add_resource},
            f"{one}/resources/{{resource}}": {
                "GET": self.resource,
                "POST": self.change_resource,
                "DELETE": self.delete_resource,
            },
        }

    async def record(self, scope: Scope) -> SessionRecord:
        """Return the record of the session that a request names. Raises `NotFound`."""
        found = await self._records.get(scope["path_params"]["session"], owner=account())
        await self._sessions.get(found.id)  # it may have been deleted elsewhere
        return found

    async def open_record(self, scope: Scope) -> SessionRecord:
        """As `record`. Raises `Invalid` for an archived session, which takes nothing more."""
        found = await self.record(scope)
        if found.archived is not None:
            raise Invalid(f"session {found.id!r} is archived: it takes nothing more")
        return found

    @needs("use")
    async def create(self, scope: Scope, receive: Receive) -> ReplyCall:
        given = await body_of(scope, receive, _create)
        origin = Origin(account(), digest_of("session", given), repeated(scope))
        made = await self._making.make(given, origin)
        if given.initial_events:
            self._unheard.sent(made.id, 0)
        return self._making.answered.reply(made.id, answer(await self._view(made)))

    @needs("read")
    async def get(self, scope: Scope, receive: Receive) -> ReplyCall:
        return answer(await self._view(await self.record(scope)))

    async def _view(self, record: SessionRecord) -> dict[str, Any]:
        return session_view(record, *await self._sessions.state(record.id))

    @needs("read")
    async def list(self, scope: Scope, receive: Receive) -> ReplyCall:
        known = ("limit", "page", "include_archived", "agent_id", "agent_version", "deployment_id", "memory_store_id")
        query = Query(scope, (*known, "order", "statuses", *TIMES))
        cursor, limit, owner = cursor_of(query), query.number("limit", 20, 100), account()
        statuses = query.many("statuses")
        if unknown := set(statuses) - set(_STATES):
            raise Invalid(f"statuses: {', '.join(_STATES)}, not {sorted(unknown)[0][:40]!r}")
        key = next(((name, value) for name in ("deployment", "agent") if (value := query.text(f"{name}_id"))), None)
        fits = self._fitting(query)
        found: list[tuple[SessionRecord, SessionInfo]] = []
        newest, at, more = query.one_of("order", "asc", "desc") != "asc", cursor.id, True
        while more and len(found) <= limit:
            page = await self._records.page(
                owner=owner, key=key, fits=fits, cursor=at, back=cursor.back, newest=newest, limit=limit + 1
            )
            read = page.found[::-1] if cursor.back else page.found
            more = bool(read) and (page.before if cursor.back else page.after)
            infos = await self._infos(read)
            both = [(one, infos[one.id]) for one in read if one.id in infos]
            found += [(one, info) for one, info in both if not statuses or _status(one, info) in statuses]
            at = read[-1].id if read else ""
        rest, found = len(found) > limit, found[:limit]
        shown = found[::-1] if cursor.back else found
        ends = Page([one for one, _ in shown], rest if cursor.back else bool(cursor.id), True if cursor.back else rest)
        return listed([await self._listed(one) for one in ends.found], ends, lambda one: one.id)

    def _fitting(self, query: Query) -> Any:
        archived, times, agent = query.flag("include_archived"), query.times("created_at"), query.text("agent_id")
        version = query.number("agent_version", 0, 10**8, 0) if query.text("agent_version") else None
        if version is not None and not agent:
            raise Invalid("agent_version: name the agent_id, too")
        store = query.text("memory_store_id")

        def fits(one: SessionRecord) -> bool:
            named = (not agent or one.agent == agent) and version in (None, one.version)
            if store and store not in [each.store for each in one.mounts]:
                return False
            return named and (archived or one.archived is None) and times(one.created)

        return fits

    async def _infos(self, records: Sequence[SessionRecord]) -> dict[str, SessionInfo]:
        ids = [one.id for one in records]
        found: dict[str, SessionInfo] = {}
        for start in range(0, len(ids), _SOME):
            some = tuple(ids[start : start + _SOME])
            found |= {info.id: info for info in await self._sessions.find(SessionQuery(ids=some, limit=len(some)))}
        return found

    async def _listed(self, record: SessionRecord) -> dict[str, Any]:
        try:
            return await self._view(record)
        except NotFound:  # deleted at this moment
            info = SessionInfo(
                id=record.id,
                agent=record.agent,
                version="",
                state="stopped",
                phase="idle",
                head=0,
                created_at=record.created,
                updated_at=record.changed,
            )
            return session_view(record, info, State())

    @needs("use")
    async def change(self, scope: Scope, receive: Receive) -> ReplyCall:
        patch = await body_of(scope, receive, _change)
        record = await self.open_record(scope)
        for vault in [] if patch.vault_ids is UNSET else patch.vault_ids:
            await self._making.check_vault(vault, record.owner or account())
        if patch.agent is not None and self._making.file_agent(record) is not None:
            raise Invalid(f"agent: {record.agent!r} is an agent of a file, which keeps its own tools")
        moves = patch.agent is not None or patch.budget is not UNSET or patch.vault_ids is not UNSET
        if moves:
            await self._idle(record, "its agent, its vaults and its budget change only while it is idle")
            await self._making.spec(_patched(record, patch))  # refused before the record changes
        after = await self._records.change(record.id, lambda one: _patched(one, patch))
        if moves:
            await self._move(after)
        return answer(await self._view(after))

    async def _move(self, record: SessionRecord) -> None:
        agent = await self._making.spec(record)
        await self._api.runtime.service(UpgradesService).move_to(record.id, agent, by="managed")
        await self._sessions.put(record.id, ClientOfferInput(tools_of(record.shown).custom))

    async def _idle(self, record: SessionRecord, why: str) -> None:
        if status_of(await self._sessions.get(record.id)) == "running":
            raise Invalid(f"session {record.id!r} is running: {why}; send user.interrupt first")

    @needs("use")
    async def archive(self, scope: Scope, receive: Receive) -> ReplyCall:
        record = await self.record(scope)
        if record.archived is None:
            await self._idle(record, "it cannot be archived")
            record = await self._records.archive(record.id)
            with contextlib.suppress(Conflict):
                await self._sessions.control(record.id, "stop")
        return answer(await self._view(record))

    @needs("use")
    async def delete(self, scope: Scope, receive: Receive) -> ReplyCall:
        record = await self._records.get(scope["path_params"]["session"], owner=account())
        with contextlib.suppress(NotFound):
            await self._idle(record, "it cannot be deleted")
            await self._sessions.delete(record.id)
        await self._records.remove(record.id)
        return answer({"id": record.id, "type": "session_deleted"})

    # Resources

    @needs("read")
    async def resources(self, scope: Scope, receive: Receive) -> ReplyCall:
        query = Query(scope, ("limit", "page"))
        limit, cursor = query.number("limit", 1000, 1000), cursor_of(query)
        record = await self.record(scope)
        both = [
            *((one.id, resource_view(one)) for one in record.resources),
            *((one.id, mount_view(one)) for one in record.mounts),
        ]
        found = [one for one in sorted(both, key=lambda one: one[0]) if one[0] > cursor.id]
        page = Page(found[:limit], False, len(found) > limit)
        return listed([shown for _, shown in page.found], page, lambda one: one[0])

    @needs("read")
    async def resource(self, scope: Scope, receive: Receive) -> ReplyCall:
        record, id = await self.record(scope), scope["path_params"]["resource"]
        mount = next((one for one in record.mounts if one.id == id), None)
        return answer(resource_view(_resource(record, scope)) if mount is None else mount_view(mount))

    @needs("use")
    async def change_resource(self, scope: Scope, receive: Receive) -> ReplyCall:
        _resource(await self.record(scope), scope)
        raise Invalid("a file in a workspace has no token that could change")

    @needs("use")
    async def add_resource(self, scope: Scope, receive: Receive) -> ReplyCall:
        given = await body_of(scope, receive, _add)
        record = await self.open_record(scope)
        (made,) = await self._making.resources([given], account())

        def edit(one: SessionRecord) -> SessionRecord:
            if any(each.path == made.path for each in one.resources):
                raise Conflict(f"mount_path: another file of the session is at {made.path!r}")
            return msgspec.structs.replace(one, resources=(*one.resources, made))

        await self._records.change(record.id, edit)
        files = PlaceFilesInput((FileToPlace(made.file, made.path),))
        await self._sessions.put(record.id, files, key=f"managed:{made.id}")
        return answer(resource_view(made))

    @needs("use")
    async def delete_resource(self, scope: Scope, receive: Receive) -> ReplyCall:
        record = await self.record(scope)
        if scope["path_params"]["resource"] in [one.id for one in record.mounts]:
            return await self._unmount(await self.open_record(scope), scope["path_params"]["resource"])
        gone = _resource(record, scope)

        def edit(one: SessionRecord) -> SessionRecord:
            left = tuple(each for each in one.resources if each.id != gone.id)
            return msgspec.structs.replace(one, resources=left)

        await self._records.change(record.id, edit)
        return answer({"id": gone.id, "type": "session_resource_deleted"})

    async def _unmount(self, record: SessionRecord, id: str) -> ReplyCall:
        """Take a memory store from a session. The session loses it first: a repetition after a crash finds it still in
        the record. Of two requests at once the later one moves the session by what the earlier one has left."""
        await self._idle(record, "its memory stores change only while it is idle")

        async def without(one: SessionRecord) -> tuple[SessionRecord, tuple[()]]:
            left = msgspec.structs.replace(one, mounts=tuple(each for each in one.mounts if each.id != id))
            await self._move(left)
            return left, ()

        await self._records.change_with(record.id, without)
        return answer({"id": id, "type": "session_resource_deleted"})


def _resource(record: SessionRecord, scope: Scope) -> Resource:
    id = scope["path_params"]["resource"]
    found = next((one for one in record.resources if one.id == id), None)
    if found is None:
        raise NotFound(f"session {record.id!r} has no resource {id[:128]!r}")
    return found


def _status(record: SessionRecord, info: SessionInfo) -> str:
    return "terminated" if record.archived is not None else status_of(info)


def _patched(one: SessionRecord, patch: SessionPatch) -> SessionRecord:
    if one.archived is not None:
        raise Invalid(f"session {one.id!r} is archived: it takes nothing more")
    shown, cents, title = one.shown, one.cents, one.title
    if patch.agent is not None:
        given = AgentPatch(tools=patch.agent.tools, mcp_servers=patch.agent.mcp_servers)
        shown = patched_agent(one.shown, given)
    if patch.budget is not UNSET:
        cents = cents_of(patch.budget)
    if patch.title is not UNSET:
        title = None if patch.title is None else fold(patch.title)
    metadata = patched(one.metadata, patch.metadata)
    vaults = one.vaults if patch.vault_ids is UNSET else tuple(dict.fromkeys(patch.vault_ids))
    return msgspec.structs.replace(one, shown=shown, cents=cents, title=title, metadata=metadata, vaults=vaults)
