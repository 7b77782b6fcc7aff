"""Drive claimed sessions: wake, run the loop, linger, sleep, release. One task per session."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Coroutine, Sequence

from roost.agent.definition import decode_spec
from roost.agent.feature import asked, stays_awake
from roost.agent.session import Session, wake
from roost.authority import ACCOUNT
from roost.errors import Fenced, NotFound, SequenceConflict, StoreFailed, StoreUnreachable
from roost.kernel.backoff import Backoff, is_local
from roost.kernel.delta_hub import Hub
from roost.kernel.failure_log import FailureLog
from roost.kernel.membership import Membership
from roost.kernel.meters import NodeMetrics
from roost.kernel.node_feature import NodeFeature
from roost.kernel.ownership import Slots
from roost.kernel.placement import PartsUnknown
from roost.kernel.resources import ResourceFactory
from roost.kernel.sandboxes import Sandboxes
from roost.kernel.signals import Signals
from roost.log import events as ev
from roost.log.inputs import admits
from roost.log.protocols import Append, Claim, Delivery, InboxItem
from roost.log.store import Store

log = logging.getLogger("roost.node")


class Drivers:
    """Drive each claimed session until it sleeps or is lost."""

    def __init__(
        self,
        store: Store,
        membership: Membership,
        slots: Slots,
        resources: ResourceFactory,
        sandboxes: Sandboxes,
        backoff: Backoff,
        hub: Hub,
        meters: NodeMetrics,
        failures: FailureLog,
        signals: Signals,
        features: Sequence[NodeFeature],
    ) -> None:
        self._store, self._membership, self._slots = store, membership, slots
        self._resources, self._sandboxes, self._backoff = resources, sandboxes, backoff
        self._hub, self._meters, self._failures = hub, meters, failures
        self._signals, self._features = signals, features

    def start(self, claim: Claim) -> Session | None:
        """Begin to drive a claimed session. Returns it, or None if it cannot be woken here: then it is released, or set
        aside when its log cannot be read anywhere."""
        session, live = claim.info.id, None
        try:
            if unknown := self._membership.unknown_parts(claim.info):
                raise PartsUnknown(session, unknown)
            live = self._wake(claim)
            work = self._serve(live)
        except Exception as error:  # one broken session must not stop the rest of the batch
            if is_local(error) or isinstance(error, PartsUnknown):
                work = self._backoff.refuse(claim, error)
            else:
                log.error("session %s: cannot be woken: %s", session, error)
                work = self._set_aside(claim, error)
        task = asyncio.create_task(self._finish(session, work), name=f"session {session}")
        self._slots.start(session, task, live)
        if self._slots.driven == self._membership.config.max_live:
            self._signals.beat.set()
        return live

    def offer(self, live: Session, items: Sequence[InboxItem]) -> None:
        """Offer inputs to a session in memory. If earlier inputs came through another node and are not known here, read
        the inbox."""
        if live.inbox.follow(items):
            live.interrupts.offer(items)
        else:
            self._signals.look_again(live.id)

    def _wake(self, claim: Claim) -> Session:
        session = claim.info.id
        state = wake(claim.snapshot, claim.tail)
        spec = decode_spec(state.spec)
        means = self._resources.build(
            session,
            spec,
            state.workspace,
            read=self._store.logs.read,
            account=claim.info.labels.get(ACCOUNT),
            now=self._membership.config.clock,
        )
        live = Session(self._meters, claim, state, spec, means, held=lambda: self._membership.holds_lease)
        if self._membership.draining:
            live.interrupts.shut_down(cut=False)
        return live

    async def _finish(self, session: str, work: Coroutine[None, None, None]) -> None:
        """Drive one session from wake to sleep, and give up its slot."""
        released = True
        try:
            await work
        except (Fenced, SequenceConflict, NotFound) as error:
            self._meters.fenced += isinstance(error, Fenced)
            if not self._membership.lost:
                self._failures.dropped(session, error)
            self._signals.work.set()
        except StoreFailed as error:
            if not isinstance(error, StoreUnreachable):  # logged once by the beat, and not for every session
                log.error("session %s: the store failed: %s", session, error)
            released = False
        except Exception:  # a defect: this node must not keep owning a session without a driver
            log.exception("session %s: cannot be released", session)
            released = False
        finally:
            self._end(session, released)

    def _end(self, session: str, released: bool) -> None:
        if self._slots.driven >= self._membership.config.max_live:
            self._signals.work.set()
            self._signals.beat.set()
        live = self._slots.live.get(session)
        if self._slots.state(session) == "reacquired":
            self._signals.retry_parked()
        self._slots.move(session, "end" if released else "fail")
        if live is not None:
            self._sandboxes.let_go(live)
        self._hub.clear(session)

    async def _serve(self, live: Session) -> None:
        try:
            await self._sandboxes.prepare(live)
            await self._drive(live)
            self._backoff.worked(live)
        except (Fenced, SequenceConflict, NotFound):
            raise
        except Exception as error:  # a defect must be visible in the session, and not be retried for ever
            if is_local(error):
                await self._backoff.give_back(live, error)
                return
            if isinstance(error, StoreFailed):
                raise
            log.exception("session %s: the driver failed", live.id)
            await self._fail(live, f"internal: {type(error).__name__}: {error}")
        finally:
            for feature in asked(live, "evicted"):
                try:
                    await feature.evicted(live)
                except Exception:  # the others release what they hold, too
                    log.exception("session %s: a feature did not release what it holds", live.id)
        if live.inbox:
            self._signals.work.set()

    async def _drive(self, live: Session) -> None:
        from roost.agent.loop import drive, prepare_sleep  # imported late: loaded by the first session with work

        while True:
            live.woken.clear()
            await drive(live)
            if live.interrupts.stopping or not await self._linger(live):
                await self._sandboxes.suspend(live)
                await prepare_sleep(live)
                await self._sandboxes.rest(live)
                await live.log.flush(release=True)
                return

    async def _linger(self, live: Session) -> bool:
        """Wait `linger` seconds for more work, or while a feature keeps the session awake. Returns False when it is
        time to sleep."""
        awake = stays_awake(live)
        try:
            async with asyncio.timeout(None if awake else self._membership.config.linger):
                return await live.woken.wait()
        except TimeoutError:
            return False

    async def _fail(self, live: Session, reason: str) -> None:
        reason = _short(reason)
        report = [message for one in self._features for message in one.failed(live, reason)]
        try:
            live.log.note(ev.StateChanged(at=time.time(), state="error", reason=reason), deliver=report)
            await live.log.flush(release=True)
        except (Fenced, SequenceConflict, NotFound, StoreFailed):
            raise
        except Exception as error:  # the store refuses the pending events, and would refuse them again each time
            log.error("session %s: the store refuses what it is to write: %s", live.id, error)
            await self._write_error(live.id, live.log.epoch, live.log.head, reason, report, await self._refused(live))

    async def _refused(self, live: Session) -> list[int]:
        """Return the ids of inputs that the refused append would have consumed. Left in the inbox, they would wake the
        session again at once."""
        consumed = () if live.log.refused is None else live.log.refused.consume
        least = admits("error", "idle")
        waiting = await self._store.inboxes.pending(live.id) if consumed else ()
        return [item.id for item in waiting if item.id in consumed and item.input.urgency >= least]

    async def _set_aside(self, claim: Claim, problem: Exception) -> None:
        """Put a session with an unreadable log into the state `error`, so that it is not retried for ever. A person may
        start it again."""
        reason = _short(str(problem))
        report = [message for one in self._features for message in one.failed_unread(claim.info, reason)]
        await self._write_error(claim.info.id, claim.epoch, claim.info.head, reason, report)

    async def _write_error(
        self, session: str, epoch: int, head: int, reason: str, report: Sequence[Delivery], consume: Sequence[int] = ()
    ) -> None:
        broken = ev.StateChanged(at=time.time(), state="error", reason=reason)
        await self._store.logs.append(
            Append(
                session=session,
                epoch=epoch,
                expected=head,
                bodies=[ev.encode_event(broken)],
                consume=consume,
                state="error",
                phase="idle",
                deliver=report,
                release=True,
            )
        )


def _short(reason: str) -> str:
    """Shorten a reason to 1,000 characters of valid UTF-8."""
    return reason[:1000].encode("utf-8", "replace").decode()
