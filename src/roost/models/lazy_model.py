"""A model whose construction may block: the first call constructs it in a thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable

from roost.errors import RoostError
from roost.log.content import ErrorData
from roost.models.model_wrapper import events
from roost.models.request import Failed, Model, ModelEvent, Profile, Request


class LazyModel:
    """make: constructs the model. When it raises `RoostError`, the call fails as `auth` and the next call tries
    again."""

    def __init__(self, name: str, profile: Profile, make: Callable[[], Model]) -> None:
        self._name, self._profile = name, profile
        self._make = make
        self._model: Model | None = None
        self._lock = threading.Lock()

    @property
    def name(self) -> str:
        return self._name

    @property
    def profile(self) -> Profile:
        return self._profile

    async def stream(self, request: Request) -> AsyncGenerator[ModelEvent]:
        try:
            model = self._model or await asyncio.to_thread(self._made)
        except RoostError as error:
            yield Failed(ErrorData("auth", f"{self._name}: {error.message}"), sent=False)
            return
        async with events(model, request) as stream:
            async for event in stream:
                yield event

    async def close(self) -> None:
        if self._model is not None:
            await self._model.close()

    def _made(self) -> Model:
        with self._lock:
            if self._model is None:
                self._model = self._make()
            return self._model
