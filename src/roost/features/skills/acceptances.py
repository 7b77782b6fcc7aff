"""What people have accepted: skills of workspaces, by the digest of all their files."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

import msgspec

from roost.errors import NotFound
from roost.log.documents import Document, DocumentQuery, Documents, Put, Remove

_KIND = "skill.accepted"
_PAGE = 500


class Acceptance(NamedTuple):
    """digest: of the skill's files. at: seconds since 1970."""

    digest: str
    name: str
    at: float


class _Body(msgspec.Struct, frozen=True):
    name: str


class Acceptances:
    """Accepted content of skills. It holds in every workspace of the store: equal files have an equal digest."""

    def __init__(self, documents: Documents) -> None:
        self._documents = documents

    async def which(self, digests: Collection[str]) -> frozenset[str]:
        """Return those of the digests that are accepted. Raises `StoreFailed`."""
        found = [await self._documents.get(_KIND, digest) for digest in digests]
        return frozenset(one.id for one in found if one is not None)

    async def add(self, digest: str, name: str) -> Acceptance:
        """Accept a content. Nothing happens if it is accepted."""
        body = msgspec.json.encode(_Body(name))
        (made,) = await self._documents.write([Put(kind=_KIND, id=digest, body=body, keys={"name": name})])
        assert made is not None
        return _read(made)

    async def remove(self, digest: str) -> None:
        """Withdraw an acceptance. Raises `NotFound`."""
        if await self._documents.get(_KIND, digest) is None:
            raise NotFound(f"no skill with the digest {digest!r} is accepted")
        await self._documents.write([Remove(kind=_KIND, id=digest)])

    async def all(self) -> list[Acceptance]:
        """Return all acceptances, by digest."""
        found: list[Acceptance] = []
        while page := await self._documents.find(
            DocumentQuery(kind=_KIND, after=found[-1].digest if found else "", limit=_PAGE)
        ):
            found += map(_read, page)
        return found


def _read(document: Document) -> Acceptance:
    return Acceptance(document.id, msgspec.json.decode(document.body, type=_Body).name, document.created)
