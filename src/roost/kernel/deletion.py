"""Removing sessions, whoever runs them, and the private files of those that are gone."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import KeysView
from typing import TYPE_CHECKING

from roost.agent.child_messages import end_of, order_to
from roost.agent.origin import life_of
from roost.agent.step_checks import last_said
from roost.errors import Busy, Conflict, NotFound, RoostError, StoreCorrupt, UnknownEvent
from roost.kernel.delegation import children_of
from roost.kernel.state_loader import load_state
from roost.log import events as ev
from roost.log.protocols import Append, Claim, SessionInfo, SessionQuery
from roost.policy.hooks import Moment, ask

if TYPE_CHECKING:
    from roost.kernel.kernel import Kernel

log = logging.getLogger("roost.keeper")
_PATIENCE = 5.0
"""Seconds in which other nodes are asked again: what one let go of, another may have taken up before us."""
_AGAIN = 0.02
_BATCH = 200


class Removal:
    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._gone: list[str] = []
        self._ends: dict[str, asyncio.Event] = {}

    @property
    def deleting(self) -> KeysView[str]:
        """Sessions that this node holds in order to delete them."""
        return self._ends.keys()

    async def delete(self, session: str, *, unused: SessionInfo | None = None) -> None:
        """Remove a session, its log and its private files. A crash between the two leaves the files in the bin, where
        the next start finds them. Files at another home are removed by that home's nodes. `unused`: only if
        nothing was put into its log or inbox since it was so. Raises `NotFound`, and `Conflict` when another node
        holds the session and does not let go of it, or it was used."""
        while (end := self._ends.get(session)) is not None:  # asked for twice: each would fence the other
            await end.wait()
        self._ends[session] = asyncio.Event()
        try:
            await self._delete(session, unused)
        finally:
            self._ends.pop(session).set()

    async def _delete(self, session: str, unused: SessionInfo | None) -> None:
        patience = time.monotonic() + _PATIENCE
        while True:
            if await self._deleted(session, patience, unused):
                return
            await asyncio.sleep(_AGAIN)

    async def _deleted(self, session: str, patience: float, unused: SessionInfo | None) -> bool:
        """False when another node took the session between our look and our deletion: it may delete it as well."""
        kernel, workshop = self._kernel, self._kernel.workshop
        if unused is not None:  # before anything is cut
            _demand(unused, await kernel.journal.get(session))
        await kernel.evict(session)
        claim = await self._claim(session, patience)
        if unused is not None and claim is not None:
            try:
                _demand(unused, claim.info)
            except Conflict:
                kernel.park(session)
                raise
        try:
            if claim is not None and claim.info.state != "stopped":
                await self._tell(claim.info)
            await self._part(session, claim)
            await kernel.evict(session)  # what took it up before our claim is fenced, and lets go of the files
            workshop.throw_away(session)
            await kernel.journal.delete(session, epoch=claim.epoch if claim else None)
        except Conflict:
            workshop.bring_back(session)
            if time.monotonic() > patience:
                kernel.park(session)
                raise
            return False
        except NotFound:  # another node was first
            await self._empty(session)
            raise
        except BaseException as error:
            kernel.park(session)
            if isinstance(error, RoostError):  # then it is not deleted
                workshop.bring_back(session)
            raise
        await self._empty(session)
        try:
            await kernel.cores.forget_session(session)
        except RoostError as error:  # rows too many
            log.warning("session %s: its budgets stay in the ledger: %s", session, error)
        return True

    async def _tell(self, info: SessionInfo) -> None:
        """Hooks of the end of a session that was not stopped before. A crash after that leaves it there, and they are
        told again. Raises `StoreFailed`."""
        kernel = self._kernel
        checks = kernel.workshop.checks(info.agent)
        hooks = () if checks is None else checks.hooks.get("session_end", ())
        if checks is None or not hooks:
            return
        try:
            state = await load_state(kernel.journal, info.id)
            life = await life_of(info.id, state, kernel.journal.read)
        except (UnknownEvent, StoreCorrupt) as error:
            log.warning("session %s: no hook is told that it is deleted: %s", info.id, error)
            return
        if life.begun:
            moment = Moment(
                on="session_end",
                session=info.id,
                agent=info.agent,
                turn=state.turns,
                text=kernel.workshop.vault.scrub(last_said(state)),
                outcome="deleted",
            )
            for hook in hooks:
                await ask(hook, moment, checks.hands)

    async def _part(self, session: str, claim: Claim | None) -> None:
        """Whoever waits for it hears that it is deleted, and what has come from it stops, in one commit, and is deleted
        first. A crash in between leaves a stopped session. Raises as `delete`."""
        journal = self._kernel.journal
        info = claim.info if claim is not None else await journal.get(session)
        children = await children_of(journal, session)
        running = [child.id for child in children if child.state != "stopped"]
        told = (*end_of(info, "deleted"), *(order_to(child, "stop", "deleted") for child in running))
        if claim is not None and told:
            stopped = ev.encode_event(ev.StateChanged(at=time.time(), state="stopped", reason="it is deleted"))
            await journal.append(
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
                await journal.accept(delivery.session, delivery.input, key=delivery.key)
        for child in children:
            with contextlib.suppress(NotFound):
                await self.delete(child.id)

    async def _claim(self, session: str, patience: float) -> Claim | None:
        """Take the session, from another node if need be. None when nobody owns it and it cannot be claimed, which is
        so when it is damaged."""
        kernel = self._kernel
        while True:
            claims = await kernel.dispatcher.claim(kernel.node, session=session)
            if claims:
                return claims[0]
            owner = (await kernel.journal.get(session)).owner
            if owner is None:
                return None
            if time.monotonic() > patience or not await self._asked(owner, session):
                raise Conflict(f"session {session!r} runs in another process: stop that first", code="session_busy")

    async def _asked(self, owner: str, session: str) -> bool:
        """Whether the owner let go, or is gone."""
        kernel = self._kernel
        if kernel.peers is None:
            return False
        for node in await kernel.dispatcher.nodes():
            if node.card.id == owner and node.alive:
                return await kernel.peers.evict(node, session)
        return True

    async def undo(self) -> None:
        """Before sessions run: what a crash threw away the files of and did not delete gets them back. A session whose
        deletion goes on in another node is left to it."""
        kernel, workshop = self._kernel, self._kernel.workshop
        for session in await asyncio.to_thread(workshop.thrown_away):
            try:
                if await kernel.dispatcher.claim(kernel.node, session=session):
                    kernel.park(session)
                    workshop.bring_back(session)
            except NotFound:
                self._gone.append(session)
            except OSError as error:
                log.error("session %s: its files are in the bin and cannot be brought back: %s", session, error)

    async def empty_bin(self) -> None:
        if self._kernel.place.tidy:
            for session in self._gone:
                await self._empty(session)

    async def _empty(self, session: str) -> bool:
        """Remove files from the bin. False where that cannot be now: `tidy` comes again."""
        if not await self.pass_on(session):
            return False
        await asyncio.to_thread(self._kernel.workshop.empty_bin, session)
        return True

    async def pass_on(self, session: str) -> bool:
        """Lend a session's forks the snapshots that they can go back to, before it loses them. False where that cannot
        be now, so that none may be removed."""
        if await asyncio.to_thread(self._kernel.workshop.heirs, session):
            from roost.kernel.fork_files import pass_on

            try:
                await pass_on(self._kernel, session)
            except (RoostError, OSError) as error:
                log.warning("session %s: its files are still kept, for its forks: %s", session, error)
                return False
        return True

    async def tidy(self) -> None:
        """Remove the private files of sessions that another node deleted. Raises `StoreFailed`, `OSError`."""
        kernel, workshop = self._kernel, self._kernel.workshop
        kept = await asyncio.to_thread(workshop.kept)
        for place in range(0, len(kept), _BATCH):
            some = tuple(kept[place : place + _BATCH])
            there = await kernel.journal.find(SessionQuery(ids=some, limit=len(some)))
            for session in set(some).difference(info.id for info in there):
                if session not in kernel.live:
                    with contextlib.suppress(FileNotFoundError):
                        workshop.throw_away(session)
                    if await self._empty(session):
                        log.info("session %s was deleted elsewhere: its files here are removed", session)


def _demand(unused: SessionInfo, info: SessionInfo) -> None:
    if (info.head, info.pending) != (unused.head, unused.pending):
        raise Conflict(f"session {info.id!r} was used just now")
