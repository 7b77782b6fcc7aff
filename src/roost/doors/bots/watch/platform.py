"""A bot that watches an address, a feed or a page. There are no people: what it finds is a message to its agent.

The store has what the bot knows: the ids of the feed's entries or the page's text, and the validators of HTTP. They
move after what is new was taken. What is new gets its number before that, so it is the same message when it comes
again."""

from __future__ import annotations

import asyncio
import contextlib
import difflib
import hashlib
import re
import time
from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import urldefrag, urljoin, urlsplit

import msgspec
from msgspec.structs import replace

from roost.doors.bots.page_text import page_text
from roost.doors.bots.platform import Address, Failed, Limits, Outgoing, Person, Refused, Take, Written, number
from roost.doors.bots.watch.feeds import Entry, Unreadable, read_feed
from roost.errors import ConfigError, Conflict
from roost.features.bots.bots_file import Bot
from roost.features.bots.positions import Position
from roost.features.bots.post import quiet_left
from roost.features.bots.records import BotRecords, new_letter, put_letter
from roost.tools.charsets import charset_of, decoded
from roost.tools.checked_http import WEB_ALLOW, Answer, allowed_hosts, ask, judged, parts_of, place_of
from roost.tools.errors import ToolError

_OPTIONS = {"url", "every_seconds", "to", "backlog", "most"}
_BODY = 5 << 20
_HOPS = 5
_KNOWN = 3000
"""Ids of entries that are remembered; more than any feed has."""
_PAGE, _LINES, _DIFF = 100_000, 2000, 6000

_PLACE = re.compile(r".*/([A-Za-z0-9_.:-]{1,50})/(\d+)/(\d+)")
"""The session, position and part of a key of an answer."""


class _Seen(msgspec.Struct):
    """What the bot knows of an address. known: of a feed, short hashes of its entries. text: of a page. numbers: of
    what is being taken."""

    url: str
    etag: str = ""
    modified: str = ""
    known: dict[str, None] = {}
    text: str = ""
    numbers: dict[str, int] = {}


class _News(NamedTuple):
    """Something to tell the agent. id: a short hash that names it."""

    id: str
    text: str


class Watcher:
    """Watches one address. to: a chat of another bot that gets what the agent says."""

    limits = Limits(text=20_000)

    def __init__(self, bot: Bot, token: str, hook_secret: str = "") -> None:
        if extra := set(bot.options) - _OPTIONS:
            raise ConfigError(f"bots.{bot.name}: a bot at a {bot.platform} has no {min(extra)!r}")
        self._bot, self._url = bot, urldefrag(str(bot.options.get("url", "")))[0]
        try:
            self._host = parts_of(self._url).hostname or ""
        except ToolError as error:
            raise ConfigError(f"bots.{bot.name}: url: {error}") from None
        self._every = number(bot, "every_seconds", 300.0, 0.1)
        self._to = str(bot.options.get("to", ""))
        self._backlog, self._most = _count(bot, "backlog", 0), max(1, _count(bot, "most", 10))
        self._position: Position | None = None
        self._records: BotRecords | None = None
        self._seen, self._saved = _Seen(self._url), b""
        self._title = self._host

    def keep(self, position: Position) -> None:
        self._position = position

    def relay_by(self, records: BotRecords) -> None:
        self._records = records

    async def open(self) -> str:
        return self._url.partition("?")[0]

    async def receive(self, take: Take) -> None:
        known = None if self._position is None else await self._position.load(_Seen)
        first = known is None or known.url != self._url
        self._seen = _Seen(self._url) if known is None or first else known
        while True:
            try:
                more = await self._look(take, first=first)
            except Failed as error:
                raise Failed(str(error), max(error.after or 0.0, self._every)) from None
            first = False
            await asyncio.sleep(0 if more else self._every)

    async def _look(self, take: Take, *, first: bool) -> bool:
        """Look once. Return whether there is more at once."""
        answer = await self._fetch()
        if answer is None:
            return False
        feed = self._bot.platform == "feed"
        news = await asyncio.to_thread(self._entries if feed else self._change, answer)
        if first:
            kept = news[max(0, len(news) - self._backlog) :] if feed else []
            self._seen.known.update(dict.fromkeys(one.id for one in news[: len(news) - len(kept)]))
            news = kept
        now, more = time.time_ns() // 1000, len(news) > self._most
        news = news[: self._most]
        numbers = self._seen.numbers
        self._seen.numbers = {one.id: numbers.get(one.id, now + place) for place, one in enumerate(news)}
        if news or first:
            await self._save()
        for one in news:
            await take(self._written(one))
        self._took(answer, news, whole=not more)
        await self._save()
        return more

    def _took(self, answer: Answer, news: Sequence[_News], *, whole: bool) -> None:
        seen = self._seen
        seen.numbers = {}
        if self._bot.platform == "page":
            seen.text = self._text(answer)
        seen.known.update(dict.fromkeys(one.id for one in news))
        while len(seen.known) > _KNOWN:
            del seen.known[next(iter(seen.known))]
        if whole:
            seen.etag, seen.modified = answer.headers.get("etag", ""), answer.headers.get("last-modified", "")

    async def _save(self) -> None:
        """Note what is known, if that is other than before."""
        encoded = msgspec.json.encode(self._seen)
        if self._position is not None and encoded != self._saved:
            await self._position.save(self._seen)
            self._saved = encoded

    def _entries(self, answer: Answer) -> list[_News]:
        """Return the entries that are new, the oldest first."""
        try:
            feed = read_feed(answer.body, answer.headers.get("content-type", ""))
        except Unreadable as error:
            raise Failed(f"{self._url.partition('?')[0]}: {error}") from None
        self._title = feed.title or self._host
        found = [(_hashed(one.id), one) for one in reversed(feed.entries)]
        for id, _ in found:
            if id in self._seen.known:  # those that the feed still has stay the newest
                self._seen.known[id] = self._seen.known.pop(id)
        new = {id: one for id, one in found if id not in self._seen.known}
        return [_News(id, _told(one)) for id, one in new.items()]

    def _change(self, answer: Answer) -> list[_News]:
        """Return how the page differs from the one before."""
        before, after = self._seen.text, self._text(answer)
        if not before or before == after:
            return []
        old, new = (one.split("\n")[:_LINES] for one in (before, after))
        diff = "\n".join([*difflib.unified_diff(old, new, "before", "now", lineterm="", n=1)][2:])
        shown = diff if len(diff) <= _DIFF else f"{diff[:_DIFF]}… (cut)"
        return [_News(_hashed(f"{self._seen.etag}\0{before}\0{after}"), f"{self._url} has changed:\n\n{shown}")]

    @staticmethod
    def _text(answer: Answer) -> str:
        kind = answer.headers.get("content-type", "")
        text = decoded(answer.body, charset_of(kind))
        text = page_text(text) if "html" in kind or "<html" in text[:1000].lower() else text
        lines = (" ".join(one.split()) for one in text.split("\n"))
        return "\n".join(one for one in lines if one)[:_PAGE]

    def _written(self, one: _News) -> Written:
        place = self._seen.numbers[one.id]
        id = one.id if self._bot.platform == "feed" else f"{place}:{one.id}"
        return Written(
            number=place,
            id=id,
            chat=Address(self._host, _hashed(self._url), group=True, title=self._title),
            sender=Person(self._host, self._title),
            text=one.text,
            found=f"{self._bot.platform}:{self._host}",
        )

    async def _fetch(self) -> Answer | None:
        """Return the answer; None if it is as before. Redirects stay at the host. Raises `Failed`."""
        headers = {"Accept": "*/*", "Accept-Encoding": "gzip"}
        headers |= {"If-None-Match": self._seen.etag} if self._seen.etag else {}
        headers |= {"If-Modified-Since": self._seen.modified} if self._seen.modified else {}
        url = self._url
        try:
            for _ in range(_HOPS):
                addresses = await judged(*place_of(parts_of(url)), allowed=allowed_hosts(WEB_ALLOW))
                answer = await ask("GET", url, addresses, cap=_BODY, headers=headers)
                target = answer.headers.get("location")
                if answer.status not in (301, 302, 303, 307, 308) or not target:
                    return self._judged(answer)
                url = urljoin(url, target)
                if parts_of(url).hostname != self._host:
                    raise Failed(f"it leads to another host: watch {url[:200]} if that is what you want")
        except ToolError as error:
            raise Failed(str(error)) from None
        raise Failed(f"{self._url.partition('?')[0]}: more than {_HOPS} redirects")

    def _judged(self, answer: Answer) -> Answer | None:
        if answer.status == 304:
            return None
        if answer.status != 200:
            after = answer.headers.get("retry-after", "")
            why = f"{urlsplit(self._url).hostname} answered {answer.status} {answer.reason}".rstrip()
            raise Failed(why, float(after[:6]) if after.isdigit() else None)
        if answer.cut:
            raise Failed(f"{self._url.partition('?')[0]} has more than {_BODY >> 20} MB")
        return answer

    async def send(self, to: Address, message: Outgoing, *, key: str) -> str:
        """Write a letter to the chat `to` of the file, if there is one."""
        if self._to and self._records is not None:
            chat, _ = await self._records.at(self._to)
            if chat is None:
                raise Refused(f"there is no chat {self._to!r}; `roost bot chats BOT` shows them")
            asks = "\n\n(`roost approve` answers it.)" if message.buttons else ""
            letter = new_letter(chat, message.rich.text + asks)
            due = time.time() + quiet_left(self._bot, time.time())
            letter = replace(letter, id=_letter_id(chat.id, key), due=due)
            with contextlib.suppress(Conflict):  # it was written before
                await self._records.documents.write([put_letter(letter, 0)])
        return key

    async def edit(self, to: Address, ref: str, message: Outgoing) -> None:
        raise Refused("a letter cannot be changed")

    async def typing(self, to: Address) -> None:
        return None

    async def answer_press(self, ref: str, text: str) -> None:
        return None

    async def fetch(self, ref: str, most: int) -> bytes:
        raise Refused("there are no files here")

    async def close(self) -> None:
        return None


def _told(entry: Entry) -> str:
    """Return an entry as a message."""
    head = [one for one in (entry.title, entry.link, entry.date) if one]
    return "\n".join(["A new entry:", *head, "", entry.text]).strip()


def _letter_id(chat: str, key: str) -> str:
    """Return an id that the key gives: letters are sent by the order of their ids, so it begins with the place in the
    log."""
    place = _PLACE.fullmatch(key)
    order = f"{place[1]}.{int(place[2]):010}.{int(place[3]):03}." if place else ""
    return f"let_{order}{_hashed(f'{chat} {key}')}"


def _hashed(text: str) -> str:
    return hashlib.blake2b(text.encode(errors="replace"), digest_size=9).hexdigest()


def _count(bot: Bot, name: str, usual: int) -> int:
    given = bot.options.get(name, usual)
    if not str(given).isdigit() or int(given) > 1000:
        raise ConfigError(f"bots.{bot.name}: {name}: {given!r} is no number from 0 to 1000")
    return int(given)


def make(bot: Bot, token: str, hook_secret: str = "") -> Watcher:
    return Watcher(bot, token, hook_secret)
