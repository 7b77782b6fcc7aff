"""Records that clients of a door make over HTTP and that belong to no session: environments, vaults, deployments.

Each is a document of the store (`roost.log.documents`), with an owner, and seen by every node."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

import msgspec

from roost.errors import Conflict, NotFound
from roost.log.documents import Document, DocumentQuery, Documents, Put, Remove, Write

_TRIES = 20
_PAGE = 100


class Record(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A record. owner: the account that it belongs to; empty for the whole home. created, changed, archived: seconds
    since 1970; archived: closed to new use, and kept."""

    kind: ClassVar[str]
    noun: ClassVar[str]
    """What clients call it."""

    id: str
    owner: str = ""
    created: float = 0.0
    changed: float = 0.0
    archived: float | None = None

    @property
    def keys(self) -> dict[str, str]:
        """Names and values by which it can be listed."""
        return {}


R = TypeVar("R", bound=Record)
T = TypeVar("T")


class Page(NamedTuple, Generic[T]):
    """Records in the order asked for. before, after: whether there are more in front of them and behind them."""

    found: list[T]
    before: bool
    after: bool


class Records(Generic[R]):
    """The records of one kind. `owner` limits a read to what belongs to that account; None reads all."""

    def __init__(self, documents: Documents, of: type[R]) -> None:
        self._documents = documents
        self._of = of
        self._decoder = msgspec.json.Decoder(of)

    async def make(self, record: R) -> R:
        """Keep a new record. Raises `Conflict` when its id is taken."""
        now = time.time()
        made = msgspec.structs.replace(record, created=now, changed=now)
        await self._documents.write([self.put(made, 0)])
        return made

    async def get(self, id: str, *, owner: str | None = None) -> R:
        """Return a record. Raises `NotFound`."""
        return (await self._read(id, owner))[1]

    async def change(self, id: str, edit: Callable[[R], R], *, owner: str | None = None) -> R:
        """Replace a record by what `edit` makes of it, which is called again when somebody else changed it meanwhile.
        Raises `NotFound`, and what `edit` raises."""

        async def alone(record: R) -> tuple[R, Sequence[Write]]:
            return edit(record), ()

        return await self.change_with(id, alone, owner=owner)

    async def change_with(
        self, id: str, edit: Callable[[R], Awaitable[tuple[R, Sequence[Write]]]], *, owner: str | None = None
    ) -> R:
        """As `change`, with further writes of the same commit, which `edit` returns, too. What it reads is not older
        than the record: another change since then makes it run again."""
        for _ in range(_TRIES):
            document, record = await self._read(id, owner)
            edited, more = await edit(record)
            if edited == record and not more:
                return record
            edited = msgspec.structs.replace(edited, changed=max(time.time(), record.changed))
            try:
                await self._documents.write([self.put(edited, document.revision), *more])
            except Conflict as error:
                if error.code == "document_changed":
                    continue
                raise
            return edited
        raise Conflict(f"{self._of.noun} {id!r} is changed by too many clients at once; try again")

    async def archive(self, id: str, *, owner: str | None = None) -> R:
        """Close a record to new use. Idempotent. Raises `NotFound`."""
        return await self.change(id, _archived, owner=owner)

    async def remove(self, id: str, *, owner: str | None = None) -> None:
        """Delete a record. Raises `NotFound`."""
        document, _ = await self._read(id, owner)
        await self._documents.write([Remove(kind=self._of.kind, id=document.id)])

    async def page(
        self,
        *,
        owner: str | None = None,
        key: tuple[str, str] | None = None,
        fits: Callable[[R], bool] = lambda _: True,
        cursor: str = "",
        back: bool = False,
        newest: bool = True,
        limit: int = 20,
    ) -> Page[R]:
        """Return a page of those that fit. cursor: the id that it begins behind, or with `back` ends before."""
        found = await self._find(owner, key, fits, cursor, newest is not back, limit + 1)
        more, found = len(found) > limit, found[:limit]
        return Page(found[::-1], more, True) if back else Page(found, bool(cursor), more)

    async def _find(
        self, owner: str | None, key: tuple[str, str] | None, fits: Any, after: str, newest: bool, most: int
    ) -> list[R]:
        found: list[R] = []
        while True:
            query = DocumentQuery(
                kind=self._of.kind, owner=owner, key=key, after=after, newest=newest, limit=max(most, _PAGE)
            )
            read = await self._documents.find(query)
            found += [one for one in map(self._decoded, read) if fits(one)]
            if not read or len(found) >= most:
                return found[:most]
            after = read[-1].id

    async def _read(self, id: str, owner: str | None) -> tuple[Document, R]:
        document = await self._documents.get(self._of.kind, id) if 0 < len(id) <= 128 and id.isascii() else None
        if document is None or (owner is not None and document.owner != owner):
            raise NotFound(f"there is no {self._of.noun} {id[:128]!r}")
        return document, self._decoded(document)

    def _decoded(self, document: Document) -> R:
        return self._decoder.decode(document.body)

    def put(self, record: R, revision: int) -> Put:
        """Return the write of a record. revision: the one that it must have now; 0 for a new one."""
        return Put(
            kind=self._of.kind,
            id=record.id,
            body=msgspec.json.encode(record),
            owner=record.owner,
            keys=record.keys,
            revision=revision,
        )


def _archived(record: R) -> R:
    return record if record.archived is not None else msgspec.structs.replace(record, archived=time.time())
