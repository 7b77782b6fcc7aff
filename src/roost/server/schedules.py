"""The schedules of sessions, and their unprompted answers."""

from __future__ import annotations

from roost.api.schedules import Ordered, ScheduleList, SchedulesApi
from roost.api.shapes import AcceptedInput
from roost.kernel.outbox import outbox
from roost.kernel.schedule_views import Outbox, ScheduleView
from roost.log.schedule_events import ScheduleSpec
from roost.runtime import Runtime

_WAIT = 10.0


class ScheduleService(SchedulesApi):
    def __init__(self, runtime: Runtime) -> None:
        self._schedules, self._sessions = runtime.schedules, runtime.sessions

    async def list(self, *, after: str = "", limit: int = 100) -> ScheduleList:
        found, following = await self._schedules.list(after=after, limit=limit)
        return ScheduleList(schedules=found, next=following)

    async def of(self, session: str) -> ScheduleList:
        return ScheduleList(schedules=await self._schedules.of(session))

    async def get(self, session: str, name: str) -> ScheduleView:
        return await self._schedules.get(session, name)

    async def set(
        self, session: str, name: str, spec: ScheduleSpec, *, key: str | None = None, wait: float | None = None
    ) -> ScheduleView | Ordered:
        return _ordered(await self._schedules.set(session, name, spec, key=key, wait=_seconds(wait)))

    async def delete(self, session: str, name: str, *, wait: float | None = None) -> Ordered:
        done = await self._schedules.delete(session, name, wait=_seconds(wait))
        return Ordered(status="done" if done else "accepted")

    async def pause(
        self, session: str, name: str, *, key: str | None = None, wait: float | None = None
    ) -> ScheduleView | Ordered:
        return _ordered(await self._schedules.pause(session, name, key=key, wait=_seconds(wait)))

    async def resume(
        self, session: str, name: str, *, key: str | None = None, wait: float | None = None
    ) -> ScheduleView | Ordered:
        return _ordered(await self._schedules.resume(session, name, key=key, wait=_seconds(wait)))

    async def run(self, session: str, name: str, *, key: str | None = None) -> AcceptedInput:
        head = (await self._sessions.get(session)).head
        accepted = await self._schedules.run(session, name, key=key)
        return AcceptedInput(input=accepted.id, duplicate=accepted.duplicate, head=head)

    async def outbox(self, session: str, *, after: int = 0, limit: int = 100) -> Outbox:
        return await outbox(self._sessions, session, after=after, limit=limit)


def _seconds(wait: float | None) -> float:
    return _WAIT if wait is None else wait


def _ordered(view: ScheduleView | None) -> ScheduleView | Ordered:
    return Ordered(status="accepted") if view is None else view
