"""Operations on the schedules of sessions. The server, the command line and Python programs call these."""

from __future__ import annotations

import asyncio
import contextlib
import time
from itertools import islice

from roost.errors import Invalid, NotFound
from roost.features.schedules.events import DueInput, ScheduleCleared, ScheduleInput, ScheduleSet, timer_of
from roost.features.schedules.firing import FIRED, MOST
from roost.features.schedules.recurrence import check, check_name, occurrences
from roost.features.schedules.state import Schedule, ScheduleState
from roost.kernel.schedule_views import Moment, ScheduleView
from roost.kernel.sessions import Sessions
from roost.log.protocols import Accepted, SessionInfo
from roost.log.schedule_events import ScheduleSpec
from roost.log.store import Store
from roost.log.tail import follow
from roost.time_zones import local_time

_COMING = 5
_READS_AT_ONCE = 16


class Schedules:
    """Operations on schedules. Orders are inputs of the session, and take effect when it processes them."""

    def __init__(self, sessions: Sessions, store: Store) -> None:
        self._sessions = sessions
        self._store = store

    async def set(
        self, session: str, name: str, spec: ScheduleSpec, *, key: str | None = None, wait: float = 10.0
    ) -> ScheduleView | None:
        """Create or change a schedule of a session; a paused one stays paused. Returns it once in effect; None after
        `wait` seconds, with the order on disk. Raises `Invalid`, `NotFound`."""
        check_name(name := self._sessions.scrubbed(name))
        await asyncio.to_thread(check, spec, time.time())
        _, state = await self._sessions.state(session)
        schedules = state.part(ScheduleState).schedules
        if name not in schedules and len(schedules) >= MOST:
            raise Invalid(f"session {session!r} has {MOST} schedules: delete one, or use another session")
        return await self._order(session, ScheduleInput(name, "set", spec), key, wait)

    async def pause(
        self, session: str, name: str, *, key: str | None = None, wait: float = 10.0
    ) -> ScheduleView | None:
        """Pause a schedule. Once in effect nothing fires any more, and due runs that wait in the inbox do not run; a
        running turn continues. Returns as `set`. Raises `NotFound`."""
        await self.get(session, name)
        return await self._order(session, ScheduleInput(name, "pause"), key, wait)

    async def resume(
        self, session: str, name: str, *, key: str | None = None, wait: float = 10.0
    ) -> ScheduleView | None:
        """Resume a schedule. Runs missed during the pause are not made up for. Returns as `set`. Raises `NotFound`."""
        await self.get(session, name)
        return await self._order(session, ScheduleInput(name, "resume"), key, wait)

    async def delete(self, session: str, name: str, *, key: str | None = None, wait: float = 10.0) -> bool:
        """Delete a schedule. Returns True once in effect, False with the order on disk. Raises `NotFound`."""
        await self.get(session, name)
        return await self._applied(session, ScheduleInput(name, "delete"), key, wait)

    async def run(self, session: str, name: str, *, key: str | None = None) -> Accepted:
        """Run a schedule once now, paused or not; its next due time does not change. Raises `NotFound`, and `Conflict`
        when the session is stopped."""
        await self.get(session, name)
        return await self._sessions.put(session, DueInput(name), key=key)

    async def get(self, session: str, name: str) -> ScheduleView:
        """Return a schedule. Raises `NotFound`."""
        for view in await self.of(session):
            if view.name == name:
                return view
        raise NotFound(f"session {session!r} has no schedule {name!r}; `roost schedule list` shows what there is")

    async def of(self, session: str) -> list[ScheduleView]:
        """List a session's schedules, by name. Raises `NotFound`."""
        info, state = await self._sessions.state(session)
        return [view(info, name, schedule) for name, schedule in sorted(state.part(ScheduleState).schedules.items())]

    async def list(self, *, after: str = "", limit: int = 200) -> tuple[list[ScheduleView], str | None]:
        """List schedules of all sessions, by session: those of the first `limit` sessions that have any, after the
        session `after`. Also returns the `after` of the next page; None at the end."""
        names = await self._store.sessions.with_timers(timer_of(""), fired=FIRED, after=after, limit=limit)
        found: list[ScheduleView] = []
        for start in range(0, len(names), _READS_AT_ONCE):
            for views in await asyncio.gather(*map(self._known, names[start : start + _READS_AT_ONCE])):
                found += views
        return found, names[-1] if len(names) == limit else None

    async def _known(self, session: str) -> list[ScheduleView]:
        try:
            return await self.of(session)
        except NotFound:  # deleted since
            return []

    async def _order(self, session: str, item: ScheduleInput, key: str | None, wait: float) -> ScheduleView | None:
        if not await self._applied(session, item, key, wait):
            return None
        try:
            return await self.get(session, item.name)
        except NotFound:  # it ended at once, or was deleted
            return None

    async def _applied(self, session: str, item: ScheduleInput, key: str | None, wait: float) -> bool:
        head = (await self._store.sessions.get(session)).head
        accepted = await self._sessions.put(session, item, key=key)
        if accepted.duplicate:
            head = 0
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait):
                async for record in follow(self._store, session, after=head):
                    event = record.event
                    if isinstance(event, ScheduleSet | ScheduleCleared) and event.input == accepted.id:
                        return True
        return False


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
