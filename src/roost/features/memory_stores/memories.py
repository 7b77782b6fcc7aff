"""Memories of memory stores: texts under paths, each change of one kept as a version.

A memory is two documents: the memory itself, and an entry under its path, which lists need and which makes a path
unique. A change writes both and the version at once."""

from __future__ import annotations

import hashlib
import time
import unicodedata
from collections.abc import Callable, Sequence
from typing import ClassVar, Literal, NamedTuple, TypeAlias

import msgspec

from roost.errors import Conflict, Invalid, NotFound, TooLarge
from roost.ids import new_id
from roost.log.documents import DocumentQuery, Documents, Put, Remove, Write, find_all
from roost.log.records import Record, Records

CONTENT_BYTES, _PATH_BYTES, _SEGMENTS, _MOST = 102_400, 1024, 20, 2000
_TRIES, _BATCH = 20, 100
_ENTRY = "managed.memory_path"
Operation: TypeAlias = Literal["created", "modified", "deleted"]


class MemoryStore(Record, frozen=True, kw_only=True, omit_defaults=True):
    kind: ClassVar[str] = "managed.memory_store"
    noun: ClassVar[str] = "memory store"

    name: str
    description: str = ""
    metadata: dict[str, str] = {}


class Memory(Record, frozen=True, kw_only=True, omit_defaults=True):
    """version: the id of its newest version. tainted: a session wrote it that had seen untrusted content."""

    kind: ClassVar[str] = "managed.memory"
    noun: ClassVar[str] = "memory"

    store: str
    path: str
    version: str
    digest: str
    size: int
    content: str = ""
    tainted: bool = False

    @property
    def keys(self) -> dict[str, str]:
        return {"store": self.store}


class MemoryVersion(Record, frozen=True, kw_only=True, omit_defaults=True):
    """redacted: when its content was removed. session: whose agent made the change; empty for a client."""

    kind: ClassVar[str] = "managed.memory_version"
    noun: ClassVar[str] = "memory version"

    store: str
    memory: str
    operation: Operation
    path: str | None = None
    content: str | None = None
    digest: str | None = None
    size: int | None = None
    redacted: float | None = None
    session: str = ""

    @property
    def keys(self) -> dict[str, str]:
        return {"store": self.store, "memory": self.memory}


class Change(NamedTuple):
    """A change of a memory. None leaves a part as it is. expected: the SHA-256 that its content must have. session: as
    in `MemoryVersion`. tainted: as in `Memory`, of the new content."""

    content: str | None = None
    path: str | None = None
    expected: str | None = None
    session: str = ""
    tainted: bool = False


class Memories:
    def __init__(self, documents: Documents) -> None:
        self._documents = documents
        self._memories = Records(documents, Memory)
        self.versions = Records(documents, MemoryVersion)

    async def make(
        self, store: str, path: str, content: str, owner: str, *, session: str = "", tainted: bool = False
    ) -> Memory:
        """Raises `Conflict` when another memory has the path, and `Invalid`."""
        entries = await self.entries(store)
        if len(entries) >= _MOST:
            raise Invalid(f"a memory store has at most {_MOST} memories")
        now = time.time()
        id, path = new_id("mem"), check_path(path)
        empty = Memory(id=id, owner=owner, created=now, store=store, path=path, version="", digest="", size=0)
        made = _with(empty, content, tainted=tainted)
        made, version = _versioned(made, "created", now, session)
        try:
            await self._documents.write([_put(made, 0), _entry(made, 0), _put(version, 0)])
        except Conflict:
            raise _taken(path) from None
        return made

    async def get(self, store: str, id: str) -> Memory:
        found = await self._memories.get(id)
        if found.store != store:
            raise NotFound(f"there is no memory {id[:128]!r}")
        return found

    async def change(self, store: str, id: str, change: Change) -> Memory:
        """Raises `Conflict` when the content is not the expected one, or another memory has the path."""
        path = None if change.path is None else check_path(change.path)

        def edit(one: Memory) -> Memory | None:
            after = one if change.content is None else _with(one, change.content, tainted=change.tainted)
            return after if path is None else msgspec.structs.replace(after, path=path)

        return await self._change(store, id, change, "modified", edit)

    async def delete(self, store: str, id: str, expected: str | None, *, session: str = "") -> None:
        await self._change(store, id, Change(expected=expected, session=session), "deleted", lambda _: None)

    async def _change(
        self, store: str, id: str, change: Change, operation: Operation, edit: Callable[[Memory], Memory | None]
    ) -> Memory:
        for _ in range(_TRIES):
            await self.get(store, id)
            document = await self._documents.get(Memory.kind, id)
            if document is None:
                continue
            before = msgspec.json.decode(document.body, type=Memory)
            if change.expected is not None and before.digest != change.expected:
                raise Conflict("precondition: the memory has another content by now; read it again")
            after = edit(before)
            if after == before:
                return before
            made, version = _versioned(after or before, operation, time.time(), change.session)
            writes: list[Write] = [_put(version, 0)]
            if after is None:
                writes += [Remove(kind=Memory.kind, id=id, revision=document.revision), _no_entry(before)]
            else:
                writes += [_put(made, document.revision)]
                moved = made.path != before.path
                writes += [_entry(made, 0), _no_entry(before)] if moved else [_entry(made, None)]
            try:
                await self._documents.write(writes)
            except Conflict:
                if after is not None and await self._elsewhere(made):
                    raise _taken(made.path) from None
                continue
            return made
        raise Conflict(f"memory {id!r} is changed by too many clients at once; try again")

    async def _elsewhere(self, memory: Memory) -> bool:
        """Whether another memory has this one's path."""
        entry = await self._documents.get(_ENTRY, _entry_id(memory))
        return entry is not None and msgspec.json.decode(entry.body, type=Memory).id != memory.id

    async def at(self, store: str, path: str) -> Memory | None:
        """Return the memory at a path."""
        entry = await self._documents.get(_ENTRY, _entry_name(store, path))
        if entry is None:
            return None
        try:
            return await self.get(store, msgspec.json.decode(entry.body, type=Memory).id)
        except NotFound:
            return None

    async def entries(self, store: str) -> list[Memory]:
        """Return the memories of a store without their content, by path."""
        query = DocumentQuery(kind=_ENTRY, key=("store", store), limit=1000)
        found = [msgspec.json.decode(one.body, type=Memory) async for one in find_all(self._documents, query)]
        return sorted(found, key=lambda one: one.path)

    async def redact(self, store: str, id: str) -> MemoryVersion:
        """Remove what a version says, unless it is the newest of its memory. Raises `Invalid`."""
        version = await self.version(store, id)
        try:
            if (await self.get(store, version.memory)).version == id:
                raise Invalid("the newest version of a memory cannot be redacted; change or delete the memory first")
        except NotFound:
            pass

        def edit(one: MemoryVersion) -> MemoryVersion:
            if one.redacted is not None:
                return one
            return msgspec.structs.replace(one, path=None, content=None, digest=None, size=None, redacted=time.time())

        return await self.versions.change(id, edit)

    async def version(self, store: str, id: str) -> MemoryVersion:
        found = await self.versions.get(id)
        if found.store != store:
            raise NotFound(f"there is no memory version {id[:128]!r}")
        return found

    async def clear(self, store: str) -> None:
        """Delete all memories of a store and their versions. After a crash it goes on where it was."""
        for kind in (_ENTRY, Memory.kind, MemoryVersion.kind):
            query = DocumentQuery(kind=kind, key=("store", store), limit=_BATCH)
            while page := await self._documents.find(query):
                await self._documents.write([Remove(kind=kind, id=one.id) for one in page])


def check_path(path: str) -> str:
    """Check the path of a memory. Raises `Invalid`."""
    names = path.split("/")[1:]
    unseen = any(unicodedata.category(mark) in ("Cc", "Cf", "Cs", "Zl", "Zp") for mark in path)
    if not path.startswith("/") or unseen or not 1 <= len(names) <= _SEGMENTS:
        raise Invalid(f"path: begin with / and use at most {_SEGMENTS} names, such as /notes/today.md")
    if any(name in ("", ".", "..") for name in names) or len(path.encode()) > _PATH_BYTES:
        raise Invalid(f"path: no empty names, no . and .., and at most {_PATH_BYTES} bytes")
    if unicodedata.normalize("NFC", path) != path:
        raise Invalid("path: use the Unicode normalization form C")
    return path


def _with(memory: Memory, content: str, *, tainted: bool) -> Memory:
    data = content.encode("utf-8", "replace")
    if len(data) > CONTENT_BYTES:
        raise TooLarge(f"content: a memory has at most {CONTENT_BYTES} bytes")
    digest = hashlib.sha256(data).hexdigest()
    if digest == memory.digest:
        return memory
    return msgspec.structs.replace(memory, content=data.decode(), digest=digest, size=len(data), tainted=tainted)


def _versioned(memory: Memory, operation: Operation, now: float, session: str = "") -> tuple[Memory, MemoryVersion]:
    gone = operation == "deleted"
    version = MemoryVersion(
        id=new_id("memver"),
        owner=memory.owner,
        created=now,
        changed=now,
        store=memory.store,
        memory=memory.id,
        operation=operation,
        path=memory.path,
        content=None if gone else memory.content,
        digest=None if gone else memory.digest,
        size=None if gone else memory.size,
        session=session,
    )
    return msgspec.structs.replace(memory, version=version.id, changed=now), version


def _put(record: Memory | MemoryVersion, revision: int) -> Put:
    body = msgspec.json.encode(record)
    return Put(kind=record.kind, id=record.id, body=body, owner=record.owner, keys=record.keys, revision=revision)


def _entry_id(memory: Memory) -> str:
    return _entry_name(memory.store, memory.path)


def _entry_name(store: str, path: str) -> str:
    return f"{store}/{hashlib.sha256(path.encode()).hexdigest()[:40]}"


def _entry(memory: Memory, revision: int | None) -> Put:
    body = msgspec.json.encode(msgspec.structs.replace(memory, content=""))
    id = _entry_id(memory)
    return Put(kind=_ENTRY, id=id, body=body, owner=memory.owner, keys=memory.keys, revision=revision)


def _no_entry(memory: Memory) -> Remove:
    return Remove(kind=_ENTRY, id=_entry_id(memory))


def _taken(path: str) -> Conflict:
    return Conflict(f"path: another memory of the store is at {path!r}")


def below(entries: Sequence[Memory], prefix: str, depth: int) -> list[tuple[str, Memory | None]]:
    """Return what a list shows, by path: memories, and with a depth the folders that stand for deeper ones."""
    found: dict[str, Memory | None] = {}
    for one in entries:
        if not one.path.startswith(prefix or "/"):
            continue
        names = one.path[len(prefix or "/") :].split("/")
        if depth and len(names) > depth:
            found.setdefault((prefix or "/") + "/".join(names[:depth]) + "/", None)
        else:
            found[one.path] = one
    return sorted(found.items())
