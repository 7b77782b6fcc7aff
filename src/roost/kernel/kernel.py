"""The kernel: every session that has work and no living owner runs here, one driver each, until it sleeps again."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import time
from collections.abc import Callable, Container, Coroutine, Iterable, Sequence
from pathlib import Path

from roost.agent.child_messages import end_of, report
from roost.agent.definition import decode_spec
from roost.agent.session import LiveSession, wake
from roost.errors import Fenced, NotFound, SequenceConflict, StoreFailed, StoreUnreachable
from roost.kernel.backoff import Ailing, is_local
from roost.kernel.config import KernelConfig
from roost.kernel.deletion import Removal
from roost.kernel.delta_hub import Hub
from roost.kernel.duties import Keeper
from roost.kernel.failure_log import Trouble
from roost.kernel.lease import Lease
from roost.kernel.memory import Remembering
from roost.kernel.meters import Meters
from roost.kernel.model_pool import Cores
from roost.kernel.peers import Peers
from roost.kernel.placement import PartsUnknown, Place, offers, python_parts, unknown_parts
from roost.kernel.resources import Agents, Workshop
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
"""Waking is work on the event loop, about 0.1 ms a session: more at once would be felt by everybody else."""
_READS_AT_ONCE = 32
_ALL = 1_000_000
_AFTER_FAILURE = 0.3
_JOBS_SECONDS = 10.0
"""A terminal that does not answer is given up after 7 (`roost.tools.background_jobs`)."""
_THREAD_SECONDS = 0.1
"""For how long a beat waits for a thread."""
_HINTS_APART = 0.04
"""Seconds between looks for work that only another node's writing gave rise to."""
_TIMER_SET = b'{"type":"timer.set"'
_CHILD_STARTED = b'{"type":"child.started"'


class Kernel:
    """Runs sessions of one store on one node. Start it, then put inputs into inboxes; `stop` is graceful.

    It belongs to the event loop that started it. `node` is a new name at every start. The store stays the caller's to
    close. Which sessions the node gets is the `dispatcher`'s to say, by default the store's own. Before it starts it
    may be told its `place`, and the `peers` that are asked to let go of what is to be deleted here.
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
        self.node = node
        self.config = config or KernelConfig()
        self.place = Place()
        self.cores = Cores(models, store, node=node, lease=self.config.lease)
        self.workshop = Workshop(agents, models, workspaces, sandboxes, self.hub, cores=self.cores)
        self.remembering = Remembering(store, models, self.cores, workspaces.parent / "memory")
        self.workshop.memory = self.remembering.search
        self.live: dict[str, LiveSession] = {}
        self.meters = Meters(store, self.dispatcher, self._names)
        self.peers: Peers | None = None
        self.trouble = Trouble(log)
        self.offered: frozenset[str] = frozenset()
        """By any living node, as of the last beat."""
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
        self.removal = Removal(self)
        self.keeper = Keeper(self)
        self.ailing = Ailing(self)
        self._background: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Make the node known and begin to take work. Raises `StoreFailed`."""
        await self._beat()
        self._lost = False
        await self.removal.undo()
        await self.keeper.charge_dead()  # a program that is run for one answer is gone before the duty comes round
        self._uncount = self.meters.start()
        self._unwatch = self.journal.watch(self._changed)
        self.dispatcher.on_work(self.scan)
        self._work.set()
        self._background = [asyncio.create_task(self._dispatch()), *self.keeper.start()]

    async def drain(self, *, grace: float = 5.0) -> None:
        """Take no more work and let go of what there is: steps in progress get `grace` seconds to end, then they are
        cut as by a crash. Sessions with commands in the background get up to 10 seconds more to end them and to log
        that they were stopped. Other nodes carry on. This one goes on serving those who ask, and does not come back."""
        self.draining = True
        busy = {name for name, live in self.live.items() if live.state.jobs}
        with contextlib.suppress(StoreFailed):
            await self.keeper.hand_over()
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
        """Drain, and leave: what nobody else takes carries on when a node starts again."""
        self._stopping = True
        self._unwatch()
        await self.drain(grace=grace)
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        self._uncount()
        self._lease.close()
        self.ailing.close()
        self.trouble.close()
        if self._again is not None:
            self._again.cancel()
        with contextlib.suppress(StoreFailed):
            await self.dispatcher.leave(self.node)

    @property
    def holds_lease(self) -> bool:
        """Whether the node may believe that its sessions are its own. When not, nothing runs here."""
        return self._holds()

    def _holds(self) -> bool:
        return not self._lost and self._lease.held

    @property
    def lease_left(self) -> float:
        """Seconds for which it may believe so without another beat."""
        return self._lease.left if self.holds_lease else 0.0

    def card(self) -> NodeCard:
        """What this node says of itself."""
        full = self.config.only is not None or self.ailing.reason is not None
        room = 0 if full else max(0, self.config.max_live - len(self._tasks))
        return NodeCard(
            id=self.node,
            home=self.place.home,
            url=self.place.url,
            offers=tuple(sorted(self._offers)),
            room=room,
            live=len(self._tasks),
            version=version(),
            draining=self.draining,
        )

    async def renew(self) -> None:
        """Beat. A node that had lost its lease first lets go of all that it held, and then begins anew. Raises
        `StoreFailed`."""
        async with self._renewing:
            returning = self._lost
            if returning:
                await self.dispatcher.leave(self.node)
            await self._beat()
            if returning and self._lease.held:
                self._lost = False
                log.warning("holds its lease again")
                self._work.set()
                self.keeper.look_again(None)

    def unknown_parts(self, info: SessionInfo) -> list[str]:
        """What this node does not know of the session's agent, which is written in Python: it must not run it."""
        return unknown_parts(info.needs, python_parts(self.agents)) if info.needs else []

    async def unknown_everywhere(self, info: SessionInfo) -> list[str]:
        """As `unknown_parts`, of all running nodes. Raises `StoreFailed`."""
        if not self.unknown_parts(info):
            return []
        if unknown_parts(info.needs, self.offered) or not unknown_parts(info.needs, self._offers):
            await self.renew()  # a node may have come since the last beat, or this one's agents have changed
        return unknown_parts(info.needs, self.offered)

    def scan(self) -> None:
        """Look for work now."""
        self._work.set()

    async def announce(self, needs: Iterable[str]) -> None:
        """Before there is a session with these needs: say what this node has come to offer since its last beat."""
        if not self.offered.issuperset(needs):
            await self.renew()

    async def evict(self, session: str) -> None:
        """Put a session to sleep and wait until it is. Its step in progress is cut. Raises `StoreFailed`."""
        if (held := self.ailing.held.get(session)) is not None:
            await self.ailing.let_go(session, held)
        live, task = self.live.get(session), self._tasks.get(session)
        if live is not None:
            live.shut_down(cut=True)
        if task is not None:
            await asyncio.wait([task])

    async def retry_parked(self) -> None:
        await self.ailing.offer_held()
        for session in self.ailing.held if self.draining else self.ailing.due_again():
            self.park(session)
        for session in self._parked - self._tasks.keys():
            self._parked.discard(session)
            self.ailing.held.pop(session, None)
            try:
                await self._claim(session=session, due=True)
            except NotFound:
                continue
            except BaseException:
                self._parked.add(session)
                raise

    def park(self, session: str) -> None:
        """This node owns it and nobody drives it: it is taken up with a coming heartbeat."""
        self._parked.add(session)

    async def look_at(self, sessions: Iterable[str]) -> None:
        """Others wrote something of these: their inboxes may have grown, or they may not be ours any more."""
        names = [session for session in sessions if session in self.live]
        for start in range(0, len(names), _READS_AT_ONCE):
            await asyncio.gather(*map(self._look_at, names[start : start + _READS_AT_ONCE]))

    async def look_at_all(self) -> None:
        """Anything may have changed: one look at the index for all sessions in memory. What is ours by the store and
        not here was claimed by a request that had no answer."""
        known = dict(self.live)
        busy = bool(self._claiming)
        found = {info.id: info for info in await self.journal.find(SessionQuery(owner=self.node, limit=_ALL))}
        for session, live in known.items():
            info = found.get(session)
            if info is None or info.epoch > live.epoch:
                live.fence()
        if busy or self._claiming:  # whose claims may be in the answer
            asyncio.get_running_loop().call_later(_HINTS_APART, self.keeper.look_again, None)
        elif self.holds_lease:
            self._won_back.update(
                found.keys() - self._tasks.keys() - self._parked - self.removal.deleting - self.ailing.held.keys()
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
        if info is None or info.epoch > live.epoch or (info.epoch == live.epoch and info.owner != self.node):
            live.fence()
        live.offer(inbox)

    async def _beat(self) -> None:
        accounts, nodes = await self._accounts(), await self.dispatcher.nodes()
        self._offers = offers(self.agents, accounts, self.sandboxes.level, self.place, self.node, nodes)
        card, began = self.card(), time.monotonic()
        await self.dispatcher.beat(card, ttl=self.config.lease)
        self._lease.renewed(began)
        self.ailing.see(one.card.id for one in nodes if _helps(one, self.node))
        others = (one.card for one in nodes if one.alive and one.card.id != self.node)
        self.offered = self._offers.union(*(card.offers for card in others))

    async def _accounts(self) -> dict[str, bool]:
        """Which accounts can be used: as it was at an earlier beat while tools keep all threads busy."""
        reading = self._reading
        if reading is None or reading.done():
            reading = self._reading = asyncio.create_task(asyncio.to_thread(self.models.accounts))
        await asyncio.wait([reading], timeout=None if self._usable is None else _THREAD_SECONDS)
        if self._usable is None or reading.done():
            self._usable = await reading
        return self._usable

    def _lose(self) -> None:
        """The store may have given our sessions to others: stop spending on them, at once."""
        if self._lost:
            return
        self._lost = True
        log.error("the lease is lost: %d sessions are cut until the store can be reached again", len(self.live))
        for live in self.live.values():
            live.fence()
        self._parked.clear()
        self.ailing.held.clear()
        self.keeper.lease_lost()

    def _names(self, session: str) -> tuple[str, str] | None:
        live = self.live.get(session)
        return None if live is None else (live.spec.name, live.means.model.name)

    def _changed(self, change: Change) -> None:
        if change.records is None or change.inbox is None:
            self._changed_elsewhere(change)
            return
        for record in change.records:
            if record.body.startswith(_TIMER_SET):
                self.keeper.timer_set(record)
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
        """Whoever works on some sessions alone works on what they make, too."""
        only, event = self.config.only, record.event
        if only is not None and session in only and isinstance(event, ev.ChildStarted):
            only.add(event.child)
            self._work.set()

    def _offer(self, live: LiveSession, items: Sequence[InboxItem]) -> None:
        """With what came before them through another node, if that is not known yet."""
        if live.follow(items):
            live.offer(items)
        else:
            self.keeper.look_again(live.id)

    def _changed_elsewhere(self, change: Change) -> None:
        if not change.session:
            self._work.set()
            self.keeper.look_again(None)
        elif change.session in self.live:
            self.keeper.look_again(change.session)
        else:
            if self._claiming:
                self._early[change.session] = None
            if change.records is None and change.inbox is None:
                self._look_for_work()

    def _look_for_work(self) -> None:
        """Another node wrote, and may not run what it wrote for. Now, unless that was a moment ago; and once more when
        those who are asked first have had their chance."""
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
                self.trouble.worked("cannot look for work")
            except Exception as error:  # a node that takes no work any more must not look alive
                self.trouble.failed("cannot look for work", error)
                if isinstance(error, StoreUnreachable):  # it may have been done all the same
                    self.keeper.look_again(None)
                self._work.set()
                await asyncio.sleep(_AFTER_FAILURE)

    async def _claim_all(self) -> None:
        if self.draining or not self.holds_lease:
            return
        await self._claim_won_back()
        if self.ailing.away:  # it looks again when that is over
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
        return not self.draining and self.holds_lease and not self.ailing.away

    async def _claim_won_back(self) -> None:
        for session in self._won_back - self._tasks.keys():
            self._won_back.discard(session)
            self._parked.add(session)
            await self.retry_parked()

    async def _claim_named(self, sessions: set[str]) -> None:
        for session in sorted(sessions - self._tasks.keys() - self._parked - self.ailing.held.keys()):
            with contextlib.suppress(NotFound):
                info = await self.journal.get(session)
                if not self.draining and not self.unknown_parts(info) and await has_work(self.journal, info):
                    await self._claim(session=session)

    async def _claim(self, *, session: str | None = None, limit: int = 1, due: bool = False) -> int:
        """Claim and begin, but what failed here a moment ago, unless it is `due`. What is accepted between the claim's
        commit and its beginning here is kept in `_early`."""
        self._claiming += 1
        try:
            claims = await self.dispatcher.claim(self.node, session=session, limit=limit)
            self.meters.claimed(claims)
            for claim in claims if self.holds_lease else ():  # else they are let go of before it is held again
                if not due and not self.ailing.due(claim.info.id):
                    self.ailing.hold(claim)
                    continue
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
        if not to_load(claim):
            return claim
        snapshot, tail = await load(self.journal, claim.info.id, claim.snapshot)
        return claim._replace(snapshot=snapshot, tail=tail)

    def _begin(self, claim: Claim) -> None:
        session = claim.info.id
        if session in self._tasks:  # its lease was lost and won back: once the fenced driver has ended
            self._won_back.add(session)
            return
        try:
            if unknown := self.unknown_parts(claim.info):
                raise PartsUnknown(session, unknown)
            live = self._wake(claim)
        except Exception as error:  # whatever is wrong with one session, the others of this batch must begin
            if is_local(error) or isinstance(error, PartsUnknown):
                work = self.ailing.refuse(claim, error)
            else:
                log.error("session %s: cannot be woken: %s", session, error)
                work = self._set_aside(claim, error)
        else:
            self.live[session] = live
            work = self._serve(live)
            early = self._early.pop(session, ())
            if early is None:
                self.keeper.look_again(session)
            else:
                self._offer(live, early)
        self._tasks[session] = asyncio.create_task(self._finish(session, work), name=f"session {session}")
        if len(self._tasks) == self.config.max_live:
            self.keeper.beat_soon()

    def _wake(self, claim: Claim) -> LiveSession:
        state = wake(claim.snapshot, claim.tail)
        spec = decode_spec(state.spec)
        means = self.workshop.equip(claim.info.id, spec, state.workspace)
        means.read, means.now = self.journal.read, self.config.clock
        means.past = functools.partial(state_at, self.journal, claim.info.id)
        means.pass_on = functools.partial(self.removal.pass_on, claim.info.id)
        live = LiveSession(self.meters, claim, state, spec, means, held=self._holds)
        if self.draining:
            live.shut_down(cut=False)
        return live

    async def _finish(self, session: str, work: Coroutine[None, None, None]) -> None:
        """Drive one session from wake to sleep, and let it go."""
        try:
            await work
        except (Fenced, SequenceConflict, NotFound) as error:
            self.meters.fenced += isinstance(error, Fenced)
            if not self._lost:
                self.trouble.dropped(session, error)
            self._work.set()
        except StoreFailed as error:
            if not isinstance(error, StoreUnreachable):  # that is said once, and not for every session
                log.error("session %s: the store failed: %s", session, error)
            self.park(session)
        except Exception:  # a defect: what nobody drives must not stay this node's until it ends
            log.exception("session %s: cannot be let go of", session)
            self.park(session)
        finally:
            if session in self._won_back:
                self._work.set()
            if len(self._tasks) >= self.config.max_live:
                self._work.set()
                self.keeper.beat_soon()
            if (live := self.live.pop(session, None)) is not None:
                self.sandboxes.let_go(live)
            self._tasks.pop(session, None)
            self.hub.clear(session)

    async def _serve(self, live: LiveSession) -> None:
        try:
            await self.sandboxes.prepare(live)
            await self._drive(live)
            self.ailing.worked(live)
        except (Fenced, SequenceConflict, NotFound):
            raise
        except Exception as error:  # a defect must not take the session with it unseen, nor be retried for ever
            if is_local(error):
                await self.ailing.give_back(live, error)
                return
            if isinstance(error, StoreFailed):
                raise
            log.exception("session %s: the kernel failed", live.id)
            await self._fail(live, f"internal: {type(error).__name__}: {error}")
        finally:
            await live.means.jobs.close()
        if live.inbox:
            self._work.set()

    async def _drive(self, live: LiveSession) -> None:
        from roost.agent.loop import drive  # for the first session that has something to do
        from roost.agent.workspace_saving import rest

        while True:
            live.woken.clear()
            await drive(live)
            if live.stopping or not await self._linger(live):
                await self.sandboxes.suspend(live)
                await rest(live)
                await self.sandboxes.rest(live)
                await live.flush(release=True)
                return

    async def _linger(self, live: LiveSession) -> bool:
        """Wait a moment for more to do, or as long as commands run in the background. False when it is time to
        sleep."""
        try:
            async with asyncio.timeout(None if live.means.jobs.running else self.config.linger):
                return await live.woken.wait()
        except TimeoutError:
            return False

    async def _fail(self, live: LiveSession, reason: str) -> None:
        reason = _short(reason)
        told = report(live, "error", reason)
        try:
            live.note(ev.StateChanged(at=time.time(), state="error", reason=reason), deliver=told)
            await live.flush(release=True)
        except (Fenced, SequenceConflict, NotFound, StoreFailed):
            raise
        except Exception as error:  # what it noted before is what the store refuses, and would again each time
            log.error("session %s: the store refuses what it is to write: %s", live.id, error)
            await self._write_error(live.id, live.epoch, live.head, reason, told, await self._refused(live))

    async def _refused(self, live: LiveSession) -> list[int]:
        """Inputs that go with an append that was refused: they would wake the session again at once, for the same."""
        consumed = () if live.refused is None else live.refused.consume
        least = admits("error", "idle")
        waiting = await self.journal.pending(live.id) if consumed else ()
        return [item.id for item in waiting if item.id in consumed and urgency(item.input) >= least]

    async def _set_aside(self, claim: Claim, problem: Exception) -> None:
        """A log that cannot be read is not tried for ever: the session says so, and a person may start it again."""
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
    """As an event and an input can hold it."""
    return reason[:1000].encode("utf-8", "replace").decode()


def _helps(one: NodeInfo, node: str) -> bool:
    return one.alive and one.card.room > 0 and not one.card.draining and one.card.id != node
