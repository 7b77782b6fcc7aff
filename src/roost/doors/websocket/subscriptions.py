"""The sessions that a connection follows. Each reads its log at the connection's speed, and the writer of the log waits
for none of them: a reader that falls behind reads the log again, and loses only deltas."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import TypeAlias, cast

from roost.authority import current
from roost.doors.websocket.messages import End, Request, Result, Subscribe, Unsubscribe, arguments, events, written
from roost.errors import Busy, Conflict, NotFound
from roost.log.frames import Frame
from roost.server.app_state import Api
from roost.server.problems import problem_of, session_gone
from roost.server.sessions import log_end

MOST = 256
"""Most sessions that a connection follows."""
MOST_OF_NODE = 10_000
"""Most subscriptions of a node."""
Write: TypeAlias = Callable[[str], Awaitable[None]]


class Seats:
    """Counts the subscriptions of a node."""

    def __init__(self) -> None:
        self.taken = 0


class Subscriptions:
    """write: sends a text to the client. Raises `OSError` when it has gone."""

    def __init__(self, api: Api, seats: Seats, write: Write) -> None:
        self._api, self._seats, self._write = api, seats, write
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def subscribe(self, asked: Request) -> Result:
        """Begin to send a session's events, behind the result. Raises `RoostError`, and `OSError`."""
        wanted = arguments(asked, Subscribe)
        session = current().session_id(wanted.session)
        head = await log_end(self._api, session, wanted.after)
        self._check_room(session)
        self._seats.taken += 1
        result = Result(asked.id, 200, {"session": session, "head": head})
        begun = asyncio.Event()
        task = self._tasks[session] = asyncio.create_task(self._follow(session, wanted, begun))
        task.add_done_callback(lambda ended: self._leave(session, ended))
        try:
            await self._write(written(result))
        finally:
            begun.set()
        return result

    async def unsubscribe(self, asked: Request) -> Result:
        """Send no more events of a session. Raises `RoostError`."""
        session = current().session_id(arguments(asked, Unsubscribe).session)
        task = self._tasks.get(session)
        if task is None:
            raise NotFound(f"this connection has not subscribed to session {session!r}", code="not_subscribed")
        task.cancel()
        await asyncio.wait([task])
        return Result(asked.id, 200, {"session": session})

    async def close(self) -> None:
        tasks = [*self._tasks.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _check_room(self, session: str) -> None:
        if session in self._tasks:
            raise Conflict(f"this connection has subscribed to session {session!r}", code="already_subscribed")
        if len(self._tasks) >= MOST:
            raise Conflict(f"a connection has at most {MOST} subscriptions", code="too_many_subscriptions")
        if self._seats.taken >= MOST_OF_NODE:
            raise Busy(f"{MOST_OF_NODE} subscriptions are open here; try again later", code="too_many_streams")

    def _leave(self, session: str, task: asyncio.Task[None]) -> None:
        self._seats.taken -= 1
        if self._tasks.get(session) is task:
            del self._tasks[session]

    async def _follow(self, session: str, wanted: Subscribe, begun: asyncio.Event) -> None:
        await begun.wait()
        try:
            frames = self._api.sessions.stream(session, after=wanted.after, deltas=wanted.deltas)
            async with contextlib.aclosing(cast("AsyncGenerator[list[Frame], None]", frames)) as batches:
                async for batch in batches:
                    for text in events(session, batch):
                        await self._write(text)
            problem = None if self._api.stopping else session_gone(session)
        except OSError:  # the client has gone
            return
        except Exception as error:  # a defect too ends the subscription, and the client is told
            problem = problem_of(error, f"the subscription to session {session!r}")
        if problem is not None:
            with contextlib.suppress(OSError):
                await self._write(written(End(session, problem)))
