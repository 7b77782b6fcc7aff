"""A turn as a task of the newest revision. Its id says which message it is, so any node can tell of it at any time."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime

from roost.doors.mcp.catalog import TaskInfo, ToolFailed, ToolResult, text
from roost.doors.mcp.exchange import Exchange, fits
from roost.doors.mcp.turn_call import TurnCall, ask_of, decide, key_of, to_do
from roost.doors.mcp.wire import INTERNAL, Json, as_object, error_text
from roost.errors import NotFound
from roost.ids import is_id
from roost.kernel.turn_watch import find_turn
from roost.log.session_views import WaitingCall
from roost.server.app_state import Api

_POLL_MS = 1000
_PARTS = 3
_NUMBER = re.compile("[0-9]{1,15}")
_LATEST = 2**36
"""Latest wall time of a call, in seconds: far from the last that a date can say."""


class TurnTask:
    """The turn of the message `item`. begun: wall time of the call, in seconds."""

    def __init__(self, api: Api, exchange: Exchange, session: str, item: int, begun: int | None = None) -> None:
        self._api, self._exchange, self._sessions = api, exchange, api.sessions
        self._session, self._item, self._begun = session, item, int(time.time()) if begun is None else begun

    @classmethod
    def of(cls, api: Api, exchange: Exchange, id: str) -> TurnTask | None:
        """Return the task of an id; None for one of another form."""
        parts = id.split("~")
        if len(parts) != _PARTS or not is_id(parts[0]) or not all(map(_NUMBER.fullmatch, parts[1:])):
            return None
        if int(parts[2]) > _LATEST:
            return None
        return cls(api, exchange, parts[0], int(parts[1]), int(parts[2]))

    async def read(self) -> TaskInfo:
        """Return the task as the session's log says it is now. Raises `NotFound`."""
        info, state = await self._sessions.state(self._session)
        if state.turn is not None and state.turn.input == self._item:
            if info.state in ("stopped", "error"):
                why = f"session {self._session!r} is {info.state}: {state.reason or 'no reason given'}"
                return self._info(
                    "failed",
                    info.updated_at,
                    error={"code": INTERNAL, "message": error_text(why, self._sessions.scrubbed)},
                )
            waiting = await self._waiting()
            found = {key: ask for key, one in waiting.items() if (ask := ask_of(one)) is not None}
            if not found:
                told = " ".join(map(to_do, waiting.values())) or None
                return self._info("working", info.updated_at, status_message=told)
            asks = {key: {"method": ask.method, "params": ask.params} for key, ask in found.items()}
            return self._info("input_required", info.updated_at, input_requests=asks)
        after = await find_turn(self._sessions, self._session, self._item)
        if after is None:
            pending = await self._api.runtime.node.tenants.inboxes.pending(self._session)
            if all(one.id != self._item for one in pending):
                raise NotFound(f"session {self._session!r} has no message {self._item}")
            return self._info("working", info.updated_at, status_message="waits for its turn")
        return await self._ended(after, info.updated_at)

    async def _ended(self, after: int, updated: float) -> TaskInfo:
        call = TurnCall(self._api, self._session, self._item, self._exchange, cancels=False)
        try:
            done = await call.result(after=after)
        except ToolFailed as error:
            done = ToolResult([text(error_text(str(error), self._sessions.scrubbed))], is_error=True)
        cancelled = (as_object(done.structured_content) or {}).get("status") == "cancelled"
        return self._info("cancelled", updated) if cancelled else self._info("completed", updated, result=done)

    async def update(self, answers: Json) -> None:
        for key, one in (await self._waiting()).items():
            ask = ask_of(one)
            if ask is not None and fits(ask, answers.get(key)) and answers[key].get("action") != "cancel":
                await decide(self._api, one, answers[key])

    async def cancel(self) -> None:
        await self._sessions.control(self._session, "cancel", input=self._item, wait=0)

    async def _waiting(self) -> dict[str, WaitingCall]:
        return {key_of(one): one for one in (await self._api.runtime.approvals.waiting(self._session)).approvals}

    def _info(self, status: str, updated: float, **more: object) -> TaskInfo:
        return TaskInfo(
            task_id=f"{self._session}~{self._item}~{self._begun}",
            status=status,  # pyright: ignore[reportArgumentType]
            created_at=_at(self._begun),
            last_updated_at=_at(max(updated, self._begun)),
            ttl_ms=None,
            poll_interval_ms=_POLL_MS,
            **more,  # pyright: ignore[reportArgumentType]
        )


def _at(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
