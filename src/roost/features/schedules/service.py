"""The schedules of sessions on a running node."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence
from itertools import islice

from roost.api.shapes import AcceptedInput
from roost.errors import Invalid, NotFound
from roost.features.schedules.api import Moment, Ordered, Outbox, ScheduleList, SchedulesApi, ScheduleView
from roost.features.schedules.events import DueInput, ScheduleInput, timer_of
from roost.features.schedules.firing import FIRED, MOST
from roost.features.schedules.outbox import outbox
from roost.features.schedules.recurrence import check, check_name, occurrences
from roost.features.schedules.state import Schedule, ScheduleState
from roost.kernel.service_host import ServiceHost
from roost.log.schedule_events import ScheduleSpec
from roost.log.session_info import SessionInfo
from roost.time_zones import local_time

_WAIT = 10.0
_APPLIED = (b'{"type":"schedule.set"', b'{"type":"schedule.cleared"')
_COMING = 5
_READS_AT_ONCE = 16


class Schedules(SchedulesApi):
    """Orders are inputs of the session, and take effect when it processes them. `wait`: the seconds, 10 by default,
    after which `Ordered` says that the order is on disk and not yet in effect."""

    def __init__(self, host: ServiceHost) -> None:
        self._store, self._sessions = host.store, host.sessions

    async def list(self, *, after: str = "", limit: int = 100) -> ScheduleList:
        names = await self._store.sessions.with_timers(timer_of(""), fired=FIRED, after=after, limit=limit)
        found: list[ScheduleView] = []
        for start in range(0, len(names), _READS_AT_ONCE):
            for views in await asyncio.gather(*map(self._known, names[start : start + _READS_AT_ONCE])):
                found += views
        return ScheduleList(schedules=found, next=names[-1] if len(names) == limit else None)

    async def of(self, session: str) -> ScheduleList:
        """List a session's schedules, by name. Raises `NotFound`."""
        info, state = await self._sessions.state(session)
        schedules = state.part(ScheduleState).schedules
        return ScheduleList(schedules=[view(info, name, one) for name, one in sorted(schedules.items())])

    async def get(self, session: str, name: str) -> ScheduleView:
        """Return a schedule. Raises `NotFound`."""
        for one in (await self.of(session)).schedules:
            if one.name == name:
                return one
        raise NotFound(f"session {session!r} has no schedule {name!r}; `roost schedule list` lists the schedules")

    async def set(
        self, session: str, name: str, spec: ScheduleSpec, *, key: str | None = None, wait: float | None = None
    ) -> ScheduleView | Ordered:
        """Create or change a schedule of a session; a paused one stays paused. Raises `Invalid`, `NotFound`."""
        check_name(name := self._sessions.scrubbed(name))
        await asyncio.to_thread(check, spec, time.time())
        _, state = await self._sessions.state(session)
        schedules = state.part(ScheduleState).schedules
        if name not in schedules and len(schedules) >= MOST:
            raise Invalid(f"session {session!r} has {MOST} schedules: delete one, or use another session")
        return await self._order(session, ScheduleInput(name, "set", spec), key, wait)

    async def delete(self, session: str, name: str, *, key: str | None = None, wait: float | None = None) -> Ordered:
        """Delete a schedule. Raises `NotFound`."""
        await self.get(session, name)
        done = await self._applied(session, ScheduleInput(name, "delete"), key, wait)
        return Ordered(status="done" if done else "accepted")

    async def pause(
        self, session: str, name: str, *, key: str | None = None, wait: float | None = None
    ) -> ScheduleView | Ordered:
        """Pause a schedule. Once in effect nothing fires any more, and due runs that wait in the inbox do not run; a
        running turn continues. Raises `NotFound`."""
        await self.get(session, name)
        return await self._order(session, ScheduleInput(name, "pause"), key, wait)

    async def resume(
        self, session: str, name: str, *, key: str | None = None, wait: float | None = None
    ) -> ScheduleView | Ordered:
        """Resume a schedule. Runs missed during the pause are not made up for. Raises `NotFound`."""
        await self.get(session, name)
        return await self._order(session, ScheduleInput(name, "resume"), key, wait)

    async def run(self, session: str, name: str, *, key: str | None = None) -> AcceptedInput:
        """Run a schedule once now, paused or not; its next due time does not change. Raises `NotFound`, and `Conflict`
        when the session is stopped."""
        await self.get(session, name)
        accepted = await self._sessions.put(session, DueInput(name), key=key)
        return AcceptedInput(input=accepted.id, duplicate=accepted.duplicate, head=accepted.head)

    async def outbox(self, session: str, *, after: int = 0, limit: int = 100) -> Outbox:
        return await outbox(self._sessions, session, after=after, limit=limit)

    async def _known(self, session: str) -> Sequence[ScheduleView]:
        try:
            return (await self.of(session)).schedules
        except NotFound:  # deleted since
            return []

    async def _order(
        self, session: str, item: ScheduleInput, key: str | None, wait: float | None
    ) -> ScheduleView | Ordered:
        if await self._applied(session, item, key, wait):
            with contextlib.suppress(NotFound):  # it ended at once, or was deleted
                return await self.get(session, item.name)
        return Ordered(status="accepted")

    async def _applied(self, session: str, item: ScheduleInput, key: str | None, wait: float | None) -> bool:
        accepted = await self._sessions.put(session, item, key=key)
        wait = _WAIT if wait is None else wait
        return await self._sessions.effect(session, accepted, _APPLIED, wait=wait) is not None


def view(info: SessionInfo, name: str, schedule: Schedule) -> ScheduleView:
    spec = schedule.spec
    coming: list[float] = []
    if schedule.next is not None:
        coming = [schedule.next, *islice(occurrences(spec, schedule.next, anchor=schedule.next), _COMING - 1)]
    return ScheduleView(
        session=info.id,
        agent=info.agent,
        session_state=info.state,
        name=name,
        spec=spec,
        state="idle" if schedule.paused == "idle" else "active" if schedule.paused is None else "paused",
        coming=tuple(moment(due, spec.zone) for due in coming),
        last=None if schedule.last is None else moment(schedule.last, spec.zone),
        turn=schedule.turn,
        idle=schedule.idle,
    )


def moment(at: float, zone: str) -> Moment:
    return Moment(at, local_time(at, zone).isoformat(timespec="seconds"))


SERVICE = Schedules
