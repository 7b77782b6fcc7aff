"""Files of sessions and of shared folders, on a running node."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import AsyncIterable, AsyncIterator
from typing import Any

import msgspec

from roost.authority import current
from roost.errors import Conflict, Forbidden, TooLarge
from roost.features.accounts import audit
from roost.features.checkpoints.targets import parsed, position_of
from roost.features.files.api import (
    BYTES,
    MOST_WRITTEN,
    FileChanged,
    FileDigest,
    FileEntries,
    FileEntry,
    FilesApi,
    FileShare,
    FileShares,
    FileSpace,
    FileSpaces,
    Target,
)
from roost.features.files.duties import FileDuties
from roost.features.files.events import FileRestored, FileWritten, RestoreFileInput, WriteFileInput
from roost.features.files.places import Place, Places, check_folder, seen_by
from roost.features.files.protocols import FoundFiles, How, IndexStatus
from roost.features.files.records import SPACE, ShareRecord, SpaceRecord
from roost.features.files.restoring import written
from roost.features.uploads.uploads import NewUpload
from roost.kernel.service_host import ServiceHost
from roost.log.documents import DocumentQuery, Put, Remove, find_all
from roost.operation import Download
from roost.policy.rules import decide
from roost.policy.system_rules import system_rules
from roost.policy.touched_paths import files
from roost.threads import finished_in_thread
from roost.workspace.files import Workspace
from roost.workspace.safe_paths import explained, open_folder, read_file
from roost.workspace.walk import printable

_CHUNK = 256 * 1024
_KEPT_SECONDS = 7 * 86_400.0
"""How long what a person sent waits for its session."""
_WRITTEN, _RESTORED = b'{"type":"file.written"', b'{"type":"file.restored"'
_INDEX_SECONDS = 5.0


class FilesService(FilesApi):
    def __init__(self, host: ServiceHost) -> None:
        self._host, self._sessions = host, host.sessions
        self._duties = host.node.feature(FileDuties)
        self._places = Places(host)

    async def search(
        self, where: str, query: str, *, path: str = "", how: How = "hybrid", limit: int = 10
    ) -> FoundFiles:
        """As the interface says. Raises `NotFound`, `Invalid`, `Conflict` (`files_elsewhere`), `Damaged`."""
        place = await self._places.find(where)
        under = "" if path in ("", ".") else place.workspace.relative(place.workspace.resolve(path))
        found = await self._duties.search(
            place.workspace, query, how=how, under="" if under == "." else under, limit=limit
        )
        scrub = self._host.vault.scrub
        hits = [msgspec.structs.replace(one, snippet=scrub(one.snippet)) for one in found.hits]
        return msgspec.structs.replace(found, hits=hits)

    async def list(self, where: str, *, path: str = "", after: str = "", limit: int = 500) -> FileEntries:
        place = await self._places.find(where)
        found = await asyncio.to_thread(_entries, place.workspace, path or ".")
        page = [one for one in found if one.path > after][: limit + 1]
        more = len(page) > limit
        return FileEntries(files=page[:limit], next=page[limit - 1].path if more else None)

    async def read(self, where: str, path: str) -> Download[AsyncIterator[bytes]]:
        """As the interface says. Raises `NotFound`, `Forbidden`, `FileRefused`, `TooLarge`."""
        body = await self._bytes(await self._places.find(where), path)

        async def chunks() -> AsyncIterator[bytes]:
            for begin in range(0, len(body), _CHUNK):
                yield body[begin : begin + _CHUNK]

        return Download(None, len(body), BYTES, chunks())

    async def digest(self, where: str, path: str) -> FileDigest:
        place = await self._places.find(where)
        found = await asyncio.to_thread(lambda: read_file(place.workspace, place.real(path)))
        return FileDigest(path=path, size=len(found.data), digest=found.digest)

    async def _bytes(self, place: Place, path: str) -> bytes:
        return (await asyncio.to_thread(lambda: read_file(place.workspace, place.real(path)))).data

    async def write(
        self, where: str, path: str, content: AsyncIterable[bytes], *, digest: str | None = None, wait: float = 30.0
    ) -> FileChanged:
        """As the interface says. Raises `NotFound`, `Forbidden`, `Conflict` (`file_not_changed`), `TooLarge`."""
        place = await self._places.find(where)
        place.real(path)
        if place.session is None:
            return await self._write_space(place, path, await _whole(content), digest)
        new = NewUpload(name=os.path.basename(path), owner=current().account or "", seconds=_KEPT_SECONDS)
        upload = await self._duties.sharing.uploads.add(new, content, most=MOST_WRITTEN)
        accepted = await self._sessions.put(place.session, WriteFileInput(path, upload.id, digest))
        record = await self._sessions.effect(place.session, accepted, _WRITTEN, wait=wait)
        if record is None:
            return FileChanged(path=path, done=False, input=accepted.id)
        event = record.event
        assert isinstance(event, FileWritten)
        await self._duties.sharing.uploads.delete(upload.id)
        if event.error is not None:
            raise Conflict(f"{path!r} was not written: {event.error}", code="file_not_changed")
        return FileChanged(path=path, done=True, size=event.size, input=accepted.id)

    async def _write_space(self, place: Place, path: str, content: bytes, digest: str | None) -> FileChanged:
        if not place.writable:
            raise Forbidden(f"{place.source} may only be read")
        await asyncio.to_thread(self._ask_rules, place, path, asks=current().confined)
        entry = audit.put(audit.entry_of(current(), "file.write", f"{place.source} {path}"))
        await self._host.node.store.documents.write([entry])  # before the change: none without its entry
        await finished_in_thread(lambda: written(place.workspace, path, content, digest))
        return FileChanged(path=path, done=True, size=len(content))

    def _ask_rules(self, place: Place, path: str, *, asks: bool) -> None:
        """Check a write by the rules of the home, as of an agent's. asks: it may not answer what they ask, so a file
        that runs by itself is refused. Blocks. Raises `Forbidden`."""
        root = place.workspace.root
        touches = files(root, writes=[path])
        for rules in (self._host.node.resources.policy.rules, system_rules()):
            found = decide(rules, "write_file", touches, root)
            if found is not None and (found[0] == "deny" or (found[0] == "ask" and asks)):
                raise Forbidden(f"the policy keeps {path!r} from being written ({found[1].reason or found[1].shown})")
            if found is not None:
                return

    async def restore(
        self, session: str, path: str, to: Target, *, key: str | None = None, wait: float = 30.0
    ) -> FileChanged:
        """As the interface says. Raises `NotFound` (`no_checkpoint`), `Invalid` (`no_position`), `Conflict`."""
        info, now = await self._sessions.state(current().session_id(session))
        position, _ = position_of(info, now, parsed(to), most=info.head)
        accepted = await self._sessions.put(info.id, RestoreFileInput(path, position), key=key)
        record = await self._sessions.effect(info.id, accepted, _RESTORED, wait=wait)
        if record is None:
            return FileChanged(path=path, done=False, input=accepted.id)
        event = record.event
        assert isinstance(event, FileRestored)
        if event.error is not None:
            raise Conflict(f"{path!r} was not put back: {event.error}", code="file_not_changed")
        return FileChanged(path=path, done=True, size=None if event.removed else event.size, input=accepted.id)

    # The index

    async def index(self, where: str) -> IndexStatus:
        place = await self._places.find(where)
        index = await self._duties.indexes.of(place.workspace.root)
        await index.caught_up(_INDEX_SECONDS)
        return await index.status()

    async def rebuild(self, where: str) -> IndexStatus:
        place = await self._places.find(where)
        await self._duties.indexes.forget(place.workspace.root)
        return await self.index(where)

    # Links

    async def share(self, where: str, path: str, *, seconds: float = 86_400.0, key: str | None = None) -> FileShare:
        """As the interface says. Raises `NotFound`, `Forbidden`, `TooLarge`, `Invalid`."""
        place = await self._places.find(where)
        data = await self._bytes(place, path)
        name = place.workspace.relative(place.workspace.resolve(path))
        sharing = self._duties.sharing
        return await self._shown(
            await sharing.make(current(), printable(name), place.source, data, seconds=seconds, key=key)
        )

    async def shares(self, *, after: str = "", limit: int = 100) -> FileShares:
        found = await self._duties.sharing.list(owner=_owner(), after=after, limit=limit)
        return FileShares(
            shares=[await self._shown(one) for one in found], next=found[-1].id if len(found) == limit else None
        )

    async def unshare(self, share: str) -> FileShare:
        return await self._shown(await self._duties.sharing.revoke(current(), share, owner=_owner()))

    async def _shown(self, record: ShareRecord) -> FileShare:
        fields: dict[str, Any] = {name: getattr(record, name) for name in FileShare.__struct_fields__ if name != "link"}
        return FileShare(**fields, link=await self._duties.sharing.link(record))

    # Shared folders

    async def add_space(self, name: str, folder: str, *, account: str = "", writable: bool = False) -> FileSpace:
        """As the interface says. Raises `Invalid` for a folder that may not be shared."""
        real = await asyncio.to_thread(check_folder, folder, self._host.node.resources.home_folder)
        record = SpaceRecord(
            name=name, folder=real, home=self._host.node.place.home, account=account, writable=writable
        )
        put = Put(kind=SPACE, id=name, body=msgspec.json.encode(record), owner=account)
        entry = audit.put(audit.entry_of(current(), "file.space", name))
        await self._host.node.store.documents.write([put, entry])
        return self._space(record)

    async def spaces(self) -> FileSpaces:
        query = DocumentQuery(kind=SPACE, limit=500)
        found = [one async for one in find_all(self._host.store.documents, query) if seen_by(current(), one)]
        return FileSpaces(spaces=[self._space(msgspec.json.decode(one.body, type=SpaceRecord)) for one in found])

    async def remove_space(self, name: str) -> FileSpace:
        record = await self._places.space(name, current())
        entry = audit.put(audit.entry_of(current(), "file.space.remove", name))
        await self._host.node.store.documents.write([Remove(kind=SPACE, id=name), entry])
        return self._space(record)

    def _space(self, record: SpaceRecord) -> FileSpace:
        here = record.home == self._host.node.place.home
        folder = "" if current().confined else record.folder
        return FileSpace(name=record.name, folder=folder, account=record.account, writable=record.writable, here=here)


async def _whole(content: AsyncIterable[bytes]) -> bytes:
    """Return a body. Raises `TooLarge`."""
    parts: list[bytes] = []
    size = 0
    async for part in content:
        size += len(part)
        if size > MOST_WRITTEN:
            raise TooLarge(f"a file that is written has at most {MOST_WRITTEN} bytes", code="file_too_large")
        parts.append(part)
    return b"".join(parts)


def _owner() -> str | None:
    who = current()
    return who.account if who.confined else None


def _entries(workspace: Workspace, path: str) -> list[FileEntry]:
    """List one folder, by name; links and devices are left out. Blocks."""
    real = workspace.resolve(path)
    base = "" if real == workspace.root else workspace.relative(real) + "/"
    held = workspace.unseen("list_files", workspace.place)
    found: list[FileEntry] = []
    with explained(path), open_folder(workspace, real) as fd, os.scandir(fd) as names:
        for one in names:
            status = one.stat(follow_symlinks=False)
            folder = stat.S_ISDIR(status.st_mode)
            if not folder and not stat.S_ISREG(status.st_mode):
                continue
            if held is not None and held(f"{real}/{one.name}") == "deny":
                continue
            size = 0 if folder else status.st_size
            found.append(FileEntry(path=printable(base + one.name), folder=folder, size=size, modified=status.st_mtime))
    return sorted(found, key=lambda one: one.path)


SERVICE = FilesService
