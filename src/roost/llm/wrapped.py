"""What every model around a model has in common."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any, cast

from roost.llm.ir import CallDelta, Completed, Failed, Model, ModelEvent, Profile, Request, TextDelta, ThinkingDelta
from roost.log.content import ErrorData


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


async def events(model: Model, request: Request) -> AsyncGenerator[ModelEvent]:
    """The stream of `model`, which is closed with this one, and has an end even if the model's has none."""
    stream = model.stream(request)
    try:
        async for event in stream:
            yield event
            if is_end(event):
                return
        yield Failed(ErrorData("malformed", f"{model.name}: the stream ended without an outcome", True))
    finally:
        if hasattr(stream, "aclose"):
            await cast("Any", stream).aclose()


def is_end(event: ModelEvent) -> bool:
    return isinstance(event, Completed | Failed)


def is_delta(event: ModelEvent) -> bool:
    """Whether a person has seen something of the answer."""
    return isinstance(event, TextDelta | ThinkingDelta | CallDelta)
