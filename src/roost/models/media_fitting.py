"""Media are checked against what a model takes, and made to fit, before a byte is sent."""

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
from roost.models.media.limits import limits_of
from roost.models.media.plan import MEDIA, has_media, planned
from roost.models.model_wrapper import Wrapped, events
from roost.models.request import Failed, Model, ModelEvent, Notice, Request

INLINE = 64 * 1024
"""Characters of media up to which a request is looked at in the event loop; with more it goes into a thread."""
_WORKERS = 2
"""Threads that decode pictures: each may hold a few hundred megabytes."""
_log = logging.getLogger("roost.models")


@functools.cache
def _workers() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_WORKERS, thread_name_prefix="roost-media")


@functools.cache
def _shared() -> Verdicts:
    return Verdicts()


class Fitting(Wrapped):
    """Sends `inner` only media that it takes, by its profile and by the limits of its protocol (`limits_of`).

    What does not fit and can be made to is: a picture is scaled, turned upright and written in another format, a wrong
    media type is corrected, a file that is text becomes text. URLs go only where the provider fetches them; nothing is
    fetched here.

    What cannot be made to fit fails the call where the user's newest messages of this turn hold it, because the sender
    can send another: `unsupported` where another model may take it, `bad_request` where none could (no data, no base64,
    not what it says). Anything else becomes a short note that says why: older media, so that a conversation goes on
    with a model for text alone, and what tools showed, because the model can act on the note and nobody can take the
    result back. Where there are too many or too large media together, the oldest become notes first.

    A notice `media` with `changes` (`part`, `how`, `why`) tells what was changed: of the newest message with every
    call, of older ones once a turn. A request without media costs one look at its parts.
    """

    def __init__(self, inner: Model, *, verdicts: Verdicts | None = None) -> None:
        super().__init__(inner)
        self._wire = _wire_of(inner)
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
        verdicts, limits = self._verdicts or _shared(), limits_of(self._wire, self.profile)
        parts = (part for message in request.messages for part in message.parts)
        if sum(len(part.data) for part in parts if isinstance(part, MEDIA)) <= INLINE:
            return planned(request.messages, limits, verdicts, request.since)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(_workers(), planned, request.messages, limits, verdicts, request.since)


def _wire_of(model: Model) -> str | None:
    while isinstance(model, Wrapped):
        model = model.inner
    return model.wire if isinstance(model, HttpModel) else None


def _hint(code: str) -> str:
    return ". Send another one, or choose a model that takes it" if code == "unsupported" else ""
