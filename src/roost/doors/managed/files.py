"""Files that clients upload, for messages and for the workspaces of sessions."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import Any, cast

from starlette.types import Receive, Scope, Send

from roost.doors.anthropic.errors import request_id
from roost.doors.managed.owners import account
from roost.doors.managed.requests import Query, answer, cursor_of, listed, maybe_stamp, stamp
from roost.doors.multipart import Form
from roost.errors import Invalid, NotFound, TooLarge
from roost.features.uploads.duties import UploadDuties
from roost.features.uploads.uploads import FILE_BYTES, NewUpload, Upload, Uploads
from roost.log.documents import DocumentQuery
from roost.log.records import Page
from roost.server.app_state import Api
from roost.server.door import Methods, needs
from roost.server.problems import Problem
from roost.server.request_body import header, pieces
from roost.server.responses import Header, ReplyCall
from roost.server.stream import Stream

_PAGE, _MOST, _IDS = 20, 1000, 100
_INLINE = 16 * 1024 * 1024
"""Most bytes of a file that a message shows."""
_FORM = 64 * 1024
_UNSAFE = frozenset('<>:"|?*\\/')


class Files:
    def __init__(self, api: Api) -> None:
        self._api = api

    @property
    def uploads(self) -> Uploads:
        return self._api.runtime.node.feature(UploadDuties).uploads

    def routes(self) -> Mapping[str, Methods]:
        return {
            "/v1/files": {"GET": self.list, "POST": self.upload},
            "/v1/files/{file}": {"GET": self.metadata, "DELETE": self.delete},
            "/v1/files/{file}/content": {"GET": self.content},
        }

    async def get(self, id: str, owner: str | None) -> Upload:
        """Return what is known of a file. Raises `NotFound`."""
        if not (0 < len(id) <= 128 and id.isascii()):
            raise NotFound(f"there is no file {id[:128]!r}")
        return await self.uploads.get(id, owner=owner)

    async def inline(self, id: str) -> tuple[str, str, bytes]:
        """Return name, media type and content of a file that a message names. Raises `RoostError`."""
        upload = await self.get(id, account())
        if upload.size > _INLINE:
            raise TooLarge(f"file {id!r} has {upload.size} bytes: a message shows at most {_INLINE}; mount it instead")
        content = b"".join([piece async for piece in self.uploads.content(upload)])
        return upload.name, upload.media_type, content

    @needs("use")
    async def upload(self, scope: Scope, receive: Receive) -> ReplyCall:
        form = Form(header(scope, b"content-type") or "", pieces(receive, limit=FILE_BYTES + _FORM))
        part = await form.file()
        if part is None or part.field != "file":
            raise Invalid("file: send the file in the form's field 'file', behind its other fields")
        if not 1 <= len(part.name) <= 255 or _UNSAFE & set(part.name) or not part.name.isprintable():
            raise Invalid(f"the file's name has 1 to 255 characters, and none of {''.join(sorted(_UNSAFE))}")
        seconds = form.fields.get("expires_in_seconds")
        right = seconds is None or (seconds.isascii() and seconds.isdigit() and len(seconds) < 10 and int(seconds) > 0)
        if not right:
            raise Invalid("expires_in_seconds: give a number of seconds")
        new = NewUpload(
            name=part.name,
            media_type=part.media_type,
            owner=account() or "",
            seconds=None if seconds is None else float(seconds),
        )
        return answer(view(await self.uploads.add(new, part.content)))

    @needs("read")
    async def list(self, scope: Scope, receive: Receive) -> ReplyCall:
        query, owner = Query(scope, ("limit", "page", "ids", "scope_id")), account()
        limit, cursor, ids = query.number("limit", _PAGE, _MOST), cursor_of(query), query.many("ids")
        if query.text("scope_id"):
            return answer({"data": [], "next_page": None})  # no file is made by a session
        if ids:
            found = await self._named([id for one in ids for id in one.split(",")], owner)
            return answer({"data": [view(one) for one in found], "next_page": None})
        found, after = list[Upload](), cursor.id
        while len(found) <= limit:
            asked = DocumentQuery(kind="", owner=owner, after=after, newest=True, limit=min(1000, limit + 1))
            read = await self.uploads.find(asked)
            if not read:
                break
            found += [one for one in read if not one.expired()]
            after = read[-1].id
        page = Page(found[:limit], False, len(found) > limit)
        return listed([view(one) for one in page.found], page, lambda one: one.id)

    async def _named(self, ids: list[str], owner: str | None) -> list[Upload]:
        if len(ids) > _IDS:
            raise Invalid(f"ids: at most {_IDS}")
        found: list[Upload] = []
        for id in ids:
            with contextlib.suppress(NotFound):
                found.append(await self.get(id, owner))
        return found

    @needs("read")
    async def metadata(self, scope: Scope, receive: Receive) -> ReplyCall:
        return answer(view(await self.get(scope["path_params"]["file"], account())))

    @needs("use")
    async def delete(self, scope: Scope, receive: Receive) -> ReplyCall:
        upload = await self.get(scope["path_params"]["file"], account())
        await self.uploads.delete(upload.id)
        return answer({"id": upload.id, "type": "file_deleted"})

    @needs("read")
    async def content(self, scope: Scope, receive: Receive) -> ReplyCall:
        upload = await self.get(scope["path_params"]["file"], account())
        content = self.uploads.content(upload)
        first = await anext(content, b"")  # so that what is missing is said before the head
        return Download(self._api, upload, first, content)


class Download(Stream):
    """The bytes of a file."""

    def __init__(self, api: Api, upload: Upload, first: bytes, rest: AsyncIterator[bytes]) -> None:
        super().__init__(api, upload.id, api.streams)
        kind = upload.media_type if upload.media_type.isascii() and upload.media_type.isprintable() else "binary"
        headers: list[Header] = [
            (b"content-type", kind.encode()),
            (b"content-length", b"%d" % upload.size),
            (b"x-content-type-options", b"nosniff"),
            (b"content-disposition", b"attachment"),
        ]
        self.headers = [*headers, request_id()]
        self._first, self._rest = first, rest

    async def pump(self, send: Send) -> Problem | None:
        if self._first:
            await self.give(send, self._first)
        async with contextlib.aclosing(cast("AsyncGenerator[bytes]", self._rest)) as rest:
            async for piece in rest:
                await self.give(send, piece)
        return None

    def last(self, problem: Problem | None) -> bytes:
        return b""


def view(one: Upload) -> dict[str, Any]:
    return {
        "type": "file",
        "id": one.id,
        "filename": one.name,
        "mime_type": one.media_type,
        "size_bytes": one.size,
        "created_at": stamp(one.created),
        "expires_at": maybe_stamp(one.expires),
        "downloadable": True,
    }
