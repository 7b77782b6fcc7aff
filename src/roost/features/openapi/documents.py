"""The documents of APIs on a node: read from their sources, compiled, and kept in the store for sessions that pin
them."""

from __future__ import annotations

import asyncio
import logging
import sys
import time
import zlib
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

import msgspec

from roost.agent.openapi_options import OpenApi
from roost.errors import RoostError, SandboxError
from roost.features.openapi.catalog import Catalog
from roost.features.openapi.compile_worker import Compiled, compiled
from roost.features.openapi.credentials import RefreshTokens, Tokens
from roost.features.openapi.document import DOCUMENT_CAP, BadDocument, is_json
from roost.features.openapi.fetching import digest_of_document, read_source
from roost.log.documents import DocumentQuery, Documents, Put, Remove, Write
from roost.sandbox.base import Quota
from roost.sandbox.host_process import ProcessSandbox

log = logging.getLogger("roost.openapi")
_HERE = 8 * 1024
"""Bytes of JSON that are compiled in this process. Of larger documents some tens of KB can take minutes."""
_WORKER = Quota(wall_seconds=180.0, cpu_seconds=60, memory_bytes=2 * 1024**3, output_bytes=DOCUMENT_CAP)
_FRESH = 300.0
_RETRY = 30.0
_MOST = 24
"""Most compiled documents in memory. That of GitHub takes 4 MB."""
_KIND = "openapi.document"
_PIECE = 900 * 1024
_VERSIONS = 20
"""Documents of one source that are kept."""


class Latest(NamedTuple):
    """The newest document of a source. error: why it could not be read; digest and catalog are of the one before."""

    at: float
    digest: str = ""
    catalog: Catalog | None = None
    error: str = ""


class ApiDocuments:
    """The documents that this node knows. Several sessions that need the same one wait for one reading of it."""

    def __init__(self, kept: Documents, hands: ProcessSandbox, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._kept, self._hands, self._clock = kept, hands, clock
        self._latest: dict[tuple[str, tuple[str, ...]], Latest] = {}
        self._locks: dict[object, asyncio.Lock] = {}
        self._catalogs: OrderedDict[str, Catalog] = OrderedDict()
        self._tasks: dict[object, asyncio.Task[Latest]] = {}
        """Readings in the background, by source."""
        self.tokens = Tokens(_Rotated(kept))

    async def close(self) -> None:
        """Stop readings in progress."""
        tasks = [*self._tasks.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.tokens.close()

    async def latest(self, api: OpenApi) -> Latest:
        """Return the newest document of an API, read again if the known one is old. Its digest and catalog are kept in
        the store when this returns. Never raises for a bad document."""
        async with self._locks.setdefault(_source(api), asyncio.Lock()):
            known = self._latest.get(_source(api))
            if known is not None and self._clock() - known.at < (_RETRY if known.error else _FRESH):
                return known
            found = await self._read(api, known)
            self._latest[_source(api)] = found
            return found

    def known(self, api: OpenApi) -> Latest | None:
        """Return what is known of the newest document without waiting, and look for a newer one in the background."""
        source = _source(api)
        known = self._latest.get(source)
        if source not in self._tasks and (known is None or self._clock() - known.at >= _FRESH):
            task = self._tasks[source] = asyncio.create_task(self.latest(api))
            task.add_done_callback(lambda _: self._tasks.pop(source, None))
        return known

    async def pinned(self, digest: str) -> Catalog | None:
        """Return the catalog of a document by its digest, from memory or from the store; None if it is gone."""
        if (catalog := self._catalogs.get(digest)) is not None:
            self._catalogs.move_to_end(digest)
            return catalog
        async with self._locks.setdefault(digest, asyncio.Lock()):
            if (catalog := self._catalogs.get(digest)) is not None:
                return catalog
            data = await self._load(digest)
            if data is None:
                return None
            try:
                return self._remember(digest, await self._compile(data))
            except BadDocument as error:
                log.warning("the kept document %s cannot be compiled any more: %s", digest, error)
                return None

    async def _read(self, api: OpenApi, known: Latest | None) -> Latest:
        try:
            data = await read_source(api.spec, private=api.private)
            digest = await asyncio.to_thread(digest_of_document, data)
            catalog = self._catalogs.get(digest)
            if catalog is None:
                catalog = await self._compile(data)
                await self._store(api, digest, data)  # first: what is remembered counts as stored
                self._remember(digest, catalog)
            return Latest(self._clock(), digest, catalog)
        except RoostError as error:
            before = known or Latest(0.0)
            return Latest(self._clock(), before.digest, before.catalog, error.message)

    async def _compile(self, data: bytes) -> Catalog:
        """Compile a document. Raises `BadDocument`."""
        if len(data) <= _HERE and is_json(data):
            found = await asyncio.to_thread(compiled, data)
        else:
            found = await self._compiled_apart(data)
        if found.catalog is None:
            raise BadDocument(found.error)
        return found.catalog

    async def _compiled_apart(self, data: bytes) -> Compiled:
        argv = [sys.executable, "-I", "-m", "roost.features.openapi.compile_worker"]
        try:
            result = await self._hands.exec(argv, cwd="/", stdin=data, quota=_WORKER)
        except SandboxError as error:
            return Compiled(error=f"it cannot be compiled here: {error}")
        if result.killed_by or result.exit_code:
            log.warning("compiling a document failed (%s): %s", result.killed_by, result.stderr[-500:])
            why = f"it was stopped ({result.killed_by})" if result.killed_by else "the compiler failed on it"
            return Compiled(error=f"it is too large or too odd: {why}")
        return await asyncio.to_thread(msgspec.json.decode, result.stdout, type=Compiled)

    def _remember(self, digest: str, catalog: Catalog) -> Catalog:
        self._catalogs[digest] = catalog
        while len(self._catalogs) > _MOST:
            self._catalogs.popitem(last=False)
        return catalog

    async def _store(self, api: OpenApi, digest: str, data: bytes) -> None:
        """Keep a document in pieces, and a head that says how many there are, written last. Of each source the newest
        versions are kept; a session that has pinned an older one asks a person."""
        if await self._kept.get(_KIND, digest) is not None:
            return
        packed = await asyncio.to_thread(zlib.compress, data, 6)
        pieces = [packed[at : at + _PIECE] for at in range(0, len(packed), _PIECE)]
        writes: list[Write] = [Put(kind=_KIND, id=f"{digest}.{n}", body=piece) for n, piece in enumerate(pieces)]
        for write in writes:
            await self._kept.write([write])
        source = digest_of_document(api.spec.encode())
        await self._kept.write([Put(kind=_KIND, id=digest, body=str(len(pieces)).encode(), keys={"source": source})])
        heads = await self._kept.find(DocumentQuery(kind=_KIND, key=("source", source), limit=4 * _VERSIONS))
        heads.sort(key=lambda head: head.created)
        for old in heads[: max(0, len(heads) - _VERSIONS)]:
            pieces_of = [f"{old.id}.{n}" for n in range(int(old.body))]
            await self._kept.write([Remove(kind=_KIND, id=id) for id in (old.id, *pieces_of)])

    async def _load(self, digest: str) -> bytes | None:
        head = await self._kept.get(_KIND, digest)
        if head is None:
            return None
        pieces = [await self._kept.get(_KIND, f"{digest}.{n}") for n in range(int(head.body))]
        packed = b"".join(piece.body for piece in pieces if piece is not None)
        try:
            return await asyncio.to_thread(lambda: zlib.decompressobj().decompress(packed, DOCUMENT_CAP))
        except zlib.error:
            return None


class _Rotated(RefreshTokens):
    """Refresh tokens that servers gave in place of the vault's."""

    def __init__(self, kept: Documents) -> None:
        self._kept = kept

    async def get(self, key: str) -> str | None:
        found = await self._kept.get("openapi.refresh_token", key)
        return None if found is None else found.body.decode()

    async def put(self, key: str, token: str) -> None:
        await self._kept.write([Put(kind="openapi.refresh_token", id=key, body=token.encode())])


def _source(api: OpenApi) -> tuple[str, tuple[str, ...]]:
    """A source is a path or URL with the private hosts that it may be read from."""
    return api.spec, api.private
