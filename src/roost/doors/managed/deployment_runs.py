"""The runs of deployments: those by hand, which are records, and those of schedules, which are events of the sessions
that the schedules stand in."""

from __future__ import annotations

import heapq
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, NamedTuple

from starlette.types import Receive, Scope

from roost.doors.managed.deployment_records import SCHEDULE, Deployment, Run
from roost.doors.managed.owners import account
from roost.doors.managed.requests import TIMES, Query, answer, opened, sealed, stamp
from roost.errors import Invalid, NotFound
from roost.features.schedules.events import ScheduleFired
from roost.kernel.turn_watch import window
from roost.log import events as ev
from roost.log.records import Records
from roost.server.app_state import Api
from roost.server.door import Methods, needs
from roost.server.responses import ReplyCall

_FIRED = ev.beginning_of(ScheduleFired)
_LIMIT, _MOST, _WINDOW = 20, 1000, 500
_DEPLOYMENTS = 200
"""The newest deployments of which runs of schedules are listed without a `deployment_id`."""


class _Cursor(NamedTuple):
    """Behind the last run of the page before. at, id: of it. manual: the last run by hand that was passed."""

    at: float = float("inf")
    id: str = ""
    manual: str = ""

    @classmethod
    def of(cls, query: Query) -> _Cursor:
        if not (page := query.text("page")):
            return cls()
        at, _, ids = opened(page).removeprefix("run:").partition(":")
        id, _, manual = ids.partition(":")
        try:
            return cls(float.fromhex(at), id, manual)
        except (ValueError, OverflowError):
            raise Invalid("page: give the next_page of an earlier answer") from None

    def __str__(self) -> str:
        return sealed(f"run:{self.at.hex()}:{self.id}:{self.manual}")


class _Listed(NamedTuple):
    """A run. manual: its id, if it is a record."""

    at: float
    id: str
    manual: str
    shown: dict[str, Any]


class DeploymentRuns:
    def __init__(self, api: Api, deployments: Records[Deployment], runs: Records[Run]) -> None:
        self._sessions, self._deployments, self._runs = api.sessions, deployments, runs

    def routes(self) -> Mapping[str, Methods]:
        return {"/v1/deployment_runs": {"GET": self.list}, "/v1/deployment_runs/{run}": {"GET": self.get}}

    @needs("read")
    async def list(self, scope: Scope, receive: Receive) -> ReplyCall:
        query = Query(scope, ("limit", "page", "deployment_id", "has_error", "trigger_type", *TIMES))
        deployment, limit, cursor = query.text("deployment_id"), query.number("limit", _LIMIT, _MOST), _Cursor.of(query)
        trigger = query.one_of("trigger_type", "manual", "schedule")
        error = query.flag("has_error") if query.text("has_error") else None
        times, span = query.times("created_at"), query.span("created_at")

        def fits(one: Run) -> bool:
            return error in (None, one.error is not None) and times(one.created)

        found: list[_Listed] = []
        if trigger != "schedule":
            key = ("deployment", deployment) if deployment else None
            page = await self._runs.page(owner=account(), key=key, fits=fits, cursor=cursor.manual, limit=limit + 1)
            found += [_Listed(one.created, one.id, one.id, run_view(one)) for one in page.found]
        if error is not True:
            for one in await self._timed(deployment):
                found += [each for each in await self._fired(one, cursor, times, span, limit + 1) if _is(trigger, each)]
        shown = heapq.nlargest(limit + 1, found, key=lambda one: (one.at, one.id))
        more, shown = len(shown) > limit, shown[:limit]
        manual = next((one.manual for one in reversed(shown) if one.manual), cursor.manual)
        after = str(_Cursor(shown[-1].at, shown[-1].id, manual)) if more else None
        return answer({"data": [one.shown for one in shown], "next_page": after})

    async def _timed(self, deployment: str) -> list[Deployment]:
        """Return the deployments whose schedules have sessions: one, or the newest."""
        if deployment:
            try:
                found = [await self._deployments.get(deployment, owner=account())]
            except NotFound:
                return []
        else:
            found = (await self._deployments.page(owner=account(), limit=_DEPLOYMENTS)).found
        return [one for one in found if one.clock is not None or one.clocks]

    async def _fired(
        self,
        one: Deployment,
        cursor: _Cursor,
        times: Callable[[float], bool],
        span: tuple[float, float],
        most: int,
    ) -> list[_Listed]:
        """Return the newest runs of a deployment's schedules behind a cursor. span: the times that can fit; the logs
        are read for no others."""
        found: list[_Listed] = []
        for clock in (*one.clocks, *([] if one.clock is None else [one.clock])):
            some: list[_Listed] = []
            async for seq, event in self._firings(clock, min(cursor.at, span[1])):
                if event.at < span[0]:
                    break
                id = _fired_id(clock, seq)
                if (event.at, id) < (cursor.at, cursor.id or "~") and times(event.at):
                    some.append(_Listed(event.at, id, "", _fired_view(one, clock, seq, event)))
                if len(some) >= most:
                    break
            found += some
        return found

    async def _firings(self, clock: str, upto: float) -> AsyncIterator[tuple[int, ScheduleFired]]:
        """Yield the firings of the schedule in a session up to a time, the newest first."""
        try:
            before = await self._position(clock, upto)
            while before > 0:
                start = max(0, before - _WINDOW)
                for record in reversed(await window(self._sessions, clock, start, before)):
                    if (event := _firing(record.body)) is not None:
                        yield record.seq, event
                before = start
        except NotFound:  # the session was deleted, and with it what its schedule did
            return

    async def _position(self, clock: str, upto: float) -> int:
        """Return the position of a log's last event up to a time."""
        low, high = 0, (await self._sessions.get(clock)).head
        if upto == float("inf"):
            return high
        while low < high:
            middle = (low + high + 1) // 2
            (record,) = await self._sessions.history(clock, after=middle - 1, limit=1)
            if record.event.at <= upto:
                low = middle
            else:
                high = middle - 1
        return low

    @needs("read")
    async def get(self, scope: Scope, receive: Receive) -> ReplyCall:
        id = scope["path_params"]["run"]
        seq, _, clock = id.removeprefix("drun_at").partition("_")
        if not (id.startswith("drun_at") and seq.isascii() and seq.isdigit() and len(seq) < 16):
            return answer(run_view(await self._runs.get(id, owner=account())))
        for one in await self._timed(""):
            if clock == one.clock or clock in one.clocks:
                records = await self._sessions.history(clock, after=int(seq) - 1, limit=1) if int(seq) else []
                if records and (event := _firing(records[0].body)) is not None:
                    return answer(_fired_view(one, clock, int(seq), event))
        raise NotFound(f"there is no deployment run {id[:128]!r}")


def _is(trigger: str, one: _Listed) -> bool:
    return not trigger or one.shown["trigger_context"]["type"] == trigger


def _firing(body: bytes) -> ScheduleFired | None:
    """Return the event of a run of a deployment's schedule."""
    event = ev.decode_event(body) if body.startswith(_FIRED) else None
    return event if isinstance(event, ScheduleFired) and event.run and event.name == SCHEDULE else None


def _fired_id(clock: str, seq: int) -> str:
    return f"drun_at{seq}_{clock}"


def _fired_view(one: Deployment, clock: str, seq: int, event: ScheduleFired) -> dict[str, Any]:
    trigger = {"type": "manual"} if event.due is None else {"type": "schedule", "scheduled_at": stamp(event.due)}
    agent = {"type": "agent", "id": one.agent, "version": one.version}
    return _view(one.id, agent, _fired_id(clock, seq), clock, event.at) | {"trigger_context": trigger}


def run_view(one: Run) -> dict[str, Any]:
    more = {"session_id": None, "error": {"type": one.error[0], "message": one.error[1]}} if one.error else {}
    agent = {"type": "agent", "id": one.agent, "version": one.version}
    return _view(one.deployment, agent, one.id, one.session, one.created) | more


def _view(deployment: str, agent: dict[str, Any], id: str, session: str, at: float) -> dict[str, Any]:
    return {
        "type": "deployment_run",
        "id": id,
        "deployment_id": deployment,
        "agent": agent,
        "session_id": session,
        "error": None,
        "trigger_context": {"type": "manual"},
        "created_at": stamp(at),
    }
