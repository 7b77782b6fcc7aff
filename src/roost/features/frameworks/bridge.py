"""The model that an agent's program calls: it serves recorded answers, and passes every other call on to the session.

The program asks over HTTP, in its provider's protocol. The door of coding agents answers by `Bridge.of(request)`."""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import Any, Protocol

from roost.features.coding_agents.bridge import MOST_WAITING, STOPPED
from roost.features.frameworks.digests import Digests, digests_of
from roost.features.frameworks.records import Found, Records
from roost.log.content import ErrorData, Text, ToolMessage
from roost.models.model_wrapper import Whole
from roost.models.request import Completed, Failed, Model, ModelEvent, Profile, Request, TextDelta, ToolSpec
from roost.sandbox.proxy_request import Request as HttpRequest

SCOPE = b"x-roost-scope"
"""Header of a request: the tool call in which the agent asks. It is a hint for finding answers, and nothing else."""
_SCOPE_BYTES = 400


class Calls(Protocol):
    """What runs the calls of Roost's tools that come over HTTP."""

    def offered(self) -> Sequence[ToolSpec]: ...

    async def call(self, scope: str, name: str, arguments: Mapping[str, Any]) -> tuple[str, bool]: ...


class Exchange:
    """One model call of the program that has no recorded answer. gone: the program does not wait for it any more."""

    def __init__(self, request: Request, scope: str, digests: Digests) -> None:
        self.request, self.scope, self.digests = request, scope, digests
        self.answers: asyncio.Queue[ModelEvent] = asyncio.Queue()
        self.gone = False

    def give(self, event: ModelEvent) -> None:
        self.answers.put_nowait(event)

    def result(self, call: str) -> ToolMessage | None:
        """Return the result of a call that the request brings, if it does."""
        for message in reversed(self.request.messages):
            if isinstance(message, ToolMessage) and message.call == call:
                return message
        return None


class Bridge:
    """The calls of one start of the program. key: what it must show. model: the session's own. found: told of each
    recorded answer that is given once more."""

    def __init__(self, model: Callable[[], Model], records: Records, found: Callable[[Found], None]) -> None:
        self.model, self.records, self._found = model, records, found
        self.key = secrets.token_urlsafe(32)
        self.waiting: deque[Exchange] = deque()
        self.flying: list[Exchange] = []
        self.changed = asyncio.Event()
        self.ended = False
        self.calls: Calls | None = None
        self.told: set[str] = set()
        """Calls of recorded answers whose results the program has told the model since its start."""

    def of(self, request: HttpRequest) -> Model:
        """Return the model that answers one HTTP request."""
        scope = next((value for key, value in request.headers if key.lower() == SCOPE), b"")
        return Scoped(self, scope[:_SCOPE_BYTES].decode("latin-1").strip())

    def end(self) -> None:
        """Answer nothing any more, also no call that is on its way."""
        self.ended = True
        for exchange in (*self.waiting, *self.flying):
            exchange.give(STOPPED)
        self.waiting.clear()
        self.flying.clear()

    def take(self, wanted: Callable[[Exchange], bool]) -> Exchange | None:
        """Return the next call that waits and is `wanted`."""
        for exchange in list(self.waiting):
            if wanted(exchange):
                self.waiting.remove(exchange)
                if not exchange.gone:
                    self.flying.append(exchange)
                    return exchange
        return None

    def landed(self, exchange: Exchange) -> None:
        """A call that was taken has its answer."""
        if exchange in self.flying:
            self.flying.remove(exchange)
        self.changed.set()

    async def stream(self, request: Request, scope: str) -> AsyncGenerator[ModelEvent]:
        digests = digests_of(request)
        told = {one.call for one in request.messages if isinstance(one, ToolMessage)}
        self.told |= told & self.records.calls
        await self._joined(scope, digests)
        if self.ended:
            yield STOPPED
        elif (found := self.records.find(scope, digests)) is not None:
            self._found(found)
            answer = found.slot.answer
            found.slot.claimed = True
            for part in answer.parts:
                if isinstance(part, Text):
                    yield TextDelta(part.text)
            yield Completed(answer.parts, answer.stop)
        elif len(self.waiting) >= MOST_WAITING:
            yield Failed(ErrorData("overloaded", "too many model calls wait", retryable=True), sent=False)
        else:
            async for event in self._passed_on(Exchange(request, scope, digests)):
                yield event

    async def _joined(self, scope: str, digests: Digests) -> None:
        """Wait for the end of an equal call that the program gave up and that is still being answered: its answer is
        for this one, which is a retry."""
        while any(one.gone and (one.scope, one.digests) == (scope, digests) for one in self.flying):
            self.changed.clear()
            await self.changed.wait()

    async def _passed_on(self, exchange: Exchange) -> AsyncGenerator[ModelEvent]:
        self.waiting.append(exchange)
        self.changed.set()
        try:
            while True:
                event = await exchange.answers.get()
                yield event
                if isinstance(event, Completed | Failed):
                    return
        finally:
            exchange.gone = True
            self.changed.set()


class Scoped(Whole):
    """The model of one HTTP request."""

    def __init__(self, bridge: Bridge, scope: str) -> None:
        self._bridge, self._scope = bridge, scope

    @property
    def name(self) -> str:
        return self._bridge.model().name

    @property
    def profile(self) -> Profile:
        return self._bridge.model().profile

    async def close(self) -> None:
        """Do nothing: the session's model is not the bridge's."""

    def offered(self) -> Sequence[ToolSpec]:
        calls = self._bridge.calls
        return () if calls is None or self._bridge.ended else calls.offered()

    async def call(self, name: str, arguments: Mapping[str, Any]) -> tuple[str, bool]:
        calls = self._bridge.calls
        if calls is None or self._bridge.ended:
            return "this run of the agent has ended", True
        return await calls.call(self._scope, name, arguments)

    def stream(self, request: Request) -> AsyncGenerator[ModelEvent]:
        return self._bridge.stream(request, self._scope)
