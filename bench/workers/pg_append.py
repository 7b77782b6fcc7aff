"""Roost's store on PostgreSQL without the kernel: a durable step is one event of about 1 KB, fenced by epoch and head,
acknowledged after its commit."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import msgspec

from bench.payload import RESULT
from bench.worker import Clock, Ticks, serve
from roost.log.dispatch import NodeCard
from roost.log.events import Emitted, SessionCreated, encode_event
from roost.log.protocols import Append, NewSession
from roost.stores.open import open_store


async def run(folder: Path, sessions: int, steps: int, store: str) -> dict[str, Any]:
    journal, ticks = await open_store(store), Ticks()
    body = encode_event(Emitted(at=time.time(), name="step", data=RESULT))
    await journal.dispatch.beat(NodeCard(id="bench"), ttl=600)

    async def session(name: str) -> None:
        created = SessionCreated(at=time.time(), agent="bench", version="1", spec=msgspec.Raw(b"{}"))
        await journal.sessions.create(NewSession(id=name, agent="bench", version="1"), [created])
        (claim,) = await journal.dispatch.claim("bench", session=name)
        head = claim.info.head
        for _ in range(steps):
            if sessions == 1:
                ticks.tick()
            head = await journal.logs.append(Append(session=name, epoch=claim.epoch, expected=head, bodies=[body]))

    clock = Clock()
    await asyncio.gather(*(session(f"s{number}") for number in range(sessions)))
    spent = clock.stop()
    await journal.close()
    return {**spent, "steps": sessions * steps, "ms": ticks.milliseconds()}


if __name__ == "__main__":
    serve(lambda folder, order: asyncio.run(run(folder, **order)))
