"""Send events of sessions to a program, by signed webhooks.

The log is the outbox: a cursor for each session says how far its events were delivered, in order. A watermark says up
to which time all were; after a restart only sessions that changed since are looked at."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from typing import TYPE_CHECKING, Any

import msgspec

from roost.authority import ACCOUNT
from roost.doors.bots.platform import Address, Failed, Limits, Outgoing, Refused, Take
from roost.doors.bots.webhook import client, deliver, target
from roost.errors import ConfigError, NotFound, RoostError
from roost.features.bots.bots_file import Bot
from roost.features.bots.positions import Position
from roost.features.bots.records import BotRecords, Cursor, put_cursor
from roost.log.protocols import Change, Record, SessionQuery
from roost.log.session_info import SessionInfo
from roost.log.store import Store

if TYPE_CHECKING:
    import aiohttp

log = logging.getLogger("roost.bots")
USUAL = ("turn.completed", "approval.requested")
_OPTIONS = {"url", "events", "only_agent", "label"}
_AT_ONCE = 8
_GIVE_UP = 24 * 3600.0
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 300.0
_MARK_SECONDS = 30.0
_SKEW = 300.0
"""Seconds by which clocks of nodes may differ."""
_PAGE = 200
_REMEMBERED = 10_000


class _Mark(msgspec.Struct):
    """since: events before it were there before the bot. upto: all events before it are delivered."""

    url: str
    since: float
    upto: float


class SessionEvents:
    """Delivers events of the home's sessions, or of one account's, to the option `url`."""

    limits = Limits(text=1)

    def __init__(self, bot: Bot, token: str, hook_secret: str = "") -> None:
        if extra := set(bot.options) - _OPTIONS:
            raise ConfigError(f"bots.{bot.name}: a bot that sends events has no {min(extra)!r}")
        self._bot = bot
        self._url, self._key = target(bot, token)
        self._types = _types(bot)
        self._starts = tuple(f'{{"type":"{one}"'.encode() for one in self._types)
        self._agent = str(bot.options.get("only_agent", "")) or None
        name, _, value = str(bot.options.get("label", "")).partition("=")
        self._label = (name, value) if name else None
        self._store: Store | None = None
        self._records: BotRecords | None = None
        self._position: Position | None = None
        self._mark = _Mark(self._url, 0.0, 0.0)
        self._waiting: dict[str, None] = {}
        self._all, self._look = True, asyncio.Event()
        self._working: dict[str, asyncio.Task[None]] = {}
        self._read: dict[str, int] = {}
        """How far the logs of some sessions were read, where nothing was to be sent since the cursor."""
        self._http: aiohttp.ClientSession | None = None

    def keep(self, position: Position) -> None:
        self._position = position

    def tail(self, store: Store, records: BotRecords) -> None:
        self._store, self._records = store, records

    async def open(self) -> str:
        """Note from when on events are sent."""
        assert self._position is not None
        known = await self._position.load(_Mark)
        now = time.time()
        self._mark = known if known is not None and known.url == self._url else _Mark(self._url, now, now)
        if known != self._mark:
            await self._position.save(self._mark)
        return self._url.partition("?")[0]

    async def receive(self, take: Take) -> None:
        assert self._store is not None
        self._http = client()
        stop = self._store.changes.watch(self._changed)
        self._all = True
        try:
            while True:
                self._look.clear()
                began = time.time()
                if self._all:
                    await self._find()
                self._start()
                if not self._working and not self._waiting and began - self._mark.upto > _MARK_SECONDS:
                    await self._note(began)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_MARK_SECONDS):
                        await self._look.wait()
        finally:
            stop()
            tasks = [*self._working.values()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._http.close()

    def _changed(self, change: Change) -> None:
        if not change.session:
            self._all = True
        elif change.records == ():
            return
        else:
            self._waiting[change.session] = None
        self._look.set()

    async def _find(self) -> None:
        """Look for sessions that have changed since the watermark."""
        assert self._store is not None
        self._all, before = False, None
        while True:
            query = SessionQuery(
                agent=self._agent, label=self._label, account=self._bot.account, before=before, limit=_PAGE
            )
            page = await self._store.sessions.find(query)
            fresh = (one.id for one in page if one.updated_at >= self._mark.upto - _SKEW)
            self._waiting.update(dict.fromkeys(fresh))
            if len(page) < _PAGE:
                return
            before = page[-1].id

    def _start(self) -> None:
        """Start to deliver from sessions that wait, as many as may at once."""
        for session in [*self._waiting]:
            if len(self._working) >= _AT_ONCE:
                return
            if session not in self._working:
                del self._waiting[session]
                task = asyncio.create_task(self._deliver(session))
                self._working[session] = task
                task.add_done_callback(lambda _, session=session: self._ended(session))

    def _ended(self, session: str) -> None:
        self._working.pop(session, None)
        self._look.set()

    async def _note(self, upto: float) -> None:
        assert self._position is not None
        self._mark.upto = upto
        await self._position.save(self._mark)

    async def _deliver(self, session: str) -> None:
        """Deliver what a session has that was not. What goes wrong here is tried again."""
        try:
            await self._session(session)
        except NotFound:  # it was deleted
            return
        except RoostError as error:
            log.warning("bot %s: events of %s wait: %s", self._bot.name, session, error)
            await asyncio.sleep(_FIRST_PAUSE)
            self._waiting[session] = None

    async def _session(self, session: str) -> None:
        assert self._store is not None
        assert self._records is not None
        info = await self._store.sessions.get(session)
        if not self._wanted(info):
            return
        chat = f"{self._bot.name}/events"
        cursor, revision = await self._records.cursor(chat, session)
        since = max(self._mark.since, info.created_at)  # a copy of a session has the events of the first one
        seq = max(cursor.seq, self._read.pop(session, 0))
        while page := await self._store.logs.read(session, after=seq, limit=_PAGE):
            for record in page:
                seq = record.seq
                if not self._sends(record) or record.event.at < since:
                    continue
                await self._until_taken(info, record)
                put = put_cursor(chat, session, Cursor(seq=seq), revision)
                found = (await self._records.documents.write([put]))[0]
                assert found is not None
                revision = found.revision
        self._read[session] = seq
        if len(self._read) > _REMEMBERED:
            del self._read[next(iter(self._read))]

    def _wanted(self, info: SessionInfo) -> bool:
        labelled = self._label is None or info.labels.get(self._label[0]) == self._label[1]
        return labelled and self._agent in (None, info.agent) and self._bot.account in (None, info.labels.get(ACCOUNT))

    def _sends(self, record: Record) -> bool:
        if "*" in self._types:
            return True
        return any(
            record.body.startswith(one) and record.body[len(one) : len(one) + 1] in b",}" for one in self._starts
        )

    async def _until_taken(self, info: SessionInfo, record: Record) -> None:
        """Send an event until the program has taken it, for a day."""
        assert self._http is not None
        event = record.event
        content = {
            "type": event.__struct_config__.tag,
            "timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(event.at)),
            "data": {
                "session": info.id,
                "agent": info.agent,
                "title": info.title,
                "labels": info.labels,
                "seq": record.seq,
                "event": msgspec.Raw(record.body),
            },
        }
        body, pause, began = msgspec.json.encode(content), _FIRST_PAUSE, time.monotonic()
        while True:
            try:
                return await deliver(self._http, self._url, self._key, f"{info.id}/{record.seq}", body)
            except (Failed, Refused) as error:
                if time.monotonic() - began > _GIVE_UP:
                    log.error("bot %s: event %s of %s is given up: %s", self._bot.name, record.seq, info.id, error)
                    return None
                log.warning("bot %s: an event of %s is not taken: %s", self._bot.name, info.id, error)
                wait = error.after if isinstance(error, Failed) else None
                await asyncio.sleep(wait if wait is not None else pause * random.uniform(0.75, 1.25))
                pause = min(2 * pause, _LONGEST_PAUSE)

    async def send(self, to: Address, message: Outgoing, *, key: str) -> str:
        raise Refused("a program that gets events is no chat")

    async def edit(self, to: Address, ref: str, message: Outgoing) -> None:
        raise Refused("a program that gets events is no chat")

    async def typing(self, to: Address) -> None:
        return None

    async def answer_press(self, ref: str, text: str) -> None:
        return None

    async def fetch(self, ref: str, most: int) -> bytes:
        raise Refused("there are no files here")

    async def close(self) -> None:
        return None


def _types(bot: Bot) -> frozenset[str]:
    """Return the types of the option `events`: a list, or a text with commas. Raises `ConfigError`."""
    given: Any = bot.options.get("events", USUAL)
    try:
        found = frozenset(msgspec.convert(given.split(",") if isinstance(given, str) else given, tuple[str, ...]))
    except msgspec.ValidationError:
        found = frozenset[str]()
    if not found or "" in found:
        raise ConfigError(f'bots.{bot.name}: events: give types of events, as in ["turn.completed"], or ["*"]')
    return found


def make(bot: Bot, token: str, hook_secret: str = "") -> SessionEvents:
    return SessionEvents(bot, token, hook_secret)
