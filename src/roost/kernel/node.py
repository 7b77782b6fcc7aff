"""A node runs each session that has work and no living owner: one driver per session, until it sleeps again."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import time
from collections.abc import Callable, Container, Coroutine, Iterable, Sequence
from pathlib import Path

from roost.agent.definition import decode_spec
from roost.agent.session import Session, wake
from roost.errors import Fenced, NotFound, SequenceConflict, StoreFailed, StoreUnreachable
from roost.features.delegation.child_messages import end_of, report_to_parent
from roost.kernel.backoff import Backoff, is_local
from roost.kernel.config import KernelConfig
from roost.kernel.deletion import Deletions
from roost.kernel.delta_hub import Hub
from roost.kernel.duties import Duties
from roost.kernel.failure_log import FailureLog
from roost.kernel.lease import Lease
from roost.kernel.memory import Remembering
from roost.kernel.meters import NodeMetrics
from roost.kernel.model_pool import ModelPool
from roost.kernel.peers import Peers
from roost.kernel.placement import NodeLocation, PartsUnknown, offers, python_parts, unknown_parts
from roost.kernel.resources import Agents, ResourceFactory
from roost.kernel.sandboxes import Sandboxes
from roost.kernel.state_loader import load, state_at, to_load
from roost.log import events as ev
from roost.log.dispatch import HEAD_START, Dispatcher, NodeCard, NodeInfo, has_work
from roost.log.inputs import admits, urgency
from roost.log.protocols import Append, Change, Claim, Delivery, InboxItem, Record, SessionInfo, SessionQuery
from roost.log.store_protocol import Store
from roost.providers.accounts import Models
from roost.version import version

log = logging.getLogger("roost.kernel")
_CLAIMS_AT_ONCE = 64
"""Waking blocks the event loop for about 0.1 ms a session: larger batches would delay all other sessions."""
_READS_AT_ONCE = 32
_ALL = 1_000_000
_AFTER_FAILURE = 0.3
_JOBS_SECONDS = 10.0
"""Seconds for background commands to end. `roost.tools.background_jobs` gives up on a hung terminal after 7."""
_THREAD_SECONDS = 0.1
"""Longest wait of a heartbeat for a thread, in seconds."""
_HINTS_APART = 0.04
"""Least seconds between polls for work that are caused by another node's commits."""
_TIMER_SET = b'{"type":"timer.set"'
_CHILD_STARTED = b'{"type":"child.started"'


class Node:
    """Run the sessions of one store on one node. Call `start`, then put inputs into inboxes; `stop` is graceful.

    A node belongs to the event loop that started it, and never closes its store.
    node: the node's id, new at every start.
    dispatcher: decides which sessions this node gets; by default the store.
    place, peers: may be set before `start`. A deletion here asks `peers` to release the session.
    """

    def __init__(
        self,
        store: Store,
        *,
        agents: Agents,
        models: Models,
        sandboxes: Sandboxes,
        workspaces: Path,
        node: str,
        config: KernelConfig | None = None,
        dispatcher: Dispatcher | None = None,
    ) -> None:
        self.journal = store
        self.dispatcher: Dispatcher = dispatcher or store
        self.agents = agents
        self.models = models
        self.hub = Hub()
        self.id = node
        self.config = config or KernelConfig()
        self.place = NodeLocation()
        self.model_pool = ModelPool(models, store, node=node, lease=self.config.lease)
        self.resources = ResourceFactory(agents, models, workspaces, sandboxes, self.hub, model_pool=self.model_pool)
        self.remembering = Remembering(store, models, self.model_pool, workspaces.parent / "memory")
        self.resources.memory = self.remembering.search
        self.live: dict[str, Session] = {}
        self.meters = NodeMetrics(store, self.dispatcher, self._names)
        self.peers: Peers | None = None
        self.failures = FailureLog(log)
        self.offered: frozenset[str] = frozenset()
        """Tags that any living node offers, as of the last heartbeat."""
        self.draining = False
        self.sandboxes = sandboxes
        self._reading: asyncio.Task[dict[str, bool]] | None = None
        self._usable: dict[str, bool] | None = None
        self._offers: frozenset[str] = frozenset()
        self._lease = Lease(self.config.lease, self._lose)
        self._lost = True
        self._renewing = asyncio.Lock()
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._parked: set[str] = set()
        self._won_back: set[str] = set()
        self._claiming = 0
        self._early: dict[str, list[InboxItem] | None] = {}
        self._work = asyncio.Event()
        self._again: asyncio.TimerHandle | None = None
        self._looked = float("-inf")
        self._stopping = False
        self._unwatch: Callable[[], None] = lambda: None
        self._uncount: Callable[[], None] = lambda: None
        self.deletions = Deletions(self)
        self.duties = Duties(self)
        self.backoff = Backoff(self)
        self._background: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Register the node and begin to claim work. Raises `StoreFailed`."""
        await self._beat()
        self._lost = False
        await self.deletions.undo()
        await self.duties.charge_dead()  # a short-lived program exits before the duty's first turn
        self._uncount = self.meters.start()
        self._unwatch = self.journal.watch(self._changed)
        self.dispatcher.on_work(self.scan)
        self._work.set()
        self._background = [asyncio.create_task(self._dispatch()), *self.duties.start()]

    async def drain(self, *, grace: float = 5.0) -> None:
        """Claim no more work, and release all sessions for other nodes. This node cannot resume work afterwards.

        Steps in progress get `grace` seconds, then they are cut as by a crash. Sessions with background commands get up
        to 10 seconds more, to end the commands and to log that. Reads and streams are served as before.
        """
        self.draining = True
        busy = {name for name, live in self.live.items() if live.state.jobs}
        with contextlib.suppress(StoreFailed):
            await self.duties.hand_over()
            await self.renew()
        for cut in (False, True):
            for live in self.live.values():
                live.shut_down(cut=cut)
            await self._ended(grace)
        await self._ended(_JOBS_SECONDS, busy)
        with contextlib.suppress(StoreFailed):
            await self.retry_parked()
            await self._ended(grace)

    async def stop(self, *, grace: float = 5.0) -> None:
        """Drain, then leave the cluster. Sessions that no other node claims resume when a node starts again."""
        self._stopping = True
        self._unwatch()
        await self.drain(grace=grace)
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        self._uncount()
        self._lease.close()
        self.backoff.close()
        self.failures.close()
        if self._again is not None:
            self._again.cancel()
        with contextlib.suppress(StoreFailed):
            await self.dispatcher.leave(self.id)

    @property
    def holds_lease(self) -> bool:
        """True while this node may treat its sessions as its own. Without the lease nothing runs here."""
        return self._holds()

    def _holds(self) -> bool:
        return not self._lost and self._lease.held

    @property
    def lease_left(self) -> float:
        """Seconds until the lease ends unless a heartbeat renews it; 0 without a lease."""
        return self._lease.left if self.holds_lease else 0.0

    def card(self) -> NodeCard:
        """Build the card that this node publishes with each heartbeat."""
        full = self.config.only is not None or self.backoff.reason is not None
        room = 0 if full else max(0, self.config.max_live - len(self._tasks))
        return NodeCard(
            id=self.id,
            home=self.place.home,
            url=self.place.url,
            offers=tuple(sorted(self._offers)),
            room=room,
            live=len(self._tasks),
            version=version(),
            draining=self.draining,
        )

    async def renew(self) -> None:
        """Renew the lease by a heartbeat. After a lost lease, first release all sessions of this node, then claim anew.
        Raises `StoreFailed`."""
        async with self._renewing:
            returning = self._lost
            if returning:
                await self.dispatcher.leave(self.id)
            await self._beat()
            if returning and self._lease.held:
                self._lost = False
                log.warning("holds its lease again")
                self._work.set()
                self.duties.look_again(None)

    def unknown_parts(self, info: SessionInfo) -> list[str]:
        """Return the Python parts of the session's agent that this node lacks. It must not run the session if there are
        any."""
        return unknown_parts(info.needs, python_parts(self.agents)) if info.needs else []

    async def unknown_everywhere(self, info: SessionInfo) -> list[str]:
        """Return the Python parts of the session's agent that no running node has. Raises `StoreFailed`."""
        if not self.unknown_parts(info):
            return []
        if unknown_parts(info.needs, self.offered) or not unknown_parts(info.needs, self._offers):
            await self.renew()  # a node may have joined since the last heartbeat, or this node's agents have changed
        return unknown_parts(info.needs, self.offered)

    def scan(self) -> None:
        """Wake the dispatch loop to look for work now."""
        self._work.set()

    async def announce(self, needs: Iterable[str]) -> None:
        """Publish this node's new offers, if `needs` are not all offered yet. Call it before creating a session with
        these needs."""
        if not self.offered.issuperset(needs):
            await self.renew()

    async def evict(self, session: str) -> None:
        """Put a session to sleep and wait until it sleeps. Cuts its step in progress. Raises `StoreFailed`."""
        if (held := self.backoff.held.get(session)) is not None:
            await self.backoff.let_go(session, held)
        live, task = self.live.get(session), self._tasks.get(session)
        if live is not None:
            live.shut_down(cut=True)
        if task is not None:
            await asyncio.wait([task])

    async def retry_parked(self) -> None:
        """Resume parked sessions, and held ones whose delay has passed (when draining, all). Raises `StoreFailed`."""
        await self.backoff.offer_held()
        for session in self.backoff.held if self.draining else self.backoff.due_again():
            self.park(session)
        for session in self._parked - self._tasks.keys():
            self._parked.discard(session)
            self.backoff.held.pop(session, None)
            try:
                await self._claim(session=session, due=True)
            except NotFound:
                continue
            except BaseException:
                self._parked.add(session)
                raise

    def park(self, session: str) -> None:
        """Mark a session that this node owns as without a driver. A later heartbeat resumes it."""
        self._parked.add(session)

    async def look_at(self, sessions: Iterable[str]) -> None:
        """Read these sessions again after another node's commit: take new inputs, and fence sessions that were lost."""
        names = [session for session in sessions if session in self.live]
        for start in range(0, len(names), _READS_AT_ONCE):
            await asyncio.gather(*map(self._look_at, names[start : start + _READS_AT_ONCE]))

    async def look_at_all(self) -> None:
        """Compare all sessions in memory with the index, by one query. Resume sessions that the store assigns to this
        node and that it does not run: they come from claims whose response was lost."""
        known = dict(self.live)
        busy = bool(self._claiming)
        found = {info.id: info for info in await self.journal.find(SessionQuery(owner=self.id, limit=_ALL))}
        for session, live in known.items():
            info = found.get(session)
            if info is None or info.epoch > live.epoch:
                live.fence()
        if busy or self._claiming:  # claims under way may be among the rows
            asyncio.get_running_loop().call_later(_HINTS_APART, self.duties.look_again, None)
        elif self.holds_lease:
            self._won_back.update(
                found.keys() - self._tasks.keys() - self._parked - self.deletions.deleting - self.backoff.held.keys()
            )
            self._work.set()
        await self.look_at(session for session in known if (info := found.get(session)) and info.pending)

    async def _look_at(self, session: str) -> None:
        try:
            info = await self.journal.get(session)
            inbox = await self.journal.pending(session) if info.pending else []
        except NotFound:
            info, inbox = None, []
        live = self.live.get(session)
        if live is None:
            return
        if info is None or info.epoch > live.epoch or (info.epoch == live.epoch and info.owner != self.id):
            live.fence()
        live.offer(inbox)

    async def _beat(self) -> None:
        accounts, nodes = await self._accounts(), await self.dispatcher.nodes()
        self._offers = offers(self.agents, accounts, self.sandboxes.level, self.place, self.id, nodes)
        card, began = self.card(), time.monotonic()
        await self.dispatcher.beat(card, ttl=self.config.lease)
        self._lease.renewed(began)
        self.backoff.see(one.card.id for one in nodes if _helps(one, self.id))
        others = (one.card for one in nodes if one.alive and one.card.id != self.id)
        self.offered = self._offers.union(*(card.offers for card in others))

    async def _accounts(self) -> dict[str, bool]:
        """Return which accounts can be used. Reuses an earlier heartbeat's result while tools keep all threads busy."""
        reading = self._reading
        if reading is None or reading.done():
            reading = self._reading = asyncio.create_task(asyncio.to_thread(self.models.accounts))
        await asyncio.wait([reading], timeout=None if self._usable is None else _THREAD_SECONDS)
        if self._usable is None or reading.done():
            self._usable = await reading
        return self._usable

    def _lose(self) -> None:
        """Fence all sessions at once when the lease ends: the store may have assigned them to other nodes."""
        if self._lost:
            return
        self._lost = True
        log.error("the lease is lost: %d sessions are cut until the store can be reached again", len(self.live))
        for live in self.live.values():
            live.fence()
        self._parked.clear()
        self.backoff.held.clear()
        self.duties.lease_lost()

    def _names(self, session: str) -> tuple[str, str] | None:
        live = self.live.get(session)
        return None if live is None else (live.spec.name, live.means.model.name)

    def _changed(self, change: Change) -> None:
        if change.records is None or change.inbox is None:
            self._changed_elsewhere(change)
            return
        for record in change.records:
            if record.body.startswith(_TIMER_SET):
                self.duties.timer_set(record)
            elif self.config.only is not None and record.body.startswith(_CHILD_STARTED):
                self._take_child(change.session, record)
        if change.inbox:
            live = self.live.get(change.session)
            if live is not None:
                self._offer(live, change.inbox)
                return
            self._work.set()
            if self._claiming and (early := self._early.setdefault(change.session, [])) is not None:
                early.extend(change.inbox)

    def _take_child(self, session: str, record: Record) -> None:
        """Add a child to `only` when its parent is there, so that this node also runs it."""
        only, event = self.config.only, record.event
        if only is not None and session in only and isinstance(event, ev.ChildStarted):
            only.add(event.child)
            self._work.set()

    def _offer(self, live: Session, items: Sequence[InboxItem]) -> None:
        """Offer inputs to a session in memory. If earlier inputs came through another node and are not known here, read
        the inbox."""
        if live.follow(items):
            live.offer(items)
        else:
            self.duties.look_again(live.id)

    def _changed_elsewhere(self, change: Change) -> None:
        if not change.session:
            self._work.set()
            self.duties.look_again(None)
        elif change.session in self.live:
            self.duties.look_again(change.session)
        else:
            if self._claiming:
                self._early[change.session] = None
            if change.records is None and change.inbox is None:
                self._look_for_work()

    def _look_for_work(self) -> None:
        """Look for work after another node's commit: now, at most every `_HINTS_APART`, and once more after the nodes
        with a head start had time to claim."""
        loop = asyncio.get_running_loop()
        if (now := loop.time()) >= self._looked + _HINTS_APART:
            self._looked = now
            self._work.set()
        if self._again is None:
            self._again = loop.call_later(1.2 * HEAD_START, self._look_once_more)

    def _look_once_more(self) -> None:
        self._again = None
        self._work.set()

    async def _dispatch(self) -> None:
        while not self._stopping:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.config.scan):
                    await self._work.wait()
            self._work.clear()
            try:
                await self._claim_all()
                self.failures.worked("cannot look for work")
            except Exception as error:  # a node that stops claiming must not look alive
                self.failures.failed("cannot look for work", error)
                if isinstance(error, StoreUnreachable):  # the claim may have been committed all the same
                    self.duties.look_again(None)
                self._work.set()
                await asyncio.sleep(_AFTER_FAILURE)

    async def _claim_all(self) -> None:
        if self.draining or not self.holds_lease:
            return
        await self._claim_won_back()
        if self.backoff.away:  # `Backoff` scans again when its back-off ends
            return
        if self.config.only is not None:
            await self._claim_named(self.config.only)
            return
        while (room := self.config.max_live - len(self._tasks)) > 0 and self._claims:
            limit = min(room, _CLAIMS_AT_ONCE)
            if await self._claim(limit=limit) < limit:
                return

    @property
    def _claims(self) -> bool:
        return not self.draining and self.holds_lease and not self.backoff.away

    async def _claim_won_back(self) -> None:
        for session in self._won_back - self._tasks.keys():
            self._won_back.discard(session)
            self._parked.add(session)
            await self.retry_parked()

    async def _claim_named(self, sessions: set[str]) -> None:
        for session in sorted(sessions - self._tasks.keys() - self._parked - self.backoff.held.keys()):
            with contextlib.suppress(NotFound):
                info = await self.journal.get(session)
                if not self.draining and not self.unknown_parts(info) and await has_work(self.journal, info):
                    await self._claim(session=session)

    async def _claim(self, *, session: str | None = None, limit: int = 1, due: bool = False) -> int:
        """Claim sessions and wake them. Returns the number of claims. Defers a session that failed here recently,
        unless `due`. Inputs accepted between the claim's commit and the wake are kept in `_early`."""
        self._claiming += 1
        try:
            claims = await self.dispatcher.claim(self.id, session=session, limit=limit)
            self.meters.claimed(claims)
            for claim in claims if self.holds_lease else ():  # without the lease, `renew` releases them
                if not due and not self.backoff.due(claim.info.id):
                    self.backoff.hold(claim)
                    continue
                try:
                    self._begin(await self._readable(claim))
                except NotFound:
                    continue
                except StoreFailed as error:  # the rest of this batch is claimed and must begin
                    log.error("session %s: cannot be read: %s", claim.info.id, error)
                    self.park(claim.info.id)
        finally:
            self._claiming -= 1
            if not self._claiming:
                self._early.clear()
        return len(claims)

    async def _readable(self, claim: Claim) -> Claim:
        """Return the claim with a readable snapshot. In place of a state snapshot of another version the whole log is
        loaded, once."""
        if not to_load(claim):
            return claim
        snapshot, tail = await load(self.journal, claim.info.id, claim.snapshot)
        return claim._replace(snapshot=snapshot, tail=tail)

    def _begin(self, claim: Claim) -> None:
        session = claim.info.id
        if session in self._tasks:  # reacquired after a lost lease: begin once the fenced driver has ended
            self._won_back.add(session)
            return
        try:
            if unknown := self.unknown_parts(claim.info):
                raise PartsUnknown(session, unknown)
            live = self._wake(claim)
        except Exception as error:  # one broken session must not stop the rest of the batch
            if is_local(error) or isinstance(error, PartsUnknown):
                work = self.backoff.refuse(claim, error)
            else:
                log.error("session %s: cannot be woken: %s", session, error)
                work = self._set_aside(claim, error)
        else:
            self.live[session] = live
            work = self._serve(live)
            early = self._early.pop(session, ())
            if early is None:
                self.duties.look_again(session)
            else:
                self._offer(live, early)
        self._tasks[session] = asyncio.create_task(self._finish(session, work), name=f"session {session}")
        if len(self._tasks) == self.config.max_live:
            self.duties.beat_soon()

    def _wake(self, claim: Claim) -> Session:
        state = wake(claim.snapshot, claim.tail)
        spec = decode_spec(state.spec)
        means = self.resources.build(claim.info.id, spec, state.workspace)
        means.read, means.now = self.journal.read, self.config.clock
        means.past = functools.partial(state_at, self.journal, claim.info.id)
        means.pass_on = functools.partial(self.deletions.pass_on, claim.info.id)
        live = Session(self.meters, claim, state, spec, means, held=self._holds)
        if self.draining:
            live.shut_down(cut=False)
        return live

    async def _finish(self, session: str, work: Coroutine[None, None, None]) -> None:
        """Drive one session from wake to sleep, and release it."""
        try:
            await work
        except (Fenced, SequenceConflict, NotFound) as error:
            self.meters.fenced += isinstance(error, Fenced)
            if not self._lost:
                self.failures.dropped(session, error)
            self._work.set()
        except StoreFailed as error:
            if not isinstance(error, StoreUnreachable):  # logged once by the beat, and not for every session
                log.error("session %s: the store failed: %s", session, error)
            self.park(session)
        except Exception:  # a defect: this node must not keep owning a session without a driver
            log.exception("session %s: cannot be let go of", session)
            self.park(session)
        finally:
            if session in self._won_back:
                self._work.set()
            if len(self._tasks) >= self.config.max_live:
                self._work.set()
                self.duties.beat_soon()
            if (live := self.live.pop(session, None)) is not None:
                self.sandboxes.let_go(live)
            self._tasks.pop(session, None)
            self.hub.clear(session)

    async def _serve(self, live: Session) -> None:
        try:
            await self.sandboxes.prepare(live)
            await self._drive(live)
            self.backoff.worked(live)
        except (Fenced, SequenceConflict, NotFound):
            raise
        except Exception as error:  # a defect must be visible in the session, and not be retried for ever
            if is_local(error):
                await self.backoff.give_back(live, error)
                return
            if isinstance(error, StoreFailed):
                raise
            log.exception("session %s: the kernel failed", live.id)
            await self._fail(live, f"internal: {type(error).__name__}: {error}")
        finally:
            await live.means.jobs.close()
        if live.inbox:
            self._work.set()

    async def _drive(self, live: Session) -> None:
        from roost.agent.loop import drive, prepare_sleep  # imported late: loaded by the first session with work

        while True:
            live.woken.clear()
            await drive(live)
            if live.stopping or not await self._linger(live):
                await self.sandboxes.suspend(live)
                await prepare_sleep(live)
                await self.sandboxes.rest(live)
                await live.flush(release=True)
                return

    async def _linger(self, live: Session) -> bool:
        """Wait `linger` seconds for more work, or as long as background commands run. Returns False when it is time to
        sleep."""
        try:
            async with asyncio.timeout(None if live.means.jobs.running else self.config.linger):
                return await live.woken.wait()
        except TimeoutError:
            return False

    async def _fail(self, live: Session, reason: str) -> None:
        reason = _short(reason)
        told = report_to_parent(live, "error", reason)
        try:
            live.note(ev.StateChanged(at=time.time(), state="error", reason=reason), deliver=told)
            await live.flush(release=True)
        except (Fenced, SequenceConflict, NotFound, StoreFailed):
            raise
        except Exception as error:  # the store refuses the pending events, and would refuse them again each time
            log.error("session %s: the store refuses what it is to write: %s", live.id, error)
            await self._write_error(live.id, live.epoch, live.head, reason, told, await self._refused(live))

    async def _refused(self, live: Session) -> list[int]:
        """Return the ids of inputs that the refused append would have consumed. Left in the inbox, they would wake the
        session again at once."""
        consumed = () if live.refused is None else live.refused.consume
        least = admits("error", "idle")
        waiting = await self.journal.pending(live.id) if consumed else ()
        return [item.id for item in waiting if item.id in consumed and urgency(item.input) >= least]

    async def _set_aside(self, claim: Claim, problem: Exception) -> None:
        """Put a session with an unreadable log into the state `error`, so that it is not retried for ever. A person may
        start it again."""
        reason = _short(str(problem))
        told = end_of(claim.info, "error", reason)
        await self._write_error(claim.info.id, claim.epoch, claim.info.head, reason, told)

    async def _write_error(
        self, session: str, epoch: int, head: int, reason: str, told: Sequence[Delivery], consume: Sequence[int] = ()
    ) -> None:
        broken = ev.StateChanged(at=time.time(), state="error", reason=reason)
        await self.journal.append(
            Append(
                session=session,
                epoch=epoch,
                expected=head,
                bodies=[ev.encode_event(broken)],
                consume=consume,
                state="error",
                phase="idle",
                deliver=told,
                release=True,
            )
        )

    async def _ended(self, seconds: float, sessions: Container[str] | None = None) -> None:
        tasks = [task for name, task in self._tasks.items() if sessions is None or name in sessions]
        if tasks:
            await asyncio.wait(tasks, timeout=seconds)


def _short(reason: str) -> str:
    """Shorten a reason to 1,000 characters of valid UTF-8."""
    return reason[:1000].encode("utf-8", "replace").decode()


def _helps(one: NodeInfo, node: str) -> bool:
    return one.alive and one.card.room > 0 and not one.card.draining and one.card.id != node
