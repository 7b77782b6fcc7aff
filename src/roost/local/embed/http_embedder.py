"""The one `Embedder` over HTTP: a protocol shapes the calls, this class keeps the contract."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Callable

import msgspec

from roost.local.embed.base import Embedding, EmbedFailed, Metering, Use, Vector
from roost.local.embed.batches import Batch, batch_of, batches
from roost.local.embed.vectors import WrongSize, normalised, size_of
from roost.local.embed.wire import EmbedWire
from roost.log.content import ErrorData, Usage
from roost.models.http import HttpClient, HttpFailed, HttpResponse
from roost.models.request import Price
from roost.models.tokens import margin
from roost.models.wire import Endpoint, HttpCall
from roost.models.wire_body import MOST_TOKENS
from roost.routing.clock import Clock, LoopClock, sleep
from roost.routing.retry import Retry

_chance = random.Random().random
"""Its own generator: the program's may be seeded."""


MAX_NUMBERS = 8_192
"""Of a vector whose size is not known: no model is known that has more."""
_DIGITS = 32
"""Bytes of a number in an answer, with the space around it."""
_BESIDE = 1024 * 1024
"""Bytes of what is no vector in an answer."""
MAX_ERROR_BODY = 64 * 1024
_SHORTER = 0.7
"""What stays of a text that the provider finds too long."""
_SHORTEST = 64
"""Characters. A text that is too long for the provider even so fails the job."""
_TOO_MUCH = re.compile(
    r"too (large|long|many)|batch size|at most \d+ (\w+ )?(texts|inputs|requests|items)|maximum (\w+ )*(number|length)",
    re.IGNORECASE,
)


class HttpEmbedder:
    """Keeps the contract of `Embedder`; the failure codes are those of `HttpModel`.

    `model` is its name at the endpoint, `name` the one for people, to which `@SIZE` is added where `size`, the count of
    numbers to ask for, is given. `window`, in tokens, comes before what the protocol knows. `concurrent` calls of one
    job run side by side. A call that fails is tried again by `retry`; one that is too much for the provider is made as
    two, down to a single text, which is then shortened. Every call is charged: what the provider refused costs nothing,
    and what broke off costs what was sent, by an estimate. `client` is shared and stays open when given. The key is
    sent and never shown.
    """

    def __init__(
        self,
        *,
        model: str,
        endpoint: Endpoint,
        wire: EmbedWire,
        name: str | None = None,
        size: int | None = None,
        window: int | None = None,
        price: Price | None = None,
        client: HttpClient | None = None,
        metering: Metering | None = None,
        retry: Retry | None = None,
        clock: Clock | None = None,
        chance: Callable[[], float] = _chance,
        concurrent: int = 4,
    ) -> None:
        self._model, self._wire, self._price, self._metering = model, wire, price, metering
        self._endpoint = endpoint
        self._name = name or model
        self._asked = size
        limits = wire.limits(model)
        self._limits = msgspec.structs.replace(limits, window=window or limits.window)
        self._size = size or self._limits.size
        self._own = client is None
        self._client = client or HttpClient()
        self._retry = retry or Retry()
        self._clock = clock or LoopClock()
        self._chance = chance
        self._concurrent = concurrent

    def __repr__(self) -> str:
        return f"HttpEmbedder(name={self.name!r}, model={self._model!r}, wire={self._wire.name!r})"

    @property
    def name(self) -> str:
        return self._name if self._asked is None else f"{self._name}@{self._asked}"

    @property
    def size(self) -> int | None:
        return self._size

    async def close(self) -> None:
        if self._own:
            await self._client.close()

    async def embed(self, job: Embedding) -> list[Vector]:
        if not job.texts:
            return []
        plan = await asyncio.to_thread(batches, job.texts, self._limits)
        gate = asyncio.Semaphore(self._concurrent)
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._batch(batch, job, gate)) for batch in plan]
        except BaseExceptionGroup as failures:
            raise _first(failures) from None
        vectors = [vector for task in tasks for vector in task.result()]
        if len({len(vector) for vector in vectors}) > 1:
            raise self._failed(ErrorData("malformed", f"{self.name}: its answers have vectors of several sizes"))
        return vectors

    async def _batch(self, batch: Batch, job: Embedding, gate: asyncio.Semaphore) -> list[Vector]:
        try:
            async with gate:
                return await self._tried(batch, job)
        except EmbedFailed as failed:
            if failed.code != "context_overflow":
                raise
            if len(batch.texts) > 1:
                parts = batch.halves()
            elif len(batch.texts[0]) > _SHORTEST:
                text = batch.texts[0]
                parts = (batch_of([text[: int(len(text) * _SHORTER)]]),)
            else:
                raise
        return [vector for part in parts for vector in await self._batch(part, job, gate)]

    async def _tried(self, batch: Batch, job: Embedding) -> list[Vector]:
        latest = self._clock.now() + self._retry.seconds
        failures = 0
        while True:
            try:
                return await self._charged(batch, job)
            except EmbedFailed as failed:
                failures += 1
                pause = self._pause(failed.error, failures, latest)
                if pause is None:
                    raise
            await sleep(self._clock, pause)

    def _pause(self, error: ErrorData, failures: int, latest: float) -> float | None:
        """Return the wait before the next try; None when there is none."""
        rules = self._retry
        if not error.retryable or failures >= rules.tries or (error.retry_after or 0.0) > rules.patience:
            return None
        pause = rules.pause(failures, error.retry_after, self._chance())
        return pause if self._clock.now() + pause <= latest else None

    async def _charged(self, batch: Batch, job: Embedding) -> list[Vector]:
        """One call. What it cost is settled however it ends."""
        most = margin(batch.tokens)
        call = _Call(self._spent(most))
        meter = self._metering and self._metering(self.name, self._price, job)
        if meter is not None:
            await meter.reserve(most)
        try:
            return await self._called(batch, job.use, call)
        finally:
            if call.sent and job.bill is not None:
                job.bill.add(self.name, call.usage, estimated=call.estimated)
            if meter is not None:
                await meter.settle(call.usage if call.sent else Usage(cost=0))

    async def _called(self, batch: Batch, use: Use, call: _Call) -> list[Vector]:
        asked = self._wire.call(batch.texts, use, self._model, self._asked, self._endpoint)
        body = await self._body(asked, call, len(batch.texts))
        try:
            vectors, tokens = await asyncio.to_thread(self._read, body, len(batch.texts))
        except WrongSize as error:
            raise self._failed(ErrorData("unsupported", f"{self.name}: {error}; ask for that size")) from error
        except (ValueError, RecursionError) as error:
            code = "malformed" if body.strip() else "empty"
            raise self._failed(ErrorData(code, f"{self.name}: the answer is not usable: {error}", True)) from error
        self._size = size_of(vectors[0])
        if tokens is not None and 0 <= tokens <= MOST_TOKENS:
            call.usage, call.estimated = self._spent(tokens), False
        return vectors

    def _room(self, count: int) -> int:
        """Bytes that an answer with so many vectors may have: what is read into numbers takes as much memory again."""
        return count * (self._size or MAX_NUMBERS) * _DIGITS + _BESIDE

    async def _body(self, asked: HttpCall, call: _Call, count: int) -> bytes:
        headers = {"Content-Type": "application/json", **asked.headers, **self._endpoint.headers}
        idle = self._endpoint.idle_timeout
        call.sent = True
        try:
            async with self._client.stream(
                asked.method, asked.url, headers, asked.body, idle_timeout=idle, ca=self._endpoint.ca
            ) as response:
                if 200 <= response.status < 300:
                    return await response.read_all(self._room(count) + 1)
                call.sent = False
                raise self._failed(await self._refused(response))
        except HttpFailed as error:
            call.sent = call.sent and not error.unsent
            raise self._failed(ErrorData(error.code, f"{self.name}: {error.message}", error.retryable)) from error

    def _read(self, body: bytes, count: int) -> tuple[list[Vector], int | None]:
        if len(body) > (room := self._room(count)):
            raise ValueError(f"it has more than {room} bytes")
        answer = self._wire.read(body)
        return normalised(answer.rows, count, self._size), answer.tokens

    async def _refused(self, response: HttpResponse) -> ErrorData:
        try:
            body = await response.read_all(MAX_ERROR_BODY)
        except HttpFailed:
            body = b""
        error = self._wire.refused(response.status, response.headers, body, where=self.name)
        if response.status in (400, 413, 422, 500) and _TOO_MUCH.search(error.message):
            return ErrorData("context_overflow", error.message)
        return error

    def _failed(self, error: ErrorData) -> EmbedFailed:
        return EmbedFailed(msgspec.structs.replace(error, message=self._endpoint.hide(error.message)))

    def _spent(self, tokens: int) -> Usage:
        usage = Usage(input=tokens)
        cost = None if self._price is None else self._price.cost(usage)
        return msgspec.structs.replace(usage, cost=cost)


class _Call:
    """`usage` counts where the call was `sent` and not refused; it is an estimate until the provider has said."""

    def __init__(self, usage: Usage) -> None:
        self.usage = usage
        self.sent = False
        self.estimated = True


def _first(failures: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the failure that ended the other calls."""
    failure = failures.exceptions[0]
    return _first(failure) if isinstance(failure, BaseExceptionGroup) else failure  # pyright: ignore[reportUnknownArgumentType]
