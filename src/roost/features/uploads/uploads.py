"""Uploaded files: their bytes in an object store, what is known of them in documents.

A file is complete or not there. The document `upload` says that it is there. The document `upload.due` says when its
home deletes its bytes: a day after an upload began, when a file expires, at once when it was deleted. Each step of a
file is one write of both: begun -> complete (due when it expires, or never) -> taken for deletion -> gone. What a
crash, a cancelled request or another node leaves is due, and `tidy` of its home deletes it."""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import AsyncIterable, AsyncIterator, Callable, Mapping, Sequence
from mimetypes import guess_type
from typing import Any

import msgspec

from roost.errors import Conflict, NotFound, RoostError, TooLarge
from roost.features.uploads.blobs import Blobs
from roost.features.uploads.events import FilesPlaced, FileToPlace, PlacedFile, PlaceFilesInput
from roost.ids import new_id
from roost.kernel.sessions import Sessions
from roost.log.documents import Document, DocumentQuery, Documents, Put, Remove, Write

FILE_BYTES = 512 * 1024 * 1024
"""Most bytes of a file."""
ACCOUNT_BYTES, ACCOUNT_FILES = 10 * 1024**3, 10_000
"""Most bytes and files of one account. Uploads at the same time may exceed them, each once."""
_PAGE = 500
_KIND, _DUE, _KEYS = "upload", "upload.due", "upload.key"
_STALE = 86400.0
"""Seconds after which a begun upload counts as left behind by a crash. One that takes longer fails."""
_NOW = 0.0
_SHARED = "*"
"""The home of bytes that all nodes read."""
_PLACED = b'{"type":"files.placed"'


class Upload(msgspec.Struct, frozen=True, omit_defaults=True):
    """An uploaded file. id: sorts by age. owner: the account that it belongs to. size: bytes. digest: SHA-256 of its
    content, hexadecimal. created, expires: seconds since 1970; None: it stays until it is deleted. home: where its
    bytes are, unless all nodes read them. note: what the door that took it keeps with it."""

    id: str
    name: str
    media_type: str
    size: int
    digest: str
    created: float
    owner: str = ""
    expires: float | None = None
    home: str | None = None
    note: dict[str, Any] = {}

    def expired(self) -> bool:
        return self.expires is not None and self.expires <= time.time()


class NewUpload(msgspec.Struct, frozen=True, kw_only=True):
    """What a client says of a file that it sends. keys: names and values by which `find` finds it. key: idempotency
    key, within its owner. seconds: time until it expires. Other fields as in `Upload`."""

    name: str
    media_type: str = "application/octet-stream"
    owner: str = ""
    keys: Mapping[str, str] = {}
    key: str | None = None
    seconds: float | None = None
    note: dict[str, Any] = {}


class Uploads:
    """The uploaded files of a store. home: of this node. shared: every node reads the same object store."""

    def __init__(self, documents: Documents, blobs: Blobs, *, home: str, shared: bool) -> None:
        self._documents, self._blobs = documents, blobs
        self._home = _SHARED if shared else home

    async def add(self, new: NewUpload, content: AsyncIterable[bytes], *, most: int = FILE_BYTES) -> Upload:
        """Store a file, durably before it returns. A repetition with the same key returns the file that it made, and
        reads no content. Raises `TooLarge`, `ObjectsFailed`, `StoreFailed`, and what `content` raises."""
        known, revision = await self._by_key(new)
        if known is not None:
            return known
        await self.tidy(most=4)
        most = min(most, await self._room(new.owner)) if new.owner else most
        id, begun = new_id("file"), time.time() + _STALE
        await self._documents.write([self._due(begun, id, revision=0)])
        try:
            stored = await self._blobs.write(id, content, most=most)
        except BaseException:
            await self._remove(id, due=begun)
            raise
        now = time.time()
        expires = None if new.seconds is None else now + new.seconds
        if expires is not None and _at(expires, id) == _at(begun, id):  # these are two documents
            expires += 1
        upload = Upload(
            id=id,
            name=new.name,
            media_type=new.media_type,
            size=stored.size,
            digest=stored.digest,
            created=now,
            owner=new.owner,
            expires=expires,
            home=None if self._home == _SHARED else self._home,
            note=new.note,
        )
        return await self._finish(new, upload, begun, revision)

    async def _room(self, owner: str) -> int:
        """Return how many bytes an account may still store. Raises `TooLarge`."""
        files, size, after = 0, 0, ""
        while page := await self.find(DocumentQuery(kind="", owner=owner, after=after, limit=_PAGE)):
            files, size, after = files + len(page), size + sum(one.size for one in page), page[-1].id
        if files >= ACCOUNT_FILES or size >= ACCOUNT_BYTES:
            raise TooLarge(f"account {owner!r} has {files:,} files of {size:,} bytes: delete some first")
        return ACCOUNT_BYTES - size

    async def _finish(self, new: NewUpload, upload: Upload, begun: float, key_revision: int) -> Upload:
        """Exchange the documents. Cancelled or without an answer, it may have done so, and nothing is removed here."""
        body = msgspec.json.encode(upload)
        writes: list[Write] = [
            Remove(kind=_DUE, id=_at(begun, upload.id), revision=1),
            Put(kind=_KIND, id=upload.id, body=body, owner=new.owner, keys=new.keys, revision=0),
        ]
        if upload.expires is not None:
            writes.append(self._due(upload.expires, upload.id))
        if new.key is not None:
            writes.append(
                Put(kind=_KEYS, id=_key(new), body=upload.id.encode(), owner=new.owner, revision=key_revision)
            )
        try:
            await self._documents.write(writes)
        except Conflict:  # another request with this key was faster, or this one took more than a day
            await self._remove(upload.id, due=begun)
            first, _ = await self._by_key(new)
            if first is None:
                raise
            return first
        return upload

    async def get(self, id: str, *, owner: str | None = None) -> Upload:
        """Return what is known of a file. owner: None for anybody's. Raises `NotFound`."""
        document = await self._documents.get(_KIND, id)
        if document is None or (owner is not None and document.owner != owner):
            raise NotFound(f"there is no file {id[:200]!r} here", code="file_not_found")
        upload = _read(document)
        if upload.expired():
            raise NotFound(f"the file {id!r} has expired", code="file_not_found")
        return upload

    async def find(self, query: DocumentQuery) -> list[Upload]:
        """Return a page of files, by `owner`, `key`, `after`, `newest` and `limit` of a query."""
        found = await self._documents.find(msgspec.structs.replace(query, kind=_KIND))
        return [_read(one) for one in found]

    async def delete(self, id: str) -> None:
        """Delete a file, if there is one. What cannot delete its bytes now leaves them to `tidy` of its home. Copies in
        workspaces stay. Raises `StoreFailed`."""
        document = await self._documents.get(_KIND, id)
        if document is None:
            return
        upload = _read(document)
        await self._remove(id, due=upload.expires, home=upload.home or _SHARED)

    async def content(self, upload: Upload, *, begin: int = 0) -> AsyncIterator[bytes]:
        """Yield a file's bytes, from the byte `begin` on. Raises `Conflict` when they are at another home,
        `NotFound`, `ObjectsFailed`."""
        if (upload.home or _SHARED) != self._home:
            raise Conflict(
                f"the file {upload.id!r} is at another home: give all nodes the same snapshot store (--snapshots)",
                code="files_elsewhere",
            )
        async for piece in self._blobs.read(upload.id, upload.size, begin=begin):
            yield piece

    async def tidy(self, *, most: int = 100) -> None:
        """Delete a few of the files of this home that are due. Raises `StoreFailed`."""
        query = DocumentQuery(kind=_DUE, key=("home", self._home), limit=most)
        for one in await self._documents.find(query):
            at, _, id = one.id.partition(" ")
            if float(at) > time.time():
                return
            with contextlib.suppress(Conflict):  # its upload ends just now, or another node deletes it
                await self._remove(id, due=float(at), revision=one.revision)

    async def _remove(
        self, id: str, *, due: float | None, home: str | None = None, revision: int | None = None
    ) -> None:
        """Take a file out of the documents, which cannot be undone, then delete its bytes if they are at this home.
        due: when it was due. revision: that its document must have. Raises `Conflict`, `StoreFailed`."""
        home = home or self._home
        writes: list[Write] = [Remove(kind=_KIND, id=id), self._due(_NOW, id, home=home)]
        if due not in (None, _NOW):
            writes.append(Remove(kind=_DUE, id=_at(due, id), revision=revision))
        await self._documents.write(writes)
        if home == self._home:
            with contextlib.suppress(RoostError):  # tried again by `tidy`
                await self._blobs.delete(id)
                await self._documents.write([Remove(kind=_DUE, id=_at(_NOW, id))])

    def _due(self, at: float, id: str, *, home: str | None = None, revision: int | None = None) -> Put:
        """Return what says when a file is deleted, and by which home. Its id sorts by that time."""
        keys = {"home": home or self._home}
        return Put(kind=_DUE, id=_at(at, id), body=b"{}", keys=keys, revision=revision)

    async def _by_key(self, new: NewUpload) -> tuple[Upload | None, int]:
        """Return the file that an earlier request with this key made, and the revision of what says so."""
        known = None if new.key is None else await self._documents.get(_KEYS, _key(new))
        if known is None:
            return None, 0
        document = await self._documents.get(_KIND, known.body.decode())
        made = None if document is None else _read(document)
        return None if made is None or made.expired() else made, known.revision


class ReadUploads:
    """Implements `UploadedFiles`, for sessions."""

    def __init__(self, uploads: Callable[[], Uploads]) -> None:
        self._uploads = uploads

    async def content(self, upload: str, *, most: int) -> bytes:
        uploads = self._uploads()
        found = await uploads.get(upload)
        if found.size > most:
            raise TooLarge(f"a file of a workspace has at most {most} bytes; this one has {found.size}")
        return b"".join([piece async for piece in uploads.content(found)])

    async def publish(
        self,
        name: str,
        data: bytes,
        *,
        owner: str,
        keys: Mapping[str, str],
        note: Mapping[str, Any],
        key: str,
        seconds: float | None = None,
    ) -> str:
        async def content() -> AsyncIterator[bytes]:
            yield data

        media_type = guess_type(name)[0] or "application/octet-stream"
        new = NewUpload(
            name=name, media_type=media_type, owner=owner, keys=keys, key=key, seconds=seconds, note=dict(note)
        )
        return (await self._uploads().add(new, content())).id


async def place(
    sessions: Sessions, session: str, files: Sequence[FileToPlace], *, key: str | None = None, wait: float = 30.0
) -> tuple[PlacedFile, ...] | None:
    """Copy files into the workspace of a session, durably ordered before this returns. Return what became of them, or
    None when they are not there after `wait` seconds: they will be before the session's next turn. Raises `NotFound`,
    `Conflict` and `Busy` as an input does."""
    accepted = await sessions.put(session, PlaceFilesInput(tuple(files)), key=key)
    record = await sessions.effect(session, accepted, _PLACED, wait=wait)
    event = None if record is None else record.event
    return event.files if isinstance(event, FilesPlaced) else None


def _read(document: Document) -> Upload:
    return msgspec.json.decode(document.body, type=Upload)


def _at(due: float, id: str) -> str:
    return f"{due:015.3f} {id}"


def _key(new: NewUpload) -> str:
    return hashlib.sha256(f"{new.owner}\n{new.key}".encode()).hexdigest()
