"""Gateway mode: one model call, without loop, session or log. Roost gives the account, the ledger, limits, breakers and
routing. A client that goes away ends the call."""

from __future__ import annotations

import asyncio
import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

from starlette.types import Send

from roost.authority import current, user_named
from roost.doors.failures import of_model
from roost.doors.whole_reply import WholeReply
from roost.log.content import AssistantPart, ErrorData, Text
from roost.models.model_wrapper import events
from roost.models.request import (
    Completed,
    Failed,
    Model,
    ModelEvent,
    Notice,
    Progress,
    Request,
    Signed,
    TextDelta,
    ThinkingDelta,
)
from roost.server.app_state import Api
from roost.server.problems import Problem
from roost.server.responses import Header, Reply
from roost.server.stream import PING_SECONDS, Stream

STREAM_HEADERS: list[Header] = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
]
HEAD_SECONDS = 30.0
"""Seconds that a client waits for the head of a stream. Clients and proxies give up after one to five minutes."""
_SILENT = ErrorData("malformed", "the model's answer has no end")


def model_header(model: Model) -> Header:
    """Return the header that says which model a name meant."""
    printable = "".join(letter if letter.isprintable() else "?" for letter in model.name)  # a client may have chosen it
    return b"roost-model", printable.encode("ascii", "replace")


class StreamedAnswer(ABC):
    """Encodes a model's answer as the chunks of a stream."""

    ping: bytes

    @abstractmethod
    def begin(self) -> bytes: ...

    @abstractmethod
    def text(self, text: str) -> bytes: ...

    @abstractmethod
    def thinking(self, text: str) -> bytes: ...

    def signed(self, event: Signed) -> bytes:
        """Encode the signature of the reasoning before it."""
        return b""

    def restart(self, *, held: bool) -> bytes:
        """The answer begins anew. held: text was sent, which cannot be taken back: nothing more is sent before
        `end`."""
        return b""

    @abstractmethod
    def end(self, done: Completed, rest: str) -> bytes:
        """Encode what was not sent of a complete answer, and its end. rest: of its text."""

    def failure(self, error: ErrorData) -> bytes | None:
        """Encode a failure that is an answer by this protocol; None for others."""
        return None

    @abstractmethod
    def last(self, problem: Problem | None) -> bytes: ...


class GatewayStream(Stream):
    """The answer of a model as a stream. Its head waits `HEAD_SECONDS` for the first event, so that a call that is
    refused has the status of its error."""

    def __init__(
        self,
        api: Api,
        model: Model,
        request: Request,
        answer: StreamedAnswer,
        refusal: Callable[[Problem, list[Header]], Reply],
        headers: Sequence[Header] = (),
    ) -> None:
        super().__init__(api, "(gateway)", api.streams, lambda problem: refusal(problem, [*headers, *self._retry]))
        self.headers = [*STREAM_HEADERS, *headers]
        self._model, self._request, self._answer = model, request, answer
        self._retry: list[Header] = []
        self._texts: list[str] = []
        self._held = False
        self._given = 0.0
        self._writing = asyncio.Lock()

    async def give(self, send: Send, chunk: bytes) -> None:
        async with self._writing:
            await super().give(send, chunk)
        self._given = asyncio.get_running_loop().time()

    async def pump(self, send: Send) -> Problem | None:
        pinging = asyncio.create_task(self._ping(send))
        try:
            return await self._answered(send)
        finally:
            pinging.cancel()

    def last(self, problem: Problem | None) -> bytes:
        return self._answer.last(problem)

    async def _ping(self, send: Send) -> None:
        """Give signs of life while the model says nothing that is sent."""
        with contextlib.suppress(OSError):  # `pump` notices that the client has gone
            self._given = asyncio.get_running_loop().time()
            while True:
                await asyncio.sleep(PING_SECONDS / 2)
                silent = asyncio.get_running_loop().time() - self._given
                if not self._begun and silent >= HEAD_SECONDS:
                    await self.give(send, self._answer.begin() + self._answer.ping)
                elif self._begun and self._giving is None and silent >= PING_SECONDS / 2:
                    await self.give(send, self._answer.ping)

    async def _answered(self, send: Send) -> Problem | None:
        end: ErrorData = _SILENT
        async with events(self._model, self._request) as stream:
            async for event in stream:
                if isinstance(event, Failed):
                    end = event.error
                    break
                if isinstance(event, Notice) and not self._begun:
                    continue
                begun = b"" if self._begun else self._answer.begin()
                if chunk := begun + self._chunk(event):
                    await self.give(send, chunk)
                if isinstance(event, Completed):
                    return None
        begun = b"" if self._begun else self._answer.begin()
        if (said := self._answer.failure(end)) is not None:
            await self.give(send, begun + said)
            return None
        self._retry = retry_after(end)
        return of_model(end.code, end.message)

    def _chunk(self, event: ModelEvent) -> bytes:
        match event:
            case TextDelta() if not self._held:
                self._texts.append(event.text)
                return self._answer.text(event.text)
            case ThinkingDelta() if not self._held:
                return self._answer.thinking(event.text)
            case Signed() if not self._held:
                return self._answer.signed(event)
            case Completed():
                sent, whole = "".join(self._texts), text_of(event.parts)
                rest = whole[len(sent) :] if whole.startswith(sent) else "\n\n" + whole
                return self._answer.end(event, rest)
            case Notice(kind="restart"):
                self._held = bool(self._texts)
                return self._answer.restart(held=self._held)
            case Progress():
                return self._answer.ping
            case _:
                return b""


def whole_answer(
    api: Api,
    model: Model,
    request: Request,
    reply: Callable[[Completed], Reply],
    refusal: Callable[[Problem, list[Header]], Reply],
    failure: Callable[[ErrorData], Reply | None] = lambda error: None,
) -> WholeReply:
    """Return the answer of a model as one response. failure: makes the response of a failure that is an answer by the
    protocol; None for others."""

    async def work() -> Reply:
        end: ErrorData = _SILENT
        async with events(model, request) as stream:
            async for event in stream:
                if isinstance(event, Completed):
                    return reply(event)
                if isinstance(event, Failed):
                    end = event.error
                    break
        return failure(end) or refusal(of_model(end.code, end.message), retry_after(end))

    return WholeReply(api, work, lambda problem: refusal(problem, []))


def retry_after(error: ErrorData) -> list[Header]:
    seconds = error.retry_after
    return [] if seconds is None else [(b"retry-after", b"%d" % max(1, -int(-seconds // 1)))]


def text_of(parts: Sequence[AssistantPart]) -> str:
    return "".join(part.text for part in parts if isinstance(part, Text))


def meta_of(user: str | None) -> dict[str, str]:
    """Return the metadata of a call of a model for a user that the client names."""
    who = current()
    return {"user": user_named(user, who.account if who.confined else None)} if user else {}
