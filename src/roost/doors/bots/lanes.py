"""A lane for each chat: what cannot be taken at once, because of a large file or a full inbox, holds up its chat alone.

What a lane still has to take is a document before it is acknowledged to the platform. After a crash the next node
takes these up first. Nothing is lost, and a chat keeps its order."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque

import msgspec

from roost.doors.bots.inbound import Inbox
from roost.doors.bots.platform import Inbound, Migrated, Pressed, Written
from roost.errors import RoostError
from roost.features.bots.records import HELD, BotRecords
from roost.log.documents import DocumentQuery, Put, Remove, find_all

log = logging.getLogger("roost.bots")
_GRACE = 1.0
"""Seconds that the others wait for one message."""
_AGAIN = 5.0
MOST_HELD = 1000
"""Most messages of a chat that wait in its lane; with more, the bot waits."""
_held = msgspec.json.Decoder(Written | Pressed | Migrated)


class _Item:
    def __init__(self, event: Inbound, id: str, *, kept: bool) -> None:
        self.event, self.id, self.kept = event, id, kept
        self.done = asyncio.Event()


class Lanes:
    """Takes in the messages of one bot on the node that receives them, by its `Inbox`."""

    def __init__(self, bot: str, inbox: Inbox, records: BotRecords) -> None:
        self._bot, self._inbox, self._documents = bot, inbox, records.documents
        self._waiting: dict[str, deque[_Item]] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def load(self) -> None:
        """Take up what was held by the node before. Raises `RoostError`."""
        query = DocumentQuery(kind=HELD, key=("bot", self._bot), limit=200)
        async for one in find_all(self._documents, query):
            self._enter(_Item(_held.decode(one.body), one.id, kept=True))

    async def take(self, event: Inbound) -> None:
        """Return once the event is taken, or held in a document. Raises `RoostError`."""
        chat = _lane(event)
        item = _Item(event, f"{self._bot}/{event.number:020d}/{chat}"[:256], kept=False)
        first = chat not in self._waiting
        while len(self._waiting.get(chat, ())) >= MOST_HELD:
            await self._waiting[chat][0].done.wait()
            await asyncio.sleep(0)  # the lane goes on
        self._enter(item)
        if first:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_GRACE):
                    await item.done.wait()
        if item.done.is_set():
            return
        await self._documents.write(
            [Put(kind=HELD, id=item.id, body=msgspec.json.encode(event), keys={"bot": self._bot})]
        )
        item.kept = True
        if item.done.is_set():  # meanwhile
            await self._forget(item)

    async def close(self) -> None:
        tasks = [*self._tasks.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _enter(self, item: _Item) -> None:
        chat = _lane(item.event)
        self._waiting.setdefault(chat, deque()).append(item)
        if chat not in self._tasks:
            self._tasks[chat] = asyncio.create_task(self._work(chat))

    async def _work(self, chat: str) -> None:
        """Take what waits, in order. What was taken stays at the head until nothing remembers it."""
        lane = self._waiting[chat]
        try:
            while lane:
                item = lane[0]
                try:
                    await self._inbox.take(item.event)
                except RoostError as error:
                    log.warning("a message to bot %s waits: %s", self._bot, error)
                    await asyncio.sleep(_AGAIN)
                    continue
                except Exception as error:  # a defect: it would end the lane, with all that wait in it
                    log.error("a message to bot %s is lost", self._bot, exc_info=error)
                item.done.set()
                if item.kept:
                    await self._forget(item)
                lane.popleft()
        finally:
            del self._waiting[chat], self._tasks[chat]

    async def _forget(self, item: _Item) -> None:
        """Delete the document; if that fails, the event is taken once more later, without effect."""
        try:
            await self._documents.write([Remove(kind=HELD, id=item.id)])
        except RoostError as error:
            log.warning("bot %s: a message that was taken is still held: %s", self._bot, error)


def _lane(event: Inbound) -> str:
    """Return what names a chat's lane. Topics of a group have one each, but for a migration of the group."""
    return f"{event.chat.id}/{event.chat.thread}"
