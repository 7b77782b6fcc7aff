"""Deliver what a chat's sessions say, in order: the log is the outbox, a cursor in the store says how far.

A message is sent, and then the cursor is written. A crash between the two sends it again, at platforms that do not
recognize its key. The message that shows an answer in progress is edited, which may be repeated."""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from mimetypes import guess_extension
from typing import NamedTuple, cast

import msgspec
from msgspec.structs import replace

from roost.doors.bots.migration import migrate
from roost.doors.bots.platform import Failed, OutFile, Outgoing, Platform, Refused, SendsFiles
from roost.doors.bots.questions import buttons, child_text
from roost.doors.bots.rich_text import Rich, named_files, plain, rich_of, split
from roost.doors.bots.sayings import TOLD, Saying, saying_of
from roost.doors.bots.sender import FIRST_PAUSE, Pacer, Sender, address_of
from roost.errors import Conflict, NotFound, RoostError
from roost.features.bots.bots_file import Bot
from roost.features.bots.events import SendFilesInput
from roost.features.bots.post import quiet_left
from roost.features.bots.records import (
    BotRecords,
    Chat,
    Cursor,
    Letter,
    LetterFile,
    delivered_letter,
    new_letter,
    put_cursor,
    put_letter,
)
from roost.features.bots.workspace_files import MOST_FILES
from roost.features.delegation.events import ChildWaits
from roost.features.uploads.duties import UploadDuties
from roost.log import events as ev
from roost.log.content import Audio, Image, Video
from roost.log.documents import Write
from roost.log.frames import Delta, Frame
from roost.server.app_state import Api

log = logging.getLogger("roost.bots")
_LINGER = 5.0
"""Seconds of silence after which a chat is followed no longer, until something is committed."""
_WORKING = 600.0
"""The same while an answer is being made."""
_TICK = 0.5
_LIVE_LEAST = 24
"""Characters of an answer before it is shown while it is written."""
_TYPING_SECONDS = 4.5
_QUESTIONS = 20
_PREVIEW = 3500
_delta = msgspec.json.Decoder(Delta)
_STARTED = b'{"type":"model.started"'
_ENDED = b'{"type":"turn.completed"'
_RECEIVED = b'{"type":"input.received"'
_UNASKED = ("schedule:", "timer:", "child:", "job:")


class _Piece(NamedTuple):
    """One message of several that an event or a letter becomes: a text, or a file. load: returns its content; None: it
    cannot be read here. file: the copy that it is of."""

    rich: Rich | None = None
    name: str = ""
    load: Callable[[], Awaitable[OutFile | None]] | None = None
    file: LetterFile | None = None


class FileLoader:
    """Reads the files that are to be sent, and deletes the copies once they are delivered."""

    def __init__(self, api: Api) -> None:
        self._api = api

    def piece(self, one: LetterFile) -> _Piece:
        return _Piece(name=one.name, load=lambda: self._content(one), file=one)

    async def _content(self, one: LetterFile) -> OutFile | None:
        """Return a copy's content; None where it has expired, or is at a node that shares no files with this one.
        Raises `RoostError` where it cannot be read now."""
        uploads = self._api.runtime.node.feature(UploadDuties).uploads
        try:
            found = await uploads.get(one.upload)
            data = b"".join([piece async for piece in uploads.content(found)])
        except (NotFound, Conflict) as error:
            log.error("a file for a chat cannot be read: %s", error)
            return None
        return OutFile(one.name, one.media_type, data)

    async def forget(self, files: Sequence[LetterFile]) -> None:
        """Delete copies; those that cannot be deleted expire."""
        uploads = self._api.runtime.node.feature(UploadDuties).uploads
        for one in files:
            with contextlib.suppress(RoostError):
                await uploads.delete(one.upload)


def _media(number: int, one: Image | Audio | Video) -> _Piece:
    """Return a picture, sound or video of an answer as a file."""
    kind = one.media_type.partition("/")[0]
    name = one.name or f"{kind}-{number + 1}{guess_extension(one.media_type) or ''}"

    async def load() -> OutFile | None:
        try:
            return OutFile(name, one.media_type, base64.b64decode(one.data))
        except binascii.Error:
            return None

    return _Piece(name=name, load=load)


class Delivery:
    """The outbox of one session in one chat."""

    def __init__(self, api: Api, bot: Bot, records: BotRecords, chat: Chat, session: str, sender: Sender) -> None:
        self._api, self._bot, self._records, self._chat = api, bot, records, chat
        self._session, self._sender = session, sender
        self._cursor, self._revision = Cursor(), 0
        self._draft, self._drafted, self._next_edit, self._next_typing = "", (0, 0), 0.0, 0.0
        self._shown: str = ""
        self._files = FileLoader(api)
        self._unasked = False
        """Whether the newest message came from no person."""
        self.works = False
        """Whether an answer is being made."""

    async def load(self) -> None:
        self._cursor, self._revision = await self._records.cursor(self._chat.id, self._session)

    async def catch_up(self) -> None:
        """Deliver what is in the log. Raises `NotFound`, and `Conflict` when another node delivers."""
        while page := await self._api.sessions.history(self._session, after=self._cursor.seq):
            for record in page:
                await self._take(Frame(record.seq, record.body))

    async def follow(self, between: Callable[[bool], Awaitable[bool]]) -> None:
        """Deliver what is in the log and what comes, until nothing comes for a while, or `between` returns False: it is
        asked after each batch, with whether there was anything. Raises as `catch_up`."""
        streams = self._bot.stream and self._sender.platform.limits.edits is not None
        frames = self._api.sessions.stream(self._session, after=self._cursor.seq, deltas=streams, idle=_TICK)
        heard = time.monotonic()
        async with contextlib.aclosing(cast("AsyncGenerator[list[Frame], None]", frames)) as batches:
            async for batch in batches:
                for frame in batch:
                    await self._take(frame)
                heard = time.monotonic() if batch else heard
                await self._show_progress()
                if not await between(bool(batch)) or time.monotonic() - heard > (_WORKING if self.works else _LINGER):
                    return

    async def _take(self, frame: Frame) -> None:
        if frame.seq is None:
            self._hear(frame.body)
            return
        if frame.body.startswith(_STARTED):
            self.works = True
        elif frame.body.startswith(_ENDED):
            self.works = False
        elif frame.body.startswith(_RECEIVED):
            event = ev.decode_event(frame.body)
            source = event.source if isinstance(event, ev.InputReceived) else None
            self._unasked = source is not None and source.startswith(_UNASKED)
        if frame.body.startswith(TOLD):
            await self._tell(frame.seq, ev.decode_event(frame.body))
        elif frame.seq > self._cursor.seq:
            self._cursor = replace(self._cursor, seq=frame.seq, parts=0)

    async def _tell(self, seq: int, event: ev.Event) -> None:
        saying = saying_of(self._session, seq, event)
        if isinstance(event, ChildWaits) and (asked := await child_text(self._api, event)):
            saying = saying._replace(text=asked)
        if saying.settles:
            await self._settle(seq, saying)
            return
        pieces = self._pieces(saying)
        if isinstance(event, ev.ModelCompleted) and self._cursor.parts == 0:
            await self._order_files(seq, saying.text)
        for number, piece in enumerate(pieces):
            if number >= self._cursor.parts:
                await self._deliver(seq, number, number == len(pieces) - 1, piece, saying, event)
        if not pieces:
            live = None if isinstance(event, ev.TurnCompleted) else self._cursor.live
            self._cursor = replace(self._cursor, seq=seq, parts=0, live=live)
        self._draft, self._shown = "", ""

    def _pieces(self, saying: Saying) -> list[_Piece]:
        """Return the messages that something becomes: always the same, since a crash may cut their delivery off."""
        texts = split(rich_of(saying.text), self._sender.platform.limits.text) if saying.text else []
        return [
            *(_Piece(one) for one in texts),
            *(_media(number, one) for number, one in enumerate(saying.media)),
            *(self._files.piece(one) for one in saying.files),
        ]

    async def _order_files(self, seq: int, text: str) -> None:
        """Let the session copy the files that an answer names. They come as an event of their own."""
        paths = named_files(text)[:MOST_FILES] if isinstance(self._sender.platform, SendsFiles) else ()
        if paths:
            with contextlib.suppress(Conflict):  # the session was stopped
                order = SendFilesInput(of=seq, paths=paths)
                await self._api.sessions.put(self._session, order, key=f"bot-files:{seq}")

    async def _deliver(self, seq: int, number: int, last: bool, piece: _Piece, saying: Saying, event: ev.Event) -> None:
        """Send one message of an event, and note it."""
        cursor, more = self._cursor, list[Write]()
        ref: str | None = None
        key = f"{self._chat.id}/{self._session}/{seq}/{number}"
        quiet = self._unasked and quiet_left(self._bot, time.time()) > 0
        shown = buttons(saying.question) if saying.question and last else ()
        try:
            if piece.rich is None:
                await send_file(self._sender, piece, key, quiet=quiet)
            else:
                answer = isinstance(event, ev.ModelCompleted) and number == 0
                ref = await self._sent(key, Outgoing(piece.rich, shown, quiet=quiet), answer)
        except Refused as error:
            log.error("a message to chat %s is refused: %s", self._chat.id, error)
            text = piece.rich.text if piece.rich is not None else "" if piece.file else f"[a file, {piece.name}]"
            kept = () if piece.file is None else (piece.file,)
            letter = new_letter(self._chat, text, session=self._session, files=kept)
            more.append(put_letter(replace(letter, state="dead", reason=str(error)[:500])))
        questions = cursor.questions
        if saying.call and last and ref is not None:
            questions = dict([*questions.items(), (saying.call, ref)][-_QUESTIONS:])
        where = (seq, 0) if last else (cursor.seq, number + 1)
        await self._note(Cursor(*where, live=None, questions=questions), more)
        if piece.file is not None and not more:
            await self._files.forget((piece.file,))

    async def _sent(self, key: str, message: Outgoing, answer: bool) -> str:
        live = self._cursor.live
        if live is not None and answer:
            try:
                await self._sender.edit(live, message)
                return live
            except Refused:  # a person has deleted it
                pass
        return await self._sender.send(message, key)

    async def _settle(self, seq: int, saying: Saying) -> None:
        """Say below a question how it was answered, and take its buttons away."""
        ref = self._cursor.questions.get(saying.settles)
        if ref is not None:
            with contextlib.suppress(Refused):
                await self._sender.edit(ref, Outgoing(rich_of(saying.text)))
        questions = {key: one for key, one in self._cursor.questions.items() if key != saying.settles}
        await self._note(replace(self._cursor, seq=seq, parts=0, questions=questions))

    async def _note(self, cursor: Cursor, more: Sequence[Write] = ()) -> None:
        put = put_cursor(self._chat.id, self._session, cursor, self._revision)
        found = await self._records.documents.write([put, *more])
        assert found[0] is not None
        self._cursor, self._revision = cursor, found[0].revision

    def _hear(self, body: bytes) -> None:
        """Take a piece of an answer in progress."""
        if not body.startswith(b'{"type":"delta"'):
            return
        delta = _delta.decode(body)
        if delta.kind != "text":
            return
        if (delta.step, delta.after) != self._drafted:
            self._drafted, self._draft = (delta.step, delta.after), ""
        self._draft = self._draft[: delta.offset] + delta.text

    async def _show_progress(self) -> None:
        """Show the answer in progress, as often as the platform allows."""
        now = time.monotonic()
        if not self.works or now < self._next_edit:
            return
        if len(self._draft) < _LIVE_LEAST or self._draft == self._shown:
            if now >= self._next_typing and not self._draft:
                self._next_typing = now + _TYPING_SECONDS
                with contextlib.suppress(Failed, Refused):
                    await self._sender.platform.typing(self._sender.to)
            return
        message = Outgoing(_preview(self._draft))
        self._shown = self._draft
        if self._cursor.live is not None:
            self._next_edit = time.monotonic() + await self._sender.try_edit(self._cursor.live, message)
            return
        try:
            ref = await self._sender.platform.send(
                self._sender.to, message, key=f"{self._chat.id}/{self._session}/live/{self._drafted[0]}"
            )
        except (Failed, Refused) as error:
            self._next_edit = time.monotonic() + (getattr(error, "after", None) or FIRST_PAUSE * 5)
            return
        await self._note(replace(self._cursor, live=ref))
        self._next_edit = time.monotonic() + (self._sender.platform.limits.edits or 0.0)


async def send_file(sender: Sender, piece: _Piece, key: str, *, quiet: bool) -> None:
    """Send a file; one that cannot be read here is a message that says so. Raises `Refused`, `RoostError`."""
    assert piece.load is not None
    file = await piece.load()
    if file is None:
        await sender.send(Outgoing(plain(f"[a file, {piece.name}: it cannot be read here]"), quiet=quiet), key)
    else:
        await sender.send_file(file, key, quiet=quiet)


class ChatOutbox:
    """Delivers all that goes to one chat. dirty: something may have to be delivered. letters: a letter may be new.
    spans: a session may be, or one before the newest has said something."""

    def __init__(self, api: Api, bot: Bot, records: BotRecords, platform: Platform, chat: str, *, pacer: Pacer) -> None:
        self._api, self._bot, self._records, self._platform, self._chat = api, bot, records, platform, chat
        self._pacer, self._files = pacer, FileLoader(api)
        self._sender: Sender | None = None
        self._lets_in = False
        """Whether the chat's person may write: who may not is told nothing of a session."""
        self.dirty, self.letters, self.spans = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def run(self) -> None:
        """Deliver what waits, and follow the chat's newest session while something happens there. Raises
        `RoostError`, `Conflict` when another node delivers."""
        self.dirty.clear()
        self.spans.clear()
        chat, _ = await self._records.chat(self._chat)
        if chat is None:
            return
        if self._sender is None:
            self._sender = Sender(self._platform, chat, self._pacer, self._moved)
        self._sender.to = address_of(chat)
        self._lets_in = await self._records.lets_in(self._bot, chat)
        self.letters.set()
        await self._post_letters(self._sender)
        for span in chat.spans if self._lets_in else ():
            delivery = Delivery(self._api, self._bot, self._records, chat, span.session, self._sender)
            with contextlib.suppress(NotFound):  # the session was deleted
                await delivery.load()
                await (delivery.follow(self._between) if span == chat.spans[-1] else delivery.catch_up())

    async def _moved(self, address: str, to: str) -> None:
        await migrate(self._records, self._bot.name, address, to)

    async def _between(self, heard: bool) -> bool:
        if self.spans.is_set():  # `dirty` is set, too: the chat's sessions are gone through again
            return False
        if heard:
            self.dirty.clear()
            if (chat := (await self._records.chat(self._chat))[0]) is not None:
                self._lets_in = await self._records.lets_in(self._bot, chat)
        assert self._sender is not None
        await self._post_letters(self._sender)
        return self._lets_in and not self.spans.is_set()

    async def _post_letters(self, sender: Sender) -> None:
        if self.letters.is_set():
            self.letters.clear()
            now = time.time()
            for letter in await self._records.waiting(self._chat):
                if letter.due <= now and (
                    self._lets_in or not letter.session
                ):  # `Outboxes` looks again when another one is due
                    await self._post(sender, letter)

    async def _post(self, sender: Sender, letter: Letter) -> None:
        """Send a letter, and forget it. How far it came is noted after each of its messages."""
        texts = split(rich_of(letter.text), self._platform.limits.text) if letter.text else []
        pieces = [*(_Piece(one) for one in texts), *(self._files.piece(one) for one in letter.files)]
        with contextlib.suppress(Conflict, NotFound):  # a person has deleted it
            known, revision = await self._records.letter(letter.id)
            for number, piece in enumerate(pieces[letter.sent :], letter.sent):
                key = f"{letter.id}/{number}"
                try:
                    if piece.rich is None:
                        await send_file(sender, piece, key, quiet=False)
                    else:
                        await sender.send(Outgoing(piece.rich), key)
                except Refused as error:
                    dead = replace(known, state="dead", reason=str(error)[:500])
                    await self._records.documents.write([put_letter(dead, revision)])
                    return
                if number < len(pieces) - 1:
                    known = replace(known, sent=number + 1)
                    await self._records.documents.write([put_letter(known, revision)])
                    revision += 1
            await self._records.documents.write([delivered_letter(known, revision)])
            await self._files.forget(letter.files)


def _preview(markdown: str) -> Rich:
    """Return the beginning of an answer that is not complete, as one message."""
    rich = rich_of(markdown)
    return rich if len(rich.text) <= _PREVIEW else Rich(rich.text[:_PREVIEW] + " …")
