"""Delete sessions, whichever node runs them, and the private files of deleted sessions."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Sequence

from roost.errors import Busy, Conflict, NotFound, RoostError
from roost.kernel.lineage import children_of
from roost.kernel.membership import Membership
from roost.kernel.model_pool import ModelPool
from roost.kernel.node_feature import NodeFeature
from roost.kernel.ownership import Slots
from roost.kernel.peers import Peers
from roost.kernel.resources import ResourceFactory
from roost.log import events as ev
from roost.log.protocols import Append, Claim, SessionQuery
from roost.log.session_info import SessionInfo
from roost.log.store import Store

log = logging.getLogger("roost.deletion")
_PATIENCE = 5.0
"""Seconds in which other nodes are asked again: a released session may be claimed by another node before this one."""
_AGAIN = 0.02
_BATCH = 200


class Deletions:
    """Delete the sessions of a node, and clean up the files of deleted ones. Belongs to the node's event loop.

    peers: asks other nodes to release their sessions; None asks nobody.
    """

    def __init__(
        self,
        store: Store,
        membership: Membership,
        slots: Slots,
        resources: ResourceFactory,
        model_pool: ModelPool,
        features: Sequence[NodeFeature],
        peers: Peers | None,
    ) -> None:
        self._store, self._membership = store, membership
        self._slots, self._resources, self._model_pool = slots, resources, model_pool
        self._features, self.peers = features, peers
        self._gone: list[str] = []

    async def delete(self, session: str, *, unused: SessionInfo | None = None) -> None:
        """Delete a session with its children, its log and its private files.

        A crash between log and files leaves the files in the bin, and the next start finds them there. Files at another
        home are removed by that home's nodes. Raises `NotFound`, and `Conflict` when another node does not release the
        session or it was used.
        unused: delete only if log and inbox are as in this info.
        """
        while True:
            await self._slots.deletion_over(session)  # asked twice: each deletion would fence the other
            if unused is not None:  # check before any step is cut
                _demand(unused, await self._store.sessions.get(session))
            if self._slots.state(session) != "deleting":
                break
        self._slots.move(session, "delete")
        gone = True
        try:
            await self._delete(session, unused)
        except NotFound:
            raise
        except BaseException:
            gone = False
            raise
        finally:
            self._slots.end_deletion(session, gone=gone)

    async def _delete(self, session: str, unused: SessionInfo | None) -> None:
        patience = time.monotonic() + _PATIENCE
        while not await self._deleted(session, patience, unused):
            await asyncio.sleep(_AGAIN)
            if unused is not None:
                _demand(unused, await self._store.sessions.get(session))

    async def _deleted(self, session: str, patience: float, unused: SessionInfo | None) -> bool:
        """Try once. Returns False when another node claimed the session between the check and the deletion (it may be
        deleting it too)."""
        await self._slots.cut(session)
        claim = await self._claim(session, patience)
        if unused is not None and claim is not None:
            _demand(unused, claim.info)
        try:
            if claim is not None and claim.info.state != "stopped":
                for one in self._features:
                    await one.before_deletion(claim.info)
            await self._part(session, claim)
            self._resources.throw_away(session)
            await self._store.sessions.delete(session, epoch=claim.epoch if claim else None)
        except Conflict:
            self._resources.bring_back(session)
            if time.monotonic() > patience:
                raise
            return False
        except NotFound:  # another node was first
            await self._empty(session)
            raise
        except RoostError:  # not deleted
            self._resources.bring_back(session)
            raise
        await self._empty(session)
        try:
            await self._model_pool.forget_session(session)
        except RoostError as error:  # surplus rows do no harm
            log.warning("session %s: its budgets stay in the ledger: %s", session, error)
        return True

    async def _part(self, session: str, claim: Claim | None) -> None:
        """Stop the session and deliver what its features tell others, in one commit; then delete its children. A crash
        in between leaves a stopped session. Raises as `delete`."""
        store = self._store
        info = claim.info if claim is not None else await store.sessions.get(session)
        children = await children_of(store, session)
        told = [message for one in self._features for message in one.deleted(info, children)]
        if claim is not None and told:
            stopped = ev.encode_event(ev.StateChanged(at=time.time(), state="stopped", reason="it is deleted"))
            await store.logs.append(
                Append(
                    session=session,
                    epoch=claim.epoch,
                    expected=info.head,
                    bodies=[stopped],
                    state="stopped",
                    deliver=told,
                )
            )
        for delivery in told if claim is None else ():
            with contextlib.suppress(NotFound, Conflict, Busy):
                await store.inboxes.accept(delivery.session, delivery.input, key=delivery.key)
        for child in children:
            with contextlib.suppress(NotFound):
                await self.delete(child.id)

    async def _claim(self, session: str, patience: float) -> Claim | None:
        """Claim the session, asking its owner to release it if needed. Returns None when it has no owner and cannot be
        claimed, because it is damaged. Raises `Conflict`, `NotFound`."""
        while True:
            claims = await self._store.dispatch.claim(self._membership.id, session=session)
            if claims:
                return claims[0]
            owner = (await self._store.sessions.get(session)).owner
            if owner is None:
                return None
            if time.monotonic() > patience or not await self._asked(owner, session):
                raise Conflict(f"session {session!r} runs in another process: stop that first", code="session_busy")

    async def _asked(self, owner: str, session: str) -> bool:
        """Ask the owner to release the session. Returns True when it did, or is no longer alive."""
        if self.peers is None:
            return False
        for other in await self._store.dispatch.nodes():
            if other.card.id == owner and other.alive:
                return await self.peers.evict(other, session)
        return True

    async def undo(self) -> None:
        """Restore files from the bin whose sessions a crash left undeleted. Call it before sessions run. A session that
        another node is deleting is left to that node."""
        resources = self._resources
        for session in await asyncio.to_thread(resources.thrown_away):
            try:
                if await self._store.dispatch.claim(self._membership.id, session=session):
                    self._slots.move(session, "found")
                    resources.bring_back(session)
            except NotFound:
                self._gone.append(session)
            except OSError as error:
                log.error("session %s: its files are in the bin and cannot be brought back: %s", session, error)

    async def empty_bin(self) -> None:
        """Remove the files of the deleted sessions that `undo` found in the bin."""
        if self._membership.place.tidy:
            for session in self._gone:
                await self._empty(session)

    async def _empty(self, session: str) -> bool:
        """Remove a session's files from the bin. Returns False if other sessions cannot get what they need of them now;
        `tidy` retries."""
        if not await self.hand_on(session):
            return False
        await asyncio.to_thread(self._resources.empty_bin, session)
        return True

    async def hand_on(self, session: str) -> bool:
        """Let other sessions keep what they need of a session's files, before these are removed. Returns False if that
        fails now: then remove nothing."""
        try:
            for one in self._features:
                await one.hand_on(session)
        except (RoostError, OSError) as error:
            log.warning("session %s: its files are still kept, for its forks: %s", session, error)
            return False
        return True

    async def tidy(self) -> None:
        """Remove the private files of sessions that another node deleted, and what features left over. Raises
        `StoreFailed`, `OSError`."""
        for feature in self._features:
            await feature.tidy()
        resources = self._resources
        kept = await asyncio.to_thread(resources.kept)
        for place in range(0, len(kept), _BATCH):
            some = tuple(kept[place : place + _BATCH])
            there = await self._store.sessions.find(SessionQuery(ids=some, limit=len(some)))
            for session in set(some).difference(info.id for info in there):
                if session not in self._slots.live:
                    with contextlib.suppress(FileNotFoundError):
                        resources.throw_away(session)
                    if await self._empty(session):
                        log.info("session %s was deleted elsewhere: its files here are removed", session)


def _demand(unused: SessionInfo, info: SessionInfo) -> None:
    if (info.head, info.pending) != (unused.head, unused.pending):
        raise Conflict(f"session {info.id!r} was used just now")
