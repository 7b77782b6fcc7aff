"""The one `Model` over HTTP. A compiler shapes the prompt, a wire speaks the protocol, this class keeps the
contract."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator

import msgspec

from roost.errors import ConfigError, RoostError
from roost.log.content import ErrorData, Usage
from roost.models.compile import compiler as find_compiler
from roost.models.framing import Framing, is_document, parser_of
from roost.models.hooks import AccountHooks
from roost.models.http import OVERSIZED, HttpClient, HttpFailed, HttpResponse
from roost.models.key_helpers import Helper
from roost.models.limit_headers import HEARD, about_limits
from roost.models.prompt import Compiler, Prompt
from roost.models.request import Failed, ModelEvent, Notice, Profile, Request
from roost.models.wire import Answer, Endpoint, HttpCall, Wire
from roost.models.wire_body import clean
from roost.models.wires.errors import body_error

MAX_ANSWER = 64 * 1024 * 1024
"""Limit of one answer on the wire, in bytes."""
MAX_ERROR_BODY = 64 * 1024
TAIL_SECONDS = 10.0
"""How long a finished answer waits for its token counts."""
DRAIN_SECONDS = 0.2
"""How long a complete answer waits for the end of its body, so that the connection can be reused."""
FOLLOW_TRIES = 5
"""How often the calls that fetch an asynchronous answer may fail. Submitting the request again would be paid for
twice."""
FREE = Usage(cost=0)
"""Usage of a call that was rejected, or never reached the server."""

_log = logging.getLogger("roost.models")


class HttpModel:
    """A model behind an endpoint. Keeps the contract of `Model`.

    Failure codes: `auth`, `quota`, `rate_limited`, `overloaded`, `bad_request`, `context_overflow`, `refused`,
    `connection`, `timeout`, `malformed`, `empty`, `oversized`, `unsupported`, `internal`.

    model: its name at the endpoint. name: its name for people. compiler: None takes that of the profile's family.
    client: shared and left open if given; otherwise the model creates and closes its own. The key is sent and never
    shown. hooks: the account's. Raises `ConfigError` for an unknown family.
    """

    def __init__(
        self,
        *,
        model: str,
        endpoint: Endpoint,
        wire: Wire,
        compiler: Compiler | None = None,
        profile: Profile | None = None,
        name: str | None = None,
        client: HttpClient | None = None,
        hooks: AccountHooks | None = None,
    ) -> None:
        self._name = name or model
        self._hooks = hooks or AccountHooks()
        self._model = model
        self._endpoint = endpoint
        self._wire = wire
        self._profile = profile or Profile()
        self._compiler = compiler or find_compiler(self._profile.family)
        self._own = client is None
        self._client = client or HttpClient()

    def __repr__(self) -> str:
        wire, url = self._wire.name, self._endpoint.base_url
        return f"HttpModel(name={self._name!r}, model={self._model!r}, wire={wire!r}, base_url={url!r})"

    @property
    def name(self) -> str:
        return self._name

    @property
    def profile(self) -> Profile:
        return self._profile

    @property
    def wire(self) -> Wire:
        return self._wire

    async def close(self) -> None:
        if self._own:
            await self._client.close()

    def stream(self, request: Request) -> AsyncGenerator[ModelEvent]:
        return self._attempt(request) if self._hooks.helper is None else self._with_helper(request, self._hooks.helper)

    async def _with_helper(self, request: Request, helper: Helper) -> AsyncGenerator[ModelEvent]:
        """Retry once with a new key when the server refuses a key that the key helper had given earlier."""
        for last in (False, True):
            used = helper.used
            async with contextlib.aclosing(self._attempt(request)) as events:
                async for event in events:
                    if not last and isinstance(event, Failed) and event.error.code == "auth" and helper.expire(used):
                        break
                    yield event
                else:
                    return

    async def _attempt(self, request: Request) -> AsyncGenerator[ModelEvent]:
        answer: Answer | None = None
        ends: list[ModelEvent]
        turned_away: Usage | None = FREE
        tries, sent = FOLLOW_TRIES, False
        endpoint = self._endpoint
        try:
            prompt = self._compiler.compile(request, self._profile)
            endpoint = await self._endpoint_now()
            answer = self._wire.answer(prompt, self._profile, where=self._name, model=self._model, endpoint=endpoint)
            first = call = self._call(prompt, endpoint, stream=request.stream)
            sent = True
            while True:
                try:
                    async with self._client.stream(
                        call.method,
                        call.url,
                        self._headers(call),
                        call.body,
                        idle_timeout=self._endpoint.idle_timeout,
                        ca=self._endpoint.ca,
                    ) as response:
                        if limits := about_limits(response.headers):
                            yield Notice(HEARD, limits)
                        await self._look(response, turned_away)
                        framing = self._wire.framing
                        frames = _Frames(response, answer, self._name, self._hooks, request, framing)
                        while (events := await frames.read()) is not None:
                            for event in events:
                                yield event
                except (HttpFailed, _Refused) as error:
                    if call is first or not error.retryable or not tries:
                        raise
                    tries -= 1
                if answer.error is not None or (follow := answer.follow) is None:
                    break
                turned_away = None
                await asyncio.sleep(follow.after)
                call = follow.behind(first)
            ends = self._ended(answer)
        except _Refused as error:
            ends = [error.failed]
        except HttpFailed as error:
            ends = self._broken(error, answer, turned_away if error.unsent else None)
        except Exception as error:  # the contract: a stream ends in `Failed`, it does not raise
            _log.exception("model %s: unexpected failure", self._name)
            reason = str(error) if isinstance(error, RoostError) else type(error).__name__
            ends = [Failed(ErrorData("internal", f"{self._name}: unexpected failure: {reason}"), sent=sent)]
        for event in ends:
            yield _hidden(event, endpoint) if isinstance(event, Failed) else event

    async def _endpoint_now(self) -> Endpoint:
        try:
            return await self._hooks.endpoint(self._endpoint)
        except ConfigError as error:
            raise self._unset(error) from error

    def _call(self, prompt: Prompt, endpoint: Endpoint, *, stream: bool) -> HttpCall:
        call = self._wire.call(prompt, self._model, self._profile, endpoint, stream=stream)
        try:
            return self._hooks.request(call, model=self._model, stream=stream)
        except ConfigError as error:
            raise self._unset(error) from error

    def _unset(self, error: ConfigError) -> _Refused:
        return _Refused(Failed(ErrorData("auth", f"{self._name}: {error.message}"), sent=False))

    def _headers(self, call: HttpCall) -> dict[str, str]:
        kind = {} if call.body is None else {"Content-Type": "application/json"}
        return {**kind, **call.headers, **self._endpoint.headers}

    async def _look(self, response: HttpResponse, usage: Usage | None) -> None:
        """Check the status. Raises `_Refused` for anything but 2xx."""
        if 200 <= response.status < 300:
            return
        try:
            body = await response.read_all(MAX_ERROR_BODY)
        except HttpFailed:
            body = b""
        error = self._wire.refused(response.status, response.headers, body, where=self._name)
        raise _Refused(Failed(error, usage))

    def _ended(self, answer: Answer) -> list[ModelEvent]:
        return [*answer.rest(), answer.end()]

    def _broken(self, error: HttpFailed, answer: Answer | None, usage: Usage | None) -> list[ModelEvent]:
        if answer is not None and answer.finished:
            # The answer is complete; only its token count was lost.
            return self._ended(answer)
        failure = ErrorData(error.code, f"{self._name}: {error.message}", error.retryable)
        return [Failed(failure, usage)]


def _hidden(failed: Failed, endpoint: Endpoint) -> Failed:
    """Return the failure without the key, and without lone surrogates of the server's text, which no log can store."""
    message = endpoint.hide(clean(failed.error.message))
    return msgspec.structs.replace(failed, error=msgspec.structs.replace(failed.error, message=message))


class _Refused(Exception):
    def __init__(self, failed: Failed) -> None:
        super().__init__(failed.error.message)
        self.failed = failed
        self.retryable = failed.error.retryable


class _Frames:
    """Reads the deltas of a body, streamed or one JSON document. A class and not a generator, so that nothing must be
    closed."""

    def __init__(
        self,
        response: HttpResponse,
        answer: Answer,
        where: str,
        hooks: AccountHooks,
        request: Request,
        framing: Framing,
    ) -> None:
        self._response = response
        self._named = request.named
        self._stream = request.stream
        self._framing: Framing = framing
        self._hooks = hooks
        self._where = where
        self._answer = answer
        self._parser = parser_of(framing)
        self._whole: list[bytes] | None = None
        self._size = 0
        self._started = False
        self._framed = False
        self._over = False

    async def read(self) -> list[ModelEvent] | None:
        """Return the next deltas, possibly none; None at the end of the body."""
        if self._over:
            return None
        data = await self._next_bytes()
        self._size += len(data)
        if self._size > MAX_ANSWER:
            what = f"sent more than {MAX_ANSWER >> 20} MiB: the answer has no end, and is not asked for again"
            return self._fail(OVERSIZED, what, retryable=False)
        if not data:
            return self._end()
        if not self._started and (head := data.lstrip()):
            self._started = True
            kind = self._response.headers.get("Content-Type", "")
            self._whole = [] if is_document(self._framing, head, kind, stream=self._stream) else None
        if self._whole is not None:
            self._whole.append(data)
            return []
        events = self._take(data)
        if self._named is not None and (id := getattr(self._answer, "id", None)):
            self._named(id)
            self._named = None
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

    def _take(self, data: bytes | None) -> list[ModelEvent]:
        answer = self._answer
        events: list[ModelEvent] = []
        for frame in self._parser.finish() if data is None else self._parser.feed(data):
            self._framed = True
            frame = self._hooks.frame(frame)
            events += answer.feed(frame)
            if frame.event == b"error" and not answer.finished and answer.error is None:
                answer.error = body_error(frame.data, where=self._where) or ErrorData(
                    "overloaded", f"{self._where} broke off: {frame.data[:300].decode('utf-8', 'replace')}", True
                )
            if answer.over or answer.error is not None:
                self._over = True
                break
        return events

    def _end(self) -> list[ModelEvent]:
        events = self._take(None) if self._whole is None else self._document(b"".join(self._whole))
        self._over = True
        if not self._started:
            return self._fail("empty", "gave an empty body")
        if not self._framed and self._whole is None:
            kind = self._response.headers.get("Content-Type", "no content type")
            return self._fail("malformed", f"answered with {kind}, not with an event stream; check the base URL")
        return events

    def _document(self, body: bytes) -> list[ModelEvent]:
        answer = self._answer
        events = answer.whole(body)
        if not answer.finished and answer.follow is None and answer.error is None:
            answer.error = body_error(body, where=self._where)
        return events

    def _fail(self, code: str, what: str, *, retryable: bool = True) -> list[ModelEvent]:
        self._over = True
        self._answer.error = ErrorData(code, f"{self._where}: the server {what}", retryable)
        return []

    async def _drain(self) -> None:
        try:
            async with asyncio.timeout(DRAIN_SECONDS):
                await self._response.read()
        except (TimeoutError, HttpFailed):
            pass
