"""Artifacts: files of the folder `outputs` of a workspace, as they were when a turn ended."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.types import Receive, Scope

from roost.doors.openai_agents.context import Context, missing
from roost.doors.openai_agents.environment_config import ROOT
from roost.doors.openai_agents.environment_files import uploads_of
from roost.doors.openai_agents.files import Download
from roost.doors.openai_agents.log_reader import turn_id
from roost.doors.openai_agents.paging import Page, listed
from roost.doors.openai_agents.records import SessionRecord
from roost.doors.openai_agents.session_store import SessionStore
from roost.errors import NotFound
from roost.features.uploads.uploads import Upload
from roost.log.documents import DocumentQuery
from roost.server.door import Methods, needs
from roost.server.responses import ReplyCall, json

FOLDER = "outputs"
_ALL = "/v1/agents/sessions/{session}/artifacts"


def keys_of(session: str) -> dict[str, str]:
    """Return the keys by which the artifacts of a session are found."""
    return {"artifact": session}


class Artifacts:
    def __init__(self, context: Context, store: SessionStore) -> None:
        self._context, self._store = context, store

    def routes(self) -> Mapping[str, Methods]:
        return {
            _ALL: {"GET": self.list},
            f"{_ALL}/{{artifact}}": {"GET": self.retrieve, "DELETE": self.delete},
            f"{_ALL}/{{artifact}}/content": {"GET": self.content},
        }

    @needs("read")
    async def list(self, scope: Scope, receive: Receive) -> ReplyCall:
        record, page = await self._store.find(scope), Page.of(scope)
        if page.one("environment_id") not in (None, record.setup.id):
            return json(200, listed([], more=False))
        query = DocumentQuery(
            kind="",
            owner=record.owner,
            key=("artifact", record.id),
            after=page.after,
            newest=page.newest,
            limit=page.limit + 1,
        )
        found = await uploads_of(self._context).find(query)
        return json(200, listed([_shown(record, one) for one in found[: page.limit]], more=len(found) > page.limit))

    @needs("read")
    async def retrieve(self, scope: Scope, receive: Receive) -> ReplyCall:
        return json(200, _shown(*await self._find(scope)))

    @needs("read")
    async def content(self, scope: Scope, receive: Receive) -> ReplyCall:
        _, upload = await self._find(scope)
        content = uploads_of(self._context).content(upload)
        return Download(self._context, upload.id, upload.size, upload.media_type, content)

    @needs("use")
    async def delete(self, scope: Scope, receive: Receive) -> ReplyCall:
        _, upload = await self._find(scope)
        await uploads_of(self._context).delete(upload.id)
        return json(200, {"id": upload.id, "object": "agent.session.artifact.deleted", "deleted": True})

    async def _find(self, scope: Scope) -> tuple[SessionRecord, Upload]:
        record, id = await self._store.find(scope), scope["path_params"]["artifact"]
        try:
            found = await uploads_of(self._context).get(id, owner=record.owner)
        except NotFound:
            raise missing("artifact", id) from None
        if found.note.get("session") != record.id:
            raise missing("artifact", id)
        return record, found


def _shown(record: SessionRecord, upload: Upload) -> dict[str, Any]:
    return {
        "id": upload.id,
        "object": "agent.session.artifact",
        "session_id": record.id,
        "environment_id": record.setup.id,
        "turn_id": turn_id(record.id, int(upload.note["turn"])),
        "path": f"{record.setup.folder or ROOT}/{upload.note['path']}",
        "size_bytes": upload.size,
        "created_at": int(upload.created),
    }
