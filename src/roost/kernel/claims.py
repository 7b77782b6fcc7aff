"""Claim sessions that have work and no living owner."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence

from roost.errors import NotFound, StoreFailed, StoreUnreachable
from roost.kernel.backoff import Backoff
from roost.kernel.drivers import Drivers
from roost.kernel.failure_log import FailureLog
from roost.kernel.membership import Membership
from roost.kernel.meters import NodeMetrics
from roost.kernel.ownership import Slot, Slots
from roost.kernel.signals import Signals
from roost.kernel.state_loader import load, to_load
from roost.log.dispatch import HEAD_START, has_work
from roost.log.protocols import Claim, InboxItem
from roost.log.store import Store

log = logging.getLogger("roost.node")
_CLAIMS_AT_ONCE = 64
"""Waking blocks the event loop for about 0.1 ms a session: larger batches would delay all other sessions."""
_AFTER_FAILURE = 0.3
HINTS_APART = 0.04
"""Least seconds between polls for work that are caused by another node's commits."""


class ClaimsInFlight:
    """Claims that may be committed and whose sessions are not in memory yet, with the inputs accepted meanwhile."""

    def __init__(self) -> None:
        self._count = 0
        self._inputs: dict[str, list[InboxItem] | None] = {}

    def __bool__(self) -> bool:
        return self._count > 0

    def __enter__(self) -> None:
        self._count += 1

    def __exit__(self, *_: object) -> None:
        self._count -= 1
        if not self._count:
            self._inputs.clear()

    def add(self, session: str, items: Sequence[InboxItem]) -> None:
        """Keep inputs that were committed here."""
        if self._count and (inputs := self._inputs.setdefault(session, [])) is not None:
            inputs.extend(items)

    def unknown(self, session: str) -> None:
        """Note that another process wrote: the inbox is to be read."""
        if self._count:
            self._inputs[session] = None

    def take(self, session: str) -> list[InboxItem] | None:
        """Return the inputs of a session that is now in memory; None when its inbox is to be read."""
        return self._inputs.pop(session, [])


class Claims:
    """Ask the dispatcher for work, claim it, and give each claimed session to a driver."""

    def __init__(
        self,
        store: Store,
        membership: Membership,
        slots: Slots,
        in_flight: ClaimsInFlight,
        backoff: Backoff,
        drivers: Drivers,
        meters: NodeMetrics,
        failures: FailureLog,
        signals: Signals,
    ) -> None:
        self._store, self._membership = store, membership
        self._slots, self._in_flight, self._backoff = slots, in_flight, backoff
        self._meters, self._failures, self._signals = meters, failures, signals
        self._drivers = drivers
        self._looked = float("-inf")
        self._again: asyncio.TimerHandle | None = None

    async def run(self) -> None:
        """Look for work for ever: when it is asked for, and every `scan` seconds."""
        what, signals = "cannot look for work", self._signals
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._membership.config.scan):
                    await signals.work.wait()
            signals.work.clear()
            try:
                await self._look()
                self._failures.worked(what)
            except Exception as error:  # a node that stops claiming must not look alive
                self._failures.failed(what, error)
                if isinstance(error, StoreUnreachable):  # the claim may have been committed all the same
                    signals.look_again(None)
                signals.work.set()
                await asyncio.sleep(_AFTER_FAILURE)

    def close(self) -> None:
        if self._again is not None:
            self._again.cancel()

    def look_soon(self) -> None:
        """Look for work after another node's commit: now, at most every `HINTS_APART`, and once more after the nodes
        with a head start had time to claim."""
        loop = asyncio.get_running_loop()
        if (now := loop.time()) >= self._looked + HINTS_APART:
            self._looked = now
            self._signals.work.set()
        if self._again is None:
            self._again = loop.call_later(1.2 * HEAD_START, self._look_once_more)

    async def retry_parked(self) -> None:
        """Resume parked sessions, and those whose delay has passed (when draining, all). Raises `StoreFailed`."""
        await self._backoff.offer()
        for session in self._slots.of("backing_off"):
            if self._membership.draining or self._backoff.due(session):
                self._slots.move(session, "due")
        for session in self._slots.of("parked"):
            if self._slots.state(session) == "parked":  # not claimed or deleted meanwhile
                await self._retry(session)

    async def _retry(self, session: str) -> None:
        slot = self._slots.move(session, "retry")
        event = "fail"
        try:
            await self._claim(session=session)
            event = "gone"
        except NotFound:
            event = "gone"
        finally:
            if slot.state == "claimed" and slot.claim is None:
                self._slots.move(session, event)

    def _look_once_more(self) -> None:
        self._again = None
        self._signals.work.set()

    async def _look(self) -> None:
        if not self._membership.claims:
            return
        if self._signals.retry:
            self._signals.retry = False
            await self.retry_parked()
        if self._backoff.away:  # `Backoff` asks for work again when its back-off ends
            return
        config = self._membership.config
        if config.only is not None:
            await self._claim_only(config.only)
            return
        while (room := config.max_live - self._slots.driven) > 0 and self._membership.claims and not self._backoff.away:
            limit = min(room, _CLAIMS_AT_ONCE)
            if await self._claim(limit=limit) < limit:
                return

    async def _claim_only(self, sessions: set[str]) -> None:
        for session in sorted(one for one in sessions if self._slots.state(one) == "released"):
            with contextlib.suppress(NotFound):
                info = await self._store.sessions.get(session)
                draining = self._membership.draining
                if (
                    not draining
                    and not self._membership.unknown_parts(info)
                    and await has_work(self._store.inboxes, info)
                ):
                    await self._claim(session=session)

    async def _claim(self, *, session: str | None = None, limit: int = 1) -> int:
        """Claim sessions and begin to drive them. Returns the number of claims. Defers a session that failed here
        recently, unless it is retried."""
        with self._in_flight:
            claims = await self._store.dispatch.claim(self._membership.id, session=session, limit=limit)
            self._meters.claimed(claims)
            for claim in claims if self._membership.holds_lease else ():  # without it `renew` releases them
                await self._begin(claim)
        return len(claims)

    async def _begin(self, claim: Claim) -> None:
        """Begin to drive a claimed session, unless it is not due or a former driver or a deletion has it. One broken
        session does not stop the rest of the batch."""
        session = claim.info.id
        if self._slots.state(session) in ("released", "backing_off") and not self._backoff.due(session):
            self._slots.move(session, "defer", claim)
            return
        slot = self._slots.move(session, "claim", claim)
        try:
            readable = await self._readable(claim)
        except NotFound:
            if _is_claimed(slot, claim):
                self._slots.move(session, "gone")
        except Exception as error:  # the rest of this batch is claimed and must begin
            log.error("session %s: cannot be read: %s", session, error, exc_info=not isinstance(error, StoreFailed))
            if _is_claimed(slot, claim):
                self._slots.move(session, "fail")
        else:
            if _is_claimed(slot, claim):
                live, inputs = self._drivers.start(readable), self._in_flight.take(session)
                if live is not None and inputs is None:
                    self._signals.look_again(session)
                elif live is not None and inputs is not None:
                    self._drivers.offer(live, inputs)

    async def _readable(self, claim: Claim) -> Claim:
        """Return the claim with a readable snapshot. In place of a state snapshot of another version the whole log is
        loaded, once."""
        if not to_load(claim):
            return claim
        snapshot, tail = await load(self._store, claim.info.id, claim.snapshot)
        return claim._replace(snapshot=snapshot, tail=tail)


def _is_claimed(slot: Slot, claim: Claim) -> bool:
    """Whether the slot still waits for this claim: meanwhile the lease may have ended, or a deletion begun."""
    return slot.state == "claimed" and slot.claim is claim
