"""The channels of a connection: what it follows besides the events of sessions (`roost.kernel.channels`). Each is read
at the connection's speed."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from itertools import count
from typing import TypeAlias

import msgspec

from roost.doors.websocket.messages import ChannelEnd, ChannelEvent, Request, Result, arguments, output, written
from roost.doors.websocket.subscriptions import MOST, MOST_OF_NODE, Seats
from roost.errors import Busy, Conflict, Invalid, NotFound
from roost.kernel.channels import Channel, Open
from roost.server.app_state import Api
from roost.server.problems import problem_of
from roost.server.validation_messages import said

Write: TypeAlias = Callable[[str | bytes], Awaitable[None]]


class Detach(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    channel: int


class Channels:
    """write: sends a message to the client. Raises `OSError` when it has gone."""

    def __init__(self, api: Api, opens: dict[str, Open], seats: Seats, write: Write) -> None:
        self._api, self._opens, self._seats, self._write = api, opens, seats, write
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._numbers = count(1)

    def knows(self, op: str) -> bool:
        """Whether an operation opens or closes a channel."""
        return op in self._opens or self._closes(op)

    async def answer(self, asked: Request) -> Result | None:
        """Open or close a channel. Returns None when the answer is written already. Raises `RoostError`, `OSError`."""
        if asked.key is not None:
            raise Invalid(f"{asked.op} takes no key: it changes nothing")
        if self._closes(asked.op):
            return await self._close(asked)
        await self._open(asked)
        return None

    async def close(self) -> None:
        tasks = [*self._tasks.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _closes(self, op: str) -> bool:
        return op.endswith(".detach") and f"{op.removesuffix('.detach')}.attach" in self._opens

    async def _open(self, asked: Request) -> None:
        if len(self._tasks) >= MOST:
            raise Conflict(f"a connection has at most {MOST} channels", code="too_many_subscriptions")
        if self._seats.taken >= MOST_OF_NODE:
            raise Busy(f"{MOST_OF_NODE} subscriptions are open here; try again later", code="too_many_streams")
        try:
            channel = await self._opens[asked.op](self._api.runtime.service, asked.args)
        except msgspec.ValidationError as error:
            raise Invalid(f"args: {said(error, 'the arguments')}") from None
        number, begun = next(self._numbers), asyncio.Event()
        task = self._tasks[number] = asyncio.create_task(self._follow(number, channel, begun))
        self._seats.taken += 1
        task.add_done_callback(lambda _: self._leave(number, channel))
        try:
            await self._write(written(Result(asked.id, 200, {"channel": number, **channel.body})))
        finally:
            begun.set()

    async def _close(self, asked: Request) -> Result:
        number = arguments(asked, Detach).channel
        task = self._tasks.get(number)
        if task is None:
            raise NotFound(f"this connection has no channel {number}", code="not_subscribed")
        task.cancel()
        await asyncio.wait([task])
        return Result(asked.id, 200, {"channel": number})

    def _leave(self, number: int, channel: Channel) -> None:
        self._seats.taken -= 1
        del self._tasks[number]
        channel.close()

    async def _follow(self, number: int, channel: Channel, begun: asyncio.Event) -> None:
        await begun.wait()
        try:
            async with contextlib.aclosing(channel.messages) as messages:
                async for head, data in messages:
                    if data is None:
                        await self._write(written(ChannelEvent(number, head)))
                    else:
                        await self._write(output(number, head, data))
        except OSError:  # the client has gone
            return
        except Exception as error:  # a defect too ends the channel, and the client is told
            with contextlib.suppress(OSError):
                await self._write(written(ChannelEnd(number, problem_of(error, f"channel {number}"))))
