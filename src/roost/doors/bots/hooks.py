"""Answer webhooks of platforms. Any node does: a message is accepted into its session's inbox, wherever that runs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence

from starlette.types import Receive, Scope

from roost.doors.bots.inbound import Inbox
from roost.doors.bots.platform import Failed, Heard, Hooked, Inbound, Platform, Refused
from roost.doors.bots.platforms import maker
from roost.errors import Busy, Forbidden, NotFound, RoostError
from roost.features.bots.bots_file import Bot, bot_named
from roost.features.bots.duties import BotDuties
from roost.features.bots.records import BotRecords
from roost.server.app_state import Api
from roost.server.door import Methods, needs
from roost.server.request_body import read_body
from roost.server.responses import ReplyCall, json

log = logging.getLogger("roost.bots")
_LATER = "this bot cannot take a message now; its daemon's log says why"
_BODY = 4 << 20
_SECONDS = 50.0
"""Longest time that a platform waits here for the store; it sends what was not taken again."""


class _Kept:
    """A bot's platform, with what it was made of. It is opened by the first request that shows the proof."""

    def __init__(self, given: tuple[Bot, str, str], platform: Platform) -> None:
        self.given, self.platform = given, platform
        self.opening, self.is_open = asyncio.Lock(), False

    async def open(self) -> None:
        async with self.opening:
            if not self.is_open:
                await self.platform.open()
                self.is_open = True


class Hooks:
    """Keeps a platform for each bot with a webhook: it knows the bot's name there."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._kept: dict[str, _Kept] = {}

    def routes(self) -> Mapping[str, Methods]:
        return {"/hooks/{bot}": {"POST": self.take}}

    @needs("read")
    async def take(self, scope: Scope, receive: Receive) -> ReplyCall:
        """Take what a request says. It is answered once all of it is on disk."""
        name = scope["path_params"]["bot"]
        kept = await self._platform(name)
        body = await read_body(scope, receive, limit=_BODY)
        headers = dict(scope["headers"])
        heard = _heard(kept.platform, headers, body)  # first: nobody without the proof lets this node call a platform
        if not kept.is_open:
            try:
                await kept.open()
            except (Failed, Refused) as error:
                log.warning("bot %s: %s", name, error)
                raise Busy(_LATER) from None
            heard = _heard(kept.platform, headers, body)  # again: now it knows its own name
        async with asyncio.timeout(_SECONDS):
            await self._take(kept.given[0], kept.platform, heard.inbound)
        return json(200, heard.reply)

    async def _take(self, bot: Bot, platform: Platform, found: Sequence[Inbound]) -> None:
        inbox = Inbox(self._api, bot, platform, BotRecords(self._api.runtime.node.store.documents))
        for one in found:
            await inbox.take(one)

    async def _platform(self, name: str) -> _Kept:
        """Return the bot's platform, made anew when the file or a secret has changed: one that was withdrawn counts no
        more. Raises `NotFound` without such a bot, and `Busy`, which says nothing of this home, for any fault."""
        bot = None
        try:
            bot = await asyncio.to_thread(bot_named, self._api.runtime.home, name)
            vault = self._api.runtime.vault
            token, secret = (vault.value(one) if one else "" for one in (bot.token, bot.hook_secret))
            given = bot, token, secret
            kept = self._kept.get(name)
            if kept is not None and kept.given == given:
                return kept
            platform = maker(bot.platform)(*given)
        except RoostError as error:
            if bot is None and isinstance(error, NotFound):
                raise NotFound("there is no such bot") from None
            log.error("bot %r cannot take a request: %s", name[:64], error)
            raise Busy(_LATER) from None
        assert isinstance(platform, Hooked)
        self._kept[name] = made = _Kept(given, platform)
        self._api.runtime.node.feature(BotDuties).opened[name] = platform.close
        if kept is not None:
            await kept.platform.close()
        return made


def _heard(platform: Platform, headers: Mapping[bytes, bytes], body: bytes) -> Heard:
    assert isinstance(platform, Hooked)
    try:
        return platform.heard(headers, body)
    except Refused as error:
        raise Forbidden(str(error)) from None
