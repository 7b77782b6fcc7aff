"""Files that clients upload (`client.files`)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

from starlette.types import Receive, Scope, Send

from roost.doors.multipart import Form
from roost.doors.openai_agents.context import Context, missing, request_key
from roost.doors.openai_agents.environment_files import uploads_of
from roost.doors.openai_agents.paging import Page, listed
from roost.errors import Invalid, NotFound
from roost.features.uploads.uploads import FILE_BYTES, NewUpload, Upload, Uploads
from roost.log.documents import DocumentQuery
from roost.server.door import Methods, needs
from roost.server.problems import Problem
from roost.server.request_body import header, pieces
from roost.server.responses import ReplyCall, json
from roost.server.stream import Stream

_ALL = "/v1/files"
_PURPOSES = ("assistants", "batch", "fine-tune", "vision", "user_data", "evals")
_NAME = 512
_FORM = 64 * 1024
"""Bytes of a form besides its file."""


class Files:
    def __init__(self, context: Context) -> None:
        self._context = context

    def routes(self) -> Mapping[str, Methods]:
        return {
            _ALL: {"GET": self.list, "POST": self.create},
            f"{_ALL}/{{file}}": {"GET": self.retrieve, "DELETE": self.delete},
            f"{_ALL}/{{file}}/content": {"GET": self.content},
        }

    @needs("use")
    async def create(self, scope: Scope, receive: Receive) -> ReplyCall:
        form = Form(header(scope, b"content-type") or "", pieces(receive, limit=FILE_BYTES + _FORM))
        part = await form.file()
        if part is None or part.field != "file":
            raise Invalid("file: send the file in a field of this name, behind `purpose`")
        purpose = form.fields.get("purpose")
        if purpose not in _PURPOSES:
            raise Invalid(f"purpose: one of {', '.join(_PURPOSES)}, before the file")
        if not 1 <= len(part.name) <= _NAME or "\0" in part.name:
            raise Invalid(f"file: a name of 1 to {_NAME} characters")
        door = self._context.name
        new = NewUpload(
            name=part.name,
            media_type=part.media_type,
            owner=self._context.owner(scope),
            keys={"door": door, "purpose": f"{door}:{purpose}"},
            key=request_key(scope),
            seconds=_seconds(form.fields),
            note={"purpose": purpose},
        )
        return json(200, shown(await self._uploads.add(new, part.content)))

    @needs("read")
    async def retrieve(self, scope: Scope, receive: Receive) -> ReplyCall:
        return json(200, shown(await self._find(scope)))

    @needs("use")
    async def delete(self, scope: Scope, receive: Receive) -> ReplyCall:
        upload = await self._find(scope)
        await self._uploads.delete(upload.id)
        return json(200, {"id": upload.id, "object": "file", "deleted": True})

    @needs("read")
    async def content(self, scope: Scope, receive: Receive) -> ReplyCall:
        upload = await self._find(scope)
        return Download(self._context, upload.id, upload.size, upload.media_type, self._uploads.content(upload))

    @needs("read")
    async def list(self, scope: Scope, receive: Receive) -> ReplyCall:
        page = Page.of(scope, most=10_000, usual=10_000)
        door, purpose = self._context.name, page.one("purpose")
        key = ("door", door) if purpose is None else ("purpose", f"{door}:{purpose}")
        data: list[dict[str, Any]] = []
        after = page.after
        while True:
            size = min(500, page.limit + 1)
            owner = self._context.owner(scope)
            query = DocumentQuery(kind="", owner=owner, key=key, after=after, newest=page.newest, limit=size)
            found = await self._uploads.find(query)
            data += [shown(one) for one in found if not one.expired()]
            if len(data) > page.limit or not found:  # a short page is not the last one
                return json(200, listed(data[: page.limit], more=len(data) > page.limit))
            after = found[-1].id

    async def _find(self, scope: Scope) -> Upload:
        """Return the file of a request's path. Raises `NotFound`."""
        id = scope["path_params"]["file"]
        try:
            found = await self._uploads.get(id, owner=self._context.owner(scope))
        except NotFound:
            raise missing("file", id) from None
        if "purpose" not in found.note:  # taken through another door, or belongs to an environment
            raise missing("file", id)
        return found

    @property
    def _uploads(self) -> Uploads:
        return uploads_of(self._context)


class Download(Stream):
    """A file's content."""

    def __init__(self, context: Context, id: str, size: int, media_type: str, content: AsyncIterator[bytes]) -> None:
        super().__init__(context.api, id, context.api.streams)
        safe = media_type if media_type.isascii() and media_type.isprintable() else "application/octet-stream"
        self.headers = [
            (b"content-type", safe.encode()),
            (b"content-length", b"%d" % size),
            (b"content-disposition", b"attachment"),
            (b"x-content-type-options", b"nosniff"),
        ]
        self._content = content

    async def pump(self, send: Send) -> Problem | None:
        async for piece in self._content:
            await self.give(send, piece)
        return None

    def last(self, problem: Problem | None) -> bytes:
        return b""


def shown(upload: Upload) -> dict[str, Any]:
    return {
        "id": upload.id,
        "object": "file",
        "bytes": upload.size,
        "created_at": int(upload.created),
        "expires_at": None if upload.expires is None else int(upload.expires),
        "filename": upload.name,
        "purpose": upload.note.get("purpose", "user_data"),
        "status": "processed",
        "status_details": None,
    }


def _seconds(fields: dict[str, str]) -> float | None:
    anchor, seconds = fields.get("expires_after[anchor]"), fields.get("expires_after[seconds]")
    if anchor is None and seconds is None:
        return None
    right = seconds is not None and seconds.isascii() and seconds.isdigit() and len(seconds) < 9
    if anchor != "created_at" or not right or not 3600 <= int(seconds or 0) <= 2_592_000:
        raise Invalid("expires_after: the anchor created_at, and between 3600 and 2592000 seconds")
    return float(seconds or 0)
