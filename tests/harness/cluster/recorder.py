"""The users' way to the cluster, on which every operation is written down."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import msgspec
from tests.harness.crash.client import HttpDaemon
from tests.harness.crash.hands import PATIENCE
from tests.harness.linearizability import History

from roost.client.daemon_address import Unreachable
from roost.features.schedules.events import ScheduleInput
from roost.log import events as ev
from roost.log.inputs import Input
from roost.log.session_info import ControlAction, Decision, InputMode

_LIMIT = 1000
_WHOLE_BYTES = 128 * 1024
"""A page that is smaller in both was not cut short."""
_RETRY_SECONDS = 0.03


class _Entry(msgspec.Struct):
    seq: int
    event: msgspec.Raw


class _Page(msgspec.Struct):
    events: list[_Entry]
    head: int


class Recorder:
    """Implements `Daemon`."""

    def __init__(self, http: HttpDaemon, history: History) -> None:
        self._http = http
        self._history = history
        self._logs: dict[str, list[ev.Event]] = {}

    async def create(self, session: str, agent: str) -> None:
        await self._http.create(session, agent)

    async def send(self, session: str, text: str, mode: InputMode, key: str) -> int:
        order = self._history.accept(session, text, 1 if mode == "steer" else 0)
        number = await self._http.send(session, text, mode, key)
        self._history.acknowledged(order, number)
        return number

    async def control(self, session: str, action: ControlAction, key: str) -> None:
        order = self._history.accept(session, action, 2)
        await self._http.control(session, action, key)
        self._history.acknowledged(order, None)

    async def approve(self, session: str, call: str, decision: Decision) -> None:
        await self._http.approve(session, call, decision)

    async def set_timer(self, session: str, timer: str, due: float, text: str, key: str) -> None:
        order = self._history.accept(session, text, 0, late=True)
        await self._http.set_timer(session, timer, due, text, key)
        self._history.acknowledged(order, None)

    async def put(self, session: str, item: Input, key: str) -> None:
        assert isinstance(item, ScheduleInput)
        assert item.spec is not None
        order = self._history.accept(session, item.spec.text, 0, late=True)
        await self._http.put(session, item, key)
        self._history.acknowledged(order, None)

    async def checkpoint(self, session: str, label: str, key: str) -> None:
        await self._http.checkpoint(session, label, key)

    async def rollback(self, session: str, label: str, key: str) -> None:
        await self._http.rollback(session, label, key)

    async def fork(self, session: str, label: str, id: str, key: str) -> None:
        await self._http.fork(session, label, id, key)

    async def log(self, session: str) -> Sequence[ev.Event]:
        known = self._logs.setdefault(session, [])
        after = len(known)
        page = await self._page(session, after)
        for entry in page.events:
            if entry.seq == len(known) + 1:
                known.append(ev.decode_event(bytes(entry.event)))
        return known

    def forget(self, session: str) -> None:
        self._logs.pop(session, None)
        self._history.accepts.pop(session, None)
        self._history.reads.pop(session, None)

    async def _page(self, session: str, after: int) -> _Page:
        """Each try is a read of its own: one that was answered."""
        deadline = time.monotonic() + PATIENCE
        while True:
            read = self._history.read(session, after)
            status, answer = await self._try(f"/sessions/{session}/events?after={after}&limit={_LIMIT}")
            if status == 200:
                page = msgspec.json.decode(answer, type=_Page)
                bodies = [bytes(entry.event) for entry in page.events]
                numbers = [entry.seq for entry in page.events]
                if numbers != list(range(after + 1, after + 1 + len(numbers))):
                    raise AssertionError(f"session {session!r}: after {after} came {numbers}")
                short = len(bodies) < _LIMIT and len(answer) < _WHOLE_BYTES
                self._history.answered(read, bodies, whole=short and page.head == after + len(bodies))
                return page
            if 0 < status < 500:
                raise AssertionError(f"reading session {session!r} after {after} was refused: {answer!r}")
            if time.monotonic() > deadline:
                raise AssertionError(f"session {session!r} could not be read within {PATIENCE:g} s")
            await asyncio.sleep(_RETRY_SECONDS)

    async def _try(self, path: str) -> tuple[int, Any]:
        try:
            return await self._http.once("GET", path)
        except Unreachable:
            return 0, b""
