"""The kernel: every session that has work and no living owner runs here, one driver each, until it sleeps again."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Coroutine
from pathlib import Path

from roost.agent.definition import decode_spec
from roost.agent.loop import drive
from roost.agent.session import LiveSession, wake
from roost.agent.state import STATE_VERSION
from roost.errors import Fenced, NotFound, SequenceConflict, StoreFailed
from roost.kernel.config import KernelConfig
from roost.kernel.hub import Hub
from roost.kernel.keeper import Keeper
from roost.kernel.load import load
from roost.kernel.means import Agents, Workshop
from roost.kernel.meters import Meters
from roost.llm.accounts import Models
from roost.log import events as ev
from roost.log.dispatch import NodeCard
from roost.log.inputs import admits, urgency
from roost.log.journal import Append, Change, Claim, InboxItem
from roost.log.store import Store
from roost.sandbox.base import Sandbox

log = logging.getLogger("roost.kernel")
_CLAIMS_AT_ONCE = 64
"""Waking is work on the event loop, about 0.1 ms a session: more at once would be felt by everybody else."""
_TIMER_SET = b'{"type":"timer.set"'


class Kernel:
    """Runs the sessions of one journal on one node. Start it, then put inputs into inboxes; `stop` is graceful.

    It belongs to the event loop that started it. `node` is a new name at every start. The journal stays the caller's
    to close.
    """

    def __init__(
        self,
        journal: Store,
        *,
        agents: Agents,
        models: Models,
        sandbox: Sandbox,
        workspaces: Path,
        node: str,
        config: KernelConfig | None = None,
    ) -> None:
        self.journal = journal
        self.agents = agents
        self.hub = Hub()
        self.node = node
        self.config = config or KernelConfig()
        self.workshop = Workshop(agents, models, workspaces, sandbox, self.hub)
        self.live: dict[str, LiveSession] = {}
        self.meters = Meters(journal, self._names)
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._parked: set[str] = set()
        self._claiming = 0
        self._early: dict[str, list[InboxItem]] = {}
        self._work = asyncio.Event()
        self._stopping = False
        self.keeper = Keeper(self)
        self._background: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Make the node known and begin to take work. Raises `StoreFailed`."""
        await self.journal.beat(self.card(), ttl=self.config.lease)
        await self.keeper.undo_deletions()
        self._uncount = self.meters.start()
        self._unwatch = self.journal.watch(self._changed)
        self._work.set()
        self._background = [asyncio.create_task(self._dispatch()), *self.keeper.start()]

    async def stop(self, *, grace: float = 5.0) -> None:
        """Let the steps in progress end within `grace` seconds, then cut them as a crash would: their sessions carry
        on when a node starts again."""
        self._stopping = True
        self._unwatch()
        for live in self.live.values():
            live.shut_down(cut=False)
        await self._drain(grace)
        for live in self.live.values():
            live.shut_down(cut=True)
        await self._drain(grace)
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        self._uncount()
        with contextlib.suppress(StoreFailed):
            await self.journal.leave(self.node)

    def card(self) -> NodeCard:
        """What this node says of itself."""
        return NodeCard(id=self.node, room=self.config.max_live - len(self._tasks), live=len(self._tasks))

    def scan(self) -> None:
        """Look for work now."""
        self._work.set()

    async def evict(self, session: str) -> None:
        """Put a session to sleep and wait until it is. Its step in progress is cut."""
        live, task = self.live.get(session), self._tasks.get(session)
        if live is not None:
            live.shut_down(cut=True)
        if task is not None:
            await asyncio.wait([task])

    async def retry_parked(self) -> None:
        for session in self._parked - self._tasks.keys():
            self._parked.discard(session)
            try:
                await self._claim(session=session)
            except NotFound:
                continue
            except BaseException:
                self._parked.add(session)
                raise

    def park(self, session: str) -> None:
        """This node owns it and nobody drives it: it is taken up with a coming heartbeat."""
        self._parked.add(session)

    async def refresh(self) -> None:
        """Look into the inboxes of the sessions in memory: another process may have written there."""
        for session, live in list(self.live.items()):
            with contextlib.suppress(NotFound):
                live.offer(await self.journal.pending(session))

    def _names(self, session: str) -> tuple[str, str] | None:
        live = self.live.get(session)
        return None if live is None else (live.spec.name, live.means.model.name)

    def _changed(self, change: Change) -> None:
        if change.inbox is None:
            self._work.set()
            self.keeper.look_again()
            return
        for record in change.records or ():
            if record.body.startswith(_TIMER_SET):
                self.keeper.timer_set()
        if change.inbox:
            live = self.live.get(change.session)
            if live is not None:
                live.offer(change.inbox)
                return
            self._work.set()
            if self._claiming:
                self._early.setdefault(change.session, []).extend(change.inbox)

    async def _dispatch(self) -> None:
        while not self._stopping:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.config.scan):
                    await self._work.wait()
            self._work.clear()
            try:
                await self._claim_all()
            except StoreFailed as error:
                log.error("cannot look for work: %s", error)
                await asyncio.sleep(1.0)
            except Exception:  # a node that takes no work any more must not look alive
                log.exception("cannot look for work")
                await asyncio.sleep(1.0)

    async def _claim_all(self) -> None:
        if self.config.only is not None:
            await self._claim_named(self.config.only)
            return
        while (room := self.config.max_live - len(self._tasks)) > 0 and not self._stopping:
            limit = min(room, _CLAIMS_AT_ONCE)
            if await self._claim(limit=limit) < limit:
                return

    async def _claim_named(self, sessions: set[str]) -> None:
        for session in sorted(sessions - self._tasks.keys() - self._parked):
            with contextlib.suppress(NotFound):
                if not self._stopping and await self._has_work(session):
                    await self._claim(session=session)

    async def _has_work(self, session: str) -> bool:
        info = await self.journal.get(session)
        if info.state == "running" and info.phase == "working":
            return True
        least = admits(info.state, info.phase)
        return bool(info.pending) and any(urgency(i.input) >= least for i in await self.journal.pending(session))

    async def _claim(self, *, session: str | None = None, limit: int = 1) -> int:
        """Claim and begin. What is accepted between the claim's commit and its beginning here is kept in `_early`."""
        self._claiming += 1
        try:
            claims = await self.journal.claim(self.node, session=session, limit=limit)
            self.meters.claimed(claims)
            for claim in claims:
                try:
                    self._begin(await self._readable(claim))
                except NotFound:
                    continue
                except StoreFailed as error:  # the others of this batch are ours already, and must begin
                    log.error("session %s: cannot be read: %s", claim.info.id, error)
                    self.park(claim.info.id)
        finally:
            self._claiming -= 1
            if not self._claiming:
                self._early.clear()
        return len(claims)

    async def _readable(self, claim: Claim) -> Claim:
        """A snapshot of another version cannot be read: the whole log takes its place, once."""
        if claim.snapshot is None or claim.snapshot.version == STATE_VERSION:
            return claim
        snapshot, tail = await load(self.journal, claim.info.id, claim.snapshot)
        return claim._replace(snapshot=snapshot, tail=tail)

    def _begin(self, claim: Claim) -> None:
        session = claim.info.id
        if session in self._tasks:  # its lease was lost and won back: once the fenced driver has ended
            self.park(session)
            return
        try:
            live = self._wake(claim)
        except Exception as error:  # whatever is wrong with one session, the others of this batch must begin
            log.error("session %s: cannot be woken: %s", session, error)
            work = self._set_aside(claim, error)
        else:
            self.live[session] = live
            live.offer(self._early.pop(session, ()))
            work = self._serve(live)
        self._tasks[session] = asyncio.create_task(self._finish(session, work), name=f"session {session}")

    def _wake(self, claim: Claim) -> LiveSession:
        state = wake(claim.snapshot, claim.tail)
        spec = decode_spec(state.spec)
        means = self.workshop.equip(claim.info.id, spec, state.workspace)
        live = LiveSession(self.meters, claim, state, spec, means)
        live.stopping = self._stopping
        return live

    async def _finish(self, session: str, work: Coroutine[None, None, None]) -> None:
        """Drive one session from wake to sleep, and let it go."""
        try:
            await work
        except (Fenced, SequenceConflict, NotFound) as error:
            log.warning("session %s: dropped: %s", session, error)
            self._work.set()
        except StoreFailed as error:
            log.error("session %s: the store failed: %s", session, error)
            self.park(session)
        finally:
            if len(self._tasks) >= self.config.max_live:
                self._work.set()
            self.live.pop(session, None)
            self._tasks.pop(session, None)
            self.hub.clear(session)

    async def _serve(self, live: LiveSession) -> None:
        try:
            await self._drive(live)
        except (Fenced, SequenceConflict, NotFound, StoreFailed):
            raise
        except Exception as error:  # a defect must not take the session with it unseen, nor be retried for ever
            log.exception("session %s: the kernel failed", live.id)
            await self._fail(live, f"internal: {type(error).__name__}: {error}")
        if live.inbox:
            self._work.set()

    async def _drive(self, live: LiveSession) -> None:
        while True:
            live.woken.clear()
            await drive(live)
            if live.stopping or not await self._linger(live):
                await live.flush(release=True)
                return

    async def _linger(self, live: LiveSession) -> bool:
        """Wait a moment for more to do. False when it is time to sleep."""
        try:
            async with asyncio.timeout(self.config.linger):
                return await live.woken.wait()
        except TimeoutError:
            return False

    async def _fail(self, live: LiveSession, reason: str) -> None:
        live.note(ev.StateChanged(at=time.time(), state="error", reason=reason))
        await live.flush(release=True)

    async def _set_aside(self, claim: Claim, problem: Exception) -> None:
        """A log that cannot be read is not tried for ever: the session says so, and a person may start it again."""
        broken = ev.StateChanged(at=time.time(), state="error", reason=str(problem)[:1000])
        await self.journal.append(
            Append(
                session=claim.info.id,
                epoch=claim.epoch,
                expected=claim.info.head,
                bodies=[ev.encode_event(broken)],
                state="error",
                phase="idle",
                release=True,
            )
        )

    async def _drain(self, seconds: float) -> None:
        tasks = list(self._tasks.values())
        if tasks:
            await asyncio.wait(tasks, timeout=seconds)
