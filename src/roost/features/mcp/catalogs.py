"""Lists of tools that servers have given, kept by their digests, so that a session finds what it was offered again."""

from __future__ import annotations

from collections import OrderedDict

from roost.features.mcp.catalog import Catalog, decode_catalog, encode_catalog
from roost.log.documents import Documents, Put

_KIND = "mcp.catalog"
_NEWEST = "mcp.newest"
_MOST = 256


class Catalogs:
    """The catalogs of a store, by digest: the content of one never changes. `newest` names the one that a server listed
    last."""

    def __init__(self, documents: Documents) -> None:
        self._documents = documents
        self._known: OrderedDict[str, Catalog] = OrderedDict()
        self._newest: dict[str, str] = {}

    async def load(self, digest: str) -> Catalog | None:
        """Return a catalog. Raises `StoreFailed`."""
        if digest in self._known:
            self._known.move_to_end(digest)
            return self._known[digest]
        found = await self._documents.get(_KIND, digest)
        return None if found is None else self._keep(digest, decode_catalog(found.body))

    async def save(self, catalog: Catalog, *, server: str | None) -> str:
        """Keep a catalog and return its digest. server: key of a server that lists the same to every session."""
        digest = catalog.digest
        if digest not in self._known and await self._documents.get(_KIND, digest) is None:
            await self._documents.write([Put(kind=_KIND, id=digest, body=encode_catalog(catalog))])
        self._keep(digest, catalog)
        if server is not None and await self.newest(server) != digest:
            await self._documents.write([Put(kind=_NEWEST, id=server, body=digest.encode())])
            self._newest[server] = digest
        return digest

    async def newest(self, server: str) -> str | None:
        """Return the digest of what a server listed last, on any node."""
        if server not in self._newest:
            found = await self._documents.get(_NEWEST, server)
            if found is None:
                return None
            self._newest[server] = found.body.decode()
        return self._newest[server]

    def _keep(self, digest: str, catalog: Catalog) -> Catalog:
        self._known[digest] = catalog
        while len(self._known) > _MOST:
            self._known.popitem(last=False)
        return catalog
