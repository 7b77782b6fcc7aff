"""The workers of a node: one for each bot of its file."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from typing import NamedTuple

from roost.doors.bots.bot_worker import BotWorker
from roost.doors.bots.platforms import maker
from roost.errors import RoostError
from roost.features.bots.bots_file import Bot, read_bots
from roost.features.bots.records import BotRecords, Status
from roost.server.app_state import Api

log = logging.getLogger("roost.bots")


class _Given(NamedTuple):
    """What a bot's work depends on: with another one it begins anew."""

    bot: Bot
    token: str
    hook_secret: str


class BotWorkers:
    """Runs a worker for each bot that the file names and the vault has the secrets of."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._bots: dict[str, Bot] = {}
        self._working: dict[str, tuple[_Given, asyncio.Task[None]]] = {}
        self._problems: dict[str, str] = {}
        self._telling: set[asyncio.Task[None]] = set()

    async def read(self) -> None:
        """Read the file. While it has a fault the bots of before go on."""
        try:
            self._bots = await asyncio.to_thread(read_bots, self._api.runtime.home)
        except RoostError as error:
            log.error("%s", error)

    def reconcile(self) -> None:
        """Start and end workers, so that there is one for each bot as it is now."""
        given = {name: one for name, bot in self._bots.items() if (one := self._given(bot)) is not None}
        for name, (before, task) in [*self._working.items()]:
            if given.get(name) != before:
                del self._working[name]
                task.cancel()
        for name, one in given.items():
            if name not in self._working:
                self._working[name] = one, asyncio.create_task(self._run(one))

    async def close(self) -> None:
        tasks = [*(task for _, task in self._working.values()), *self._telling]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _tell(self, name: str, problem: str) -> None:
        """Note why a bot cannot begin, for `roost bot list`, once."""
        if self._problems.get(name) == problem:
            return
        self._problems[name] = problem
        log.error("bot %s cannot work: %s", name, problem)
        task = asyncio.create_task(self._note(name, problem))
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)

    async def _note(self, name: str, problem: str) -> None:
        node = self._api.runtime.node
        status = Status(bot=name, node=node.id, problem=problem[:500], since=time.time())
        with contextlib.suppress(RoostError):
            await BotRecords(node.store.documents).note_status(status)

    def _given(self, bot: Bot) -> _Given | None:
        """Return the bot with its secrets, None while the vault lacks one."""
        vault = self._api.runtime.vault
        try:
            token, hook_secret = (vault.value(one) if one else "" for one in (bot.token, bot.hook_secret))
        except RoostError as error:
            self._tell(bot.name, str(error))
            return None
        self._problems.pop(bot.name, None)
        return _Given(bot, token, hook_secret)

    async def _run(self, given: _Given) -> None:
        bot, token, secret = given
        try:
            make = maker(bot.platform)
            make(bot, token, secret)
        except RoostError as error:  # until the file is changed
            self._tell(bot.name, str(error))
            return
        worker = BotWorker(self._api, bot, lambda: make(bot, token, secret))
        try:
            await worker.run()
        finally:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.shield(worker.leave())
