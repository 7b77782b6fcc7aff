"""Work for one bot: receive, and deliver. One node of the cluster does, which holds the bot's duty."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

from roost.doors.bots.inbound import Inbox
from roost.doors.bots.lanes import Lanes
from roost.doors.bots.outbound import ChatOutbox
from roost.doors.bots.platform import Failed, Platform, Positioned, Refused, Relays, Tails, Unauthorized
from roost.doors.bots.sender import Pacer
from roost.errors import Conflict, RoostError
from roost.features.bots.bots_file import Bot
from roost.features.bots.positions import Position
from roost.features.bots.records import CHAT, LETTER, BotRecords, Chat, Span, Status
from roost.log.protocols import Change
from roost.server.app_state import Api

log = logging.getLogger("roost.bots")
_ASK_SECONDS = 1.0
"""Seconds after which a node without the duty asks again, and one with it whether it still is the one."""
_FIRST_PAUSE, _LONGEST_PAUSE, _WRONG_TOKEN = 0.5, 30.0, 60.0
_LOOKS_APART = 0.25
_ALL_SECONDS = 600.0
"""Seconds after which all chats are looked at again, and not those alone that have changed."""
_LATEST = 3600.0
"""Seconds after which letters are looked at without a reason."""


class BotWorker:
    """A bot of this node's file. platform: made anew for each time that this node has the duty."""

    def __init__(self, api: Api, bot: Bot, make: Callable[[], Platform]) -> None:
        self._api, self._bot, self._make = api, bot, make
        self._records = BotRecords(api.runtime.node.store.documents)
        self._duty = f"bot:{bot.name}"
        self._told: tuple[str, str] | None = None

    async def run(self) -> None:
        """Work for the bot whenever this node has its duty; forever."""
        while True:
            if await self._holds():
                await self._work()
            await asyncio.sleep(_ASK_SECONDS)

    async def leave(self) -> None:
        """Give up the duty: this node has no such bot any more."""
        with contextlib.suppress(RoostError):
            await self._api.runtime.node.membership.drop(self._duty)

    async def _holds(self) -> bool:
        membership = self._api.runtime.node.membership
        try:
            return await membership.holds(self._duty)
        except RoostError:  # the store is away: it is still ours as long as the lease is
            return membership.holds_lease and self._told is not None

    async def _work(self) -> None:
        """Receive and deliver until the duty is another node's."""
        platform = self._make()
        if isinstance(platform, Positioned):
            platform.keep(Position(self._records.documents, self._bot.name))
        if isinstance(platform, Relays):
            platform.relay_by(self._records)
        if isinstance(platform, Tails):
            platform.tail(self._api.runtime.node.store, self._records)
        outboxes = Outboxes(self._api, self._bot, self._records, platform)
        tasks = [
            asyncio.create_task(self._kept_up("receive", lambda: self._receive(platform))),
            asyncio.create_task(self._kept_up("deliver", outboxes.run)),
        ]
        try:
            while await self._holds():
                await asyncio.wait(tasks, timeout=_ASK_SECONDS)
        finally:
            self._told = None
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await platform.close()

    async def _kept_up(self, what: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Do the work again after each failure."""
        pause = _FIRST_PAUSE
        while True:
            began = time.monotonic()
            try:
                await work()
            except Failed as error:
                await self._tell(str(error))
                wrong = _WRONG_TOKEN if isinstance(error, Unauthorized) else pause
                await asyncio.sleep(error.after or wrong)
            except Refused as error:  # such as an address for updates that the platform does not take
                await self._tell(str(error))
                await asyncio.sleep(_WRONG_TOKEN)
            except RoostError as error:
                log.warning("bot %s cannot %s: %s", self._bot.name, what, error)
                await asyncio.sleep(pause)
            except Exception as error:  # a defect: the bot goes on, and the log says so
                log.error("bot %s cannot %s", self._bot.name, what, exc_info=error)
                await asyncio.sleep(_LONGEST_PAUSE)
            pause = _FIRST_PAUSE if time.monotonic() - began > _LONGEST_PAUSE else min(2 * pause, _LONGEST_PAUSE)

    async def _receive(self, platform: Platform) -> None:
        title = await platform.open()
        await self._tell("", title)
        lanes = Lanes(self._bot.name, Inbox(self._api, self._bot, platform, self._records), self._records)
        try:
            await lanes.load()
            await platform.receive(lanes.take)
        finally:
            await lanes.close()

    async def _tell(self, problem: str, title: str = "") -> None:
        """Note how the bot does, for `roost bot list`."""
        if self._told == (problem, title):
            return
        self._told = (problem, title)
        if problem:
            log.warning("bot %s: %s", self._bot.name, problem)
        else:
            log.info("bot %s is %s at %s", self._bot.name, title, self._bot.platform)
        node = self._api.runtime.node.id
        status = Status(bot=self._bot.name, node=node, problem=problem[:500], since=time.time(), title=title)
        with contextlib.suppress(RoostError):
            await self._records.note_status(status)


class Outboxes:
    """The outboxes of all chats of a bot. A chat where nothing happens costs a row of a table here."""

    def __init__(self, api: Api, bot: Bot, records: BotRecords, platform: Platform) -> None:
        self._api, self._bot, self._records, self._platform = api, bot, records, platform
        self._look, self._letters = asyncio.Event(), asyncio.Event()
        self._spans: dict[str, tuple[Span, ...]] = {}
        self._of: dict[str, str] = {}
        self._running: dict[str, tuple[ChatOutbox, asyncio.Task[None]]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._pacer = Pacer(platform.limits.whole)
        self._looked, self._all_at, self._tidied = 0.0, -_ALL_SECONDS, 0.0

    async def run(self) -> None:
        """Deliver, for ever. Raises `RoostError`."""
        store = self._api.runtime.node.store
        stops = [
            store.changes.watch(self._changed),
            store.documents.watch(CHAT, self._look.set),
            store.documents.watch(LETTER, self._letters_changed),
        ]
        self._spans.clear()
        self._all_at = -_ALL_SECONDS
        self._letters_changed()
        try:
            while True:
                await self._reconcile()
                await asyncio.sleep(_LOOKS_APART)
                await self._look.wait()
        finally:
            for stop in stops:
                stop()
            if self._timer is not None:
                self._timer.cancel()
            tasks = [task for _, task in self._running.values()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _letters_changed(self) -> None:
        self._letters.set()
        self._look.set()

    def _changed(self, change: Change) -> None:
        if not change.session:
            for chat in self._spans:
                self._wake(chat)
        elif (chat := self._of.get(change.session)) is not None and change.records != ():
            outbox, spans = self._wake(chat), self._spans.get(chat, ())
            if spans and change.session != spans[-1].session:
                outbox.spans.set()  # it may be following the newest one

    async def _reconcile(self) -> None:
        """Look for chats with other sessions than before, and for letters."""
        self._look.clear()
        async for chat in self._changed_chats():
            if self._spans.get(chat.id) == chat.spans:
                continue
            self._spans[chat.id] = chat.spans
            self._of |= {one.session: chat.id for one in chat.spans}
            if chat.spans:
                self._wake(chat.id).spans.set()
        if self._letters.is_set():
            self._letters.clear()
            now, later = time.time(), _LATEST
            if now - self._tidied > _LATEST:
                self._tidied = now
                await self._records.forget_sent(self._bot.name)
            async for one in self._records.letters(self._bot.name):
                if one.due <= now:
                    self._wake(one.chat).letters.set()
                else:
                    later = min(later, one.due - now)
            if self._timer is not None:
                self._timer.cancel()
            self._timer = asyncio.get_running_loop().call_later(later, self._letters_changed)

    def _changed_chats(self) -> AsyncIterator[Chat]:
        """The chats that may have changed since the last look; at times all of them."""
        since, now = self._looked, time.monotonic()
        self._looked = time.time()
        if now - self._all_at < _ALL_SECONDS:
            return self._records.changed_chats(self._bot.name, since)
        self._all_at = now
        return self._records.chats(self._bot.name)

    def _wake(self, chat: str) -> ChatOutbox:
        outbox, task = self._running.get(chat, (None, None))
        if outbox is None or task is None:
            outbox = ChatOutbox(self._api, self._bot, self._records, self._platform, chat, pacer=self._pacer)
            self._running[chat] = outbox, asyncio.create_task(self._deliver(chat, outbox))
        outbox.dirty.set()
        return outbox

    async def _deliver(self, chat: str, outbox: ChatOutbox) -> None:
        try:
            while outbox.dirty.is_set():
                try:
                    await outbox.run()
                except Conflict:
                    log.info("chat %s: another node delivers", chat)
                    await asyncio.sleep(_ASK_SECONDS)
                    outbox.dirty.set()
                except RoostError as error:
                    log.warning("chat %s waits: %s", chat, error)
                    await asyncio.sleep(_ASK_SECONDS)
                    outbox.dirty.set()
        finally:
            del self._running[chat]
