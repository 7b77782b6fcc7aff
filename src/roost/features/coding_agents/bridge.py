"""The model that a coding agent calls: its calls become the model steps of its session.

The program asks over HTTP, in its provider's protocol. The door that answers calls `Bridge.stream`. `ProgramModel`,
which is the model of the session's own loop, takes the request, calls the session's model, and gives the answer to
both. An answer that asks for a tool is held back until the gate has judged the call and the loop runs it: only then can
the program run it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from typing import NamedTuple

import msgspec

from roost.log.content import AssistantMessage, AssistantPart, ErrorData, Text, Thinking, ToolCall, ToolMessage
from roost.models.model_wrapper import Whole
from roost.models.request import (
    Completed,
    Failed,
    Model,
    ModelEvent,
    Profile,
    Request,
    Signed,
    TextDelta,
    ThinkingDelta,
)
from roost.sandbox.proxy_request import Request as HttpRequest

PREFIX = "/coding-agents"
"""Path below which the door of coding agents serves. No other path can be reached through the gateway."""
MOST_WAITING = 32
"""Calls of the model that may wait: each is a request of the program, or of one of its own agents."""
STOPPED = Failed(ErrorData("cancelled", "the session has stopped this work"), sent=False)


class Held(NamedTuple):
    """An answer that asks for tools, before the program has it."""

    exchange: Exchange
    answer: Completed


class Exchange:
    """One model call of the program. request: as the session's model gets it next. gone: the program does not wait for
    the answer any more. before: what the program has been given of answers whose call was denied; the next answer goes
    on from there."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self._asked = request.messages
        self.answers: asyncio.Queue[ModelEvent] = asyncio.Queue()
        self.gone = False
        self.before: tuple[AssistantPart, ...] = ()

    def give(self, event: ModelEvent) -> None:
        self.answers.put_nowait(event)

    def go_on(self, held: Held, denied: Sequence[ToolMessage]) -> None:
        """Ask the model again, in the same answer, after all calls of `held` were denied. held: of this model call, or
        of the one that it repeats."""
        before, parts = held.exchange.before, held.answer.parts
        messages = (*held.exchange.request.messages, AssistantMessage(parts[len(before) :]), *denied)
        said = tuple(part for part in parts if not isinstance(part, ToolCall))
        gap = (Text("\n\n"),) if said and isinstance(said[-1], Text) else ()
        for event in _deltas(gap if held.exchange is self else (*said, *gap)):
            self.give(event)
        self.request = msgspec.structs.replace(self.request, messages=messages)
        self.before = (*said, *gap)

    def repeats(self, other: Exchange) -> bool:
        """Whether the program asks the same again, since it lost the answer to `other`."""
        return other.gone and self._asked == other._asked

    def result(self, call: str) -> ToolMessage | None:
        """Return the result of a call that the request brings, if it does."""
        for message in reversed(self.request.messages):
            if isinstance(message, ToolMessage) and message.call == call:
                return message
        return None


class Bridge(Whole):
    """The model of one run of a program. model: the session's own. key: what the program must show. aside: serves a
    call without tools, such as one for a title, which is no step of the session."""

    def __init__(
        self, model: Callable[[], Model], key: str, aside: Callable[[Request], AsyncGenerator[ModelEvent]]
    ) -> None:
        self._model, self.key, self._aside = model, key, aside
        self.waiting: deque[Exchange] = deque()
        self.changed = asyncio.Event()
        self._ended = False

    @property
    def name(self) -> str:
        return self._model().name

    @property
    def profile(self) -> Profile:
        return self._model().profile

    def of(self, request: HttpRequest) -> Model:
        return self

    async def close(self) -> None:
        """Do nothing: the session's model is not the bridge's."""

    def end(self) -> None:
        """Answer nothing any more, also no call that is on its way."""
        self._ended = True
        for exchange in self.waiting:
            exchange.give(STOPPED)
        self.waiting.clear()

    async def stream(self, request: Request) -> AsyncGenerator[ModelEvent]:
        if self._ended:
            yield STOPPED
            return
        if not request.tools:
            async for event in self._aside(request):
                yield event
            return
        if len(self.waiting) >= MOST_WAITING:
            yield Failed(ErrorData("overloaded", "too many model calls wait", retryable=True), sent=False)
            return
        exchange = Exchange(request)
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


def _deltas(parts: Sequence[AssistantPart]) -> Iterator[ModelEvent]:
    """Yield the events by which a model says these parts."""
    for part in parts:
        if isinstance(part, Text):
            yield TextDelta(part.text)
        elif isinstance(part, Thinking):
            if part.text:
                yield ThinkingDelta(part.text)
            if part.signature is not None:
                yield Signed(part.signature, part.origin or "", part.redacted)
