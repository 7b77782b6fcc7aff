"""Schedules, through a daemon or in this process."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Protocol

from roost.log.schedule_events import ScheduleSpec

if TYPE_CHECKING:
    from roost.kernel.schedule_views import ScheduleView
    from roost.kernel.schedules import Schedules

_HERE, _ELSEWHERE = 10.0, 0.3
"""Seconds to wait until a session's owner has taken an order: this process, another process."""


class NodeSchedules(Protocol):
    """Blocking version of `roost.kernel.schedules.Schedules`."""

    def set(self, session: str, name: str, spec: ScheduleSpec) -> ScheduleView | None: ...

    def pause(self, session: str, name: str) -> ScheduleView | None: ...

    def resume(self, session: str, name: str) -> ScheduleView | None: ...

    def run(self, session: str, name: str) -> int:
        """Fire the schedule once now. Returns the number of the input."""
        ...

    def delete(self, session: str, name: str) -> bool: ...

    def get(self, session: str, name: str) -> ScheduleView: ...

    def of(self, session: str) -> list[ScheduleView]: ...

    def list(self) -> list[ScheduleView]: ...


class EmbeddedSchedules:
    """`do`: runs a coroutine on the runtime's loop. `take_up`: lets this process handle the orders of an idle session;
    for any other session an order is on disk and waits for its next owner."""

    def __init__(
        self, schedules: Schedules, do: Callable[[Coroutine[Any, Any, Any]], Any], take_up: Callable[[str], bool]
    ) -> None:
        self._schedules, self._do, self._take_up = schedules, do, take_up

    def set(self, session: str, name: str, spec: ScheduleSpec) -> ScheduleView | None:
        return self._do(self._schedules.set(session, name, spec, wait=self._wait(session)))

    def pause(self, session: str, name: str) -> ScheduleView | None:
        return self._do(self._schedules.pause(session, name, wait=self._wait(session)))

    def resume(self, session: str, name: str) -> ScheduleView | None:
        return self._do(self._schedules.resume(session, name, wait=self._wait(session)))

    def run(self, session: str, name: str) -> int:
        return self._do(self._schedules.run(session, name)).id

    def delete(self, session: str, name: str) -> bool:
        return self._do(self._schedules.delete(session, name, wait=self._wait(session)))

    def get(self, session: str, name: str) -> ScheduleView:
        return self._do(self._schedules.get(session, name))

    def of(self, session: str) -> list[ScheduleView]:
        return self._do(self._schedules.of(session))

    def list(self) -> list[ScheduleView]:
        return self._do(self._all())

    def _wait(self, session: str) -> float:
        return _HERE if self._take_up(session) else _ELSEWHERE

    async def _all(self) -> list[ScheduleView]:
        found: list[ScheduleView] = []
        after: str | None = ""
        while after is not None:
            page, after = await self._schedules.list(after=after)
            found += page
        return found
