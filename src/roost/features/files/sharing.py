"""Make, list and revoke links to files, and find what a link shows."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import AsyncIterator
from urllib.parse import quote

import msgspec

from roost.authority import Authority
from roost.errors import Conflict, Invalid, NotFound
from roost.features.accounts import audit
from roost.features.files.records import MOST_SECONDS, SHARE, ShareRecord, checked, token_of
from roost.features.uploads.uploads import NewUpload, Uploads
from roost.log.coordination import Coordination
from roost.log.documents import Document, DocumentQuery, Documents, Put, Remove

ROOT = "/shared"
MOST_BYTES = 32 * 1024 * 1024
"""The largest file that is shared."""


class Sharing:
    """The links of a store."""

    def __init__(self, documents: Documents, coordination: Coordination, uploads: Uploads) -> None:
        self._documents, self._coordination, self.uploads = documents, coordination, uploads
        self._secret: bytes | None = None
        self._tidied = ""

    async def make(
        self, who: Authority, path: str, source: str, data: bytes, *, seconds: float, key: str | None = None
    ) -> ShareRecord:
        """Share a copy of a file for so many seconds. The link, its copy and its entry in the audit trail are durable
        before this returns; with a `key` that was used, the link that it made is returned. Raises `Invalid`,
        `TooLarge`, `StoreFailed`, `ObjectsFailed`."""
        if not 1 <= seconds <= MOST_SECONDS:
            raise Invalid(f"a link holds for 1 second to {MOST_SECONDS / 86_400:g} days")
        owner, now = who.account or "", time.time()
        id = (
            secrets.token_hex(12)
            if key is None
            else hashlib.blake2b(f"{owner}\n{key}".encode(), digest_size=12).hexdigest()
        )
        if (known := await self._documents.get(SHARE, id)) is not None:
            made = _read(known)
            if (made.path, made.source) != (path, source):
                raise Conflict("the key was used for a link to another file", code="idempotency_mismatch")
            return made
        name = path.rpartition("/")[2]
        new = NewUpload(name=name, owner=owner, key=f"file share {id}", seconds=seconds + 60.0)
        upload = await self.uploads.add(new, _once(data), most=MOST_BYTES)
        record = ShareRecord(
            id=id,
            name=name,
            path=path,
            source=source,
            size=upload.size,
            digest=upload.digest,
            upload=upload.id,
            created=now,
            expires=float(int(now + seconds)),
            by=owner,
        )
        put = Put(kind=SHARE, id=id, body=msgspec.json.encode(record), owner=owner)
        await self._documents.write([put, audit.put(audit.entry_of(who, "file.share", f"{source} {path}"))])
        return record

    async def link(self, record: ShareRecord) -> str:
        """Return the path of a link, on the daemon's address."""
        return f"{ROOT}/{token_of(await self._key(), record.id, record.expires)}/{quote(record.name, safe='')}"

    async def list(self, *, owner: str | None, after: str, limit: int) -> list[ShareRecord]:
        """Return a page of links that still hold. owner: None for everybody's."""
        found: list[ShareRecord] = []
        query = DocumentQuery(kind=SHARE, owner=owner, after=after, limit=limit)
        while len(found) < limit and (page := await self._documents.find(query)):
            found += [one for one in map(_read, page) if one.expires > time.time()]
            query = msgspec.structs.replace(query, after=page[-1].id)
        return found[:limit]

    async def revoke(self, who: Authority, id: str, *, owner: str | None) -> ShareRecord:
        """End a link. Downloads in progress end with the request. Raises `NotFound`."""
        document = await self._documents.get(SHARE, id)
        if document is None or (owner is not None and document.owner != owner):
            raise NotFound(f"there is no link {id[:64]!r}", code="unknown_share")
        record = _read(document)
        entry = audit.put(audit.entry_of(who, "file.unshare", f"{record.source} {record.path}"))
        await self._documents.write([Remove(kind=SHARE, id=id), entry])
        await self.uploads.delete(record.upload)
        return record

    async def shown(self, token: str) -> ShareRecord:
        """Return what a link shows. Raises `NotFound`: forged, expired and revoked links answer alike."""
        known = checked(await self._key(), token)
        document = None
        if known is not None and known[1] > time.time():
            document = await self._documents.get(SHARE, known[0])
        record = None if document is None else _read(document)
        if record is None or known is None or int(record.expires) != known[1]:
            raise NotFound("this link does not hold: it has expired, was revoked, or never did", code="unknown_share")
        return record

    async def note(self, record: ShareRecord) -> None:
        """Note a download in the audit trail, before its first byte. Raises `StoreFailed`."""
        who = Authority(account=record.by or None)
        await self._documents.write([audit.put(audit.entry_of(who, "file.download", f"{record.id} {record.path}"))])

    async def tidy(self) -> None:
        """Remove some links that have expired, going through all of them over time. Raises `StoreFailed`."""
        page = await self._documents.find(DocumentQuery(kind=SHARE, after=self._tidied, limit=200))
        self._tidied = page[-1].id if page else ""
        old = [Remove(kind=SHARE, id=one.id) for one in page if _read(one).expires < time.time()]
        if old:
            await self._documents.write(old)

    async def _key(self) -> bytes:
        if self._secret is None:
            made = await self._coordination.setting("file_share_secret", secrets.token_hex(32))
            assert made is not None
            self._secret = made.encode()
        return self._secret


async def _once(data: bytes) -> AsyncIterator[bytes]:
    yield data


def _read(document: Document) -> ShareRecord:
    return msgspec.json.decode(document.body, type=ShareRecord)
