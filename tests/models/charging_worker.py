"""A process that makes charged calls and may die at any of them. It reads a `Life` a line, as JSON, and each is lived
in a process of its own, whose first line tells its id and what it recovered. The line after tells how it ended."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
from collections.abc import AsyncGenerator
from typing import Literal, TypeAlias

import msgspec
from tests.harness.lives import serve, tell

from roost.models.http_model import HttpModel
from roost.models.model_wrapper import ModelWrapper, events, is_delta
from roost.models.profile import Price
from roost.models.request import Completed, Model, ModelEvent, Profile, Request
from roost.models.wire import Endpoint
from roost.models.wires import wire
from roost.money.charging_model import Charging
from roost.money.ledger import Ledger
from roost.stores.open import open_store
from roost.testing.models import ask

Point: TypeAlias = Literal["before it is sent", "in its midst", "after its end", "after it is settled"]
MOST = 200
"""Tokens of the largest answer."""
PRICE = Price(10, 100)


class Life(msgspec.Struct, kw_only=True):
    """`calls` calls, `width` at a time; the `fatal` one, from 1, ends it at `point`."""

    address: str
    url: str
    session: str
    calls: int
    width: int = 1
    fatal: int = 0
    point: Point = "before it is sent"


class Dying(ModelWrapper):
    def __init__(self, inner: Model, life: Life) -> None:
        super().__init__(inner)
        self._life = life
        self._numbers = itertools.count(1)

    async def stream(self, request: Request) -> AsyncGenerator[ModelEvent]:
        point = self._life.point if next(self._numbers) == self._life.fatal else None
        if point == "before it is sent":
            die()
        deltas = 0
        async with events(self.inner, request) as stream:
            async for event in stream:
                deltas += is_delta(event)
                if point == "in its midst" and deltas == 3:
                    die()
                if point == "after its end" and isinstance(event, Completed):
                    die()
                yield event


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


async def live(life: Life) -> None:
    store = await open_store(life.address)
    ledger = Ledger(store, owner=f"node-{os.getpid()}")
    recovered = await ledger.recover(life.session)
    tell({"pid": os.getpid(), "recovered": recovered.cost if recovered else 0})
    endpoint = Endpoint(base_url=life.url)
    profile = Profile(price=PRICE, max_output=MOST)
    http = HttpModel(model="scripted", endpoint=endpoint, wire=wire("openai_chat"), profile=profile)
    model = Charging(Dying(http, life), ledger)
    left = iter(range(1, life.calls + 1))

    async def work() -> None:
        for number in left:
            async for event in model.stream(ask(meta={"session": life.session})):
                assert is_delta(event) or isinstance(event, Completed), event
                if number == life.fatal and isinstance(event, Completed):
                    die()

    await asyncio.gather(*(work() for _ in range(life.width)))
    await model.close()
    await ledger.close()
    await store.close()


if __name__ == "__main__":
    serve(Life, live)
