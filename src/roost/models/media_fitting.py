"""Check media against what a model accepts, and convert them to fit, before anything is sent."""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import AsyncGenerator, AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec

from roost.log.content import ErrorData, Message
from roost.models.http_model import HttpModel
from roost.models.media.fit_part import Unfit, Verdicts
from roost.models.media.limits import NO_LIMITS, MediaLimits
from roost.models.media.plan import MEDIA, has_media, planned
from roost.models.model_wrapper import ModelWrapper, events
from roost.models.request import Failed, Model, ModelEvent, Notice, Request
from roost.models.wires import WIRES
from roost.models.wires import wire as make_wire

INLINE = 64 * 1024
"""Characters of media up to which a request is checked in the event loop; larger ones are checked in a thread."""
_WORKERS = 2
"""Threads that decode pictures; each may use a few hundred megabytes."""
_log = logging.getLogger("roost.models")


@functools.cache
def _workers() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_WORKERS, thread_name_prefix="roost-media")


@functools.cache
def _shared() -> Verdicts:
    return Verdicts()


class Fitting(ModelWrapper):
    """Passes only media on to `inner` that it accepts, by its profile and its protocol's limits (`Wire.media`).

    Media that do not fit are converted if possible: a picture is scaled, turned upright and written in another format,
    a wrong media type is corrected, a text file becomes text. URLs are sent only if the provider fetches them; nothing
    is fetched here.

    Media that cannot be converted fail the call if they are in the user's newest messages of this turn, because the
    sender can send others: `unsupported` if another model may accept them, `bad_request` if none can (no data, no
    base64, content of another type). Elsewhere a short note with the reason replaces them: for older media, so that a
    conversation can continue with a text-only model, and for tool results, because the model can act on the note and
    the result cannot be sent again. If media are too many or too large together, the oldest are replaced first.

    A notice `media` with `changes` (`part`, `how`, `why`) reports changes: of the newest message with every call, of
    older ones once a turn. A request without media costs one pass over its parts.
    """

    def __init__(self, inner: Model, *, verdicts: Verdicts | None = None) -> None:
        super().__init__(inner)
        self._limits = _limits_of(inner)
        self._verdicts = verdicts

    def stream(self, request: Request) -> AsyncIterator[ModelEvent]:
        return self._fitted(request) if has_media(request.messages) else self.inner.stream(request)

    async def _fitted(self, request: Request) -> AsyncGenerator[ModelEvent]:
        try:
            messages, changes = await self._plan(request)
        except Unfit as error:
            yield Failed(ErrorData(error.code, f"{self.name} cannot be sent {error}{_hint(error.code)}"), sent=False)
            return
        except Exception as error:  # the contract: a stream ends in `Failed`, it does not raise
            _log.exception("model %s: its media could not be looked at", self.name)
            what = type(error).__name__
            yield Failed(ErrorData("internal", f"{self.name}: the media could not be looked at: {what}"), sent=False)
            return
        if changes:
            yield Notice("media", {"changes": changes})
        async with events(self.inner, msgspec.structs.replace(request, messages=messages)) as stream:
            async for event in stream:
                yield event

    async def _plan(self, request: Request) -> tuple[tuple[Message, ...], list[dict[str, Any]]]:
        verdicts, limits = self._verdicts or _shared(), self._limits.of(self.profile)
        parts = (part for message in request.messages for part in message.parts)
        if sum(len(part.data) for part in parts if isinstance(part, MEDIA)) <= INLINE:
            return planned(request.messages, limits, verdicts, request.since)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(_workers(), planned, request.messages, limits, verdicts, request.since)


def _limits_of(model: Model) -> MediaLimits:
    while isinstance(model, ModelWrapper):
        model = model.inner
    if isinstance(model, HttpModel):
        return model.wire.media
    name = model.profile.wire
    return make_wire(name).media if name in WIRES else NO_LIMITS


def _hint(code: str) -> str:
    return ". Send another one, or choose a model that takes it" if code == "unsupported" else ""
