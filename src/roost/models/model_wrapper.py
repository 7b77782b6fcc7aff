"""What every model around a model has in common."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import cast

from roost.models.request import CallDelta, Model, ModelEvent, Profile, Request, TextDelta, ThinkingDelta

_DELTAS = (TextDelta, ThinkingDelta, CallDelta)


class Wrapped:
    """Has the name and the profile of `inner`, and closes it. Whoever derives writes `stream`."""

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
    """Marks a model that needs nothing around it: it only asks models which have all of that."""


def events(model: Model, request: Request) -> aclosing[AsyncGenerator[ModelEvent]]:
    """The stream of `model`, which is closed at the end of the block."""
    return aclosing(cast("AsyncGenerator[ModelEvent]", model.stream(request)))


def is_delta(event: ModelEvent) -> bool:
    """Whether a person has seen something of the answer."""
    return isinstance(event, _DELTAS)
