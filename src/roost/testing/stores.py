"""The common part of the stores' conformance suites: how to open a store, and helpers to fill it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import msgspec

from roost.log.content import Text
from roost.log.dispatch import NodeCard
from roost.log.events import Emitted, SessionCreated, encode_event
from roost.log.inputs import MessageInput
from roost.log.protocols import Claim, NewSession, Record
from roost.log.session_info import SessionInfo
from roost.log.store import Store

T = TypeVar("T")
NODE = "node-a"
PATIENCE = 60.0
"""Seconds to wait for expected events on a busy machine."""


def created(agent: str = "agent") -> SessionCreated:
    return SessionCreated(at=1.0, agent=agent, version="1", spec=msgspec.Raw(b"{}"))


def bodies(*names: str) -> list[bytes]:
    return [encode_event(Emitted(at=2.0, name=name)) for name in names]


def said(text: str = "hello") -> MessageInput:
    return MessageInput((Text(text),))


async def new(journal: Store, session: str, *, agent: str = "agent", key: str | None = None) -> SessionInfo:
    return await journal.sessions.create(NewSession(id=session, agent=agent, version="1"), [created(agent)], key=key)


async def own(journal: Store, session: str, node: str = NODE) -> Claim:
    await journal.dispatch.beat(NodeCard(id=node), ttl=60)
    (claim,) = await journal.dispatch.claim(node, session=session)
    return claim


async def eventually(check: Callable[[], Awaitable[T]]) -> T:
    """Call `check` until its answer is true, and return the answer."""
    async with asyncio.timeout(PATIENCE):
        while True:
            answer = await check()
            if answer:
                return answer
            await asyncio.sleep(0.02)


def names(records: list[Record]) -> list[str]:
    return [record.event.name for record in records if isinstance(record.event, Emitted)]


class Opens:
    """A subclass says how to open a store. `open` called twice with one folder must open the same store twice, as two
    processes would."""

    async def open(self, folder: Path) -> Store:
        raise AssertionError("say in a subclass how to open a store")

    @contextlib.asynccontextmanager
    async def journal(self, folder: Path) -> AsyncGenerator[Store]:
        journal = await self.open(folder)
        try:
            yield journal
        finally:
            await journal.close()

    @contextlib.asynccontextmanager
    async def two(self, folder: Path) -> AsyncGenerator[tuple[Store, Store]]:
        async with self.journal(folder) as here, self.journal(folder) as there:
            yield here, there
