"""Send messages to one chat, at the pace of the platform, until it has taken or refused each."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable

from msgspec.structs import replace

from roost.doors.bots.platform import (
    Address,
    Failed,
    Malformed,
    Moved,
    OutFile,
    Outgoing,
    Platform,
    Refused,
    SendsFiles,
)
from roost.doors.bots.rich_text import plain
from roost.features.bots.records import Chat

log = logging.getLogger("roost.bots")
GIVE_UP_SECONDS = 24 * 3600.0
"""After so long without a success a message is a dead letter."""
EDIT_SECONDS = 300.0
"""After so long an edit that fails is given up: what it should show is sent as a message of its own."""
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 300.0
_MOVES = 3


class Pacer:
    """Keeps the messages of a whole bot apart. seconds: between two of them."""

    def __init__(self, seconds: float) -> None:
        self._seconds, self._next, self._turns = seconds, 0.0, asyncio.Lock()

    async def turn(self) -> None:
        """Wait for this caller's turn; turns are in the order of the calls."""
        if not self._seconds:
            return
        async with self._turns:  # so that none bunch up where the process was held up
            await asyncio.sleep(max(0.0, self._next - time.monotonic()))
            self._next = time.monotonic() + self._seconds


class Sender:
    """Sends messages to one chat, one after the other. moved: told the chat's new id, where it has one."""

    def __init__(
        self, platform: Platform, chat: Chat, pacer: Pacer, moved: Callable[[str, str], Awaitable[None]]
    ) -> None:
        self.platform, self._pacer, self._moved = platform, pacer, moved
        self.to = address_of(chat)
        self._next = 0.0
        self.failing: str | None = None
        """Why the newest message cannot be delivered now."""

    async def send(self, message: Outgoing, key: str) -> str:
        """Return the platform's name of the message. What the platform refuses for its styles is sent once more as
        plain text. Raises `Refused`, also after `GIVE_UP_SECONDS`."""
        try:
            return await self._until_taken(lambda: self.platform.send(self.to, message, key=key))
        except Malformed as error:
            if not message.rich.spans and not message.buttons:
                raise
            log.warning("a message to chat %s is sent without its styles: %s", self.to.id, error)
            bare = replace(message, rich=plain(message.rich.text))
            return await self._until_taken(lambda: self.platform.send(self.to, bare, key=key))

    async def send_file(self, file: OutFile, key: str, *, quiet: bool = False) -> str:
        """Send a file, or say that there is one where the platform takes none, or none as large. As `send`."""
        platform = self.platform
        if isinstance(platform, SendsFiles) and len(file.data) <= platform.limits.file:
            return await self._until_taken(lambda: platform.send_file(self.to, file, quiet=quiet, key=key))
        told = f"[a file, {file.name}, of {len(file.data):,} bytes: it cannot be sent here]"
        return await self.send(Outgoing(plain(told), quiet=quiet), key)

    async def _until_taken(self, work: Callable[[], Awaitable[str]]) -> str:
        pause, began, moves = FIRST_PAUSE, time.monotonic(), 0
        while True:
            await asyncio.sleep(max(0.0, self._next - time.monotonic()))
            await self._pacer.turn()
            try:
                ref = await work()
                self.failing = None
                self._next = time.monotonic() + self.pace
                return ref
            except Moved as error:
                moves += 1
                if moves > _MOVES:
                    raise
                await self._moved(self.to.id, error.to)
                self.to = replace(self.to, id=error.to)
            except (ValueError, TypeError, LookupError) as error:  # a defect: it would hold up the chat for ever
                log.error("a message to chat %s cannot be made", self.to.id, exc_info=error)
                raise Refused(f"it cannot be made: {type(error).__name__}") from None
            except Failed as error:
                if self.failing is None:
                    log.warning("cannot deliver to chat %s: %s", self.to.id, error)
                self.failing = str(error)
                if time.monotonic() - began > GIVE_UP_SECONDS:
                    raise Refused(f"given up after a day: {error}") from None
                await asyncio.sleep(error.after if error.after is not None else pause * random.uniform(0.75, 1.25))
                pause = min(pause * 2, LONGEST_PAUSE)

    @property
    def pace(self) -> float:
        return self.platform.limits.pace * (3 if self.to.group else 1)

    async def edit(self, ref: str, message: Outgoing) -> None:
        """Replace a message, until it is done; as plain text if its styles are refused. Raises `Refused`, also after
        `EDIT_SECONDS`."""
        pause, began = FIRST_PAUSE, time.monotonic()
        while True:
            await self._pacer.turn()
            try:
                return await self.platform.edit(self.to, ref, message)
            except Malformed:
                if not message.rich.spans:
                    raise
                message = replace(message, rich=plain(message.rich.text))
            except Failed as error:
                if time.monotonic() - began > EDIT_SECONDS:
                    raise Refused(f"an edit is given up: {error}") from None
                await asyncio.sleep(error.after if error.after is not None else pause * random.uniform(0.75, 1.25))
                pause = min(pause * 2, LONGEST_PAUSE)

    async def try_edit(self, ref: str, message: Outgoing) -> float:
        """Replace a message once, if it can be done now. Return the seconds before the next try."""
        await self._pacer.turn()
        try:
            await self.platform.edit(self.to, ref, message)
        except Failed as error:
            return error.after or FIRST_PAUSE
        except Refused:
            return LONGEST_PAUSE
        return (self.platform.limits.edits or 0.0) * (3 if self.to.group else 1)


def address_of(chat: Chat) -> Address:
    return Address(chat.address, chat.thread, chat.group, chat.title)
