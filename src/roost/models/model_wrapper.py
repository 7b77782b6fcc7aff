"""Base of every model that wraps another."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import cast

from roost.models.request import CallDelta, Model, ModelEvent, Profile, Request, Signed, TextDelta, ThinkingDelta

_DELTAS = (TextDelta, ThinkingDelta, CallDelta)


class ModelWrapper:
    """Forwards name, profile and `close` to `inner`. A subclass defines `stream`."""

    def __init__(self, inner: Model) -> None:
        self.inner = inner

    @property
    def name(self) -> str:
        return self.inner.name

    @property
    def profile(self) -> Profile:
        return self.inner.profile

    async def close(self) -> None:
        await self.inner.close()


class Whole:
    """Marks a model that needs no wrappers, because it only calls models that have them."""


def events(model: Model, request: Request) -> aclosing[AsyncGenerator[ModelEvent]]:
    """Return the stream of `model`, closed at the end of the block."""
    return aclosing(cast("AsyncGenerator[ModelEvent]", model.stream(request)))


def is_delta(event: ModelEvent) -> bool:
    """Whether this event shows a part of the answer to a person."""
    return isinstance(event, _DELTAS)


def is_shown(event: ModelEvent) -> bool:
    """Whether an event is a part of the answer that a reader may have been given: a retry after it is a restart."""
    return isinstance(event, (*_DELTAS, Signed))
