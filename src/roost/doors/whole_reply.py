"""A response that is sent when its work has ended, for as long as its client stays and the daemon runs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from starlette.types import Receive, Scope, Send

from roost.authority import current
from roost.server.app_state import Api
from roost.server.problems import Problem, problem_of, shutting_down
from roost.server.responses import Reply


class WholeReply:
    """Run `work` and send its reply. A client that leaves, and a daemon that stops, cancel it. refusal: makes the reply
    of an error. done: called at the end with whether the reply was sent."""

    def __init__(
        self,
        api: Api,
        work: Callable[[], Awaitable[Reply]],
        refusal: Callable[[Problem], Reply],
        done: Callable[[bool], None] = lambda sent: None,
    ) -> None:
        self._streams, self.authority = api.streams, current()
        self._work, self._refusal, self._done = work, refusal, done
        self._running: asyncio.Task[Reply] | None = None

    def end(self) -> None:
        """End the response from outside."""
        if self._running is not None:
            self._running.cancel()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        where, sent = f"{scope['method']} {scope['path']}", False
        self._streams.add(self)
        self._running = running = asyncio.create_task(self._reply(where))
        gone = asyncio.create_task(_until_gone(receive))
        try:
            await asyncio.wait([running, gone], return_when=asyncio.FIRST_COMPLETED)
            if running.done() and not gone.done():
                reply = self._refusal(shutting_down()) if running.cancelled() else running.result()
                await reply(scope, receive, send)
                sent = True
        finally:
            self._streams.discard(self)
            gone.cancel()
            running.cancel()
            await asyncio.wait([running])  # what it holds is closed before this returns
            self._done(sent)

    async def _reply(self, where: str) -> Reply:
        try:
            return await self._work()
        except Exception as error:  # a defect too becomes the client's error and the operator's log line
            return self._refusal(problem_of(error, where))


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
