"""Keep what the local model generates, so that an eval that is run again makes only the calls that have changed.

A call is kept under its engine settings, weights, version of llama.cpp and whole body, the time in it left out. Of one
that was ended early nothing is kept.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import importlib.metadata
import re
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import msgspec

from roost.local.cache import write_whole
from roost.local.engine import Chunk, Engine
from roost.local.model import LocalModel
from roost.models.request import Progress

_NOW = re.compile(rb"\[Now: [^\\]*")


class KeepingEngine(Engine):
    """An engine that first looks into `folder`, whose files are its answers by the hash of what was asked."""

    folder: Path
    key: tuple[object, ...]

    async def generate(
        self, body: dict[str, Any] | None, *, prefix: tuple[dict[str, str], ...] = (), conversation: str = ""
    ) -> AsyncGenerator[Chunk | Progress]:
        asked = _NOW.sub(b"[Now", msgspec.json.encode((self.key, body, prefix)))
        file = self.folder / hashlib.sha256(asked).hexdigest()
        if file.exists():
            for chunk in msgspec.json.decode(await asyncio.to_thread(file.read_bytes), type=list[Chunk]):
                yield chunk
            return
        came: list[Chunk] = []
        calls = super().generate(body, prefix=prefix, conversation=conversation)
        async with contextlib.aclosing(calls) as chunks:
            async for chunk in chunks:
                if not isinstance(chunk, Progress):
                    came.append(chunk)
                yield chunk
        await asyncio.to_thread(write_whole, file, msgspec.json.encode(came))


class KeepingModel(LocalModel):
    """The local model of this name, whose calls are kept in `folder`."""

    def __init__(self, name: str | None, folder: Path) -> None:
        super().__init__(name)
        folder.mkdir(parents=True, exist_ok=True)
        source, settings = self._locate(lambda _: None), self._settings
        self._keeping = KeepingEngine(self._locate, settings)
        self._keeping.folder = folder
        self._keeping.key = (
            source.identity,
            importlib.metadata.version("xllamacpp"),
            (settings.threads, settings.batch, settings.repack, settings.context),
        )

    @property
    def loaded(self) -> bool:
        return self._keeping.loaded

    def _acquire(self) -> Engine:
        return self._keeping

    async def close(self) -> None:
        if (ending := self._keeping.stop()) is not None:
            await asyncio.to_thread(ending.join)
