"""A reader of one session's event stream that comes back with Last-Event-ID whenever the stream breaks off."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import aiohttp
import msgspec

from roost.client.daemon_address import Endpoint, Unreachable
from roost.log import events as ev
from roost.log.content import AssistantMessage
from roost.log.frames import Delta
from roost.log.protocols import Record

_RETRY_SECONDS = 0.03


class Seen(NamedTuple):
    seq: int
    body: bytes
    at: float


class Reader:
    """`seen` is every event as it came; `breaks` counts the streams that were taken up again; `faults` says what was
    wrong on the way. A stream that says nothing for `silence` seconds is given up."""

    def __init__(self, endpoint: Callable[[], Endpoint], session: str, *, silence: float = 20.0) -> None:
        self.session = session
        self.seen: list[Seen] = []
        self.breaks = 0
        self.faults: list[str] = []
        self._endpoint = endpoint
        self._silence = silence
        self._more = asyncio.Event()
        self._attempt = 0
        self._texts: dict[tuple[int, int], str] = {}
        self._task = asyncio.create_task(self._read(), name=f"reader of {session}")

    async def caught_up(self, head: int, seconds: float = 60.0) -> None:
        """Until it has event `head`, or the time is up."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while len(self.seen) < head:
                    self._more.clear()
                    await self._more.wait()

    async def close(self) -> None:
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    def problems(self, records: Sequence[Record]) -> list[str]:
        """How what was read differs from the log."""
        numbers = [seen.seq for seen in self.seen]
        found = [f"reader of {self.session}: {fault}" for fault in self.faults]
        if numbers != list(range(1, len(records) + 1)):
            found.append(f"reader of {self.session}: saw {numbers}, the log has {len(records)} events")
        for seen, record in zip(self.seen, records, strict=False):
            if seen.body != record.body:
                found.append(f"reader of {self.session}: event {seen.seq} came as {seen.body!r}")
        return found

    async def _read(self) -> None:
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=5.0, sock_read=self._silence)
        async with aiohttp.ClientSession(timeout=timeout) as http:
            while True:
                with contextlib.suppress(Unreachable, aiohttp.ClientError, TimeoutError, OSError):
                    await self._once(http)
                await asyncio.sleep(_RETRY_SECONDS)

    async def _once(self, http: aiohttp.ClientSession) -> None:
        endpoint = self._endpoint()
        headers = {
            "Authorization": f"Bearer {endpoint.token}",
            "Accept": "text/event-stream",
            "Last-Event-ID": str(self.seen[-1].seq if self.seen else 0),
        }
        async with http.get(f"{endpoint.url}/sessions/{self.session}/events", headers=headers) as answer:
            if answer.status != 200:
                if answer.status < 500:
                    self.faults.append(f"the stream was refused: {await answer.text()}")
                return
            rest = b""
            self.breaks += bool(self.seen)
            async for data in answer.content.iter_any():
                *frames, rest = (rest + data).split(b"\n\n")
                for frame in frames:
                    self._take(dict(line.split(b": ", 1) for line in frame.split(b"\n") if line[:1] != b":"))

    def _take(self, frame: dict[bytes, bytes]) -> None:
        """One frame, by the names of its lines."""
        seq, body = frame.get(b"id"), frame.get(b"data", b"")
        if frame.get(b"event") == b"delta":
            self._delta(msgspec.json.decode(body, type=Delta))
        elif seq is not None:
            self.seen.append(Seen(int(seq), body, time.monotonic()))
            self._more.set()
            event = ev.decode_event(body)
            if isinstance(event, ev.ModelStarted) or (isinstance(event, ev.ModelNotice) and event.kind == "restart"):
                self._attempt = int(seq)
            elif isinstance(event, ev.ModelCompleted):
                self._completed(event)

    def _delta(self, delta: Delta) -> None:
        """Pieces of one step leave no hole, and come after the event that they name."""
        if not self.seen or self.seen[-1].seq < delta.after:
            self.faults.append(f"a delta of step {delta.step} came before event {delta.after}")
        if delta.kind == "text":
            known = self._texts.get((delta.step, delta.after), "")
            if delta.offset > len(known):
                self.faults.append(f"step {delta.step}: {len(known)} characters, then a delta at {delta.offset}")
            self._texts[delta.step, delta.after] = known[: delta.offset] + delta.text

    def _completed(self, event: ev.ModelCompleted) -> None:
        whole = AssistantMessage(event.parts).text
        for (step, after), text in self._texts.items():  # what an earlier attempt said does not count
            if step == event.step and after >= self._attempt and not whole.startswith(text):
                self.faults.append(f"step {step}: the deltas said {text!r}, the answer is {whole!r}")
