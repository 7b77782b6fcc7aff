"""The HTTP API as `Hands` uses it: orders that are repeated until a 2xx, and event streams that come back."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from typing import Any

import aiohttp
import msgspec
from tests.harness.crash.hands import PATIENCE

from roost.client.daemon_address import Endpoint, Unreachable
from roost.features.schedules.events import ScheduleInput
from roost.log import events as ev
from roost.log.inputs import Input
from roost.log.session_info import ControlAction, Decision, InputMode

_RETRY_SECONDS = 0.03


class _Entry(msgspec.Struct):
    seq: int
    event: msgspec.Raw


class _Page(msgspec.Struct):
    events: list[_Entry]


class _Accepted(msgspec.Struct):
    input: int


class HttpDaemon:
    """Implements `Daemon`. `endpoint` says where the daemon is now and raises `Unreachable` while it is nowhere. A try
    may take `timeout` seconds; with `fresh` each has a connection of its own, so that a load balancer has a choice.
    `refusals` counts the answers 5xx that were met with another try."""

    def __init__(self, endpoint: Callable[[], Endpoint], *, timeout: float = 20.0, fresh: bool = False) -> None:
        self.refusals = 0
        self._endpoint = endpoint
        self._logs: dict[str, list[ev.Event]] = {}
        self._http = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=timeout), connector=aiohttp.TCPConnector(force_close=fresh)
        )

    async def close(self) -> None:
        await self._http.close()

    async def create(self, session: str, agent: str) -> None:
        await self.order("POST", "/sessions", {"agent": agent, "id": session}, key=session)

    async def send(self, session: str, text: str, mode: InputMode, key: str) -> int:
        body = {"text": text, "mode": mode}
        answer = await self.order("POST", f"/sessions/{session}/messages", body, key=key)
        return msgspec.json.decode(answer, type=_Accepted).input

    async def control(self, session: str, action: ControlAction, key: str) -> None:
        await self.order("POST", f"/sessions/{session}/{action}", None, key=key)

    async def approve(self, session: str, call: str, decision: Decision) -> None:
        await self.order("POST", f"/sessions/{session}/approvals/{call}", {"decision": decision}, conflict=True)

    async def set_timer(self, session: str, timer: str, due: float, text: str, key: str) -> None:
        body = {"due": due, "text": text}
        await self.order("PUT", f"/sessions/{session}/timers/{timer}", body, key=key)

    async def put(self, session: str, item: Input, key: str) -> None:
        """Only schedules: offers and results of a client come through a door."""
        assert isinstance(item, ScheduleInput)
        assert item.spec is not None
        body = {"at": item.spec.at, "text": item.spec.text}
        await self.order("PUT", f"/sessions/{session}/schedules/{item.name}", body, key=key)

    async def checkpoint(self, session: str, label: str, key: str) -> None:
        await self.order("POST", f"/sessions/{session}/checkpoints", {"label": label}, key=key)

    async def rollback(self, session: str, label: str, key: str) -> None:
        await self.order("POST", f"/sessions/{session}/rollback", {"to": label}, key=key)

    async def fork(self, session: str, label: str, id: str, key: str) -> None:
        await self.order("POST", f"/sessions/{session}/fork", {"at": label, "id": id}, key=key)

    async def log(self, session: str) -> Sequence[ev.Event]:
        known = self._logs.setdefault(session, [])
        page = await self.order("GET", f"/sessions/{session}/events?after={len(known)}")
        for entry in msgspec.json.decode(page, type=_Page).events:
            if entry.seq <= len(known):
                continue  # two callers asked at once
            if entry.seq != len(known) + 1:
                raise AssertionError(f"session {session!r}: after {len(known)} events comes number {entry.seq}")
            known.append(ev.decode_event(bytes(entry.event)))
        return known

    async def once(
        self, method: str, path: str, body: dict[str, Any] | None = None, *, key: str | None = None
    ) -> tuple[int, bytes]:
        """(status, answer) of one try. Raises `Unreachable` when there was no whole answer."""
        endpoint = self._endpoint()
        headers = {"Authorization": f"Bearer {endpoint.token}"} | ({"Idempotency-Key": key} if key else {})
        try:
            async with self._http.request(method, endpoint.url + path, json=body, headers=headers) as answer:
                return answer.status, await answer.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Unreachable(str(error)) from error

    async def order(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None = None,
        *,
        key: str | None = None,
        conflict: bool = False,
    ) -> bytes:
        """Again and again until a 2xx. With `conflict` a 409 is an answer too."""
        deadline = time.monotonic() + PATIENCE
        while True:
            with contextlib.suppress(Unreachable):
                status, answer = await self.once(method, path, body, key=key)
                if status < 300 or (conflict and status == 409):
                    return answer
                if status < 500:
                    raise AssertionError(f"{method} {path} was refused: {answer!r}")
                self.refusals += 1
            if time.monotonic() > deadline:
                raise AssertionError(f"{method} {path} did not go through within {PATIENCE:g} s")
            await asyncio.sleep(_RETRY_SECONDS)
