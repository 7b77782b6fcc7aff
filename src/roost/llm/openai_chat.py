"""The OpenAI chat completions wire: any server that speaks it, by its base URL."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping

from roost.errors import RoostError
from roost.llm.http import HttpClient, HttpFailed, HttpResponse
from roost.llm.ir import Completed, Failed, ModelEvent, Profile, Request
from roost.llm.openai_answer import Answer
from roost.llm.openai_errors import http_error
from roost.llm.openai_request import Quirks, compile_request
from roost.llm.sse import SSEEvent, SSEParser
from roost.log.content import AssistantMessage, ErrorData

MAX_ANSWER = 64 * 1024 * 1024
"""Bytes of one answer on the wire."""
MAX_ERROR_BODY = 64 * 1024
TAIL_SECONDS = 10.0
"""How long a finished answer waits for its token counts."""
DRAIN_SECONDS = 0.2
"""How long a complete answer waits for the end of its body, so that the connection can be used again."""

_log = logging.getLogger("roost.llm")


class OpenAIChat:
    """A model behind an OpenAI-compatible server. Keeps the contract of `Model`.

    Failure codes: `auth`, `quota`, `rate_limited`, `overloaded`, `bad_request`, `context_overflow`, `refused`,
    `connection`, `timeout`, `malformed`, `empty`, `internal`. `client` is shared and stays open when given; without one
    the model makes and closes its own. The key is sent and never shown.
    """

    def __init__(
        self,
        *,
        model: str,
        base_url: str,
        name: str | None = None,
        key: str | None = None,
        profile: Profile | None = None,
        quirks: Quirks | None = None,
        headers: Mapping[str, str] | None = None,
        client: HttpClient | None = None,
        idle_timeout: float | None = None,
    ) -> None:
        self._name = name or model
        self._model = model
        self._base_url = base_url.rstrip("/")
        self._key = key
        self._profile = profile or Profile()
        self._quirks = quirks or Quirks()
        self._headers = dict(headers or {})
        self._own = client is None
        self._client = client or HttpClient()
        self._idle_timeout = idle_timeout

    def __repr__(self) -> str:
        return f"OpenAIChat(name={self._name!r}, model={self._model!r}, base_url={self._base_url!r})"

    @property
    def name(self) -> str:
        return self._name

    @property
    def profile(self) -> Profile:
        return self._profile

    async def close(self) -> None:
        if self._own:
            await self._client.close()

    async def stream(self, request: Request) -> AsyncIterator[ModelEvent]:
        taken = (c.id for m in request.messages if isinstance(m, AssistantMessage) for c in m.calls)
        answer = Answer(where=self._name, price=self._profile.price, taken=taken)
        try:
            body = compile_request(request, self._model, self._profile, self._quirks)
            url = f"{self._base_url}/chat/completions"
            async with self._client.stream_post(
                url, self._sent_headers(), body, idle_timeout=self._idle_timeout
            ) as response:
                if not 200 <= response.status < 300:
                    yield await self._refused(response)
                    return
                frames = _Frames(response, answer)
                while (events := await frames.read()) is not None:
                    for event in events:
                        yield event
            yield self._hide(answer.end())
        except HttpFailed as error:
            yield self._broken(error, answer)
        except Exception as error:  # the contract: a stream ends in `Failed`, it does not raise
            _log.exception("model %s: unexpected failure", self._name)
            said = str(error) if isinstance(error, RoostError) else type(error).__name__
            yield self._hide(Failed(ErrorData("internal", f"{self._name}: unexpected failure: {said}")))

    def _sent_headers(self) -> dict[str, str]:
        key = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        return {"Accept": "text/event-stream", **key, **self._headers}

    async def _refused(self, response: HttpResponse) -> ModelEvent:
        try:
            body = await response.read_all(MAX_ERROR_BODY)
        except HttpFailed:
            body = b""
        return self._hide(Failed(http_error(response.status, response.headers, body, where=self._name)))

    def _broken(self, error: HttpFailed, answer: Answer) -> ModelEvent:
        if answer.finished:
            # The whole answer came; only the count of its tokens was lost.
            return self._hide(answer.end())
        return self._hide(Failed(ErrorData(error.code, f"{self._name}: {error.message}", error.retryable)))

    def _hide(self, event: Completed | Failed) -> Completed | Failed:
        if isinstance(event, Failed) and self._key and self._key in event.error.message:
            error = event.error
            message = error.message.replace(self._key, "[key]")
            return Failed(ErrorData(error.code, message, error.retryable, error.retry_after))
        return event


class _Frames:
    """The deltas of a body, streamed or sent as one JSON document. A class, so that nothing waits to be closed."""

    def __init__(self, response: HttpResponse, answer: Answer) -> None:
        self._response = response
        self._answer = answer
        self._parser = SSEParser()
        self._whole: list[bytes] | None = None
        self._size = 0
        self._started = False
        self._framed = False
        self._over = False

    async def read(self) -> list[ModelEvent] | None:
        """The next deltas, maybe none; None when the answer is over."""
        if self._over:
            return None
        data = await self._next_bytes()
        self._size += len(data)
        if self._size > MAX_ANSWER:
            return self._fail("malformed", f"sent more than {MAX_ANSWER} bytes")
        if not data:
            return self._end()
        if not self._started and (head := data.lstrip()):
            self._started = True
            self._whole = [] if head.startswith(b"{") else None
        if self._whole is not None:
            self._whole.append(data)
            return []
        events = self._take(self._parser.feed(data))
        if self._over and self._answer.error is None:
            await self._drain()
        return events

    async def _next_bytes(self) -> bytes:
        if not self._answer.finished:
            return await self._response.read()
        try:
            async with asyncio.timeout(TAIL_SECONDS):
                return await self._response.read()
        except TimeoutError:
            return b""

    def _take(self, frames: list[SSEEvent]) -> list[ModelEvent]:
        events: list[ModelEvent] = []
        for frame in frames:
            self._framed = True
            self._over = self._over or frame.data.strip() == b"[DONE]"
            if not self._over:
                events += self._answer.feed(frame.data)
                self._over = self._answer.error is not None
        return events

    def _end(self) -> list[ModelEvent]:
        if self._whole is not None:
            events = self._take([SSEEvent(b"".join(self._whole))])
        else:
            events = self._take(self._parser.finish())
        self._over = True
        if not self._started:
            return self._fail("empty", "gave an empty body")
        if not self._framed:
            kind = self._response.headers.get("Content-Type", "no content type")
            return self._fail("malformed", f"answered with {kind}, not with an event stream; check the base URL")
        return events

    def _fail(self, code: str, what: str) -> list[ModelEvent]:
        self._over = True
        self._answer.error = ErrorData(code, f"the server {what}", True)
        return []

    async def _drain(self) -> None:
        try:
            async with asyncio.timeout(DRAIN_SECONDS):
                await self._response.read()
        except (TimeoutError, HttpFailed):
            pass
