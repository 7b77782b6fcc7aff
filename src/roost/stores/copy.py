"""Copy the whole content of one store into another, of any kind.

Sessions are copied one after the other, oldest first, so that they keep their order of age. Each is read back and
compared by its checksum. Equal content in the target is left alone, so an interrupted copy can be started again. Nodes,
their duties (`Coordination.hold`) and rates (`Coordination.take`) are transient and are not copied.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Callable
from hashlib import blake2b
from typing import Literal, TypeAlias

import msgspec

from roost.errors import Conflict, Invalid, NotFound, RoostError, StoreCorrupt, StoreFailed
from roost.log.documents import Document, Remove
from roost.log.fact_rows import StoredFact
from roost.log.facts import Space
from roost.log.portable import SessionDump, SharedDump
from roost.log.protocols import Record
from roost.log.store import Store

Side: TypeAlias = Literal["equal", "behind", "apart"]
_PAGE = 1000
_encoder = msgspec.json.Encoder(order="sorted")


class Problem(msgspec.Struct, frozen=True):
    """Something that was not copied, and why. session: empty for cluster-wide state."""

    session: str
    detail: str


class Copied(msgspec.Struct):
    """Counts of a copy. same: sessions that the target had already. facts: copied with their spaces. documents: copied.
    extra: sessions that only the target has. extra_documents: the number of those that only the target has. kept: names
    of settings for which the target keeps another value."""

    copied: int = 0
    replaced: int = 0
    same: int = 0
    events: int = 0
    bytes: int = 0
    shared: Literal["copied", "same", "not copied"] = "not copied"
    facts: int = 0
    documents: int = 0
    extra_documents: int = 0
    kept: list[str] = []
    problems: list[Problem] = []
    extra: list[str] = []


async def copy(
    source: Store,
    target: Store,
    *,
    online: bool = False,
    replace: bool = False,
    progress: Callable[[Copied], None] = lambda done: None,
) -> Copied:
    """Copy everything. A session that cannot be copied becomes a problem in the report; the copy continues.

    No node may run on either store: a session must not run in two stores. online: allow nodes on the source, and copy
    its present content; stop them later, and copy again with `replace`. replace: replace a session in the target that
    has fallen behind, i.e. whose log is a prefix of the source's. Without it, and always when the two logs have
    diverged, the target's session stays. What is shared becomes the source's: documents that the source does not have
    are removed, so that a revoked token does not come back.

    Raises `Conflict` when nodes are running, and `StoreFailed`; sessions copied before the failure are complete.
    """
    await _refuse_nodes(target, "the store to copy to")
    if not online:
        await _refuse_nodes(source, "the store to copy from")
    move = _Move(source, target, replace)
    async for session in source.portable.sessions():
        await move.session(session)
        progress(move.done)
    await move.shared()
    await move.memory()
    await move.documents()
    async for session in target.portable.sessions():
        if session not in move.seen:
            move.done.extra.append(session)
    if not online and await _at_work(source):
        move.problem("", "a node came to work in the source during the copy: stop it, and copy again")
    return move.done


async def checksum(store: Store, session: str) -> str:
    """Return a checksum of everything that belongs to a session; it is the same in every store. Raises `NotFound`."""
    dump = await store.portable.dump(session)
    return _sum(dump, await _digest(store, session, dump.info.head))


class _Move:
    def __init__(self, source: Store, target: Store, replace: bool) -> None:
        self._source = source
        self._target = target
        self._replace = replace
        self.done = Copied()
        self.seen: set[str] = set()

    async def session(self, session: str) -> None:
        """Copy one session. Raises `StoreFailed` when a store fails as a whole."""
        self.seen.add(session)
        try:
            await self._session(session)
        except StoreCorrupt as error:
            self.problem(session, f"is damaged: {error}")
        except StoreFailed:
            raise
        except NotFound:  # deleted after it was listed
            self.seen.discard(session)
        except (RoostError, msgspec.MsgspecError) as error:
            self.problem(session, str(error))

    async def _session(self, session: str) -> None:
        dump = await self._source.portable.dump(session)
        there = await _dump(self._target, session)
        if there is not None:
            side = await self._compare(dump, there)
            if side == "equal":
                self.done.same += 1
                return
            if side == "apart" or not self._replace:
                self.problem(session, _WHY[side])
                return
            await self._target.sessions.delete(session)
            self.done.replaced += 1
        await self._copy(session, dump)
        self.done.copied += there is None

    async def _copy(self, session: str, dump: SessionDump) -> None:
        events = _Digest()
        async with contextlib.aclosing(self._passing(session, dump.info.head, events)) as pages:
            await self._target.portable.restore(dump, pages)
        if await checksum(self._target, session) != _sum(dump, events):
            await self._target.sessions.delete(session)
            raise Invalid("the copy read back is not what was written; it was removed. Copy again")

    async def _passing(self, session: str, head: int, digest: _Digest) -> AsyncGenerator[list[Record], None]:
        async for page in _pages(self._source, session, head):
            digest.add(page)
            self.done.events += len(page)
            self.done.bytes += sum(len(record.body) for record in page)
            yield page

    async def _compare(self, ours: SessionDump, theirs: SessionDump) -> Side:
        """Compare the target's session with the source's: equal, behind the source, or diverged ("apart")."""
        session, head = ours.info.id, theirs.info.head
        if head > ours.info.head or _waits_there_alone(theirs, ours):
            return "apart"
        events = await _digest(self._source, session, head)
        if events.hexdigest() != (await _digest(self._target, session, head)).hexdigest():
            return "apart"
        return "equal" if head == ours.info.head and _plain(ours) == _plain(theirs) else "behind"

    async def shared(self) -> None:
        """Copy settings and the ledgers of budgets."""
        ours, theirs = await self._source.portable.dump_shared(), await self._target.portable.dump_shared()
        self.done.kept = sorted(
            name for name, value in ours.settings.items() if theirs.settings.get(name, value) != value
        )
        if _covers(theirs, ours):
            self.done.shared = "same"
            return
        if not self._replace and _ledger(theirs) != _ledger(ours) and (theirs.budgets or theirs.reservations):
            self.problem("", "the target has budgets of its own: --replace puts the source's in their place")
            return
        await self._target.portable.restore_shared(ours)
        if not _covers(await self._target.portable.dump_shared(), ours):
            raise StoreFailed("what is shared by all sessions is not in the target as it was written: copy again")
        self.done.shared = "copied"

    async def memory(self) -> None:
        """Copy spaces of facts. A space that differs in the target stays, unless `replace` is set."""
        there = {space.name: space for space in await self._target.facts.spaces()}
        for space in await self._source.facts.spaces():
            known = there.get(space.name)
            if known is not None and await self._same_facts(space, known):
                continue
            if known is not None and not self._replace:
                self.problem(
                    "", f"the memory {space.name!r} is another in the target: --replace puts the source's there"
                )
                continue
            await self._target.portable.restore_space(space, _fact_pages(self._source, space))
            self.done.facts += space.facts

    async def _same_facts(self, ours: Space, theirs: Space) -> bool:
        return ours == theirs and await _fact_sum(self._source, ours) == await _fact_sum(self._target, theirs)

    async def documents(self) -> None:
        """Copy documents. One that differs in the target stays, unless `replace` is set."""
        names: set[tuple[str, str]] = set()
        async for page in _document_pages(self._source):
            names |= {(one.kind, one.id) for one in page}
            put = [one for one in page if await self._wanted(one)]
            await self._target.portable.restore_documents(put)
            for one in put:
                if await self._target.documents.get(one.kind, one.id) != one:
                    raise StoreFailed(f"{one.kind} {one.id!r} is not in the target as it was written: copy again")
            self.done.documents += len(put)
        async for page in _document_pages(self._target):
            extra = [Remove(kind=one.kind, id=one.id) for one in page if (one.kind, one.id) not in names]
            if self._replace:
                await self._target.documents.write(extra)
            else:
                self.done.extra_documents += len(extra)

    async def _wanted(self, ours: Document) -> bool:
        theirs = await self._target.documents.get(ours.kind, ours.id)
        if theirs is None or self._replace:
            return theirs != ours
        if theirs != ours:
            self.problem("", f"{ours.kind} {ours.id!r} is another in the target: --replace puts the source's there")
        return False

    def problem(self, session: str, detail: str) -> None:
        self.done.problems.append(Problem(session, detail))


class _Digest:
    """Digest of the events of a log, in order."""

    def __init__(self) -> None:
        self._hash = blake2b(digest_size=16)

    def add(self, page: list[Record]) -> None:
        for seq, body in page:
            self._hash.update(b"%d %d " % (seq, len(body)))
            self._hash.update(body)

    def hexdigest(self) -> str:
        return self._hash.hexdigest()


_WHY: dict[Side, str] = {
    "behind": "is in the target already, in an older state: --replace puts the source's in its place",
    "apart": "went on in the target by itself: delete it in one of the two (`roost rm`), then copy again",
}


async def _at_work(store: Store) -> list[str]:
    return [node.card.id for node in await store.dispatch.nodes() if node.alive]


async def _refuse_nodes(store: Store, name: str) -> None:
    if alive := await _at_work(store):
        raise Conflict(
            f"{len(alive)} nodes are at work in {name} ({', '.join(alive[:3])}): stop them first (`roost down`)",
            code="nodes_at_work",
        )


async def _dump(store: Store, session: str) -> SessionDump | None:
    try:
        return await store.portable.dump(session)
    except NotFound:
        return None


async def _pages(store: Store, session: str, head: int) -> AsyncGenerator[list[Record], None]:
    """Yield the events up to `head`; fewer when the log has fewer."""
    after = 0
    while after < head and (page := await store.logs.read(session, after=after, limit=min(_PAGE, head - after))):
        yield page
        after = page[-1].seq


async def _digest(store: Store, session: str, head: int) -> _Digest:
    digest = _Digest()
    async for page in _pages(store, session, head):
        digest.add(page)
    return digest


async def _document_pages(store: Store) -> AsyncGenerator[list[Document], None]:
    after = ("", "")
    while page := await store.portable.documents(after):
        yield page
        after = page[-1].kind, page[-1].id


async def _fact_pages(store: Store, space: Space) -> AsyncGenerator[list[StoredFact], None]:
    """Yield the rows up to `space.version`."""
    after = 0
    while rows := await store.portable.fact_rows(space.name, after=after, limit=_PAGE):
        yield [row for row in rows if row.version <= space.version]
        after = rows[-1].version


async def _fact_sum(store: Store, space: Space) -> bytes:
    found = blake2b(digest_size=16)
    async for rows in _fact_pages(store, space):
        found.update(_encoder.encode(rows))
    return found.digest()


def _sum(dump: SessionDump, events: _Digest) -> str:
    return blake2b(_plain(dump) + events.hexdigest().encode(), digest_size=16).hexdigest()


def _plain(dump: SessionDump) -> bytes:
    """Encode the content in one canonical form, without the owner: it has no meaning in another store."""
    return _encoder.encode(msgspec.structs.replace(dump, info=msgspec.structs.replace(dump.info, owner=None)))


def _waits_there_alone(theirs: SessionDump, ours: SessionDump) -> bool:
    """Whether the target has a pending input that the source never got."""
    known = {item.id: item.accepted_at for item in ours.inbox}
    waiting = [item for item in theirs.inbox if not item.taken]
    return any(item.id > ours.inputs or known.get(item.id, item.accepted_at) != item.accepted_at for item in waiting)


def _ledger(dump: SharedDump) -> tuple[object, ...]:
    return dump.budgets, dump.reservations, dump.calls


def _covers(there: SharedDump, ours: SharedDump) -> bool:
    return _ledger(there) == _ledger(ours) and there.settings.keys() >= ours.settings.keys()
