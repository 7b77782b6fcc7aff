"""Environments: the workspaces of sessions, with their files. One that is made first waits for its session."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.types import Receive, Scope

from roost.authority import current
from roost.doors.openai_agents.context import Context, body_of, digest, missing, request_key
from roost.doors.openai_agents.environment_config import (
    ROOT,
    Hosted,
    PlacedFile,
    Setup,
    check_hosted,
    files_given,
    merged_files,
    network_of,
    parts_of,
)
from roost.doors.openai_agents.environment_files import taken, to_place, uploads_of
from roost.doors.openai_agents.paging import Page, documents, page_of
from roost.doors.openai_agents.records import (
    ENVIRONMENT,
    SESSION,
    TEMPLATE,
    EnvironmentRecord,
    SessionRecord,
    TemplateRecord,
    read,
)
from roost.doors.openai_agents.session_store import SessionStore, environment_id
from roost.doors.openai_agents.vaults import Vaults
from roost.doors.openai_agents.workspace_files import WorkspaceFiles
from roost.errors import Conflict, Forbidden, Invalid, NotFound
from roost.features.uploads.uploads import place
from roost.ids import is_id, new_id
from roost.log.documents import Document, DocumentQuery, Remove
from roost.server.door import Methods, needs
from roost.server.responses import ReplyCall, json

_ALL = "/v1/agents/environments"
_PAGE = 100
_WAIT = 30.0
_TRIES = 8


class _Create(msgspec.Struct, forbid_unknown_fields=True):
    environment: dict[str, Any]
    vault_ids: list[str] | None = None


class Environments:
    def __init__(self, context: Context, store: SessionStore, vaults: Vaults) -> None:
        self._context, self._store, self._vaults = context, store, vaults
        self._files = WorkspaceFiles(context)

    def routes(self) -> Mapping[str, Methods]:
        return {
            _ALL: {"GET": self.list, "POST": self.create},
            f"{_ALL}/{{environment}}": {"GET": self.retrieve},
            f"{_ALL}/{{environment}}/files": {"GET": self.list_files, "POST": self.create_file},
        }

    async def for_session(self, given: dict[str, Any], session: str, owner: str) -> tuple[EnvironmentRecord, int]:
        """Return the environment that a new session asks for, and the revision of its record; 0 for a new one. Raises
        `Invalid`, `NotFound`, `Conflict` when another session has it."""
        if given.get("type") == "openai_hosted" and given.get("environment_id") is not None:
            if set(given) - {"type", "environment_id"}:
                raise Invalid("environment: an environment_id is given alone")
            known, revision = await self._store.environment(str(given["environment_id"]), owner)
            if known.session is not None:
                raise Conflict("the environment belongs to another session", code="environment_in_use")
            return msgspec.structs.replace(known, session=session), revision
        setup = await self._setup(given, session, owner)
        return EnvironmentRecord(id=setup.id, owner=owner, setup=setup, session=session), 0

    async def _setup(self, given: dict[str, Any], session: str, owner: str) -> Setup:
        """Return the environment that a session makes for itself."""
        match given.get("type"):
            case "none":
                if set(given) - {"type"}:
                    raise Invalid("environment: one of type none has nothing else")
                return Setup(kind="none")
            case "self_hosted":
                if current().confined:
                    raise Forbidden(
                        "environment: an account has environments of its own, and no folders of this machine"
                    )
                return _self_hosted(given, session)
            case "openai_hosted":
                hosted = await self.hosted(given, "environment", owner)
                return Setup(kind="openai_hosted", id=environment_id(session), hosted=hosted)
            case kind:
                raise Invalid(f"environment.type: none, openai_hosted or self_hosted, not {str(kind)[:50]!r}")

    async def hosted(self, given: dict[str, Any], where: str, owner: str) -> Hosted:
        """Return what a request wants of an environment that we make, over its template. Raises `Invalid`,
        `NotFound`."""
        check_hosted(given, where)
        base = Hosted()
        if (template := given.get("environment_template_id")) is not None:
            base = (await self.template(str(template), owner))[0].hosted
        network = network_of(given.get("network"), f"{where}.network")
        if network is not None and base.network is not None and not set(network.allowed) <= set(base.network.allowed):
            raise Invalid(f"{where}.network: not more than the template allows ({base.network.access})")
        files = await taken(self._context, files_given(given.get("files"), f"{where}.files"), owner)
        size = given.get("container_size") or base.size
        return Hosted(files=merged_files(base.files, files), network=network or base.network, size=size)

    async def template(self, id: str, owner: str) -> tuple[TemplateRecord, int]:
        """Return a template and its revision. Raises `NotFound`."""
        found = await self._context.documents.get(TEMPLATE, id) if is_id(id) else None
        if found is None or found.owner != owner:
            raise missing("environment template", id)
        return read(found, TemplateRecord), found.revision

    @needs("use")
    async def create(self, scope: Scope, receive: Receive) -> ReplyCall:
        body = await body_of(scope, receive, _Create)
        owner, key, request = self._context.owner(scope), request_key(scope), digest(repr(body))
        if body.environment.get("type") != "openai_hosted" or "environment_id" in body.environment:
            raise Invalid("environment.type: openai_hosted; others begin with their session")
        id = new_id("env") if key is None else f"env_{digest(owner, key)}"
        if key is not None:
            with contextlib.suppress(NotFound):
                known, _ = await self._store.environment(id, owner)
                if known.request != request:
                    raise Conflict("the Idempotency-Key made another environment", code="idempotency_mismatch")
                return json(200, self._shown(known))
        await self._vaults.known(body.vault_ids, owner)
        hosted = await self.hosted(body.environment, "environment", owner)
        setup = Setup(kind="openai_hosted", id=id, hosted=hosted)
        record = EnvironmentRecord(id=id, owner=owner, setup=setup, request=request)
        await self._context.documents.write([record.put(0)])
        return json(200, self._shown(record))

    @needs("read")
    async def retrieve(self, scope: Scope, receive: Receive) -> ReplyCall:
        record, _ = await self._store.environment(scope["path_params"]["environment"], self._context.owner(scope))
        return json(200, self._shown(record))

    @needs("read")
    async def list(self, scope: Scope, receive: Receive) -> ReplyCall:
        page = Page.of(scope)
        kind = page.one("type")
        key = None if kind is None else ("type", kind)
        found = documents(self._context.documents, ENVIRONMENT, page, owner=self._context.owner(scope), key=key)

        async def show(one: Document) -> dict[str, Any]:
            return self._shown(read(one, EnvironmentRecord))

        return json(200, await page_of(found, page, show))

    @needs("use")
    async def create_file(self, scope: Scope, receive: Receive) -> ReplyCall:
        """Copy a file into an environment: at once if a session works in it, else when one begins."""
        given = await body_of(scope, receive, dict[str, Any])
        owner, id = self._context.owner(scope), scope["path_params"]["environment"]
        record, _ = await self._store.environment(id, owner)
        (file,) = await taken(self._context, files_given([given], "files"), owner)
        record = await self._attach(id, owner, file)
        if record.session is not None:
            await self._place(record.session, file)
            if file.inline:
                await uploads_of(self._context).delete(file.upload)
        shown = {"object": "agent.environment.file", "environment_id": id, "path": file.path, "size_bytes": file.size}
        return json(200, shown)

    async def _attach(self, id: str, owner: str, file: PlacedFile) -> EnvironmentRecord:
        """Add a file to an environment that has no session yet. Returns the environment."""
        for _ in range(_TRIES):
            record, revision = await self._store.environment(id, owner)
            if record.session is not None:
                return record
            hosted = record.setup.hosted
            hosted = msgspec.structs.replace(hosted, files=merged_files(hosted.files, (file,)))
            changed = msgspec.structs.replace(record, setup=msgspec.structs.replace(record.setup, hosted=hosted))
            try:
                await self._context.documents.write([changed.put(revision)])
            except Conflict as error:
                if error.code != "document_changed":
                    raise
            else:
                return changed
        raise Conflict("the environment is changed by too many clients at once", code="document_changed")

    async def _place(self, session: str, file: PlacedFile) -> None:
        """Copy a file into the workspace of a session, behind a turn that runs."""
        info = await self._context.sessions.get(session)
        if info.state not in ("created", "running"):
            raise Conflict(f"the session is {info.state}: start it first", code=f"session_{info.state}")
        placed = await place(self._context.sessions, session, to_place([file]), wait=_WAIT)
        if placed is None:
            raise Conflict("a turn is running: the file will be there before the next one", code="not_placed_yet")
        if placed[0].error is not None:
            raise Invalid(f"{file.path}: {placed[0].error}")

    @needs("read")
    async def list_files(self, scope: Scope, receive: Receive) -> ReplyCall:
        page = Page.of(scope)
        record, _ = await self._store.environment(scope["path_params"]["environment"], self._context.owner(scope))
        below = page.one("path") or ROOT
        if record.session is None:
            found = [(one.path, one.size) for one in record.setup.hosted.files]
        else:
            root = record.setup.folder or ROOT
            found = [(f"{root}/{path}", size) for path, size in await self._files.list(record.session)]
        found = sorted(one for one in found if one[0] == below or one[0].startswith(below.rstrip("/") + "/"))
        if page.newest:
            found.reverse()
        token = page.one("page")
        if token is not None:
            found = [one for one in found if (one[0] < token if page.newest else one[0] > token)]
        more = len(found) > page.limit
        data = [
            {"object": "agent.environment.file", "environment_id": record.id, "path": path, "size_bytes": size}
            for path, size in found[: page.limit]
        ]
        return json(200, {"object": "list", "data": data, "has_more": more, "next": data[-1]["path"] if more else None})

    async def undo(self, record: SessionRecord) -> None:
        """Remove the records of a session that could not be made. An environment that was there before stays."""
        if record.setup.kind == "none" or record.setup.id == environment_id(record.id):
            await self.forget(record)
            return
        known, revision = await self._store.environment(record.setup.id, record.owner)
        free = msgspec.structs.replace(known, session=None)
        await self._context.documents.write([Remove(kind=SESSION, id=record.id), free.put(revision)])

    async def forget(self, record: SessionRecord) -> None:
        """Remove a session that was deleted, and what came with its environment: the records last, by which a deletion
        that was cut off goes on."""
        for one in record.setup.hosted.files:
            if one.inline:
                await uploads_of(self._context).delete(one.upload)
        query = DocumentQuery(kind="", owner=record.owner, key=("artifact", record.id), limit=_PAGE)
        while found := await uploads_of(self._context).find(query):
            for upload in found:
                await uploads_of(self._context).delete(upload.id)
        writes = [Remove(kind=SESSION, id=record.id)]
        if record.setup.kind != "none":
            writes.append(Remove(kind=ENVIRONMENT, id=record.setup.id))
        await self._context.documents.write(writes)

    def _shown(self, record: EnvironmentRecord) -> dict[str, Any]:
        parts = parts_of(record.setup.hosted)
        return {
            "id": record.id,
            "object": "agent.environment",
            "type": record.setup.kind,
            "status": "ready" if record.session is None else "connected",
            "files": parts["files"],
            "plugins": [],
            "skills": [],
        }


def _self_hosted(given: dict[str, Any], session: str) -> Setup:
    if more := set(given) - {"type", "workspace_directory", "capability_directories"}:
        raise Invalid(f"environment.{min(more)[:100]}: there is no such field")
    if given.get("capability_directories"):
        raise Invalid("environment.capability_directories: agents here read skills where their definitions say")
    folder = given.get("workspace_directory")
    if not isinstance(folder, str) or not folder.startswith("/") or len(folder) > 4096 or "\0" in folder:
        raise Invalid("environment.workspace_directory: an absolute path of a folder on the machine of this home")
    return Setup(kind="self_hosted", id=environment_id(session), folder=folder)
